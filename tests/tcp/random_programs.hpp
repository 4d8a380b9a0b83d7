#pragma once

#include <doctest/doctest.h>

#include <map>

#include "packets.hpp"
#include "wire_watch.hpp"

namespace runnel::tcp::test {

/// One end of a connection as its program knows it.
struct program_end {
  bool owned = false;
  socket_id socket;
  std::size_t written = 0;
  std::size_t read = 0;
  bool said_fin = false;
  /// It was told of an error, or gave up itself: what it reads is what came until then.
  bool broken = false;
  bool saw_end = false;
};

/// What random programs at both ends of a wire do, and what must hold whatever they do. `Net` is
/// two hosts with a wire between them, of which 0 is the client; `Dice` has `below` and
/// `once_in`. Who derives from it decides what happens when.
template <class Net, class Dice>
class random_programs {
 public:
  random_programs(const random_programs&) = delete;
  random_programs& operator=(const random_programs&) = delete;

 protected:
  static constexpr int client = 0;
  static constexpr int server = 1;
  static constexpr std::uint16_t first_port = 10'000;
  /// A host with less may run out of it.
  static constexpr std::size_t small_memory = std::size_t{16} << 20;

  /// `make` gives the two hosts, after `dice` has its seed.
  template <class Make>
  random_programs(std::uint64_t seed, Make&& make) : dice_(seed), net_(make(dice_)) {
    listener_ = net_[server].listen({{}, 80}, {}, 1).value;
  }
  ~random_programs() = default;

  /// A connection is known by the client's port, which is used once.
  struct link_of_two {
    program_end ends[2];
  };

  static std::uint16_t port_of(const seen_packet& seen) {
    return seen.from == client ? seen.tcp.source_port : seen.tcp.destination_port;
  }
  /// Where the bytes of one direction of one connection begin in all that is ever sent.
  static std::size_t stream_of(std::uint16_t port, int side) {
    return (std::size_t{port} * 2 + static_cast<std::size_t>(side)) << 24;
  }
  void on_sent(const seen_packet& seen) { watch_on(port_of(seen)).on_sent(seen); }
  void on_delivered(const seen_packet& seen) { watch_on(port_of(seen)).on_delivered(seen); }

  // ---- what programs do

  void connect(const connection_policy& own = {}) {
    connect_options options;
    options.local.port = next_port_++;
    options.policy = own;
    const auto made = net_[client].connect({Net::address(server), 80}, options, 2, net_.now());
    // At the memory limit there is none.
    if (!made) return;
    program_end& mine = links_[options.local.port].ends[client];
    mine.owned = true;
    mine.socket = made.value;
  }
  std::uint16_t connections_made() const {
    return static_cast<std::uint16_t>(next_port_ - first_port);
  }
  void accept() {
    while (const auto taken = net_[server].accept(listener_, 3)) {
      const std::uint16_t port = net_[server].snapshot(taken.value).value.remote.port;
      program_end& mine = links_[port].ends[server];
      REQUIRE(!mine.owned);
      mine = {};
      mine.owned = true;
      mine.socket = taken.value;
    }
  }
  void write(std::uint16_t port, int side, std::size_t bytes) {
    program_end& mine = links_[port].ends[side];
    const std::string text = numbered_text(bytes, stream_of(port, side) + mine.written);
    const auto taken = net_[side].send(mine.socket, bytes_of(text), net_.now());
    if (taken) {
      REQUIRE(!mine.said_fin);
      mine.written += taken.value;
    } else if (taken.error != error::would_block && taken.error != error::not_connected) {
      mine.broken = true;
    }
  }
  /// What comes is what the peer wrote, in order, and the end comes behind all of it.
  void read(std::uint16_t port, int side, std::size_t most) {
    program_end& mine = links_[port].ends[side];
    const program_end& other = links_[port].ends[1 - side];
    std::string got(most, 0);
    const auto taken = net_[side].receive(
        mine.socket, std::as_writable_bytes(std::span(got.data(), got.size())), net_.now());
    if (!taken) {
      if (taken.error != error::would_block && taken.error != error::not_connected) {
        mine.broken = true;
      }
      return;
    }
    got.resize(taken.value);
    REQUIRE(got == numbered_text(got.size(), stream_of(port, 1 - side) + mine.read));
    mine.read += got.size();
    REQUIRE(mine.read <= other.written);
    if (!got.empty() || mine.broken) return;
    REQUIRE(other.said_fin);
    REQUIRE(mine.read == other.written);
    mine.saw_end = true;
  }
  void shutdown(int side, program_end& mine) {
    if (net_[side].shutdown(mine.socket, net_.now()) == error::none) mine.said_fin = true;
  }
  void close(int side, program_end& mine) {
    const bool abort = dice_.once_in(3);
    if (abort) {
      net_[side].close(mine.socket, close_mode::abort, net_.now());
    } else {
      net_[side].close(mine.socket, net_.now());
    }
    mine.said_fin = mine.said_fin || !abort;
    mine.broken = true;
  }
  void let_go(int side, program_end& mine) {
    net_[side].release(mine.socket, net_.now());
    mine.owned = false;
    mine.said_fin = true;
    mine.broken = true;
  }

