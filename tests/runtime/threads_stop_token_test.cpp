#include "runnel/stop_token.hpp"

#include <stop_token>
#include <thread>

#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/pace.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;

task<int> counts_to(int limit) {
  int done = 0;
  while (done < limit) {
    result<void> slept = co_await runnel::sleep(1ms);
    if (slept.has_error()) break;
    ++done;
  }
  co_return done;
}

task<> stoppable(runnel::loop&, std::uint64_t) {
  std::stop_source source;
  co_await runnel::with_stop_token(source.get_token(), runnel::sleep(2ms));
  co_await runnel::with_stop_token(source.get_token(), counts_to(2));
  source.request_stop();
  co_await runnel::with_stop_token(source.get_token(), counts_to(2));
  co_await runnel::sleep(1ms);
}

task<> stop_later(std::stop_source& source) {
  co_await runnel::sleep(5ms);
  source.request_stop();
}

}  // namespace

TEST_CASE("stop token: a request from another thread cancels what the loop awaits") {
  for (int round = 0; round < runnel::testing::worthwhile(200); ++round) {
    runnel::loop loop;
    std::stop_source source;
    std::thread other{[&source] { source.request_stop(); }};
    auto body = [](std::stop_token token) -> task<> {
      result<void> slept = co_await runnel::with_stop_token(token, runnel::sleep(1h));
      CHECK(slept.error() == errc::cancelled);
    };
    loop.run(body(source.get_token()));
    other.join();
  }
}

TEST_CASE("stop token: requests that race with the end of the target do no harm") {
  runnel::loop loop;
  for (int round = 0; round < runnel::testing::worthwhile(500); ++round) {
    std::stop_source source;
    std::thread other{[&source] { source.request_stop(); }};
    auto body = [](std::stop_token token) -> task<> {
      co_await runnel::with_stop_token(token, runnel::yield());
      co_await runnel::with_stop_token(token, counts_to(0));
    };
    loop.run(body(source.get_token()));
    other.join();
  }
}

TASK_TEST("stop token: one that was asked before is heard at once") {
  std::stop_source source;
  source.request_stop();
  runnel::time_point start = loop.now();
  result<void> slept = co_await runnel::with_stop_token(source.get_token(), runnel::sleep(1h));
  CHECK(slept.error() == errc::cancelled);
  int counted = co_await runnel::with_stop_token(source.get_token(), counts_to(5));
  CHECK(counted == 0);
  CHECK(loop.now() == start);
}

TASK_TEST("stop token: cancels only the target, which keeps what it has done") {
  std::stop_source source;
  runnel::task_group group{loop};
  group.spawn(stop_later(source));
  int counted = co_await runnel::with_stop_token(source.get_token(), counts_to(100));
  CHECK(counted >= 4);
  CHECK(counted <= 5);
  result<void> slept = co_await runnel::sleep(1ms);
  CHECK(slept.has_value());
  co_await group.join();
}

TASK_TEST("stop token: without a source it costs nothing and changes nothing") {
  int counted = co_await runnel::with_stop_token(std::stop_token{}, counts_to(3));
  CHECK(counted == 3);
  result<void> late = co_await runnel::with_timeout(
      1ms, runnel::with_stop_token(std::stop_token{}, runnel::sleep(1h)));
  CHECK(late.error() == errc::deadline_exceeded);
}

TEST_CASE("stop token: the frame may be destroyed at every suspension point") {
  runnel::testing::kill_everywhere(&stoppable);
}

TEST_CASE("stop token: cancelled from outside at every suspension point") {
  runnel::testing::cancel_everywhere(&stoppable);
}
