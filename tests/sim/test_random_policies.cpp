#include <cstdlib>
#include <map>

#include "random_policy.hpp"
#include "support/pace.hpp"
#include "tcp/wire_watch.hpp"

// Random programs at both ends of a random path, under random policies that change as they run.
// What must hold is looked at after each thing that happens. A failure prints its seed;
// RUNNEL_SEED=n plays that one alone.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::sim;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t first_port = 10'000;
/// A host with less may run out of it.
constexpr std::size_t small_memory = std::size_t{16} << 20;

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

class random_life {
 public:
  explicit random_life(std::uint64_t seed)
      : dice_(seed),
        offload_(dice_.once_in(2)),
        net_(seed, dice_.path(), dice_.path(), [this](int, host_options& options) {
          dice_.host(options);
          options.checksum_offload_tx = options.checksum_offload_rx = offload_;
        }) {
    net_.sent = [this](const seen_packet& seen) { watch_on(port_of(seen)).on_sent(seen); };
    net_.delivered = [this](const seen_packet& seen) {
      watch_on(port_of(seen)).on_delivered(seen);
    };
    listener_ = net_[network::server].listen({{}, 80}, {}, 1).value;
    ports_ = static_cast<std::uint16_t>(1 + dice_.below(6));
    largest_write_ = std::size_t{1} << (8 + dice_.below(11));
  }

  void run() {
    for (int i = 0; i < 150; ++i) {
      act();
      if (dice_.once_in(25)) change_something();
      for (std::uint64_t steps = dice_.below(20); steps > 0 && net_.step(); --steps) check();
      if (dice_.once_in(10)) pass_time(dice_.milliseconds(0, 3000));
      accept();
    }
    finish();
  }

 private:
  static std::uint16_t port_of(const seen_packet& seen) {
    return seen.from == network::client ? seen.tcp.source_port : seen.tcp.destination_port;
  }
  wire_watch& watch_on(std::uint16_t port) {
    const auto [at, fresh] = watch_.try_emplace(port);
    for (int side = 0; fresh && side < 2; ++side) {
      if (net_[side].policy().memory_limit < small_memory) at->second.may_lack_memory(side);
    }
    return at->second;
  }
  /// Where the bytes of one direction of one connection begin in all that is ever sent.
  static std::size_t stream_of(std::uint16_t port, int side) {
    return (std::size_t{port} * 2 + static_cast<std::size_t>(side)) << 24;
  }

