#include <runnel/net/kernel/tcp.hpp>

#include "net/kernel_fixture.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <span>
#include <thread>
#include <vector>

using namespace runnel;
using namespace std::chrono_literals;
using net::kernel::tcp_connector;
using net::kernel::tcp_connector_options;
using net::kernel::tcp_listener;
using net::kernel::tcp_listener_options;
using net::kernel::tcp_stream;
using testing::accept_one;
using testing::any_loopback_port;
using testing::read_text;
using testing::write_text;

namespace {

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  CHECK(::getsockopt(fd, level, name, &value, &size) == 0);
  return value;
}

task<> accept_some(tcp_listener& listener, std::vector<tcp_stream>& into, int count) {
  for (int i = 0; i < count; ++i) {
    auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    into.push_back(std::move(*accepted));
  }
}

task<> store_accept_error(tcp_listener& listener, std::error_code& error) {
  const auto accepted = co_await listener.accept();
  error = accepted.has_error() ? accepted.error() : std::error_code{};
}

task<> echo(tcp_stream stream) {
  std::array<std::byte, 64> buffer;
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) break;
    const auto sent = co_await stream.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent) break;
  }
  co_await stream.close();
}

task<> serve(tcp_listener& listener, int count) {
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  for (int i = 0; i < count; ++i) {
    auto accepted = co_await listener.accept();
    if (!accepted) break;
    group.spawn(echo(std::move(*accepted)));
  }
  co_await group.join();
}

task<> ask(loop& owner, net::endpoint to) {
  tcp_connector connector{owner};
  auto connected = co_await connector.connect(to);
  if (!connected) co_return;
  connected->set_read_deadline(owner.now() + 10s);
  for (int i = 0; i < 3; ++i) {
    const auto bytes = test::bytes_of("question");
    const auto sent = co_await connected->write(std::span<const std::byte>(bytes));
    if (!sent) co_return;
    co_await connected->readable();
    const auto answer = co_await read_text(*connected, 8);
    if (answer != "question") co_return;
  }
  static_cast<void>(connected->shutdown());
  co_await connected->drained();
  co_await connected->close();
}

task<> conversation(loop& owner, std::uint64_t) {
  auto listener = tcp_listener::listen(owner, any_loopback_port).value();
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  group.spawn(serve(listener, 3));
  for (int i = 0; i < 3; ++i) group.spawn(ask(owner, listener.local_endpoint()));
  co_await group.join();
}

// A thread that does nothing but throw away what comes, without copying it, until the end.
void throw_away(int from) {
  std::vector<std::byte> room(std::size_t{1} << 20);
  for (;;) {
    pollfd until{.fd = from, .events = POLLIN, .revents = 0};
    static_cast<void>(::poll(&until, 1, -1));
    const ssize_t got = ::recv(from, room.data(), room.size(), MSG_TRUNC | MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return;
  }
}

task<> write_to_fast_reader(loop& owner, std::uint64_t& turns, std::size_t& taken,
                            std::span<const std::byte> much) {
  auto both = co_await testing::connect_tcp(owner);
  std::thread reader{[from = both.second.descriptor()] { throw_away(from); }};
  const std::uint64_t before = owner.metrics().turns;
  const auto sent = co_await both.first.write(much);
  turns = owner.metrics().turns - before;
  taken = sent.has_value() ? *sent : 0;
  static_cast<void>(both.first.shutdown());
  reader.join();
}

// Writes until nothing more is taken in a while, with a peer that has ended its own stream.
task<> write_to_half_closed(loop& owner, std::uint64_t& turns) {
  auto both = co_await testing::connect_tcp(owner);
  CHECK(both.second.shutdown().has_value());
  const std::vector<std::byte> much(std::size_t{1} << 20);
  for (;;) {
    both.first.set_write_deadline(owner.now() + 50ms);
    const std::uint64_t before = owner.metrics().turns;
    const auto sent = co_await both.first.write(std::span<const std::byte>(much));
    turns = owner.metrics().turns - before;
    if (!sent || *sent == 0) break;
  }
  // What the peer takes makes room, and is heard of.
  both.first.set_write_deadline(time_point::max());
  task_group group{owner};
  std::vector<std::byte> sink(std::size_t{1} << 20);
  const auto drain = [](tcp_stream& from, std::vector<std::byte>& into) -> task<> {
    for (;;) {
      const auto got = co_await from.read(into);
      if (!got || *got == 0) break;
    }
  };
  group.spawn(drain(both.second, sink));
  const auto more = co_await with_timeout(10s, both.first.write(std::span(much).first(1)));
  CHECK(more.has_value());
  both.first.abort();
  co_await group.join();
  both.second.abort();
}

}  // namespace

