#include <runnel/net/kernel/tcp.hpp>
#include <runnel/net/kernel/unix.hpp>

#include "net/kernel_fixture.hpp"
#include "support/kill_test.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

using namespace runnel;
using namespace std::chrono_literals;
using net::departure;
using net::kernel::tcp_stream;
using net::kernel::unix_stream;
using testing::read_text;
using testing::write_text;

namespace {

static_assert(net::leavable_stream<tcp_stream>);
static_assert(net::leavable_stream<unix_stream>);

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

// Whether nothing, not even the end, has come.
bool hears_nothing(int fd) {
  char byte = 0;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

task<> until_closed(int fd) {
  while (is_open(fd)) co_await sleep(1ms);
}

// The rest of what comes, "end" behind it or why it is cut off.
template <class Stream>
task<std::string> text_to_end(Stream& from) {
  std::string text;
  std::array<std::byte, 100> buffer;
  for (;;) {
    const auto got = co_await from.read(buffer);
    if (!got) co_return text + got.error().message();
    if (*got == 0) co_return text + "|end";
    text.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
}

template <class Stream>
task<> answer_arrives(Stream& client, Stream& server) {
  const int fd = server.descriptor();
  // A receive is in flight, and something unread lies here.
  const auto early = co_await with_timeout(1ms, server.readable());
  CHECK(early.error() == errc::deadline_exceeded);
  co_await write_text(client, "never read");
  const auto there = co_await server.readable();
  CHECK(there.has_value());
  co_await write_text(server, "answer");
  server.leave(departure::lingering, 1h);
  CHECK_FALSE(static_cast<bool>(server));
  for (int i = 0; i < 20; ++i) {
    co_await write_text(client, "more");
    co_await yield();
  }
  const std::string got = co_await text_to_end(client);
  CHECK(got == "answer|end");
  CHECK(is_open(fd));
  const auto how = co_await client.close();
  CHECK(how.clean());
  co_await until_closed(fd);
}

task<> accept_and_leave(net::kernel::tcp_listener& listener, departure how) {
  auto accepted = co_await listener.accept();
  if (!accepted) co_return;
  const auto bytes = test::bytes_of("last");
  const auto sent = co_await accepted->write(std::span<const std::byte>(bytes));
  static_cast<void>(sent);
  accepted->leave(how, 1ms);
}

task<> connect_and_read(loop& owner, net::endpoint to) {
  net::kernel::tcp_connector connector{owner};
  auto connected = co_await connector.connect(to);
  if (!connected) co_return;
  const std::string got = co_await text_to_end(*connected);
  static_cast<void>(got);
  co_await connected->close();
}

task<> leave_all_ways(loop& owner, std::uint64_t) {
  cancel_scope& scope = co_await this_scope();
  for (const departure how : {departure::graceful, departure::lingering, departure::peer_first}) {
    auto listener = net::kernel::tcp_listener::listen(owner, testing::any_loopback_port).value();
    task_group group{scope};
    group.spawn(accept_and_leave(listener, how));
    group.spawn(connect_and_read(owner, listener.local_endpoint()));
    co_await group.join();
  }
}

}  // namespace

TEST_CASE("kernel leave: nobody stays, and what still comes is thrown away") {
  const auto body = [](loop& owner, std::uint64_t) -> task<> {
    auto both = co_await testing::connect_tcp(owner);
    co_await answer_arrives(both.first, both.second);
    auto local = unix_stream::pair(owner).value();
    co_await answer_arrives(local.first, local.second);
  };
  testing::run_both_ways(body);
}

RING_TASK_TEST("kernel leave: a peer that never ends is left when the time is over") {
  auto both = co_await testing::connect_tcp(loop);
  const int fd = both.second.descriptor();
  both.second.leave(departure::lingering, 1ms);
  co_await until_closed(fd);
  const std::string got = co_await text_to_end(both.first);
  CHECK(got == "|end");
}

RING_TASK_TEST("kernel leave: a peer that sends without end holds it no longer") {
  auto both = co_await testing::connect_tcp(loop);
  const int fd = both.second.descriptor();
  both.second.leave(departure::lingering, 5ms);
  const std::vector<std::byte> much(100'000);
  for (;;) {
    const auto sent = co_await both.first.write(std::span<const std::byte>(much));
    if (!sent) break;
  }
  // The reset comes first, the descriptor goes behind the last completion on it.
  co_await until_closed(fd);
}

RING_TASK_TEST("kernel leave: peer_first waits for the peer to end, and ends then") {
  auto both = co_await testing::connect_tcp(loop);
  const int fd = both.second.descriptor();
  co_await write_text(both.second, "answer");
  both.second.leave(departure::peer_first, 1h);
  const auto answer = co_await read_text(both.first, 6);
  CHECK(answer == "answer");
  co_await write_text(both.first, "more");
  for (int i = 0; i < 20; ++i) co_await yield();
  CHECK(hears_nothing(both.first.descriptor()));
  CHECK(is_open(fd));
  CHECK(both.first.shutdown().has_value());
  const std::string got = co_await text_to_end(both.first);
  CHECK(got == "|end");
  co_await until_closed(fd);
}

RING_TASK_TEST("kernel leave: peer_first ends by itself when its time is over, and lingers") {
  auto both = co_await testing::connect_tcp(loop);
  const int fd = both.second.descriptor();
  both.second.leave(departure::peer_first, 1ms);
  const std::string got = co_await text_to_end(both.first);
  CHECK(got == "|end");
  CHECK(is_open(fd));
  co_await write_text(both.first, "late");
  const auto how = co_await both.first.close();
  CHECK(how.clean());
  co_await until_closed(fd);
}

RING_TASK_TEST("kernel leave: a reset, an abort and a graceful end leave at once") {
  auto both = co_await testing::connect_tcp(loop);
  const int fd = both.second.descriptor();
  both.second.leave(departure::peer_first, 1h);
  both.first.abort();
  co_await until_closed(fd);
  auto aborted = co_await testing::connect_tcp(loop);
  aborted.second.abort();
  aborted.second.leave(departure::lingering, 1h);
  const std::string cut = co_await text_to_end(aborted.first);
  CHECK(cut == std::make_error_code(std::errc::connection_reset).message());
  auto plain = co_await testing::connect_tcp(loop);
  const int third = plain.second.descriptor();
  plain.second.leave(departure::graceful, 1h);
  CHECK_FALSE(is_open(third));
  const std::string got = co_await text_to_end(plain.first);
  CHECK(got == "|end");
}

TEST_CASE("kernel leave: a loop that dies closes what is still ending") {
  int fd = -1;
  std::optional<tcp_stream> peer;
  {
    loop driver;
    const auto body = [](loop& owner, int& left, std::optional<tcp_stream>& other) -> task<> {
      for (const departure how : {departure::lingering, departure::peer_first}) {
        auto both = co_await testing::connect_tcp(owner);
        left = both.second.descriptor();
        both.second.leave(how, 1h);
        other = std::move(both.first);
      }
    };
    driver.run(body(driver, fd, peer));
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("kernel leave: tasks that are destroyed at any moment leave nothing behind") {
  const int before = testing::open_descriptors();
  testing::kill_everywhere_real(&leave_all_ways, {.time_step = 200us, .times = 3, .passes = 12});
  CHECK(testing::open_descriptors() == before);
}

TEST_CASE("kernel leave: tasks that are cancelled at any moment come to their end") {
  const int before = testing::open_descriptors();
  testing::cancel_everywhere_real(&leave_all_ways, {.time_step = 200us, .times = 3, .passes = 12});
  CHECK(testing::open_descriptors() == before);
}