  void act() {
    if (next_port_ < first_port + ports_ && (links_.empty() || dice_.once_in(8))) return connect();
    auto at = links_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(dice_.below(links_.size())));
    const int side = static_cast<int>(dice_.below(2));
    program_end& mine = at->second.ends[side];
    if (!mine.owned) return;
    const std::uint64_t what = dice_.below(60);
    if (what < 26) {
      write(at->first, side, mine);
    } else if (what < 52) {
      read(at->first, side, mine, at->second.ends[1 - side], 1 + dice_.below(largest_write_));
    } else if (what < 54) {
      if (net_[side].shutdown(mine.socket, net_.now()) == error::none) mine.said_fin = true;
    } else if (what < 56) {
      close(side, mine);
    } else if (what < 57) {
      let_go(side, mine);
    } else if (what < 58) {
      net_[side].set_cork(mine.socket, dice_.once_in(2));
    } else {
      CHECK(net_[side].set_policy(mine.socket, dice_.connection()) == error::none);
    }
  }
  void change_something() {
    const int side = static_cast<int>(dice_.below(2));
    if (dice_.once_in(2)) {
      net_.path_from(side).change(dice_.path());
    } else {
      connection_policy fresh = dice_.connection();
      fresh.receive_buffer = net_[side].connection_defaults().receive_buffer;
      CHECK(net_[side].set_connection_defaults(fresh) == error::none);
    }
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
  void connect() {
    connect_options options;
    options.local.port = next_port_++;
    const auto made =
        net_[network::client].connect({network::address(1), 80}, options, 2, net_.now());
    // At the memory limit there is none.
    if (!made) return;
    program_end& mine = links_[options.local.port].ends[network::client];
    mine.owned = true;
    mine.socket = made.value;
  }
  void accept() {
    while (const auto taken = net_[network::server].accept(listener_, 3)) {
      const std::uint16_t port = net_[network::server].snapshot(taken.value).value.remote.port;
      program_end& mine = links_[port].ends[network::server];
      REQUIRE(!mine.owned);
      mine = {};
      mine.owned = true;
      mine.socket = taken.value;
    }
  }
  void write(std::uint16_t port, int side, program_end& mine) {
    const std::string text =
        numbered_text(1 + dice_.below(largest_write_), stream_of(port, side) + mine.written);
    const auto taken = net_[side].send(mine.socket, bytes_of(text), net_.now());
    if (taken) {
      REQUIRE(!mine.said_fin);
      mine.written += taken.value;
    } else if (taken.error != error::would_block && taken.error != error::not_connected) {
      mine.broken = true;
    }
  }
  /// What comes is what the peer wrote, in order, and the end comes behind all of it.
  void read(std::uint16_t port, int side, program_end& mine, const program_end& other,
            std::size_t most) {
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

  /// What holds at any time: every byte of memory is somebody's, and within what he may hold.
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
    }
  }
  void pass_time(duration span) {
    const time_point until = net_.now() + span;
    while (net_.step(until)) check();
    net_.drive_until(until);
  }

  /// Whether this end has more to wait for; it has said and read all that it can.
  bool goes_on(std::uint16_t port, int side, program_end& mine, const program_end& other) {
    // Who will not read must not keep the other waiting.
    if (mine.owned && mine.broken) let_go(side, mine);
    if (!mine.owned) return false;
    if (!mine.said_fin) {
      mine.said_fin = net_[side].shutdown(mine.socket, net_.now()) == error::none;
    }
    std::size_t before = 0;
    do {
      before = mine.read;
      if (!mine.saw_end) read(port, side, mine, other, 100'000);
    } while (mine.read != before);
    return !mine.saw_end && !mine.broken;
  }
  state state_of(int side, const program_end& of) {
    return of.owned ? net_[side].snapshot(of.socket).value.state : state::closed;
  }
  /// Everybody says what he has to say and reads to the end; then nothing is left.
  void finish() {
    for (int side = 0; side < 2; ++side) {
      net_.path_from(side).change({.delay = 10ms});
    }
    bool open = true;
    for (int round = 0; open && round < 4000; ++round) {
      accept();
      open = false;
      for (auto& [port, both] : links_) {
        for (int side = 0; side < 2; ++side) {
          program_end& mine = both.ends[side];
          const program_end& other = both.ends[1 - side];
          if (!goes_on(port, side, mine, other)) continue;
          // Who timed out has told nobody, and FIN-WAIT-2 with an owner has no end.
          const bool waits = state_of(side, mine) == state::fin_wait_2;
          const bool for_nobody = state_of(1 - side, other) == state::closed;
          open = open || round < 3000 || !waits || !for_nobody;
        }
      }
      if (open) pass_time(500ms);
    }
    REQUIRE(!open);
    for (auto& [port, both] : links_) {
      for (int side = 0; side < 2; ++side) {
        if (both.ends[side].owned) let_go(side, both.ends[side]);
      }
    }
    net_[network::server].close_listener(listener_, net_.now());
    net_.drive_for(4000s);
    check_nothing_left();
  }
  void check_nothing_left() {
    for (int side = 0; side < 2; ++side) {
      CAPTURE(side);
      const memory_table held = net_[side].memory();
      CHECK(held.connections == 0);
      CHECK(held.half_open == 0);
      CHECK(held.time_wait == 0);
      CHECK(held.buffer_bytes == 0);
      CHECK(net_[side].counters().curr_estab == 0);
      CHECK(net_[side].counters().in_csum_errors == 0);
      CHECK(net_[side].poll_timeout() == time_point::max());
    }
    CHECK(!net_.anything_flies());
    CHECK(net_.pool_bytes() == 0);
  }

  struct link_of_two {
    program_end ends[2];
  };

  dice dice_;
  bool offload_;
  network net_;
  socket_id listener_;
  std::uint16_t ports_ = 1;
  std::uint16_t next_port_ = first_port;
  std::size_t largest_write_ = 0;
  /// A connection is known by the client's port, which is used once.
  std::map<std::uint16_t, link_of_two> links_;
  std::map<std::uint16_t, wire_watch> watch_;
};

}  // namespace

TEST_CASE("sim random: no path, program or policy loses a byte, doubles one, or leaves memory") {
  const auto play = [](std::uint64_t seed) {
    INFO("RUNNEL_SEED=", seed);
    try {
      random_life(seed).run();
    } catch (const std::exception& failed) {
      FAIL(std::string(failed.what()));
    }
  };
  if (const char* const wanted = std::getenv("RUNNEL_SEED")) {
    return play(std::strtoull(wanted, nullptr, 0));
  }
  for (std::uint64_t seed = 1; seed <= testing::worthwhile(1000U); ++seed) play(seed);
}
