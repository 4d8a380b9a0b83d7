#include <cstdlib>
#include <map>

#include "host_pair.hpp"
#include "support/pace.hpp"
#include "tests/fuzz/engine_fuzz.hpp"
#include "wire_watch.hpp"

// Random programs: of two applications over a rough wire, and of packets for one host. A failure
// prints its seed; RUNNEL_SEED=n plays that one alone.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// Calls `play` for each seed.
template <class Play>
void for_each_seed(std::uint64_t count, Play&& play) {
  const char* const wanted = std::getenv("RUNNEL_SEED");
  if (wanted != nullptr) {
    play(std::strtoull(wanted, nullptr, 0));
    return;
  }
  for (std::uint64_t seed = 1; seed <= testing::worthwhile(count); ++seed) {
    INFO("RUNNEL_SEED=", seed);
    play(seed);
  }
}

/// One end of a connection as its program knows it.
struct end {
  bool owned = false;
  socket_id socket;
  std::size_t written = 0;
  std::size_t read = 0;
  bool said_fin = false;
  /// It was told of an error, or gave up itself: what it reads is what came until then.
  bool broken = false;
  bool saw_end = false;
};

/// A connection is known by the client's port, which is used once.
struct link_of_two {
  end ends[2];
};

class random_program {
 public:
  explicit random_program(std::uint64_t seed)
      : random_(seed * 0x9e3779b97f4a7c15U), pair_(seed, {}, [this](int, host_options& options) {
          constexpr std::uint32_t buffers[] = {4096, 20'000, 100'000, 1U << 20};
          options.connection.receive_buffer = buffers[below(4)];
          options.connection.send_buffer = 4608 + buffers[below(4)];
          options.connection.nodelay = below(2) == 0;
          options.policy.timestamps = below(4) != 0;
          options.policy.window_scaling = below(4) != 0;
          options.policy.sack = below(2) != 0;
          options.mtu = below(3) == 0 ? small_mtu(576) : 1500;
          options.gso_max_bytes = below(3) == 0 ? 60'000 : 0;
        }) {
    pair_.keep_trace = false;
    pair_.faults.latency = 1ms * static_cast<int>(1 + below(50));
    pair_.faults.loss = static_cast<double>(below(3)) * 0.05;
    pair_.faults.duplicate = static_cast<double>(below(3)) * 0.05;
    pair_.faults.reorder = static_cast<double>(below(3)) * 0.2;
    pair_.filter = [this](const seen_packet& seen) {
      watch_[port_of(seen)].on_sent(seen);
      return true;
    };
    pair_.delivered = [this](const seen_packet& seen) { watch_[port_of(seen)].on_delivered(seen); };
    listener_ = pair_[host_pair::server].listen({{}, 80}, {}, 1).value;
  }

  void run() {
    for (int i = 0; i < 120; ++i) {
      act();
      for (std::uint64_t steps = below(6); steps > 0; --steps) pair_.step();
      if (below(8) == 0) pair_.drive_for(1ms * static_cast<int>(below(3000)));
      accept();
      check();
    }
    finish();
  }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  static std::uint16_t port_of(const seen_packet& seen) {
    return seen.from == host_pair::client ? seen.tcp.source_port : seen.tcp.destination_port;
  }
  /// Where the bytes of one direction of one connection begin in all that is ever sent.
  static std::size_t stream_of(std::uint16_t port, int side) {
    return (std::size_t{port} * 2 + static_cast<std::size_t>(side)) << 24;
  }

