// Several loops and several threads without one, all talking to each other at once. Only the
// scheduler decides who comes first; what is checked is that everything sent arrives, exactly once,
// and that nothing is left behind. A wake-up that got lost would leave a loop asleep for ever.

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "runnel/call.hpp"
#include "runnel/event.hpp"
#include "runnel/random.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/loop_thread.hpp"
#include "support/pace.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::loop_remote;
using runnel::result;
using runnel::task;
using runnel::testing::loop_thread;

struct counts {
  std::atomic<int> alive{0};
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
};

struct token {
  explicit token(counts& c) : in(&c) { ++in->alive; }
  token(const token& other) : in(other.in) { ++in->alive; }
  token& operator=(const token&) = delete;
  ~token() { --in->alive; }
  counts* in;
};

using loops = std::vector<std::unique_ptr<loop_thread>>;

loops make_loops(int count) {
  loops made;
  for (int i = 0; i < count; ++i) {
    made.push_back(std::make_unique<loop_thread>());
  }
  return made;
}

task<int> child(token held, int naps) {
  ++held.in->begun;
  for (int i = 0; i < naps; ++i) {
    co_await runnel::yield();
  }
  ++held.in->ended;
  co_return naps;
}

// One caller that asks its neighbours for random things, and gives up on some of them.
task<> caller(std::vector<loop_remote> others, counts& all, std::uint64_t seed, int rounds) {
  runnel::random_source random{seed};
  for (int i = 0; i < rounds; ++i) {
    const loop_remote& to = others[random.below(static_cast<std::uint32_t>(others.size()))];
    const int naps = static_cast<int>(random.below(4));
    token held{all};
    auto make = [held, naps] { return child(held, naps); };
    auto add = [held] { return 1; };
    switch (random.below(4)) {
      case 0: {
        result<int> value = co_await runnel::call(to, std::move(add));
        CHECK(value.value() == 1);
        break;
      }
      case 1: {
        result<int> value = co_await runnel::run_on(to, std::move(make));
        CHECK(value.value() == naps);
        break;
      }
      case 2: {
        const auto limit = std::chrono::microseconds{static_cast<int>(random.below(50))};
        result<int> value =
            co_await runnel::with_timeout(limit, runnel::run_on(to, std::move(make)));
        if (value.has_error()) CHECK(value.error() == errc::deadline_exceeded);
        break;
      }
      default: {
        const auto limit = std::chrono::microseconds{static_cast<int>(random.below(50))};
        result<int> value = co_await runnel::with_timeout(limit, runnel::call(to, std::move(add)));
        if (value.has_error()) CHECK(value.error() == errc::deadline_exceeded);
      }
    }
  }
}

task<> callers(std::vector<loop_remote> others, counts& all, std::uint64_t seed, int rounds) {
  auto& scope = co_await runnel::this_scope();
  runnel::task_group group{scope};
  for (std::uint64_t i = 0; i < 4; ++i) {
    group.spawn(caller(others, all, seed * 100 + i, rounds));
  }
  co_await group.join();
}

std::vector<loop_remote> remotes_of(const loops& made) {
  std::vector<loop_remote> remotes;
  for (const auto& one : made) {
    remotes.push_back(one->remote());
  }
  return remotes;
}

// Sends itself from loop to loop until it has made all its hops.
void hop(const std::shared_ptr<std::vector<loop_remote>>& ring, std::size_t at, int left,
         std::atomic<int>& arrived) {
  if (left == 0) {
    ++arrived;
    arrived.notify_all();
    return;
  }
  auto said = (*ring)[at % ring->size()].post(
      [ring, at, left, &arrived] { hop(ring, at + 1, left - 1, arrived); });
  CHECK(said.has_value());
}

}  // namespace

TEST_CASE("storm: calls and children among four loops, some given up, leave nothing behind") {
  counts all;
  const int rounds = runnel::testing::worthwhile(3'000);
  {
    loops made = make_loops(3);
    std::vector<loop_remote> remotes = remotes_of(made);
    // Each loop also calls the others, this one included, while it is being called.
    runnel::loop here;
    remotes.push_back(here.remote());
    auto root = [](std::vector<loop_remote> everyone, counts& in, int n) -> task<> {
      auto& scope = co_await runnel::this_scope();
      runnel::task_group group{scope};
      auto there = [](loop_remote to, std::vector<loop_remote> whom, counts& c, std::uint64_t seed,
                      int times) -> task<> {
        auto make = [whom, &c, seed, times] { return callers(whom, c, seed, times); };
        result<void> done = co_await runnel::run_on(to, std::move(make));
        CHECK(done.has_value());
      };
      std::uint64_t seed = 1;
      for (const loop_remote& each : everyone) {
        group.spawn(there(each, everyone, in, seed++, n));
      }
      co_await group.join();
    };
    here.run(root(remotes, all, rounds / 16));
  }
  CHECK(all.alive == 0);
  CHECK(all.begun == all.ended);
}

TEST_CASE("storm: messages that hop from loop to loop all arrive, whoever sleeps") {
  const int hops = runnel::testing::worthwhile(20'000);
  constexpr int messages = 3;
  loops made = make_loops(4);
  auto ring = std::make_shared<std::vector<loop_remote>>(remotes_of(made));
  std::atomic<int> arrived{0};
  for (std::size_t i = 0; i < messages; ++i) {
    hop(ring, i, hops, arrived);
  }
  for (int seen = arrived; seen < messages; seen = arrived) {
    arrived.wait(seen);
  }
  CHECK(arrived == messages);
}

TEST_CASE("storm: bursts from threads without a loop to loops that go to sleep in between") {
  loops made = make_loops(2);
  std::atomic<int> heard{0};
  const int bursts = runnel::testing::worthwhile(2'000);
  constexpr int senders = 3;
  constexpr int burst = 3;
  std::vector<std::thread> threads;
  for (int s = 0; s < senders; ++s) {
    threads.emplace_back([&, remotes = remotes_of(made)] {
      for (int i = 0; i < bursts; ++i) {
        // Waits for its own burst, so that the loops run dry and fall asleep again and again.
        std::atomic<int> here{0};
        for (int n = 0; n < burst; ++n) {
          const loop_remote& to = remotes[static_cast<std::size_t>(n) % remotes.size()];
          auto said = to.post([&here, &heard] {
            ++heard;
            // The last touch of the sender's own counter: it is gone once all have counted.
            ++here;
          });
          CHECK(said.has_value());
        }
        while (here != burst) {
          std::this_thread::yield();
        }
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  CHECK(heard == senders * burst * bursts);
}

TEST_CASE("storm: loops end while others call them, and every call gets an answer") {
  for (int round = 0; round < runnel::testing::worthwhile(100); ++round) {
    counts all;
    {
      loops made = make_loops(2);
      runnel::loop here;
      auto root = [](loops& doomed, counts& in) -> task<> {
        auto& scope = co_await runnel::this_scope();
        runnel::task_group group{scope};
        auto asker = [](loop_remote to, counts& c, int naps) -> task<> {
          for (int i = 0; i < 20; ++i) {
            token held{c};
            auto make = [held, naps] { return child(held, naps); };
            result<int> value = co_await runnel::run_on(to, std::move(make));
            if (value.has_error()) CHECK(value.error() == errc::loop_ended);
          }
        };
        for (auto& one : doomed) {
          group.spawn(asker(one->remote(), in, 0));
          group.spawn(asker(one->remote(), in, 3));
        }
        co_await runnel::yield();
        doomed.pop_back();
        co_await group.join();
      };
      here.run(root(made, all));
    }
    CHECK(all.alive == 0);
  }
}
