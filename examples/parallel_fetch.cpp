// Fetches several pages at the same time over the kernel's sockets, with names looked up and a
// bound on how many are under way, and prints a table in the order they were asked for.
//
//   ./parallel_fetch http://localhost:8080/ http://localhost:8080/hello
//   ./parallel_fetch --at-once 2 --timeout 500 http://10.77.0.2/ http://[fd77::2]/

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "runnel/net/http/client.hpp"
#include "runnel/net/kernel/tcp.hpp"
#include "runnel/net/resolver.hpp"
#include "runnel/semaphore.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "runnel/when_all.hpp"
#include "runnel/when_any.hpp"
#include "support/command_line.hpp"
#include "support/url.hpp"

using namespace runnel;

namespace {

using web_client = http::client<net::kernel::tcp_connector>;

struct settings {
  std::vector<std::string> urls;
  std::size_t at_once = 8;
  std::uint64_t timeout_ms = 10'000;
};

/// What became of one page.
struct page {
  unsigned status = 0;
  std::uint64_t bytes = 0;
  duration took{0};
  std::error_code failure{};
};

/// What all fetches share.
struct tools {
  web_client& client;
  net::resolver& names;
  semaphore& places;
};

/// Asks each address of the host until one of them can be reached.
task<result<http::client_response>> ask(tools with, const example::url& from) {
  auto found = co_await with.names.resolve(from.host);
  if (!found) co_return found.error();
  http::client_request request(http::method::get, from.target);
  request.headers().set("Host", from.authority);
  std::error_code failure;
  for (const net::address& address : *found) {
    auto response = co_await with.client.send({address, from.port}, request);
    if (response) co_return std::move(*response);
    failure = response.error();
    const bool unreachable = failure == std::errc::connection_refused ||
                             failure == std::errc::host_unreachable ||
                             failure == std::errc::network_unreachable;
    if (!unreachable) break;
  }
  co_return failure;
}

task<result<void>> fetch(tools with, const example::url& from, page& into) {
  auto response = co_await ask(with, from);
  if (!response) co_return response.error();
  into.status = http::to_number(response->status());
  auto length = co_await response->body().discard();
  if (!length) co_return length.error();
  into.bytes = *length;
  co_return result<void>();
}

/// One page in its turn. Its failure is its own: the others go on.
task<> fetch_in_turn(tools with, const example::url& from, duration limit, page& into) {
  auto place = co_await with.places.acquire();
  if (!place) {
    into.failure = place.error();
    co_return;
  }
  loop& owner = co_await this_loop();
  const time_point begin = owner.now();
  const auto done = co_await with_timeout(limit, fetch(with, from, into));
  if (!done) into.failure = done.error();
  into.took = owner.now() - begin;
}

int print_table(const settings& flags, const std::vector<page>& pages) {
  std::size_t failed = 0;
  std::printf("%6s %10s %10s  %s\n", "status", "bytes", "ms", "URL");
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const page& one = pages[i];
    const double ms = std::chrono::duration<double, std::milli>(one.took).count();
    if (one.failure) {
      ++failed;
      std::printf("%6s %10s %10.2f  %s: %s\n", "-", "-", ms, flags.urls[i].c_str(),
                  one.failure.message().c_str());
    } else {
      if (one.status >= 400) ++failed;
      std::printf("%6u %10llu %10.2f  %s\n", one.status, static_cast<unsigned long long>(one.bytes),
                  ms, flags.urls[i].c_str());
    }
  }
  return failed == 0 ? 0 : 1;
}

task<> wait_for_signal(loop& owner) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  static_cast<void>(co_await signals.wait());
}

task<> fetch_all(tools with, const std::vector<example::url>& urls, duration limit,
                 std::vector<page>& pages) {
  std::vector<task<>> all;
  for (std::size_t i = 0; i < urls.size(); ++i) {
    all.push_back(fetch_in_turn(with, urls[i], limit, pages[i]));
  }
  co_await when_all(std::move(all));
}

task<int> run_all(loop& owner, const settings& flags, const std::vector<example::url>& urls) {
  net::kernel::tcp_connector connector(owner);
  http::client_options options;
  options.user_agent = "runnel-parallel_fetch";
  web_client client(owner, connector, options);
  net::resolver names(owner);
  semaphore places(flags.at_once);
  std::vector<page> pages(urls.size());
  const tools with{client, names, places};
  const duration limit = std::chrono::milliseconds(flags.timeout_ms);
  // Ctrl-C cancels what is under way, and the table tells how far it came.
  co_await when_any(fetch_all(with, urls, limit, pages), wait_for_signal(owner));
  co_return print_table(flags, pages);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Fetches several pages at the same time over the kernel's sockets.",
               "parallel_fetch"};
  settings flags;
  app.add_option("url", flags.urls, "What to fetch, as in http://localhost:8080/")->required();
  app.add_option("--at-once", flags.at_once, "How many at a time")
      ->capture_default_str()
      ->check(CLI::Range(std::size_t{1}, std::size_t{10'000}));
  app.add_option("--timeout", flags.timeout_ms, "Milliseconds that each page may take")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{3'600'000}));
  return example::run(app, argc, argv, [&] {
    std::vector<example::url> urls;
    for (const std::string& text : flags.urls) {
      urls.push_back(example::parse_url(text));
    }
    loop owner;
    return owner.run(run_all(owner, flags, urls));
  });
}
