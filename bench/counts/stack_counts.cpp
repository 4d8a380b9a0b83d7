// What one connection and one keep-alive request count in everything there is: the HTTP server on
// our TCP, coroutines included, and a client on a stack of its own, over an in-process link of one
// loop in virtual time. The same figures on every run. Prints one line of JSON.
//
//   stack_counts --mode connections|requests [--operations N] [--warm-up N] [--at-once N]

#include "heap_count.hpp"

#include <CLI/CLI.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/loop.hpp"
#include "runnel/net/http/server.hpp"
#include "runnel/net/link_pair.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"

using namespace runnel;
using bench::allocations;

namespace {

constexpr net::endpoint server_at{net::address::v4(10, 0, 0, 2), 80};
constexpr std::string_view keep_alive_request = "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n";
constexpr std::string_view last_request =
    "GET /hello HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
constexpr std::string_view body = "Hello, world!\n";

struct settings {
  bool requests = false;
  std::uint32_t operations = 4096;
  std::uint32_t warm_up = 16'384;
  std::uint32_t at_once = 16;
};

http::response hello(http::request&) {
  return http::response::literal(body);
}

http::wall_time standing_clock() {
  return http::wall_time{std::chrono::seconds{784'111'777}};
}

tcp::stack_options stack_at(std::uint8_t last_byte) {
  tcp::stack_options options;
  options.addresses = {net::address::v4(10, 0, 0, last_byte)};
  options.policy.local_port_last = options.policy.local_port_first + 4095;
  return options;
}

/// The client, the server and the wire between them.
class network {
 public:
  explicit network(loop& owner)
      : wire_({.latency = std::chrono::microseconds(50)}),
        client_(owner, wire_.first(), stack_at(1)),
        server_stack_(owner, wire_.second(), stack_at(2)),
        listener_(server_stack_.listen(server_at).value()),
        server_(owner, &hello, server_options()),
        serving_(owner) {
    serving_.spawn(server_.serve(listener_));
  }

  /// A connection for each request, one after the other.
  task<> connect_often(std::uint32_t times) {
    for (std::uint32_t i = 0; i < times; ++i) {
      auto stream = co_await client_.connect(server_at);
      if (!stream) throw std::runtime_error("connect: " + stream.error().message());
      co_await ask(*stream, last_request);
      std::array<std::byte, 16> more;
      const auto end = co_await stream->read(more);
      if (!end || *end != 0) throw std::runtime_error("the server did not close the connection.");
      const auto closed = co_await stream->close();
      static_cast<void>(closed);
    }
  }
  /// As many requests on one connection.
  task<> request_often(tcp::stream& stream, std::uint32_t times) {
    for (std::uint32_t i = 0; i < times; ++i) co_await ask(stream, keep_alive_request);
  }
  tcp::stack& client() { return client_; }

  task<> finish() {
    server_.drain();
    const auto ended = co_await serving_.join();
    if (!ended) throw std::runtime_error("the server: " + ended.error().message());
  }

 private:
  static http::server_options server_options() {
    http::server_options options;
    options.clock = standing_clock;
    options.keepalive_requests = UINT32_MAX;
    return options;
  }

  task<> ask(tcp::stream& stream, std::string_view request) {
    const auto sent = co_await stream.write(std::as_bytes(std::span(request)));
    if (!sent) throw std::runtime_error("write: " + sent.error().message());
    std::array<char, 512> room;
    std::size_t filled = 0;
    while (!std::string_view(room.data(), filled).ends_with(body)) {
      const auto got =
          co_await stream.read(std::as_writable_bytes(std::span(room).subspan(filled)));
      if (!got || *got == 0) throw std::runtime_error("no whole response came.");
      filled += *got;
    }
  }

  net::link_pair wire_;
  tcp::stack client_;
  tcp::stack server_stack_;
  tcp::listener listener_;
  http::server<http::response (*)(http::request&)> server_;
  task_group serving_;
};

struct reading {
  std::uint64_t allocated;
  std::uint64_t resumed;
  std::uint64_t turns;
};

reading read_counts(const loop& owner) {
  return {allocations, owner.metrics().resumed, owner.metrics().turns};
}

void print(const settings& wanted, const reading& before, const reading& after) {
  const char* name = wanted.requests ? "request" : "connection";
  const auto operations = static_cast<double>(wanted.operations / wanted.at_once * wanted.at_once);
  const auto each = [&](std::uint64_t from, std::uint64_t to) {
    return static_cast<double>(to - from) / operations;
  };
  std::printf(
      "{\"allocations_per_%s\": %.6f, \"tasks_run_per_%s\": %.4f, \"turns_per_%s\": %.4f}\n", name,
      each(before.allocated, after.allocated), name, each(before.resumed, after.resumed), name,
      each(before.turns, after.turns));
}

/// So many operations, `at_once` of them at a time.
task<> work(loop& owner, network& both, const settings& wanted, std::span<tcp::stream> streams,
            std::uint32_t operations) {
  const std::uint32_t share = operations / wanted.at_once;
  task_group group(owner);
  for (std::uint32_t i = 0; i < wanted.at_once; ++i) {
    group.spawn(wanted.requests ? both.request_often(streams[i], share)
                                : both.connect_often(share));
  }
  const auto ended = co_await group.join();
  if (!ended) throw std::runtime_error("the clients: " + ended.error().message());
}

/// `warm_up` operations first, then those that count.
task<> run(loop& owner, const settings& wanted) {
  network both(owner);
  std::vector<tcp::stream> streams;
  for (std::uint32_t i = 0; wanted.requests && i < wanted.at_once; ++i) {
    auto stream = co_await both.client().connect(server_at);
    streams.push_back(std::move(stream.value()));
  }
  co_await work(owner, both, wanted, streams, wanted.warm_up);
  const reading before = read_counts(owner);
  co_await work(owner, both, wanted, streams, wanted.operations);
  print(wanted, before, read_counts(owner));
  streams.clear();
  co_await both.finish();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What HTTP on our TCP counts for one connection or request; prints a line of JSON.",
               "stack_counts"};
  settings wanted;
  std::string mode = "connections";
  app.add_option("--mode", mode, "What an operation is")
      ->check(CLI::IsMember({"connections", "requests"}))
      ->capture_default_str();
  app.add_option("--operations", wanted.operations, "So many that count")
      ->check(CLI::Range(64, 10'000'000))
      ->capture_default_str();
  app.add_option("--warm-up", wanted.warm_up, "So many beforehand")
      ->check(CLI::Range(64, 10'000'000))
      ->capture_default_str();
  app.add_option("--at-once", wanted.at_once, "So many at a time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  wanted.requests = mode == "requests";
  try {
    loop_options options;
    options.simulated = 0;
    loop owner(options);
    owner.run(run(owner, wanted));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stack_counts: %s\n", error.what());
    return 1;
  }
}
