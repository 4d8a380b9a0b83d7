// Posts to a loop from threads that have none, from its own, and when it is gone. Threads meet at
// gates and joins only, so the order of everything that is checked is given.

#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/remote.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/loop_thread.hpp"
#include "support/pace.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::loop_remote;
using runnel::result;
using runnel::task;
using runnel::testing::gate;

task<> wait_for(runnel::event& e) {
  co_await e.wait();
}

std::uint64_t wakes_of(const loop_remote& remote) {
  return runnel::detail::mailbox_of(remote)->wakes();
}

// From another thread, and waits for it.
void post_elsewhere(const loop_remote& to, int count, int& sum) {
  std::thread sender{[&] {
    for (int i = 0; i < count; ++i) {
      CHECK(to.post([&sum] { ++sum; }).has_value());
    }
  }};
  sender.join();
}

// A yield may come back in the same turn and a short sleep without any; this takes a real one,
// after which a mailbox that nobody wrote to says so.
task<> fall_asleep(runnel::loop& loop) {
  const std::uint64_t waits = loop.metrics().waits;
  while (loop.metrics().waits == waits) {
    co_await runnel::sleep(100us);
  }
}

task<> until(const int& sum, int wanted) {
  while (sum < wanted) {
    co_await runnel::sleep(1us);
  }
}

struct death_notice {
  explicit death_notice(std::optional<std::thread::id>& where) : where_(&where) {}
  death_notice(death_notice&& other) noexcept : where_(std::exchange(other.where_, nullptr)) {}
  death_notice(const death_notice&) = delete;
  death_notice& operator=(const death_notice&) = delete;
  ~death_notice() {
    if (where_ != nullptr) *where_ = std::this_thread::get_id();
  }
  std::optional<std::thread::id>* where_;
};

}  // namespace

TEST_CASE("post: wakes a loop that would sleep for ever, and runs on its thread") {
  runnel::loop loop;
  runnel::event done;
  std::thread::id ran_on;
  std::thread sender{[&, remote = loop.remote()] {
    auto said = remote.post([&] {
      ran_on = std::this_thread::get_id();
      done.set();
    });
    CHECK(said.has_value());
  }};
  loop.run(wait_for(done));
  sender.join();
  CHECK(ran_on == std::this_thread::get_id());
  CHECK(loop.metrics().posts == 1);
}

