// runnel's side of the runtime's figures; the cases and their shapes are those of with_asio.cpp.

#include "figures.hpp"

#include <runnel/call.hpp>
#include <runnel/channel.hpp>
#include <runnel/loop.hpp>
#include <runnel/mutex.hpp>
#include <runnel/net/kernel/tcp.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timer.hpp>

#include <array>
#include <deque>
#include <optional>
#include <semaphore>
#include <span>
#include <thread>

namespace {

using runnel::task;
using runnel::task_group;

task<> nothing() {
  co_return;
}

task<> spawn_many(runnel::loop& loop, std::uint64_t count) {
  task_group group{loop};
  for (std::uint64_t i = 0; i < count; ++i) {
    group.spawn(nothing());
    if (i % 64 == 63) co_await runnel::yield();
  }
  co_await group.join();
}

task<> call_many(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await nothing();
  }
}

task<> switch_many(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await runnel::yield();
  }
}

class silent_timer final : public runnel::timer {
 public:
  using timer::timer;

 private:
  void on_expire() noexcept override {}
};

void timers(runnel::loop& loop, std::uint64_t count) {
  std::deque<silent_timer> all;
  for (std::uint64_t i = 0; i < count; ++i) {
    all.emplace_back(loop);
  }
  const auto begin = figures::clock::now();
  for (std::uint64_t i = 0; i < count; ++i) {
    all[i].arm(loop.now() + std::chrono::milliseconds{1000 + i % 60000});
  }
  figures::print_each("timer_arm", begin, count);
  const auto armed = figures::clock::now();
  for (silent_timer& timer : all) {
    timer.cancel();
  }
  figures::print_each("timer_cancel", armed, count);
  figures::print_each("timer_both", begin, count);
}

task<> feed(runnel::channel<std::uint64_t>& into, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    auto sent = co_await into.send(i);
    if (!sent) co_return;
  }
}

task<> eat(runnel::channel<std::uint64_t>& from, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    auto value = co_await from.receive();
    if (!value) co_return;
  }
}

task<> hand_over(runnel::mutex& mutex, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    auto held = co_await mutex.lock();
    co_await runnel::yield();
  }
}

task<> ping(const runnel::loop_remote& there, std::uint64_t count, std::vector<std::int64_t>& all) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto begin = figures::clock::now();
    static_cast<void>(co_await runnel::run_on(there, nothing));
    all.push_back((figures::clock::now() - begin).count());
  }
}

// Another loop on a thread of its own, that lives until its remote is let go of.
void wake(runnel::loop& here, std::uint64_t count) {
  std::optional<runnel::loop_remote> there;
  std::binary_semaphore ready{0};
  std::jthread other([&] {
    runnel::loop mine;
    there.emplace(mine.remote());
    ready.release();
    const auto stay = []() -> task<> {
      auto slept = co_await runnel::sleep(std::chrono::hours{1});
      static_cast<void>(slept);
    };
    mine.run(stay());
  });
  ready.acquire();
  std::vector<std::int64_t> all;
  all.reserve(count);
  here.run(ping(*there, count, all));
  static_cast<void>(there->post([](runnel::loop& mine) { mine.root_scope().cancel(); }));
  figures::print_latencies(all);
}

task<> echo(runnel::net::kernel::tcp_stream peer) {
  std::array<std::byte, 4096> bytes;
  for (;;) {
    auto size = co_await peer.read(bytes);
    if (!size || *size == 0) break;
    auto sent = co_await peer.write(std::span<const std::byte>(bytes.data(), *size));
    if (!sent) break;
  }
}

task<> serve(runnel::loop& loop, std::uint64_t connections) {
  const runnel::net::endpoint any{"127.0.0.1", 0};
  auto listener = runnel::net::kernel::tcp_listener::listen(loop, any).value();
  std::printf("port %u\n", unsigned{listener.local_endpoint().port});
  std::fflush(stdout);
  task_group peers{loop};
  for (std::uint64_t i = 0; i < connections; ++i) {
    auto accepted = co_await listener.accept();
    if (!accepted) break;
    peers.spawn(echo(std::move(*accepted)));
  }
  co_await peers.join();
}

task<> two(runnel::loop& loop, task<> left, task<> right) {
  task_group group{loop};
  group.spawn(std::move(left));
  group.spawn(std::move(right));
  co_await group.join();
}

void measure(runnel::loop& loop, const char* name, std::uint64_t count, task<> body) {
  const auto begin = figures::clock::now();
  loop.run(std::move(body));
  figures::print_each(name, begin, count);
}

}  // namespace

int main(int argc, char** argv) {
  const figures::request asked = figures::parse(argc, argv);
  const std::uint64_t count = asked.count;
  runnel::loop loop;
  if (asked.name == "spawn") {
    measure(loop, "spawn", count, spawn_many(loop, count));
  } else if (asked.name == "call") {
    measure(loop, "call", count, call_many(count));
  } else if (asked.name == "switch") {
    measure(loop, "switch", 2 * count, two(loop, switch_many(count), switch_many(count)));
  } else if (asked.name == "timers") {
    timers(loop, count);
  } else if (asked.name == "channel") {
    runnel::channel<std::uint64_t> between{64};
    measure(loop, "channel", count, two(loop, feed(between, count), eat(between, count)));
  } else if (asked.name == "mutex") {
    runnel::mutex mutex;
    measure(loop, "mutex", 2 * count, two(loop, hand_over(mutex, count), hand_over(mutex, count)));
  } else if (asked.name == "wake") {
    wake(loop, count);
  } else if (asked.name == "echo") {
    loop.run(serve(loop, count));
  } else {
    figures::unknown(asked);
  }
}
