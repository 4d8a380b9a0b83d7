#pragma once

#include <cstring>
#include <stdexcept>

#include "network.hpp"

namespace runnel::tcp::sim {

/// The period of the text that is sent, so that a comparison tells where it went wrong.
inline constexpr std::size_t text_period = 251 * 256;

inline const std::string& endless_text() {
  static const std::string text = [] {
    const std::string once = test::numbered_text(text_period);
    return once + once;
  }();
  return text;
}

/// Bytes that go from the client to the server, as fast as they are taken.
class bulk_flow {
 public:
  bulk_flow(network& net, socket_id sender, socket_id receiver, std::uint64_t total)
      : net_(net), sender_(sender), receiver_(receiver), total_(total) {}

  /// Writes what there is room for.
  void write() {
    while (written_ < total_) {
      const std::size_t size =
          static_cast<std::size_t>(std::min<std::uint64_t>(text_period, total_ - written_));
      const std::string_view text(endless_text().data() + written_ % text_period, size);
      const auto taken = net_[network::client].send(sender_, test::bytes_of(text), net_.now());
      if (!taken) {
        if (taken.error == error::would_block) return;
        throw std::runtime_error("a transfer broke off: " + std::string(to_string(taken.error)));
      }
      written_ += taken.value;
    }
  }
  /// Reads what is there and compares it with what was written.
  void read() {
    static thread_local std::vector<std::byte> room(text_period);
    for (;;) {
      const auto got = net_[network::server].receive(receiver_, room, net_.now());
      if (!got || got.value == 0) return;
      if (std::memcmp(room.data(), endless_text().data() + read_ % text_period, got.value) != 0) {
        throw std::runtime_error("what is read is not what was written, after byte " +
                                 std::to_string(read_));
      }
      read_ += got.value;
    }
  }
  bool done() const { return read_ >= total_; }
  std::uint64_t bytes_read() const { return read_; }
  socket_id sender() const { return sender_; }
  socket_id receiver() const { return receiver_; }

 private:
  network& net_;
  socket_id sender_;
  socket_id receiver_;
  std::uint64_t total_;
  std::uint64_t written_ = 0;
  std::uint64_t read_ = 0;
};

/// Connects the client to the server that many times, over a path that loses nothing, and
/// afterwards hands the events to the flows.
class bulk_flows {
 public:
  bulk_flows(network& net, std::size_t count, std::uint64_t total) : net_(net) {
    const socket_id listener = net_[network::server].listen({{}, 80}, {}, 0).value;
    for (std::size_t i = 0; i < count; ++i) {
      const auto made =
          net_[network::client].connect({network::address(network::server), 80}, {}, i, net_.now());
      socket_id accepted;
      while (!accepted && net_.step()) {
        if (const auto taken = net_[network::server].accept(listener, i)) accepted = taken.value;
      }
      if (!made || !accepted) throw std::runtime_error("a connection was not made");
      flows_.emplace_back(net_, made.value, accepted, total);
    }
    net_.on_event = [this](int side, const socket_event& what) {
      if (what.token >= flows_.size() || !started_[what.token]) return;
      if (side == network::client) {
        flows_[what.token].write();
      } else {
        flows_[what.token].read();
      }
    };
    started_.assign(count, false);
  }
  bulk_flows(const bulk_flows&) = delete;
  bulk_flows& operator=(const bulk_flows&) = delete;
  ~bulk_flows() { net_.on_event = nullptr; }

  void start(std::size_t which) {
    started_[which] = true;
    flows_[which].write();
  }
  bulk_flow& operator[](std::size_t which) { return flows_[which]; }
  std::size_t size() const { return flows_.size(); }

 private:
  network& net_;
  std::vector<bulk_flow> flows_;
  std::vector<bool> started_;
};

/// One transfer over a path: what it needs, and what came of it.
struct transfer {
  path_options data;
  path_options acks;
  std::uint64_t bytes = 10'000'000;
  std::function<void(int, host_options&)> adjust;
};

struct transfer_result {
  double megabits_per_second = 0;
  tcp::counters sender;
  std::uint64_t overflows = 0;
};

/// From the first byte written to the last one read. The handshake has met no trouble.
inline transfer_result run(const transfer& what, std::uint64_t seed) {
  const auto clean = [](path_options of) {
    of.loss = of.burst_begins = of.reorder = of.duplicate = 0;
    return of;
  };
  network net(seed, clean(what.data), clean(what.acks), [&](int side, host_options& options) {
    options.checksum_offload_tx = options.checksum_offload_rx = true;
    if (what.adjust) what.adjust(side, options);
  });
  bulk_flows flows(net, 1, what.bytes);
  net.path_from(network::client).change(what.data);
  net.path_from(network::server).change(what.acks);
  const time_point start = net.now();
  flows.start(0);
  while (!flows[0].done()) {
    if (!net.step(start + std::chrono::hours(2))) throw std::runtime_error("a transfer hangs");
  }
  transfer_result out;
  const double seconds = std::chrono::duration<double>(net.now() - start).count();
  out.megabits_per_second = static_cast<double>(what.bytes) * 8 / 1e6 / seconds;
  out.sender = net[network::client].counters();
  out.overflows = net.path_from(network::client).overflows();
  return out;
}

}  // namespace runnel::tcp::sim
