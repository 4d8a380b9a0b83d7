// Fetches from an HTTP server over our own TCP on a TUN device: one page to the standard output, or
// many with a table of how fast it went.
//
//   sudo ./http_client http://10.77.0.1:8080/ --tun runnel1 --address 10.77.0.2
//   sudo ./http_client http://10.77.0.1:8080/ -n 10000 -c 64 --tun runnel1
//   ./http_client --in-process -n 100000 -c 64
//   ./http_client --kernel http://127.0.0.1:8080/hello
//
// With a server that takes Fast Open, each connection but the first saves a round trip:
//
//   sudo ./http_client http://10.77.0.1:8080/ -n 1000 --close --set fastopen_connect=on

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/net/http/client.hpp"
#include "runnel/net/http/server.hpp"
#include "runnel/net/kernel/tcp.hpp"
#include "runnel/net/link_pair.hpp"
#include "runnel/net/resolver.hpp"
#include "runnel/net/zone.hpp"
#include "runnel/shield.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/link_flags.hpp"
#include "support/policy_flags.hpp"
#include "support/printing.hpp"
#include "support/url.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct settings {
  example::link_flags link;
  example::policy_flags policy;
  std::string url = "http://10.77.0.1/hello";
  std::size_t count = 1;
  std::size_t concurrency = 1;
  bool close = false;
  bool in_process = false;
  bool kernel = false;
};

/// Where a URL leads.
struct location {
  net::endpoint to;
  std::string host_field;  ///< Empty: the address.
  std::string target;
};

/// The location of a URL; a name is looked up by the kernel's sockets, whatever fetches the page.
location find(loop& owner, const std::string& text) {
  const example::url parsed = example::parse_url(text);
  location found;
  found.target = parsed.target;
  if (const auto literal = net::address::parse(parsed.host, net::system_zones())) {
    found.to = {*literal, parsed.port};
    return found;
  }
  net::resolver names(owner);
  const auto look_up = [](net::resolver& by, std::string host) -> task<net::address> {
    auto addresses = co_await by.resolve(host);
    if (addresses) co_return addresses->front();
    throw std::runtime_error("'" + host + "' has no address: " + addresses.error().message() + ".");
  };
  found.to = {owner.run(look_up(names, parsed.host)), parsed.port};
  found.host_field = parsed.authority;
  return found;
}

/// What the requests came to.
struct tally {
  std::size_t started = 0;
  std::size_t failures = 0;
  std::size_t refusals = 0;  ///< Answers that are not 2xx.
  std::uint64_t bytes = 0;
  std::vector<duration> latencies;
  std::error_code first_failure;
  duration elapsed{0};
};

/// One request: the status line to standard error, the body to standard output.
template <net::connector Connector>
task<result<void>> fetch_and_print(http::client<Connector>& client, const location& from,
                                   const http::client_request& request) {
  auto response = co_await client.send(from.to, request);
  if (!response) co_return response.error();
  const std::string_view reason = response->head().reason();
  std::fprintf(stderr, "HTTP/1.%c %u %.*s\n", response->head().is_http_1_0() ? '0' : '1',
               http::to_number(response->status()), static_cast<int>(reason.size()), reason.data());
  const auto printed = co_await example::print_all(response->body());
  co_return printed;
}

/// One of the tasks that share the requests among them.
template <net::connector Connector>
task<> fetch_many(http::client<Connector>& client, const location& from,
                  const http::client_request& request, std::size_t count, tally& done) {
  loop& owner = co_await this_loop();
  cancel_scope& scope = co_await this_scope();
  while (done.started < count && !scope.cancelled()) {
    ++done.started;
    const time_point begin = owner.now();
    result<std::uint64_t> length = std::uint64_t{0};
    auto response = co_await client.send(from.to, request);
    if (response) {
      const unsigned code = http::to_number(response->status());
      if (code < 200 || code > 299) ++done.refusals;
      length = co_await response->body().discard();
    } else {
      length = response.error();
    }
    if (length) {
      done.bytes += *length;
      done.latencies.push_back(owner.now() - begin);
    } else if (length.error() == errc::cancelled) {
      --done.started;
    } else {
      ++done.failures;
      if (!done.first_failure) done.first_failure = length.error();
    }
  }
}