TEST_CASE("post: each sender's posts come in its order, and none is lost") {
  constexpr int senders = 4;
  const int each = runnel::testing::worthwhile(20'000);
  runnel::loop loop;
  runnel::event done;
  std::array<int, senders> next{};
  bool in_order = true;
  int left = senders * each;
  std::vector<std::thread> threads;
  for (std::size_t who = 0; who < senders; ++who) {
    threads.emplace_back([&, who, remote = loop.remote()] {
      for (int i = 0; i < each; ++i) {
        auto said = remote.post([&, who, i] {
          in_order = in_order && next[who]++ == i;
          if (--left == 0) done.set();
        });
        CHECK(said.has_value());
      }
    });
  }
  loop.run(wait_for(done));
  for (std::thread& t : threads) {
    t.join();
  }
  CHECK(in_order);
  CHECK(left == 0);
  CHECK(loop.metrics().posts == static_cast<std::uint64_t>(senders * each));
}

RING_TASK_TEST("post: a loop that is awake is not woken, one that slept once for a burst") {
  loop_remote remote = loop.remote();
  int sum = 0;
  post_elsewhere(remote, 100, sum);
  CHECK(wakes_of(remote) == 0);
  co_await until(sum, 100);
  co_await fall_asleep(loop);
  post_elsewhere(remote, 100, sum);
  post_elsewhere(remote, 100, sum);
  CHECK(wakes_of(remote) == 1);
  co_await until(sum, 300);
  CHECK(sum == 300);
}

RING_TASK_TEST("post: a thread need not wait for the turn of a loop that posted before it") {
  runnel::testing::loop_thread other;
  // Both posts are made and waited for in one turn, at whose end only the loop's wake-up leaves.
  std::atomic<int> ran{0};
  // Meanwhile the other loop wakes and falls asleep again and again for the sake of a third.
  std::atomic<bool> over{false};
  std::thread third{[&] {
    while (!over) {
      CHECK(other.remote().post([] {}).has_value());
      std::this_thread::yield();
    }
  }};
  for (int round = 0; round < runnel::testing::worthwhile(500); ++round) {
    CHECK(other.remote().post([&ran] { ++ran; }).has_value());
    std::thread sender{[&] { CHECK(other.remote().post([&ran] { ++ran; }).has_value()); }};
    sender.join();
    while (ran != 2 * (round + 1)) {
      std::this_thread::yield();
    }
  }
  over = true;
  third.join();
  co_return;
}

RING_TASK_TEST("post: however often a loop has slept, one wake-up is enough") {
  loop_remote remote = loop.remote();
  int sum = 0;
  for (int i = 0; i < 3; ++i) {
    co_await fall_asleep(loop);
  }
  post_elsewhere(remote, 1, sum);
  co_await until(sum, 1);
  CHECK(wakes_of(remote) == 1);
}

TEST_CASE("post: the loop's end refuses what comes later and destroys what is left, not run") {
  std::optional<runnel::loop> loop{std::in_place};
  loop_remote remote = loop->remote();
  CHECK(!remote.ended());
  bool ran = false;
  std::optional<std::thread::id> died_on;
  std::thread sender{[&] {
    auto said = remote.post([&ran, notice = death_notice{died_on}] { ran = true; });
    CHECK(said.has_value());
  }};
  sender.join();
  CHECK(!died_on.has_value());
  loop.reset();
  CHECK(died_on == std::this_thread::get_id());
  CHECK(remote.ended());
  died_on.reset();
  auto refused = remote.post([&ran, notice = death_notice{died_on}] { ran = true; });
  REQUIRE(refused.has_error());
  CHECK(refused.error() == errc::loop_ended);
  CHECK(refused.error() == std::errc::owner_dead);
  CHECK(died_on.has_value());
  CHECK(!ran);
}

TEST_CASE("post: what is destroyed with a loop may try to post to it") {
  std::optional<runnel::loop> loop{std::in_place};
  loop_remote remote = loop->remote();
  struct speaks_last {
    loop_remote to;
    std::error_code* heard;
    ~speaks_last() {
      if (!to) return;
      auto said = to.post([] {});
      if (said.has_error()) *heard = said.error();
    }
    speaks_last(loop_remote t, std::error_code* h) : to(std::move(t)), heard(h) {}
    speaks_last(speaks_last&&) noexcept = default;
    speaks_last& operator=(speaks_last&&) = delete;
  };
  std::error_code heard;
  CHECK(remote.post([last = speaks_last{remote, &heard}] {}).has_value());
  loop.reset();
  CHECK(heard == errc::loop_ended);
}

TEST_CASE("post: threads that race with the loop's end get an answer for every post") {
  for (int round = 0; round < runnel::testing::worthwhile(200); ++round) {
    std::optional<runnel::loop> loop{std::in_place};
    std::atomic<int> taken{0};
    std::atomic<int> refused{0};
    std::atomic<int> alive{0};
    struct counted {
      explicit counted(std::atomic<int>& n) : n_(&n) { ++*n_; }
      counted(const counted& other) : n_(other.n_) { ++*n_; }
      counted& operator=(const counted&) = delete;
      ~counted() { --*n_; }
      std::atomic<int>* n_;
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&, remote = loop->remote()] {
        for (int n = 0; n < 50; ++n) {
          counted token{alive};
          auto said = remote.post([token] {});
          ++(said.has_value() ? taken : refused);
        }
      });
    }
    auto nothing = []() -> task<> { co_await runnel::yield(); };
    loop->run(nothing());
    loop.reset();
    for (std::thread& t : threads) {
      t.join();
    }
    CHECK(taken + refused == 150);
    CHECK(alive == 0);
  }
}

TEST_CASE("post: a loop that waits for posts is no deadlock while a remote lives, then it is") {
  runnel::loop loop;
  runnel::event never;
  int heard = 0;
  std::thread sender{[&heard, remote = loop.remote()]() mutable {
    CHECK(remote.post([&heard] { ++heard; }).has_value());
    remote = {};
  }};
  CHECK_THROWS_AS(loop.run(wait_for(never)), runnel::deadlock_error);
  sender.join();
  CHECK(heard == 1);
  CHECK_THROWS_AS(loop.run(wait_for(never)), runnel::deadlock_error);
}