  void act() {
    if (next_port_ < 10'000 + 8 && below(6) == 0) return connect();
    if (links_.empty()) return;
    auto at = links_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(links_.size())));
    const int side = static_cast<int>(below(2));
    end& mine = at->second.ends[side];
    if (!mine.owned) return;
    const std::uint64_t what = below(40);
    if (what < 16) {
      write(at->first, side, mine);
    } else if (what < 34) {
      read(at->first, side, mine, at->second.ends[1 - side], 1 + below(30'000));
    } else if (what < 37) {
      if (pair_[side].shutdown(mine.socket, pair_.now()) == error::none) mine.said_fin = true;
    } else if (what < 39) {
      const bool abort = below(3) == 0;
      pair_[side].close(mine.socket, abort ? close_mode::abort : close_mode::graceful, pair_.now());
      mine.said_fin = mine.said_fin || !abort;
      mine.broken = true;
    } else {
      let_go(side, mine);
    }
  }
  void let_go(int side, end& mine) {
    pair_[side].release(mine.socket, pair_.now());
    mine.owned = false;
    mine.said_fin = true;
    mine.broken = true;
  }
  void connect() {
    connect_options options;
    options.local.port = next_port_++;
    options.policy = pair_[host_pair::client].connection_defaults();
    const auto made =
        pair_[host_pair::client].connect({pair_.address(1), 80}, options, 2, pair_.now());
    REQUIRE(made);
    end& mine = links_[options.local.port].ends[host_pair::client];
    mine.owned = true;
    mine.socket = made.value;
  }
  void accept() {
    while (const auto taken = pair_[host_pair::server].accept(listener_, 3)) {
      const std::uint16_t port = pair_[host_pair::server].snapshot(taken.value).value.remote.port;
      end& mine = links_[port].ends[host_pair::server];
      REQUIRE(!mine.owned);
      mine = {};
      mine.owned = true;
      mine.socket = taken.value;
    }
  }
  void write(std::uint16_t port, int side, end& mine) {
    const std::string text = numbered_text(1 + below(30'000), stream_of(port, side) + mine.written);
    const auto taken = pair_[side].send(mine.socket, bytes_of(text), pair_.now());
    if (taken) {
      REQUIRE(!mine.said_fin);
      mine.written += taken.value;
    } else if (taken.error != error::would_block && taken.error != error::not_connected) {
      mine.broken = true;
    }
  }
  /// What comes is what the peer wrote, in order, and the end comes behind all of it.
  void read(std::uint16_t port, int side, end& mine, const end& other, std::size_t most) {
    std::string got(most, 0);
    const auto taken = pair_[side].receive(
        mine.socket, std::as_writable_bytes(std::span(got.data(), got.size())), pair_.now());
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

  /// What holds at any time.
  void check() {
    for (int side = 0; side < 2; ++side) {
      std::size_t held = 0;
      pair_[side].for_each_connection([&](const tcp::snapshot& each) {
        held += each.held_bytes;
        REQUIRE(each.unsent_bytes <= each.unacked_bytes);
      });
      for (const auto& [port, both] : links_) {
        if (!both.ends[side].owned) continue;
        const tcp::snapshot mine = pair_[side].snapshot(both.ends[side].socket).value;
        if (mine.state == state::closed) held += mine.held_bytes;
      }
      REQUIRE(pair_[side].memory().buffer_bytes == held);
    }
  }

  /// Everybody says what he has to say and reads to the end; then nothing is left.
  void finish() {
    pair_.faults = {.latency = pair_.faults.latency};
    for (int round = 0; round < 400; ++round) {
      accept();
      bool open = false;
      for (auto& [port, both] : links_) {
        for (int side = 0; side < 2; ++side) {
          end& mine = both.ends[side];
          if (!mine.owned || mine.broken) continue;
          if (!mine.said_fin) {
            mine.said_fin = pair_[side].shutdown(mine.socket, pair_.now()) == error::none;
          }
          if (!mine.saw_end) read(port, side, mine, both.ends[1 - side], 100'000);
          const auto now = pair_[side].snapshot(mine.socket).value.state;
          if (now == state::closed && !mine.saw_end && mine.said_fin) {
            // It ended by an error that only a read can tell.
            read(port, side, mine, both.ends[1 - side], 100'000);
          }
          open = open || (!mine.saw_end && !mine.broken);
        }
      }
      if (!open) break;
      pair_.drive_for(500ms);
    }
    for (auto& [port, both] : links_) {
      for (int side = 0; side < 2; ++side) {
        if (both.ends[side].owned) let_go(side, both.ends[side]);
      }
    }
    pair_[host_pair::server].close_listener(listener_, pair_.now());
    pair_.check_nothing_left();
  }

  std::mt19937_64 random_;
  host_pair pair_;
  socket_id listener_;
  std::uint16_t next_port_ = 10'000;
  std::map<std::uint16_t, link_of_two> links_;
  std::map<std::uint16_t, wire_watch> watch_;
};

}  // namespace

TEST_CASE("tcp random: programs of two applications over a rough wire keep every promise") {
  for_each_seed(400, [](std::uint64_t seed) {
    INFO("RUNNEL_SEED=", seed);
    random_program(seed).run();
  });
}

TEST_CASE("tcp fuzz: programs of packets, garbage and near misses, do a host no harm") {
  for_each_seed(400, [](std::uint64_t seed) {
    INFO("RUNNEL_SEED=", seed);
    std::mt19937_64 random(seed);
    std::vector<std::byte> bytes(4000);
    for (std::byte& each : bytes) each = static_cast<std::byte>(random());
    CHECK_NOTHROW(fuzz::fuzz_engine(bytes));
  });
}
