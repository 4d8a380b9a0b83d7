// Streams of this process when each allocation fails once.

#include <string>
#include <vector>

#include <runnel/net/fiber_iostream.hpp>
#include <runnel/net/pipe.hpp>
#include <runnel/sleep.hpp>
#include <runnel/testing/replace_new.hpp>

#include "support/failing_group.hpp"

namespace {

using namespace std::chrono_literals;
using namespace runnel;
using net::pipe_listener;
using net::pipe_stream;

task<> accept_two(pipe_listener& listener) {
  for (int i = 0; i < 2; ++i) {
    auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    const std::byte one[3]{};
    auto sent = co_await accepted->write(std::span<const std::byte>(one));
    if (sent) CHECK(*sent == 3);
  }
}

task<> connect_one(pipe_listener& listener) {
  auto connected = co_await listener.connect();
  if (!connected) co_return;
  std::byte room[8];
  auto got = co_await connected->read(room);
  if (got) CHECK((*got == 3 || *got == 0));
}

task<> meet(loop& owner, std::uint64_t) {
  net::pipe_listener_options options;
  options.backlog = 1;
  pipe_listener listener{owner, options};
  testing::failing_group group{owner};
  group.spawn([&] { return connect_one(listener); });
  group.spawn([&] { return connect_one(listener); });
  co_await yield();
  group.spawn([&] { return accept_two(listener); });
  co_await sleep(1s);
  // Whoever found no memory has left the others waiting.
  group.cancel();
  co_await group.join();
  group.rethrow();
}

task<> read_in_fiber(loop& owner, std::uint64_t) {
  auto [mine, theirs] = pipe_stream::make(owner);
  auto body = [&stream = mine](fiber& self) {
    net::fiber_iostream io(self, stream, 16);
    io << "a question that is longer than the buffer" << std::endl;
    if (io.bad()) throw std::system_error(io.write_error());
    std::string answer;
    std::getline(io, answer);
    CHECK(io.bad());
  };
  testing::failing_group group{owner};
  group.spawn([&] { return run_fiber(body); });
  co_await sleep(1s);
  theirs.abort();
  co_await group.join();
  group.rethrow();
}

}  // namespace

TEST_CASE("net failure: pipes and their listeners bear every failed allocation") {
  testing::fail_everywhere(&meet);
}

TEST_CASE("net failure: std streams in a fiber bear every failed allocation") {
  testing::fail_everywhere(&read_in_fiber);
}
