// Once the buffers are there, a request on a kept connection, and a connection with a request on
// it, allocate nothing but what the pipe itself takes.

#include "support.hpp"
#include "support/allocation_count.hpp"

#if RUNNEL_COUNT_ALLOCATIONS

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

task<http::response> handle(http::request& request) {
  if (request.method() == http::method::post) {
    std::array<std::byte, 100> room;
    for (;;) {
      const auto got = co_await request.body().read(room);
      if (!got || *got == 0) break;
    }
  }
  co_return http::response::literal("hello, world\n").header("Cache-Control", "no-store");
}

/// Sends, and reads so many responses or to the end, without allocating; gives how many came.
task<std::size_t> exchange(net::pipe_stream& stream, std::string_view request,
                           std::span<std::byte> room, std::size_t responses) {
  constexpr std::string_view body = "hello, world\n";
  const auto sent = co_await stream.write(std::as_bytes(std::span{request}));
  std::size_t received = 0;
  std::size_t seen = 0;
  while (sent && seen < responses) {
    const auto got = co_await stream.read(room.subspan(received));
    if (!got || *got == 0) break;
    received += *got;
    const std::string_view text{reinterpret_cast<const char*>(room.data()), received};
    seen = 0;
    for (std::size_t at = text.find(body); at != text.npos; at = text.find(body, at + 1)) ++seen;
  }
  co_return seen;
}

constexpr std::string_view post =
    "POST /up HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    "5\r\nhello\r\n0\r\n\r\n";

}  // namespace

TASK_TEST("http server: a request on a kept connection allocates nothing") {
  http::server_options options = quiet_options();
  options.keepalive_requests = 1'000'000;
  rig at{loop, handle, options};
  auto stream = co_await at.listener.connect();
  REQUIRE(stream.has_value());
  std::array<std::byte, 4096> room;
  const std::string request = get("/", "User-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n");
  const std::string batch = request + request + std::string{post} + request;
  std::size_t before = 0;
  for (int i = 0; i < 300; ++i) {
    if (i == 100) before = allocations;
    const std::size_t first = co_await exchange(*stream, request, room, 1);
    const std::size_t second = co_await exchange(*stream, post, room, 1);
    const std::size_t four = co_await exchange(*stream, batch, room, 4);
    CHECK(first + second + four == 6);
  }
  CHECK(allocations == before);
  stream->abort();
  co_await at.finish();
}

TASK_TEST("http server: a connection allocates no more than the pipe itself") {
  rig at{loop, handle};
  std::array<std::byte, 4096> room;
  const std::string request = get("/", "Connection: close\r\n");
  std::size_t before = 0;
  std::size_t by_pipes = 0;
  for (int i = 0; i < 300; ++i) {
    if (i == 100) before = allocations;
    auto stream = co_await at.listener.connect();
    REQUIRE(stream.has_value());
    const std::size_t got = co_await exchange(*stream, request, room, 2);
    CHECK(got == 1);
  }
  const std::size_t served = allocations - before;
  before = allocations;
  for (int i = 0; i < 200; ++i) {
    auto pair = net::pipe_stream::make(loop);
    auto& [first, second] = pair;
    const auto there = co_await first.write(std::as_bytes(std::span{request}));
    const auto back = co_await second.write(std::as_bytes(std::span{request}));
    REQUIRE((there && back));
  }
  by_pipes = allocations - before;
  // The listener's queue is a deque, which allocates a block now and then.
  CHECK(served <= by_pipes + 20);
  co_await at.finish();
}

#endif
