#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "runnel/tcp/engine/host.hpp"
#include "runnel/wire/checksum.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/tcp.hpp"

namespace runnel::tcp::test {

inline host_keys keys_from(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  host_keys keys;
  for (auto* key : {&keys.lookup, &keys.isn, &keys.tuple}) *key = {random(), random()};
  return keys;
}

/// What the wire between two hosts does to packets.
struct wire_faults {
  duration latency = std::chrono::milliseconds(1);
  double loss = 0;
  double duplicate = 0;
  /// Chance that a packet takes up to four times the latency.
  double reorder = 0;
};

/// A packet as a test looks at it.
struct seen_packet {
  time_point at;
  int from = 0;
  wire::ip_header ip;
  wire::tcp_header tcp;
  std::uint32_t length = 0;

  std::string flags() const {
    std::string out;
    const char names[] = "FSRPAUEC";
    for (int i = 0; i < 8; ++i) {
      if ((tcp.flags >> i & 1) != 0) out += names[i];
    }
    return out;
  }
};

/// Two hosts, 10.0.0.1 and 10.0.0.2, and a wire between them, in virtual time.
///
/// `step` runs the next thing that happens; `drive` runs until nothing is left to happen, or until
/// a moment. Every packet passes `filter` (return false to lose it) and is kept in `trace`.
class host_pair {
 public:
  static constexpr int client = 0;
  static constexpr int server = 1;

  explicit host_pair(std::uint64_t seed = 1, wire_faults wire_behaviour = {},
                     const std::function<void(int, host_options&)>& adjust = {})
      : faults(wire_behaviour), random_(seed) {
    for (int side = 0; side < 2; ++side) {
      host_options options;
      options.addresses = {address(side)};
      options.keys = keys_from(seed * 2 + static_cast<std::uint64_t>(side));
      if (adjust) adjust(side, options);
      hosts_.emplace_back(std::move(options));
    }
  }
  ~host_pair() { flying_.clear(); }

  static net::address address(int side) {
    return net::address::v4(10, 0, 0, static_cast<std::uint8_t>(1 + side));
  }

  host& operator[](int side) { return hosts_[static_cast<std::size_t>(side)]; }
  time_point now() const { return now_; }

  /// Sends what both hosts have to say now.
  void flush() {
    for (int side = 0; side < 2; ++side) {
      while (const net::tx_packet* out = (*this)[side].poll_transmit(now_)) transmit(side, *out);
      socket_event happened;
      while ((*this)[side].poll_event(happened)) {
        events_[static_cast<std::size_t>(side)].push_back(happened);
      }
    }
  }

  /// The next arrival or timer; false when there is none up to `until`.
  bool step(time_point until = time_point::max()) {
    flush();
    time_point next = std::min((*this)[0].poll_timeout(), (*this)[1].poll_timeout());
    if (!flying_.empty()) next = std::min(next, flying_.front().at);
    if (next == time_point::max() || next > until) return false;
    now_ = std::max(now_, next);
    while (!flying_.empty() && flying_.front().at <= now_) {
      flight arrived = std::move(flying_.front());
      flying_.erase(flying_.begin());
      (*this)[arrived.to].on_packet(std::move(arrived.content), now_);
    }
    for (int side = 0; side < 2; ++side) {
      if ((*this)[side].poll_timeout() <= now_) (*this)[side].on_timeout(now_);
    }
    flush();
    return true;
  }

  void drive_until(time_point until) {
    while (step(until)) {
    }
    now_ = std::max(now_, until);
  }
  void drive_for(duration span) { drive_until(now_ + span); }

  /// Hands a packet of the test's own to a host at once.
  void inject(int to, const net::endpoint& from, const net::endpoint& destination,
              wire::tcp_header tcp, std::span<const std::byte> text = {}) {
    (*this)[to].on_packet(make_packet(from, destination, tcp, text), now_);
    flush();
  }