template <net::connector Connector>
task<> fetch_all(http::client<Connector>& client, const location& from, const settings& flags,
                 const http::client_request& request, tally& done) {
  loop& owner = co_await this_loop();
  cancel_scope& scope = co_await this_scope();
  done.latencies.reserve(std::min<std::size_t>(flags.count, 1'000'000));
  const time_point begin = owner.now();
  task_group workers(scope);
  for (std::size_t i = 0; i < std::min(flags.concurrency, flags.count); ++i) {
    workers.spawn(fetch_many(client, from, request, flags.count, done));
  }
  const auto joined = co_await workers.join();
  (void)joined;
  done.elapsed = owner.now() - begin;
}

double milliseconds(duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

/// Prints the latency that `share` of the answers did not exceed; `sorted` is not empty.
void print_percentile(const char* name, double share, const std::vector<duration>& sorted) {
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(sorted.size()));
  const duration at = sorted[std::min(rank, sorted.size() - 1)];
  std::printf("latency %-16s %12.3f ms\n", name, milliseconds(at));
}

void print_table(const http::client_counters& counters, tally& done) {
  const double seconds = std::max(std::chrono::duration<double>(done.elapsed).count(), 1e-9);
  const auto rate = [seconds](std::uint64_t count) { return static_cast<double>(count) / seconds; };
  std::ranges::sort(done.latencies);
  std::printf("requests                 %12zu\n", done.started);
  std::printf("failures                 %12zu\n", done.failures);
  if (done.refusals > 0) std::printf("answers other than 2xx   %12zu\n", done.refusals);
  std::printf("connections opened       %12llu\n",
              static_cast<unsigned long long>(counters.opened));
  if (counters.retries > 0) {
    std::printf("retries                  %12llu\n",
                static_cast<unsigned long long>(counters.retries));
  }
  std::printf("body bytes               %12llu\n", static_cast<unsigned long long>(done.bytes));
  std::printf("elapsed                  %12.3f s\n", seconds);
  std::printf("requests per second      %12.0f\n", rate(done.latencies.size()));
  std::printf("connections per second   %12.0f\n", rate(counters.opened));
  if (done.latencies.empty()) return;
  print_percentile("p50", 0.5, done.latencies);
  print_percentile("p90", 0.9, done.latencies);
  print_percentile("p99", 0.99, done.latencies);
  print_percentile("p99.9", 0.999, done.latencies);
  print_percentile("max", 1, done.latencies);
}

void print_failure(const settings& flags, std::error_code why) {
  std::fprintf(stderr, "http_client: %s: %s.\n", flags.url.c_str(), why.message().c_str());
}

/// Everything that goes over `by`, our own TCP or the kernel's; gives the exit code.
template <net::connector Connector>
task<int> fetch(Connector& by, const location& from, const settings& flags) {
  loop& owner = co_await this_loop();
  http::client_options options;
  options.max_idle_per_endpoint = options.max_idle = flags.concurrency;
  options.user_agent = "runnel-http_client";
  http::client<Connector> client(owner, by, options);
  http::client_request request(http::method::get, from.target);
  if (!from.host_field.empty()) request.headers().set("Host", from.host_field);
  request.close(flags.close);
  std::error_code failure;
  if (flags.count == 1) {
    const auto printed = co_await fetch_and_print(client, from, request);
    if (!printed) failure = printed.error();
  } else {
    tally done;
    co_await fetch_all(client, from, flags, request, done);
    print_table(client.counters(), done);
    failure = done.first_failure;
  }
  client.close_idle();
  if constexpr (requires { by.idle(); }) {
    const auto finished = co_await shield(with_timeout(3s, by.idle()));
    (void)finished;
  }
  if (failure) print_failure(flags, failure);
  co_return failure ? 1 : 0;
}