RING_TASK_TEST("post: what the last remote sent before it was dropped is no deadlock") {
  runnel::event done;
  loop_remote remote = loop.remote();
  // From here on the mailbox says that the loop sleeps, and it has been looked at in this turn.
  co_await fall_asleep(loop);
  std::thread sender{[&done, to = std::move(remote)]() mutable {
    CHECK(to.post([&done] { done.set(); }).has_value());
    to = {};
  }};
  sender.join();
  co_await done.wait();
  CHECK(done.is_set());
}

TEST_CASE("post: the last remote dropped by any of many threads ends the wait") {
  for (int round = 0; round < runnel::testing::worthwhile(300); ++round) {
    runnel::loop loop;
    runnel::event never;
    std::vector<std::thread> holders;
    for (int i = 0; i < 3; ++i) {
      holders.emplace_back([remote = loop.remote()]() mutable { remote = {}; });
    }
    CHECK_THROWS_AS(loop.run(wait_for(never)), runnel::deadlock_error);
    for (std::thread& t : holders) {
      t.join();
    }
  }
}

TASK_TEST("post: on its own thread a simulated loop runs posts later, in order") {
  loop_remote remote = loop.remote();
  std::vector<int> order;
  CHECK(remote.post([&] { order.push_back(1); }).has_value());
  CHECK(remote.post([&](runnel::loop& here) {
    CHECK(&here == &loop);
    order.push_back(2);
  }));
  CHECK(order.empty());
  runnel::time_point start = loop.now();
  co_await runnel::sleep(1ns);
  CHECK(order == std::vector<int>{1, 2});
  CHECK(loop.now() == start + 1ns);
}

TEST_CASE("post: a simulated loop refuses other threads and keeps its check for deadlock") {
  runnel::loop loop{{.simulated = 1}};
  loop_remote remote = loop.remote();
  std::thread sender{[&] {
    auto refused = remote.post([] {});
    REQUIRE(refused.has_error());
    CHECK(refused.error() == errc::not_supported);
  }};
  sender.join();
  runnel::event never;
  CHECK_THROWS_AS(loop.run(wait_for(never)), runnel::deadlock_error);
}

TASK_TEST("post: a turn delivers a bounded number, and tasks run in between") {
  loop_remote remote = loop.remote();
  constexpr int bound = runnel::detail::mailbox::mails_per_turn;
  int delivered = 0;
  for (int i = 0; i < 3 * bound; ++i) {
    CHECK(remote.post([&delivered] { ++delivered; }).has_value());
  }
  co_await runnel::sleep(1ns);
  CHECK(delivered > 0);
  CHECK(delivered <= 3 * bound);
  std::uint64_t turns = loop.metrics().turns;
  while (delivered < 3 * bound) {
    co_await runnel::yield();
  }
  CHECK(loop.metrics().turns >= turns);
  CHECK(loop.metrics().turns >= 3);
}

RING_TASK_TEST("post: to the own loop needs no wake-up, though it slept before") {
  loop_remote remote = loop.remote();
  co_await fall_asleep(loop);
  runnel::event done;
  CHECK(remote.post([&done] { done.set(); }).has_value());
  co_await done.wait();
  CHECK(wakes_of(remote) == 0);
}

TEST_CASE("post: between runs posts wait for the next run") {
  runnel::loop loop;
  loop_remote remote = loop.remote();
  auto nap = []() -> task<> { co_await runnel::sleep(1us); };
  loop.run(nap());
  int sum = 0;
  CHECK(remote.post([&sum] { ++sum; }).has_value());
  post_elsewhere(remote, 2, sum);
  CHECK(sum == 0);
  loop.run(nap());
  CHECK(sum == 3);
}

TEST_CASE("post: remotes of one loop are equal, copies and moves as well") {
  runnel::loop one;
  runnel::loop other;
  loop_remote a = one.remote();
  loop_remote b = a;
  CHECK(a == b);
  CHECK(a == one.remote());
  CHECK(!(a == other.remote()));
  loop_remote c = std::move(b);
  CHECK(c == a);
  CHECK(!static_cast<bool>(loop_remote{}));
  CHECK(static_cast<bool>(c));
}

TEST_CASE("post: a busy loop that polls hears posts without being woken") {
  runnel::loop loop{{.busy_poll = 1h}};
  runnel::event done;
  loop_remote remote = loop.remote();
  std::thread sender{[&] { CHECK(remote.post([&] { done.set(); }).has_value()); }};
  loop.run(wait_for(done));
  sender.join();
  CHECK(wakes_of(remote) == 0);
}
