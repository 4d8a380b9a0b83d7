// Boost.Asio's side of the runtime's figures: built once for its reactor on epoll and once for
// io_uring. Coroutines throughout, as on the other side, one thread and the hint that says so.

#include "figures.hpp"

#include <boost/asio.hpp>
#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/asio/experimental/channel.hpp>

#include <thread>
#include <tuple>

namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::co_spawn;
using asio::detached;
using asio::use_awaitable;
constexpr auto no_throw = asio::experimental::as_tuple(use_awaitable);
using boost::system::error_code;

awaitable<void> nothing() {
  co_return;
}

awaitable<void> spawn_many(std::uint64_t count) {
  auto where = co_await asio::this_coro::executor;
  for (std::uint64_t i = 0; i < count; ++i) {
    co_spawn(where, nothing(), detached);
    // As many as fit a burst, so that finished frames are used again.
    if (i % 64 == 63) co_await asio::post(where, use_awaitable);
  }
}

awaitable<void> call_many(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await nothing();
  }
}

awaitable<void> switch_many(std::uint64_t count) {
  auto where = co_await asio::this_coro::executor;
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await asio::post(where, use_awaitable);
  }
}

void timers(asio::io_context& context, std::uint64_t count) {
  std::vector<asio::steady_timer> all;
  all.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    all.emplace_back(context);
  }
  const auto begin = figures::clock::now();
  for (std::uint64_t i = 0; i < count; ++i) {
    all[i].expires_after(std::chrono::milliseconds{1000 + i % 60000});
    all[i].async_wait([](const error_code&) {});
  }
  figures::print_each("timer_arm", begin, count);
  const auto armed = figures::clock::now();
  for (asio::steady_timer& timer : all) {
    timer.cancel();
  }
  figures::print_each("timer_cancel", armed, count);
  figures::print_each("timer_both", begin, count);
  context.run();
}

using channel = asio::experimental::channel<void(error_code, std::uint64_t)>;

awaitable<void> feed(channel& into, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await into.async_send(error_code{}, i, use_awaitable);
  }
}

awaitable<void> eat(channel& from, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await from.async_receive(use_awaitable);
  }
}

// Asio has no mutex for coroutines; a channel of one token is what its users take.
using token = asio::experimental::channel<void(error_code)>;

awaitable<void> hand_over(token& mutex, std::uint64_t count) {
  auto where = co_await asio::this_coro::executor;
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await mutex.async_send(error_code{}, use_awaitable);
    co_await asio::post(where, use_awaitable);
    mutex.try_receive([](auto...) {});
  }
}

void wake(std::uint64_t count) {
  asio::io_context here{1};
  asio::io_context there{1};
  auto stay = asio::make_work_guard(there);
  std::jthread other([&] { there.run(); });
  std::vector<std::int64_t> all;
  all.reserve(count);
  auto ping = [&]() -> awaitable<void> {
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto begin = figures::clock::now();
      co_await co_spawn(there, nothing(), use_awaitable);
      all.push_back((figures::clock::now() - begin).count());
    }
  };
  co_spawn(here, ping(), detached);
  here.run();
  stay.reset();
  figures::print_latencies(all);
}

awaitable<void> echo(asio::ip::tcp::socket peer) {
  char bytes[4096];
  for (;;) {
    auto got = co_await peer.async_read_some(asio::buffer(bytes), no_throw);
    if (std::get<0>(got)) break;
    const auto piece = asio::buffer(bytes, std::get<1>(got));
    auto sent = co_await asio::async_write(peer, piece, no_throw);
    if (std::get<0>(sent)) break;
  }
}

awaitable<void> serve(std::uint64_t connections) {
  auto where = co_await asio::this_coro::executor;
  asio::ip::tcp::acceptor listener{where, {asio::ip::address_v4::loopback(), 0}};
  listener.listen(4096);
  std::printf("port %u\n", unsigned{listener.local_endpoint().port()});
  std::fflush(stdout);
  for (std::uint64_t i = 0; i < connections; ++i) {
    auto accepted = co_await listener.async_accept(no_throw);
    if (std::get<0>(accepted)) break;
    asio::ip::tcp::socket& peer = std::get<1>(accepted);
    peer.set_option(asio::ip::tcp::no_delay{true});
    co_spawn(where, echo(std::move(peer)), detached);
  }
}

template <class... Tasks>
void measure(asio::io_context& context, const char* name, std::uint64_t count, Tasks... tasks) {
  (co_spawn(context, std::move(tasks), detached), ...);
  const auto begin = figures::clock::now();
  context.run();
  figures::print_each(name, begin, count);
}

}  // namespace

int main(int argc, char** argv) {
  const figures::request asked = figures::parse(argc, argv);
  const std::uint64_t count = asked.count;
  asio::io_context context{1};
  if (asked.name == "spawn") {
    measure(context, "spawn", count, spawn_many(count));
  } else if (asked.name == "call") {
    measure(context, "call", count, call_many(count));
  } else if (asked.name == "switch") {
    measure(context, "switch", 2 * count, switch_many(count), switch_many(count));
  } else if (asked.name == "timers") {
    timers(context, count);
  } else if (asked.name == "channel") {
    channel between{context, 64};
    measure(context, "channel", count, feed(between, count), eat(between, count));
  } else if (asked.name == "mutex") {
    token mutex{context, 1};
    measure(context, "mutex", 2 * count, hand_over(mutex, count), hand_over(mutex, count));
  } else if (asked.name == "wake") {
    wake(count);
  } else if (asked.name == "echo") {
    co_spawn(context, serve(count), detached);
    context.run();
  } else {
    figures::unknown(asked);
  }
}