RING_TASK_TEST("kernel TCP: a listener on port 0 tells its port, and both ends know each other") {
  auto listener = tcp_listener::listen(loop, any_loopback_port).value();
  CHECK(listener.local_endpoint().port != 0);
  tcp_connector connector{loop};
  auto client = (co_await connector.connect(listener.local_endpoint())).value();
  auto server = (co_await listener.accept()).value();
  CHECK(client.remote_endpoint() == listener.local_endpoint());
  CHECK(server.local_endpoint() == listener.local_endpoint());
  CHECK(server.remote_endpoint() == client.local_endpoint());
}

RING_TASK_TEST("kernel TCP: IPv6, and IPv4 on the same listener") {
  auto listener = tcp_listener::listen(loop, {net::address::any(net::family::v6), 0});
  if (!listener) co_return;
  tcp_connector connector{loop};
  const std::uint16_t port = listener->local_endpoint().port;
  auto old = (co_await connector.connect({net::address::v4(127, 0, 0, 1), port})).value();
  auto accepted = (co_await listener->accept()).value();
  CHECK(accepted.remote_endpoint() == old.local_endpoint());
  auto fresh = co_await connector.connect({net::address::parse("::1").value(), port});
  if (!fresh) co_return;
  accepted = (co_await listener->accept()).value();
  CHECK(accepted.remote_endpoint() == fresh->local_endpoint());
}