  net::packet make_packet(const net::endpoint& from, const net::endpoint& to, wire::tcp_header tcp,
                          std::span<const std::byte> text = {}) {
    tcp.source_port = from.port;
    tcp.destination_port = to.port;
    wire::ip_header ip;
    ip.source = from.address;
    ip.destination = to.address;
    ip.protocol = 6;
    const std::size_t tcp_bytes = wire::tcp_header_bytes(tcp.options);
    ip.total_length = static_cast<std::uint32_t>(20 + tcp_bytes + text.size());
    net::packet out = pool_.allocate(ip.total_length);
    out.resize(ip.total_length);
    const auto bytes = out.bytes();
    wire::emit_ip(bytes, ip);
    wire::emit_tcp(bytes.subspan(20), tcp);
    std::copy(text.begin(), text.end(),
              bytes.begin() + static_cast<std::ptrdiff_t>(20 + tcp_bytes));
    wire::checksum sum;
    sum.add_pseudo_header(ip.source, ip.destination, 6,
                          static_cast<std::uint32_t>(tcp_bytes + text.size()));
    sum.add(bytes.subspan(20));
    wire::put_tcp_checksum(bytes.subspan(20), sum.value());
    return out;
  }

  std::vector<socket_event>& events_of(int side) { return events_[static_cast<std::size_t>(side)]; }

  wire_faults faults;
  /// Called for each packet before it flies; false loses it.
  std::function<bool(const seen_packet&)> filter;
  std::vector<seen_packet> trace;
  /// The bytes of every packet that left, with the time and the side before it.
  std::string bytes_of_trace;
  bool keep_bytes = false;

 private:
  struct flight {
    time_point at;
    int to;
    net::packet content;
  };

  void transmit(int from, const net::tx_packet& out) {
    net::packet copy = pool_.allocate(out.size);
    std::size_t filled = 0;
    for (const auto piece : out.pieces) {
      std::copy(piece.begin(), piece.end(),
                copy.room().begin() + static_cast<std::ptrdiff_t>(filled));
      filled += piece.size();
    }
    copy.resize(filled);
    seen_packet seen{now_, from, *wire::parse_ip(copy.bytes()), {}, 0};
    const auto text = seen.ip.payload(copy.bytes());
    if (seen.ip.carries(wire::ip_protocol::tcp)) {
      seen.tcp = *wire::parse_tcp(text);
      seen.length = static_cast<std::uint32_t>(text.size()) - seen.tcp.header_bytes;
    }
    trace.push_back(seen);
    if (keep_bytes) {
      bytes_of_trace += std::to_string(now_.time_since_epoch().count()) + (from == 0 ? '>' : '<');
      bytes_of_trace.append(reinterpret_cast<const char*>(copy.bytes().data()), copy.size());
    }
    if (filter && !filter(seen)) return;
    if (chance(faults.loss)) return;
    if (chance(faults.duplicate)) fly(1 - from, pool_.copy_of(copy.bytes()));
    fly(1 - from, std::move(copy));
  }

  void fly(int to, net::packet content) {
    duration delay = faults.latency;
    if (chance(faults.reorder)) delay += faults.latency * static_cast<int>(random_() % 4);
    flight f{now_ + delay, to, std::move(content)};
    const auto place =
        std::upper_bound(flying_.begin(), flying_.end(), f.at,
                         [](time_point at, const flight& other) { return at < other.at; });
    flying_.insert(place, std::move(f));
  }

  bool chance(double probability) {
    if (probability <= 0) return false;
    return static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
  }

  std::mt19937_64 random_;
  time_point now_ = time_point(std::chrono::seconds(1000));
  net::packet_pool pool_;
  std::vector<host> hosts_;
  std::deque<flight> flying_;
  std::vector<socket_event> events_[2];
};

/// A listener on the server's port 80 and a connection to it.
struct connected_pair : host_pair {
  using host_pair::host_pair;

  /// Both ends established; the trace is empty afterwards.
  void establish(const connect_options& options = {}, const listener_policy& policy = {}) {
    listener = (*this)[server].listen({{}, 80}, policy, 1).value;
    client_socket = (*this)[client].connect({address(server), 80}, options, 2, now()).value;
    drive_for(20 * faults.latency);
    server_socket = (*this)[server].accept(listener, 3).value;
    trace.clear();
    events_of(0).clear();
    events_of(1).clear();
  }

  state client_state() { return (*this)[client].snapshot(client_socket).value.state; }
  state server_state() { return (*this)[server].snapshot(server_socket).value.state; }

  socket_id listener;
  socket_id client_socket;
  socket_id server_socket;
};

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Receives everything that is there now.
inline std::string receive_all(host& from, socket_id socket, time_point now) {
  std::string out;
  std::byte buffer[4096];
  for (;;) {
    const auto got = from.receive(socket, buffer, now);
    if (!got || got.value == 0) return out;
    out.append(reinterpret_cast<const char*>(buffer), got.value);
  }
}

}  // namespace runnel::tcp::test
