// Our own TCP in front, the kernel's behind: each connection that comes to the TUN device is
// connected to a server by an ordinary socket. An end of one direction, a reset and slowness are
// carried through; connections on which nothing moves in either direction are ended.
//
//   sudo ./proxy 127.0.0.1:8080 --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2
//   curl http://10.77.0.2/

#include <utility>
#include <vector>

#include "runnel/net/kernel/tcp.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/relay.hpp"
#include "support/server_flags.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct limits {
  duration connect = 10s;
  duration idle = 300s;
  /// How long a peer may take to acknowledge the last bytes.
  duration farewell = 10s;
};

/// When something last moved between two streams, in either direction.
struct activity {
  time_point last;
};

/// Waits for bytes of `from` as long as anything moves. No buffer is held meanwhile.
template <net::stream From>
task<result<void>> await_bytes(From& from, loop& owner, activity& both, duration idle) {
  for (;;) {
    from.set_read_deadline(after(both.last, idle));
    const auto ready = co_await from.readable();
    const bool late = ready.has_error() && ready.error() == errc::deadline_exceeded;
    if (!late || owner.now() >= after(both.last, idle)) co_return ready;
  }
}

/// Writes all of it, however slowly it is taken, unless nothing moves either way for too long.
template <net::stream To>
task<bool> hand_on(To& to, std::span<const std::byte> bytes, loop& owner, activity& both,
                   duration idle) {
  while (!bytes.empty()) {
    to.set_write_deadline(after(both.last, idle));
    const auto sent = co_await to.write(bytes);
    if (sent) {
      bytes = bytes.subspan(*sent);
      both.last = owner.now();
    } else if (sent.error() != errc::deadline_exceeded || owner.now() >= after(both.last, idle)) {
      co_return false;
    }
  }
  co_return true;
}

/// Passes on what comes until it ends. What `to` does not take stays unread in `from`, so that its
/// peer waits. Whatever is not an end is a reset, for both sides.
template <net::stream From, net::stream To>
task<> pass(From& from, To& to, activity& both, duration idle) {
  loop& owner = co_await this_loop();
  for (;;) {
    const auto ready = co_await await_bytes(from, owner, both, idle);
    if (!ready) break;
    std::vector<std::byte> buffer(64 * 1024);
    const auto got = co_await from.read(buffer);
    if (!got) break;
    if (*got == 0) {
      static_cast<void>(to.shutdown());
      co_return;
    }
    both.last = owner.now();
    const auto bytes = std::span<const std::byte>(buffer).first(*got);
    const bool taken = co_await hand_on(to, bytes, owner, both, idle);
    if (!taken) break;
  }
  from.abort();
  to.abort();
}

task<> serve(tcp::stream client, net::endpoint server, limits most) {
  loop& owner = co_await this_loop();
  net::kernel::tcp_connector behind(owner);
  auto connected = co_await example::connect_behind("proxy", client, behind, server, most.connect);
  if (!connected) co_return;
  net::kernel::tcp_stream upstream = std::move(*connected);
  client.set_nodelay(true);
  activity both{owner.now()};
  cancel_scope& scope = co_await this_scope();
  task_group directions(scope, on_failure::collect);
  directions.spawn(pass(client, upstream, both, most.idle));
  directions.spawn(pass(upstream, client, both, most.idle));
  co_await directions.join();
  const auto near_end = co_await with_timeout(most.farewell, client.close());
  const auto far_end = co_await with_timeout(most.farewell, upstream.close());
  static_cast<void>(near_end);
  static_cast<void>(far_end);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Connects what comes to its own TCP on a TUN device to a server of the kernel's.",
               "proxy"};
  example::server_flags flags(80);
  std::uint32_t idle_seconds = 300;
  std::string server;
  app.add_option("server", server, "Address and port behind, as in 127.0.0.1:8080")->required();
  flags.add_to(app);
  app.add_option("--idle", idle_seconds,
                 "Seconds after which a connection ends on which nothing moves")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  return example::run(app, argc, argv, [&] {
    const net::endpoint to = example::parse_endpoint(server);
    limits most;
    most.idle = std::chrono::seconds(idle_seconds);
    return example::run_server("proxy", flags, {}, [=](tcp::stream client, tcp::stack&) {
      return serve(std::move(client), to, most);
    });
  });
}
