// docs/buffers.md, run.
#include <pages/buffers.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string>

#include "runnel/net/link_pair.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "support/task_test.hpp"

namespace page = page_buffers;
using namespace std::chrono_literals;
using runnel::task;
namespace tcp = runnel::tcp;

namespace {

task<> send_block(tcp::stream& to, page::block& body) {
  auto taken = co_await page::answer(to, body);
  CHECK(taken.value() == 14 + 1000);
  to.shutdown().value();
  auto drained = co_await to.drained();
  CHECK(drained.has_value());
}

}  // namespace

RING_TASK_TEST("docs buffers: a line is read from a pipe, or the patience ends") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  auto late = co_await page::first_line(ends[0], 1ms);
  CHECK(late.error() == runnel::errc::deadline_exceeded);
  REQUIRE(::write(ends[1], "one\ntwo\n", 8) == 8);
  auto line = co_await page::first_line(ends[0], 10s);
  CHECK(line.value() == "one");
  ::close(ends[0]);
  ::close(ends[1]);
}

TASK_TEST("docs buffers: what is lent is counted, and what was shared is given back") {
  runnel::net::link_pair wire;
  tcp::stack server(loop, wire.first(), {.addresses = {"10.0.0.1"}});
  tcp::stack client(loop, wire.second(), {.addresses = {"10.0.0.2"}});
  auto listener = server.listen({.port = 7}).value();
  auto near = co_await client.connect({"10.0.0.1", 7});
  auto far = co_await listener.accept();
  page::block body{std::vector<std::byte>(1000, std::byte{'\n'})};

  runnel::task_group group{loop};
  group.spawn(send_block(near.value(), body));
  auto lines = co_await page::count_lines(far.value());
  CHECK(lines.value() == 1001);
  co_await group.join();
  CHECK(body.in_use == 0);
}
