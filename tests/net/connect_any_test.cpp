#include "runnel/net/connect_any.hpp"

#include <stdexcept>
#include <vector>

#include "net/scripted_connector.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

using namespace std::chrono_literals;
using namespace runnel;
using net::connect_any;
using testing::scripted_connector;

namespace {

const net::endpoint first{"192.0.2.1", 80};
const net::endpoint second{"192.0.2.2", 80};
const net::endpoint third{"192.0.2.3", 80};

std::vector<net::endpoint> three() {
  return {first, second, third};
}

}  // namespace

TASK_TEST("connect_any: the first that answers at once is the only one asked") {
  scripted_connector by;
  auto opened = co_await connect_any(by, three());
  REQUIRE(opened.has_value());
  CHECK(opened->remote_endpoint() == first);
  CHECK(by.asked.size() == 1);
}

TASK_TEST("connect_any: a refusal brings the next one at once") {
  scripted_connector by;
  by.script[first.address] = {1ms, std::errc::connection_refused};
  const auto begin = loop.now();
  auto opened = co_await connect_any(by, three());
  REQUIRE(opened.has_value());
  CHECK(opened->remote_endpoint() == second);
  CHECK(loop.now() - begin < 250ms);
}

TASK_TEST("connect_any: one that is silent costs one delay, and is cancelled and awaited") {
  scripted_connector by;
  by.script[first.address] = {scripted_connector::never};
  by.script[second.address] = {10ms};
  const auto begin = loop.now();
  auto opened = co_await connect_any(by, three());
  REQUIRE(opened.has_value());
  CHECK(opened->remote_endpoint() == second);
  CHECK(loop.now() - begin == 260ms);
  CHECK(by.asked.size() == 2);
  CHECK(by.under_way == 0);
}

TASK_TEST("connect_any: a late answer of an earlier one still wins") {
  scripted_connector by;
  by.script[first.address] = {300ms};
  by.script[second.address] = {scripted_connector::never};
  by.script[third.address] = {scripted_connector::never};
  auto opened = co_await connect_any(by, three());
  REQUIRE(opened.has_value());
  CHECK(opened->remote_endpoint() == first);
  CHECK(by.under_way == 0);
}

TASK_TEST("connect_any: when none answers the first failure is told") {
  scripted_connector by;
  by.script[first.address] = {20ms, std::errc::host_unreachable};
  by.script[second.address] = {20ms, std::errc::connection_refused};
  by.script[third.address] = {400ms, std::errc::timed_out};
  auto opened = co_await connect_any(by, three());
  CHECK(opened.error() == std::errc::host_unreachable);
  CHECK(by.asked.size() == 3);
  auto none = co_await connect_any(by, std::vector<net::endpoint>());
  CHECK(none.error() == std::errc::invalid_argument);
}

TASK_TEST("connect_any: what an attempt throws is thrown at once, and the others are cancelled") {
  scripted_connector by;
  by.script[first.address] = {scripted_connector::never};
  by.script[second.address] = {.after = 1ms, .throws = true};
  const auto begin = loop.now();
  bool thrown = false;
  try {
    auto opened = co_await connect_any(by, three());
    CHECK(opened.has_error());
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(loop.now() - begin == 251ms);
  CHECK(by.asked.size() == 2);
  CHECK(by.under_way == 0);
}

TASK_TEST("connect_any: the last attempt may throw and nobody waits for ever") {
  scripted_connector by;
  by.script[first.address] = {.after = 1ms, .throws = true};
  bool thrown = false;
  try {
    auto opened = co_await connect_any(by, std::vector<net::endpoint>(1, first));
    CHECK(opened.has_error());
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);
}

TASK_TEST("connect_any: a deadline from outside leaves nothing behind") {
  scripted_connector by;
  by.script[first.address] = {scripted_connector::never};
  by.script[second.address] = {scripted_connector::never};
  by.script[third.address] = {scripted_connector::never};
  auto opened = co_await with_timeout(1s, connect_any(by, three()));
  CHECK(opened.error() == errc::deadline_exceeded);
  CHECK(by.asked.size() == 3);
  CHECK(by.under_way == 0);
}

TEST_CASE("connect_any: it may be cancelled or destroyed at any point") {
  static constexpr auto body = [](loop&, std::uint64_t) -> task<> {
    scripted_connector by;
    by.script[first.address] = {600ms, std::errc::connection_refused};
    by.script[second.address] = {700ms};
    by.script[third.address] = {scripted_connector::never};
    auto opened = co_await connect_any(by, three());
    CHECK((opened.has_value() || opened.error() == errc::cancelled));
    CHECK(by.under_way == 0);
  };
  testing::kill_everywhere(body, {.time_step = 125ms});
  testing::cancel_everywhere(body, {.time_step = 125ms});
}
