// docs/cancellation.md, run.
#include <pages/cancellation.hpp>

#include <string>
#include <utility>

#include "support/task_test.hpp"

namespace page = page_cancellation;
using namespace std::chrono_literals;
using runnel::task;
using runnel::net::pipe_stream;

namespace {

task<> set_after(runnel::event& what, runnel::duration time) {
  co_await runnel::sleep(time);
  what.set();
}

task<> answer_once(pipe_stream& peer) {
  std::array<std::byte, 16> buffer;
  auto got = co_await peer.read(buffer);
  auto sent = co_await peer.write(std::span<const std::byte>(buffer).first(got.value()));
  CHECK(sent.has_value());
}

}  // namespace

TASK_TEST("docs cancellation: a group ends when it is told to") {
  runnel::event stop;
  runnel::task_group group{loop};
  group.spawn(set_after(stop, 3500ms));
  int ticks = co_await page::tick_until(stop);
  CHECK(ticks == 3);
  co_await group.join();
}

TASK_TEST("docs cancellation: an answer comes, or the deadline") {
  auto silent = pipe_stream::make(loop);
  std::array<std::byte, 16> buffer;
  auto late = co_await page::ask(silent.first, buffer);
  CHECK(late.error() == runnel::errc::deadline_exceeded);

  auto ends = pipe_stream::make(loop);
  runnel::task_group group{loop};
  group.spawn(answer_once(ends.second));
  auto answer = co_await page::ask(ends.first, buffer);
  CHECK(answer.value() == "ping");
  co_await group.join();
}

TASK_TEST("docs cancellation: a cancelled server says its last words") {
  auto ends = pipe_stream::make(loop);
  runnel::task_group group{loop};
  group.spawn(page::serve(std::move(ends.second)));
  co_await runnel::sleep(1s);
  group.cancel();
  co_await group.join();
  std::array<std::byte, 16> buffer;
  auto words = co_await ends.first.read(buffer);
  CHECK(words.value() == 3);
  auto end = co_await ends.first.read(buffer);
  CHECK(end.value() == 0);
}