template <net::connector Connector>
task<> fetch_then_stop(Connector& by, const location& from, const settings& flags, task_group& all,
                       int& code) {
  code = co_await fetch(by, from, flags);
  all.cancel();
}

task<> stop_on_signal(signal_set& signals, task_group& all) {
  const auto number = co_await signals.wait();
  if (number) all.cancel();
}

template <net::connector Connector>
task<int> run_client(loop& owner, Connector& by, const location& from, const settings& flags) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  task_group all(owner);
  int code = 1;
  all.spawn(stop_on_signal(signals, all));
  all.spawn(fetch_then_stop(by, from, flags, all, code));
  const auto joined = co_await all.join();
  (void)joined;
  co_return code;
}

http::response say_hello(http::request& request) {
  if (request.path() != "/hello") return http::response::plain(http::status::not_found);
  return http::response::literal("hello, world\n");
}

using hello_server = http::server<http::response (*)(http::request&)>;

task<> serve_hello(hello_server& server, tcp::listener& listener) {
  const auto ended = co_await server.serve(listener);
  (void)ended;
}

tcp::stack_options stack_at(const net::address& address, const tcp::policy_set& policy) {
  tcp::stack_options options;
  options.addresses = {address};
  options.use(policy);
  return options;
}

task<int> run_both(loop& owner, tcp::stack& near, tcp::stack& far, const location& from,
                   const settings& flags) {
  hello_server server(owner, &say_hello);
  tcp::listener listener = far.listen(from.to).value();
  task_group group(owner);
  group.spawn(serve_hello(server, listener));
  const int code = co_await run_client(owner, near, from, flags);
  server.drain();
  const auto joined = co_await group.join();
  (void)joined;
  co_return code;
}

/// Client and server on two stacks in one loop, with a wire between them instead of a device.
int run_in_process(loop& owner, const location& from, const settings& flags,
                   const tcp::policy_set& policy) {
  net::link_pair wire;
  const std::string v6 = flags.link.address6.empty() ? "fd77::2" : flags.link.address6;
  const net::address own =
      example::parse_address(from.to.address.is_v6() ? v6 : flags.link.address);
  tcp::stack near(owner, wire.first(), stack_at(own, policy));
  tcp::stack far(owner, wire.second(), stack_at(from.to.address, policy));
  return owner.run(run_both(owner, near, far, from, flags));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Fetches over its own TCP on a TUN device.", "http_client"};
  settings flags;
  flags.link.add_to(app);
  flags.policy.add_to(app);
  app.add_option("url", flags.url, "What to fetch, as in http://10.77.0.1:8080/")
      ->capture_default_str();
  app.add_option("-n,--count", flags.count, "How many requests; 1 prints the body")
      ->capture_default_str()
      ->check(CLI::Range(std::size_t{1}, std::size_t{1'000'000'000}));
  app.add_option("-c,--concurrency", flags.concurrency, "How many requests at a time")
      ->capture_default_str()
      ->check(CLI::Range(std::size_t{1}, std::size_t{50'000}));
  app.add_flag("--close", flags.close, "A connection for each request");
  app.add_flag("--in-process", flags.in_process,
               "Fetch from a server in this process that knows /hello; needs no device");
  app.add_flag("--kernel", flags.kernel, "Fetch by the kernel's TCP; needs no device");
  return example::run(app, argc, argv, [&] {
    const tcp::policy_set policy = flags.policy.over({});
    if (flags.policy.printed(policy)) return 0;
    loop owner;
    const location from = find(owner, flags.url);
    if (flags.in_process) return run_in_process(owner, from, flags, policy);
    if (flags.kernel) {
      net::kernel::tcp_connector sockets(owner);
      return owner.run(run_client(owner, sockets, from, flags));
    }
    example::tun_stack network(owner, flags.link, policy);
    return owner.run(run_client(owner, network.stack(), from, flags));
  });
}
