// An HTTP/1.1 keep-alive server on our own TCP: serves a folder and /hello until Ctrl-C.
//
//   sudo ./http_server --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2 --root .
//   curl http://10.77.0.2/hello
//
// On four cores: the same with `--loops 4`. The same server on the kernel's TCP, without a device:
//
//   ./http_server --kernel 127.0.0.1:8080 & curl http://127.0.0.1:8080/hello
//
// `pkill -USR1 http_server` has it print what each of its tasks waits for.
//
// Who keeps TIME-WAIT: compare TcpExtTW of `curl -H 'Connection: close' http://10.77.0.2/hello`
// under `--close lingering` and `--close peer-first`.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>

#include "runnel/dump.hpp"
#include "runnel/net/http/files.hpp"
#include "runnel/net/http/server.hpp"
#include "runnel/net/kernel/tcp.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/inspect_flags.hpp"
#include "support/link_flags.hpp"
#include "support/loops.hpp"
#include "support/policy_flags.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct settings {
  example::link_flags link;
  example::inspect_flags inspect;
  example::policy_flags policy;
  std::uint32_t loops = 1;
  std::string kernel;
  std::uint16_t port = 80;
  std::string root;
  std::optional<std::uint32_t> backlog;
  std::uint32_t keepalive_seconds = 75;
  std::uint32_t keepalive_requests = 1000;
  std::size_t connections = 100'000;
  std::size_t connections_per_source = 0;
  std::uint32_t grace_seconds = 10;
  std::string close = "lingering";
  std::uint32_t client_close_ms = 1000;
};

/// "/hello" is always there; everything else comes from the folder.
class site {
 public:
  explicit site(const std::string& root) {
    if (!root.empty()) files_.emplace(root);
  }

  http::answer operator()(http::request& request) {
    if (request.path() == "/hello") return http::response::literal("Hello, world!\n");
    if (!files_) return http::response::plain(http::status::not_found);
    return (*files_)(request);
  }

 private:
  std::optional<http::file_handler> files_;
};

using site_server = http::server<site>;

/// The first signal drains, the second one stops at once.
task<> obey_signals(signal_set& signals, example::interruption& all) {
  for (int times = 0; times < 2; ++times) {
    const auto signal = co_await signals.wait();
    if (!signal) co_return;
    all.happen();
  }
}

template <net::listener Listener>
task<> serve(site_server& server, Listener& listener, task_group& signals) {
  co_await server.serve(listener);
  signals.cancel();
}

/// What the loops have in common.
class fleet {
 public:
  explicit fleet(std::uint32_t loops) : running_(loops) {}

  /// Adds what one loop has counted; the last one prints the sums. `tcp` is null where the kernel's
  /// TCP serves.
  void finish(const http::server_counters& http, const tcp::counters* tcp) {
    const std::lock_guard lock(mutex_);
    if (tcp != nullptr) (tcp_ ? *tcp_ : tcp_.emplace()) += *tcp;
    accepted_ += http.accepted;
    requests_ += http.requests;
    if (--running_ == 0) print();
  }

  example::interruption signals;

 private:
  void print() const {
    std::printf("%-28s %12llu\n%-28s %12llu\n", "connections",
                static_cast<unsigned long long>(accepted_), "requests",
                static_cast<unsigned long long>(requests_));
    const auto print_one = [](std::string_view name, std::uint64_t value) {
      const bool always = name == "TcpOutRsts";
      if (value == 0 && !always) return;
      std::printf("%-28.*s %12llu\n", static_cast<int>(name.size()), name.data(),
                  static_cast<unsigned long long>(value));
    };
    if (tcp_) tcp_->for_each(print_one);
    std::fflush(stdout);
  }

  std::mutex mutex_;
  std::uint32_t running_;
  std::optional<tcp::counters> tcp_;
  std::uint64_t accepted_ = 0;
  std::uint64_t requests_ = 0;
};

/// Serves until a signal, which the first loop waits for, or until nothing more can be accepted;
/// true when it was ended at once.
template <net::listener Listener>
task<bool> serve_until_signals(loop& owner, site_server& server, Listener& listener, fleet& all,
                               bool first) {
  std::optional<signal_set> signals;
  if (first) signals.emplace(owner, std::initializer_list<int>{SIGINT, SIGTERM});
  bool impatient = false;
  task_group serving(owner);
  task_group waiting(owner);
  const auto react = [&](unsigned times) {
    if (times == 1) {
      std::printf("http_server: finishing %zu connections; interrupt again to stop at once\n",
                  server.counters().open);
      std::fflush(stdout);
      server.drain();
    } else {
      impatient = true;
      serving.cancel();
    }
  };
  {
    const example::interruption::part interrupted(all.signals, owner, react);
    serving.spawn(serve(server, listener, waiting));
    if (first) {
      waiting.spawn(obey_signals(*signals, all.signals));
      waiting.spawn(dump_on_signal(owner));
    }
    co_await serving.join();
    co_await waiting.join();
  }
  listener.close();
  co_return impatient;
}

void announce(const net::endpoint& at, const std::string& where, const loop& owner) {
  std::printf("http_server: http://%s/ %s; %s\n", at.to_string().c_str(), where.c_str(),
              owner.description().c_str());
  std::fflush(stdout);
}

