#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "engine_pair.hpp"
#include "segment.hpp"

namespace runnel::bench {

/// What a host's table is filled with.
enum class table_entry : std::uint8_t { half_open, idle, time_wait };

constexpr const char* to_string(table_entry of) noexcept {
  switch (of) {
    case table_entry::half_open:
      return "half_open";
    case table_entry::idle:
      return "idle";
    case table_entry::time_wait:
      return "time_wait";
  }
  return "?";
}

/// Peers of a host that exist only as the segments they send, with the options that Linux offers:
/// what is filled in this way costs memory in that host alone. Time stands still meanwhile.
class crafted_peers {
 public:
  crafted_peers(tcp::host& server, tcp::socket_id listener, time_point now)
      : server_(server), listener_(listener), now_(now) {}

  /// One more entry, each from a tuple of its own.
  void add(table_entry kind) {
    const std::uint32_t n = next_++;
    from_ = {net::address::v4(10, static_cast<std::uint8_t>(128 + n / ports / 65'536),
                              static_cast<std::uint8_t>(n / ports / 256),
                              static_cast<std::uint8_t>(n / ports % 256)),
             static_cast<std::uint16_t>(first_port + n % ports)};
    const std::uint32_t iss = n * 7919;
    const auto syn_ack = give(wire::tcp_flag::syn, iss, 0);
    if (!syn_ack || !syn_ack->has(wire::tcp_flag::syn)) refused("SYN");
    if (kind == table_entry::half_open) return;
    give(wire::tcp_flag::ack, iss + 1, syn_ack->seq + 1);
    const auto socket = server_.accept(listener_, 0);
    if (!socket) refused("the third segment");
    drain_events();
    if (kind == table_entry::idle) return;
    server_.close(socket.value, tcp::close_mode::graceful, now_);
    server_.release(socket.value, now_);
    const auto fin = poll();
    if (!fin || !fin->has(wire::tcp_flag::fin)) refused("the server's close");
    give(wire::tcp_flag::ack | wire::tcp_flag::fin, iss + 1, fin->seq + 1);
    drain_events();
  }

 private:
  static constexpr std::uint32_t first_port = 1024;
  static constexpr std::uint32_t ports = 60'000;

  /// Hands over one segment and takes what is said to it.
  std::optional<wire::tcp_header> give(std::uint8_t flags, std::uint32_t seq, std::uint32_t ack) {
    wire::tcp_header tcp;
    tcp.source_port = from_.port;
    tcp.destination_port = 80;
    tcp.seq = seq;
    tcp.ack = ack;
    tcp.flags = flags;
    tcp.window = 64'240;
    tcp.options.timestamp = wire::tcp_timestamp{1000, echo_};
    if (flags == wire::tcp_flag::syn) {
      tcp.options.mss = 1460;
      tcp.options.sack_permitted = true;
      tcp.options.window_scale = 7;
      tcp.options.timestamp->echo = 0;
    }
    server_.on_packet(make_segment(pool_, from_.address, tcp), now_);
    return poll();
  }

  /// The last segment that the host has to say; all of them are for the present peer.
  std::optional<wire::tcp_header> poll() {
    std::optional<wire::tcp_header> last;
    while (const net::tx_packet* out = server_.poll_transmit(now_)) {
      const auto parsed = wire::parse_tcp(out->pieces[0].subspan(20));
      if (!parsed) throw std::logic_error("the host sent what is no TCP segment.");
      last = *parsed;
      if (last->options.timestamp) echo_ = last->options.timestamp->value;
    }
    return last;
  }

  void drain_events() {
    tcp::socket_event happened;
    while (server_.poll_event(happened)) {
    }
  }

  [[noreturn]] void refused(const std::string& what) const {
    throw std::runtime_error("entry " + std::to_string(next_) +
                             " of the table: the server refused " + what +
                             "; is the machine out of memory?");
  }

  tcp::host& server_;
  tcp::socket_id listener_;
  time_point now_;
  net::packet_pool pool_;
  net::endpoint from_;
  std::uint32_t echo_ = 0;
  std::uint32_t next_ = 0;
};

}  // namespace runnel::bench
