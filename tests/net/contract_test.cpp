// Broken contracts abort with one sentence in every build.

#include <runnel/net/pipe.hpp>
#include <runnel/wire/packet.hpp>

#include "net/bytes.hpp"
#include "support/death_test.hpp"
#include "support/task_test.hpp"

#include <runnel/sleep.hpp>
#include <runnel/task_group.hpp>

#include <optional>

using namespace std::chrono_literals;
using namespace runnel;
using net::pipe_stream;
using testing::death;
using testing::run_in_child;

namespace {

bool one_sentence(const death& d) {
  return d.said.starts_with("runnel: ") && d.said.ends_with(".\n") &&
         d.said.find('\n') == d.said.size() - 1;
}

task<> read_some(pipe_stream& from) {
  test::byte_string buffer(1);
  co_await from.read(buffer);
}

}  // namespace

TEST_CASE("contract: a second reader of a stream aborts") {
  const death d = run_in_child([] {
    loop driver{loop_options{.simulated = 0}};
    const auto body = [](loop& owner) -> task<> {
      auto [a, b] = pipe_stream::make(owner);
      task_group group{owner};
      group.spawn(read_some(a));
      group.spawn(read_some(a));
      co_await group.join();
    };
    driver.run(body(driver));
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
  CHECK(d.said.find("one reader and one writer") != std::string::npos);
}

TEST_CASE("contract: a stream that was moved from aborts when it is used") {
  const death d = run_in_child([] {
    loop driver{loop_options{.simulated = 0}};
    auto [a, b] = pipe_stream::make(driver);
    const pipe_stream taken = std::move(a);
    a.abort();
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
}

TEST_CASE("contract: a packet that outlives its pool aborts") {
  const death d = run_in_child([] {
    std::optional<net::packet_pool> pool{std::in_place};
    const net::packet held = pool->allocate(100);
    pool.reset();
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
}
