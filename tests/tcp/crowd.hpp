#pragma once

#include <doctest/doctest.h>

#include <exception>
#include <functional>
#include <unordered_map>
#include <vector>

#include "packets.hpp"

namespace runnel::tcp::test {

/// One host, 10.0.0.2, with a listener on port 80, and a crowd of peers made by hand that talk to
/// it, in virtual time, over a link whose pool of packets has a bound. A peer is an address and a
/// port; it knows its numbers and remembers the last thing that it was told.
class crowd {
 public:
  struct peer {
    net::endpoint at;
    std::uint32_t iss = 0;
    /// The next number of its own, counted from `iss`.
    std::uint32_t next = 1;
    std::uint32_t host_iss = 0;
    /// What the host last said.
    seen_packet told;
    std::size_t answers = 0;
    std::size_t resets = 0;
    /// Its socket of the host, once `accept` has found it.
    socket_id socket;

    /// What the host has acknowledged, counted from `iss`.
    std::uint32_t acked() const { return told.tcp.ack - iss; }
    /// Bytes that it may send beyond that.
    std::uint32_t window() const { return std::uint32_t{told.tcp.window}; }
  };

  explicit crowd(const std::function<void(host_options&)>& adjust = {},
                 std::size_t link_pool_bytes = std::size_t{64} << 20,
                 const listener_policy& policy = {})
      : link_pool(link_pool_bytes), engine(make_options(adjust)) {
    listener = engine.listen({{}, 80}, policy, 1).value;
  }
  ~crowd() {
    if (std::uncaught_exceptions() == 0) check_nothing_left();
  }
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;

  static net::address host_address() { return test_address(10, 0, 0, 2); }
  /// The nth peer: 200 ports of each address of 10.1.0.0/16.
  static net::endpoint endpoint_of(std::uint32_t n) {
    return {test_address(10, 1, static_cast<std::uint8_t>(n / 200 / 250),
                         static_cast<std::uint8_t>(1 + n / 200 % 250)),
            static_cast<std::uint16_t>(1024 + n % 200)};
  }

  /// Hands the host a segment; false when the link has no packet left for it.
  bool give(peer& from, std::uint8_t flags, std::uint32_t seq, std::uint32_t ack,
            std::span<const std::byte> text = {}, const wire::tcp_options& options = {}) {
    wire::tcp_header tcp;
    tcp.seq = from.iss + seq;
    tcp.ack = (flags & wire::tcp_flag::ack) != 0 ? from.host_iss + ack : 0;
    tcp.flags = flags;
    tcp.window = 65535;
    tcp.options = options;
    net::packet packet = link_pool.allocate(1500);
    if (!packet) {
      ++link_drops;
      return false;
    }
    packet = {};
    engine.on_packet(make_packet(link_pool, from.at, {host_address(), 80}, tcp, text), now);
    flush();
    return true;
  }
  /// A connection that the program has accepted; its socket is invalid when the host refused.
  peer& join(std::uint32_t n) {
    peer& p = start(n);
    if (p.answers == 0) return p;
    give(p, wire::tcp_flag::ack, 1, 1);
    if (const auto taken = engine.accept(listener, n)) p.socket = taken.value;
    return p;
  }
  /// As far as SYN.
  peer& start(std::uint32_t n) {
    const net::endpoint at = endpoint_of(n);
    peer& p = peers_[key_of(at)];
    p = {};
    p.at = at;
    p.iss = n * 7919 + 5;
    p.told.tcp.ack = p.iss + 1;
    wire::tcp_options options;
    options.mss = 1460;
    give(p, wire::tcp_flag::syn, 0, 0, {}, options);
    return p;
  }
  /// Text at this place of the stream, from 1.
  bool send(peer& from, std::uint32_t seq, std::size_t size) {
    static const std::string text(65535, 'x');
    return give(from, wire::tcp_flag::ack | wire::tcp_flag::psh, seq, 1,
                bytes_of(std::string_view(text).substr(0, size)));
  }
  /// Sends as an honest peer does, in segments of `size`: from what is acknowledged up to the
  /// window, and no more than `most`. Returns what was acknowledged.
  std::uint32_t fill(peer& from, std::size_t size, std::uint32_t most = UINT32_MAX) {
    const std::uint32_t before = from.acked();
    const std::uint32_t edge = before + std::min(from.window(), most);
    for (std::uint32_t at = before; at + size <= edge; at += static_cast<std::uint32_t>(size)) {
      if (!send(from, at, size)) break;
      if (from.resets > 0) break;
    }
    return from.acked() - before;
  }

  void flush() {
    while (const net::tx_packet* out = engine.poll_transmit(now)) {
      const net::packet flat = flatten(own_pool_, *out);
      const seen_packet seen = look_at(flat.bytes(), now, 1, false);
      ++sent;
      const auto found = peers_.find(key_of({seen.ip.destination, seen.tcp.destination_port}));
      if (found == peers_.end()) continue;
      peer& p = found->second;
      ++p.answers;
      if ((seen.tcp.flags & wire::tcp_flag::rst) != 0) ++p.resets;
      if ((seen.tcp.flags & wire::tcp_flag::syn) != 0) p.host_iss = seen.tcp.seq;
      p.told = seen;
    }
    socket_event happened;
    while (engine.poll_event(happened)) {
    }
  }
  void run_for(duration span) {
    const time_point until = now + span;
    flush();
    while (engine.poll_timeout() <= until) {
      now = std::max(now, engine.poll_timeout());
      engine.on_timeout(now);
      flush();
    }
    now = until;
  }
  std::size_t read(const peer& of) { return receive_all(engine, of.socket, now).size(); }

  /// Gives everything up and checks that nothing is left, in the host or of the link.
  void check_nothing_left() {
    for (auto& [key, p] : peers_) engine.release(p.socket, now);
    engine.close_listener(listener, now);
    run_for(std::chrono::seconds(4000));
    const memory_table held = engine.memory();
    CHECK(held.connections == 0);
    CHECK(held.half_open == 0);
    CHECK(held.time_wait == 0);
    CHECK(held.buffer_bytes == 0);
    CHECK(link_pool.used_bytes() == 0);
    CHECK(engine.poll_timeout() == time_point::max());
  }

  net::packet_pool link_pool;
  host engine;
  time_point now = time_point(std::chrono::seconds(1000));
  socket_id listener;
  /// Packets of the host.
  std::size_t sent = 0;
  /// Packets for which the link had no memory.
  std::size_t link_drops = 0;

 private:
  static host_options make_options(const std::function<void(host_options&)>& adjust) {
    host_options options;
    options.addresses = {host_address()};
    options.keys = keys_from(7);
    options.mtu = test_mtu(1500);
    if (adjust) adjust(options);
    return options;
  }
  static std::uint64_t key_of(const net::endpoint& at) {
    const auto last = at.address.bytes().last(4);
    std::uint64_t number = 0;
    for (const std::uint8_t byte : last) number = number << 8 | byte;
    return number << 16 | at.port;
  }

  net::packet_pool own_pool_;
  std::unordered_map<std::uint64_t, peer> peers_;
};

}  // namespace runnel::tcp::test