RING_TASK_TEST("kernel TCP: options reach the sockets of both sides") {
  tcp_listener_options options;
  options.connection.keepalive_idle = 33s;
  options.connection.keepalive_interval = 5s;
  options.connection.keepalive_probes = 4;
  options.connection.user_timeout = 1500ms;
  auto listener = tcp_listener::listen(loop, any_loopback_port, options).value();
  tcp_connector_options own;
  own.connection.nodelay = false;
  own.local.address = net::address::v4(127, 0, 0, 9);
  tcp_connector connector{loop, own};
  auto client = (co_await connector.connect(listener.local_endpoint())).value();
  auto server = (co_await listener.accept()).value();
  CHECK(server.remote_endpoint().address == own.local.address);
  CHECK(option(server.descriptor(), SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(server.descriptor(), IPPROTO_TCP, TCP_KEEPIDLE) == 33);
  CHECK(option(server.descriptor(), IPPROTO_TCP, TCP_KEEPINTVL) == 5);
  CHECK(option(server.descriptor(), IPPROTO_TCP, TCP_KEEPCNT) == 4);
  CHECK(option(server.descriptor(), IPPROTO_TCP, TCP_USER_TIMEOUT) == 1500);
  CHECK(option(server.descriptor(), IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(option(client.descriptor(), IPPROTO_TCP, TCP_NODELAY) == 0);
  client.set_nodelay(true);
  CHECK(option(client.descriptor(), IPPROTO_TCP, TCP_NODELAY) == 1);
}

RING_TASK_TEST("kernel TCP: a port that nobody listens on refuses, and a taken one is told") {
  auto listener = tcp_listener::listen(loop, any_loopback_port).value();
  const net::endpoint at = listener.local_endpoint();
  const auto second = tcp_listener::listen(loop, at);
  CHECK(second.error() == std::errc::address_in_use);
  listener.close();
  listener.close();
  const auto late = co_await listener.accept();
  CHECK(late.error() == std::errc::bad_file_descriptor);
  tcp_connector connector{loop};
  const auto refused = co_await connector.connect(at);
  CHECK(refused.error() == std::errc::connection_refused);
  const auto nowhere = co_await connector.connect({});
  CHECK(nowhere.error() == std::errc::address_family_not_supported);
}

RING_TASK_TEST("kernel TCP: closing a listener resets whom nobody accepted and ends accepts") {
  auto listener = tcp_listener::listen(loop, any_loopback_port).value();
  std::error_code error;
  std::vector<tcp_stream> accepted;
  task_group group{loop};
  group.spawn(accept_some(listener, accepted, 1));
  group.spawn(store_accept_error(listener, error));
  tcp_connector connector{loop};
  auto first = (co_await connector.connect(listener.local_endpoint())).value();
  while (accepted.empty()) co_await yield();
  auto idle = tcp_listener::listen(loop, any_loopback_port).value();
  auto unseen = (co_await connector.connect(idle.local_endpoint())).value();
  idle.close();
  const auto reset = co_await unseen.readable();
  CHECK(reset.error() == std::errc::connection_reset);
  listener.close();
  co_await group.join();
  CHECK(error == std::errc::bad_file_descriptor);
  co_await write_text(first, "still");
  const auto text = co_await read_text(accepted.front(), 5);
  CHECK(text == "still");
}

RING_TASK_TEST("kernel TCP: a cancelled accept loses no connection") {
  auto listener = tcp_listener::listen(loop, any_loopback_port).value();
  tcp_connector connector{loop};
  for (int turns = 0; turns < 6; ++turns) {
    std::vector<tcp_stream> accepted;
    auto group = std::make_unique<task_group>(loop);
    group->spawn(accept_some(listener, accepted, 1));
    auto client = (co_await connector.connect(listener.local_endpoint())).value();
    for (int i = 0; i < turns; ++i) co_await yield();
    group->cancel();
    co_await group->join();
    if (accepted.empty()) {
      auto later = (co_await listener.accept()).value();
      accepted.push_back(std::move(later));
    }
    CHECK(accepted.front().remote_endpoint() == client.local_endpoint());
  }
}

RING_TASK_TEST("kernel TCP: a connection given to a task that is destroyed goes to the next one") {
  auto listener = tcp_listener::listen(loop, any_loopback_port).value();
  tcp_connector connector{loop};
  for (int turns = 0; turns < 6; ++turns) {
    std::vector<tcp_stream> lost;
    testing::victim victim = testing::make_victim(accept_some(listener, lost, 1));
    victim.start(loop);
    co_await yield();
    auto client = (co_await connector.connect(listener.local_endpoint())).value();
    for (int i = 0; i < turns; ++i) co_await yield();
    victim.destroy();
    if (lost.empty()) {
      auto later = (co_await listener.accept()).value();
      CHECK(later.remote_endpoint() == client.local_endpoint());
    }
  }
}

RING_TASK_TEST("kernel TCP: what nobody reads keeps few of the shared buffers") {
  auto idle = co_await testing::connect_tcp(loop);
  // One that was waited on once, so that the kernel receives for it.
  const auto early = co_await with_timeout(1ms, idle.second.readable());
  CHECK(early.error() == errc::deadline_exceeded);
  std::optional<result<std::size_t>> last;
  const std::size_t stuck = co_await testing::fill(idle.first, last);
  auto busy = co_await testing::connect_tcp(loop);
  const auto before = loop.metrics().buffers_exhausted;
  co_await testing::stream_contract<testing::kernel_tcp_model>::ping_pong(loop, busy.first,
                                                                          busy.second);
  CHECK(loop.metrics().buffers_exhausted == before);
  CHECK(idle.first.shutdown().has_value());
  test::byte_string received;
  co_await testing::read_all_into(idle.second, received, 50'000);
  CHECK(received.size() >= stuck);
}

namespace {

// Has the kernel receive for it from now on.
task<> wait_in_vain(tcp_stream& of) {
  const auto nothing = co_await with_timeout(1us, of.readable());
  CHECK(nothing.has_error());
}

void send_byte(const tcp_stream& from) {
  CHECK(::send(from.descriptor(), "x", 1, 0) == 1);
}

task<> expect_reset(tcp_stream& of) {
  std::byte room[8];
  const auto got = co_await of.read(room);
  CHECK(got.error() == std::errc::connection_reset);
}

// The kernel's thread receives while the loop does not turn: what it took lies in a completion that
// nobody has seen. False when it took nothing.
bool wait_until_taken(const tcp_stream& by) {
  const auto give_up = std::chrono::steady_clock::now() + 10s;
  for (int bytes = 1; bytes > 0;) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::yield();
    if (::ioctl(by.descriptor(), FIONREAD, &bytes) != 0) return false;
  }
  return true;
}

task<> close_with_bytes_under_way(loop& owner) {
  for (const bool destroys : {false, true}) {
    CAPTURE(destroys);
    auto both = co_await testing::connect_tcp(owner);
    co_await wait_in_vain(both.second);
    // When the second is taken, the completion of the first is there.
    for (int i = 0; i < 2; ++i) {
      send_byte(both.first);
      CHECK(wait_until_taken(both.second));
    }
    if (destroys) {
      both.second = tcp_stream();
    } else {
      const auto ending = co_await both.second.close();
      CHECK(ending.error() == std::errc::connection_aborted);
    }
    co_await expect_reset(both.first);
  }
}

}  // namespace

TEST_CASE("kernel TCP: bytes that the ring has received and not handed over are unread") {
  loop_options options;
  options.sqpoll_idle = 10ms;
  loop driver{options};
  // Elsewhere the loop itself receives, or asks for what is there.
  if (driver.backend() != backend_kind::io_uring) return;
  driver.run(close_with_bytes_under_way(driver));
}

RING_TASK_TEST("kernel TCP: destroyed with bytes unread while the kernel receives, it resets") {
  auto both = co_await testing::connect_tcp(loop);
  co_await wait_in_vain(both.second);
  send_byte(both.first);
  both.second = tcp_stream();
  co_await expect_reset(both.first);
}

TEST_CASE("kernel TCP: more waiting connections than buffers are all served") {
  loop driver{loop_options{.receive_buffers = 4, .receive_buffer_size = 16}};
  const auto body = [](loop& owner) -> task<> {
    auto listener = tcp_listener::listen(owner, any_loopback_port).value();
    task_group group{owner};
    group.spawn(serve(listener, 50));
    for (int i = 0; i < 50; ++i) group.spawn(ask(owner, listener.local_endpoint()));
    co_await group.join();
  };
  driver.run(body(driver));
}

TEST_CASE("kernel TCP: a simulated loop has no sockets of the kernel") {
  loop driver{loop_options{.simulated = 0}};
  CHECK(tcp_listener::listen(driver, any_loopback_port).error() == errc::not_supported);
  const auto body = [](loop& owner) -> task<> {
    tcp_connector connector{owner};
    const auto refused = co_await connector.connect(any_loopback_port);
    CHECK(refused.error() == errc::not_supported);
  };
  driver.run(body(driver));
}

TEST_CASE("kernel TCP: a stream that is destroyed behind its loop leaves nothing") {
  std::optional<tcp_stream> left;
  std::optional<tcp_stream> right;
  {
    loop driver;
    const auto body = [](loop& owner, std::optional<tcp_stream>& a,
                         std::optional<tcp_stream>& b) -> task<> {
      auto both = co_await testing::connect_tcp(owner);
      a = std::move(both.first);
      b = std::move(both.second);
      const auto early = co_await with_timeout(1ms, b->readable());
      CHECK(early.has_error());
      co_await write_text(*a, "never read");
      const auto there = co_await b->readable();
      CHECK(there.has_value());
    };
    driver.run(body(driver, left, right));
  }
  right.reset();
  left.reset();
}

TEST_CASE("kernel TCP: tasks that are destroyed at any moment leave nothing behind") {
  testing::kill_everywhere_real(&conversation, {.time_step = 200us, .times = 3, .passes = 12});
}

TEST_CASE("kernel TCP: tasks that are cancelled at any moment come to their end") {
  testing::cancel_everywhere_real(&conversation, {.time_step = 200us, .times = 3, .passes = 12});
}

TEST_CASE("kernel tcp: waiting for room beside a half-closed peer sleeps") {
  std::uint64_t turns = 0;
  loop driver;
  driver.run(write_to_half_closed(driver, turns));
  // Some for bytes under way on loopback; a loop that spins makes tens of thousands.
  CHECK(turns < 500);
}

TEST_CASE("kernel TCP: a large write to a fast reader takes many turns, each of them short") {
  constexpr std::size_t most_in_a_turn = std::size_t{512} << 10;
  const std::vector<std::byte> much(std::size_t{64} << 20);
  for (const auto backend : {backend_kind::automatic, backend_kind::epoll}) {
    loop_options options;
    options.backend = backend;
    loop driver{options};
    std::uint64_t turns = 0;
    std::size_t taken = 0;
    driver.run(write_to_fast_reader(driver, turns, taken, much));
    CHECK(taken == much.size());
    CHECK(turns >= much.size() / most_in_a_turn - 1);
  }
}