/// On our own TCP; gives the exit code.
task<int> run_server(loop& owner, example::tun_stack& network, site_server& server,
                     const settings& flags, fleet& all) {
  const bool first = network.stack().engine().shard().index == 0;
  auto listener = network.stack().listen({.address = {}, .port = flags.port}).value();
  const net::endpoint at{example::parse_address(flags.link.address),
                         listener.local_endpoint().port};
  announce(at, "on device " + network.device(), owner);
  const bool impatient = co_await serve_until_signals(owner, server, listener, all, first);
  if (const auto lost = network.stack().link_error()) {
    std::fprintf(stderr, "http_server: the device %s is gone: %s.\n", network.device().c_str(),
                 lost.message().c_str());
    co_return 1;
  }
  if (!impatient) {
    const auto delivered = co_await with_timeout(3s, network.stack().idle());
    if (!delivered) std::fprintf(stderr, "http_server: some clients did not end in 3 s.\n");
  }
  all.finish(server.counters(), &network.stack().engine().counters());
  co_return impatient ? 1 : 0;
}

/// The same on a socket of the kernel.
task<int> run_kernel_server(loop& owner, site_server& server, net::endpoint at, fleet& all) {
  auto opened = net::kernel::tcp_listener::listen(owner, at);
  if (!opened) {
    throw std::runtime_error("cannot listen at " + at.to_string() + ": " +
                             opened.error().message() +
                             "; give --kernel another address or port, or 0 for a free one.");
  }
  auto listener = std::move(*opened);
  announce(listener.local_endpoint(), "by the kernel's TCP", owner);
  const bool impatient = co_await serve_until_signals(owner, server, listener, all, true);
  all.finish(server.counters(), nullptr);
  co_return impatient ? 1 : 0;
}

http::server_options options_from(const settings& flags) {
  http::server_options options;
  options.keepalive_timeout = std::chrono::seconds(flags.keepalive_seconds);
  options.keepalive_requests = flags.keepalive_requests;
  options.max_connections = std::max<std::size_t>(1, flags.connections / flags.loops);
  options.max_connections_per_source = flags.connections_per_source;
  options.drain_grace = std::chrono::seconds(flags.grace_seconds);
  if (flags.close == "graceful") options.close = net::departure::graceful;
  if (flags.close == "peer-first") options.close = net::departure::peer_first;
  options.client_close_grace = std::chrono::milliseconds(flags.client_close_ms);
  return options;
}

task<int> serve_on(loop& owner, example::device_part mine, const settings& flags,
                   const tcp::policy_set& policy, fleet& all) {
  example::tun_stack network(owner, flags.link, policy, std::move(mine));
  site_server server(owner, site(flags.root), options_from(flags));
  const int code = co_await example::inspected(owner, network.stack(), flags.inspect,
                                               run_server(owner, network, server, flags, all));
  co_return code;
}

/// Responses leave at once unless the flags say otherwise.
tcp::policy_set policy_from(const settings& flags) {
  tcp::policy_set base;
  base.connection.nodelay = true;
  tcp::policy_set all = flags.policy.over(base);
  if (flags.backlog) all.listener.backlog = flags.backlog;
  return all;
}

void add_flags(CLI::App& app, settings& flags) {
  flags.link.add_to(app);
  flags.inspect.add_to(app);
  flags.policy.add_to(app);
  const auto positive = CLI::PositiveNumber;
  CLI::Option* loops = example::add_loops_to(app, flags.loops);
  app.add_option("--port", flags.port, "Port to listen on")->capture_default_str();
  app.add_option("--kernel", flags.kernel,
                 "Serve at this address and port by the kernel's TCP instead, as in "
                 "127.0.0.1:8080; 0 is any free port")
      ->excludes(loops);
  app.add_option("--root", flags.root, "Folder to serve; without it there is only /hello");
  app.add_option("--backlog", flags.backlog,
                 "Connections that may wait to be accepted; the policy's when it is not given");
  app.add_option("--keepalive-timeout", flags.keepalive_seconds,
                 "Seconds until an idle connection is closed")
      ->capture_default_str()
      ->check(positive);
  app.add_option("--keepalive-requests", flags.keepalive_requests,
                 "Requests that one connection may carry")
      ->capture_default_str()
      ->check(positive);
  app.add_option("--max-connections", flags.connections, "Connections at a time; 503 beyond")
      ->capture_default_str()
      ->check(positive);
  app.add_option("--max-per-source", flags.connections_per_source,
                 "Connections at a time from one address to one loop; 0 is no limit")
      ->capture_default_str();
  app.add_option("--grace", flags.grace_seconds,
                 "Seconds that requests under way get after Ctrl-C; a second Ctrl-C ends at once")
      ->capture_default_str();
  app.add_option("--close", flags.close,
                 "How connections end: graceful, lingering (what a client still sends does not "
                 "destroy the response), or peer-first (TIME_WAIT is the client's)")
      ->capture_default_str()
      ->check(CLI::IsMember({"graceful", "lingering", "peer-first"}));
  app.add_option("--client-close-grace", flags.client_close_ms,
                 "Milliseconds that a client gets to close first with --close peer-first")
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"An HTTP/1.1 server on its own TCP over a TUN device.", "http_server"};
  settings flags;
  add_flags(app, flags);
  return example::run(app, argc, argv, [&] {
    const tcp::policy_set policy = policy_from(flags);
    if (flags.policy.printed(policy)) return 0;
    fleet all(flags.loops);
    if (!flags.kernel.empty()) {
      loop owner;
      site_server server(owner, site(flags.root), options_from(flags));
      const net::endpoint at = example::parse_endpoint(flags.kernel);
      return owner.run(run_kernel_server(owner, server, at, all));
    }
    return example::run_on_loops(flags.link, flags.loops,
                                 [&](loop& here, example::device_part part) {
                                   return serve_on(here, std::move(part), flags, policy, all);
                                 });
  });
}