  // ---- what must hold

  /// At any time: every byte of memory is somebody's, and within what he may hold.
  void check() {
    for (int side = 0; side < 2; ++side) {
      std::size_t held = 0;
      net_[side].for_each_connection([&](const tcp::snapshot& each) {
        held += each.held_bytes;
        REQUIRE(each.unsent_bytes <= each.unacked_bytes);
        REQUIRE(each.send_held_bytes <= each.held_bytes);
        REQUIRE((each.state != state::established || each.snd_cwnd_bytes > 0));
      });
      for (const auto& [port, both] : links_) {
        if (!both.ends[side].owned) continue;
        const tcp::snapshot mine = net_[side].snapshot(both.ends[side].socket).value;
        if (mine.state == state::closed) held += mine.held_bytes;
      }
      const memory_table table = net_[side].memory();
      REQUIRE(table.buffer_bytes == held);
      REQUIRE(table.buffer_bytes <= net_[side].policy().memory_limit);
      REQUIRE(table.flight_bytes <= table.held_bytes);
    }
  }
  void pass_time(duration span) {
    const time_point until = net_.now() + span;
    while (net_.step(until)) check();
    net_.drive_until(until);
  }
  /// Everybody says what he has to say and reads to the end, over a wire that has no faults any
  /// more; then every handle is given back.
  void finish() {
    bool open = true;
    for (int round = 0; open && round < 4000; ++round) {
      accept();
      open = false;
      for (auto& [port, both] : links_) {
        for (int side = 0; side < 2; ++side) {
          if (!goes_on(port, side)) continue;
          // Who timed out has told nobody, and FIN-WAIT-2 with an owner has no end.
          const bool waits = state_of(side, both.ends[side]) == state::fin_wait_2;
          const bool for_nobody = state_of(1 - side, both.ends[1 - side]) == state::closed;
          open = open || round < 3000 || !waits || !for_nobody;
        }
      }
      if (open) pass_time(std::chrono::milliseconds(500));
    }
    REQUIRE(!open);
    for (auto& [port, both] : links_) {
      for (int side = 0; side < 2; ++side) {
        if (both.ends[side].owned) let_go(side, both.ends[side]);
      }
    }
    net_[server].close_listener(listener_, net_.now());
  }

  Dice dice_;
  Net net_;
  socket_id listener_;
  std::map<std::uint16_t, link_of_two> links_;

 private:
  wire_watch& watch_on(std::uint16_t port) {
    const auto [at, fresh] = watch_.try_emplace(port);
    for (int side = 0; fresh && side < 2; ++side) {
      if (net_[side].policy().memory_limit < small_memory) at->second.may_lack_memory(side);
    }
    return at->second;
  }
  /// Whether this end has more to wait for; it has said and read all that it can.
  bool goes_on(std::uint16_t port, int side) {
    program_end& mine = links_[port].ends[side];
    // Who will not read must not keep the other waiting.
    if (mine.owned && mine.broken) let_go(side, mine);
    if (!mine.owned) return false;
    if (!mine.said_fin) shutdown(side, mine);
    std::size_t before = 0;
    do {
      before = mine.read;
      if (!mine.saw_end) read(port, side, 100'000);
    } while (mine.read != before);
    return !mine.saw_end && !mine.broken;
  }
  state state_of(int side, const program_end& of) {
    return of.owned ? net_[side].snapshot(of.socket).value.state : state::closed;
  }

  std::uint16_t next_port_ = first_port;
  std::map<std::uint16_t, wire_watch> watch_;
};

}  // namespace runnel::tcp::test
