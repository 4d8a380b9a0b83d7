#include <runnel/dump.hpp>
#include <runnel/net/pipe.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task_group.hpp>

#include "support/task_test.hpp"

#include <array>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace runnel;

namespace {

task<> read_some(net::pipe_stream& of) {
  std::array<std::byte, 10> into{};
  co_await of.read(into);
}

task<> write_much(net::pipe_stream& to) {
  const std::vector<std::byte> bytes(1000);
  co_await to.write(std::span<const std::byte>(bytes));
}

task<> accept_one(net::pipe_listener& on) {
  co_await on.accept();
}

int count_of(const std::vector<task_record>& all, std::string_view what) {
  int count = 0;
  for (const task_record& each : all) {
    if (each.what == what) ++count;
  }
  return count;
}

}  // namespace

TASK_TEST("pipe dump: each wait is named") {
  net::pipe_options small;
  small.capacity = 10;
  auto ends = net::pipe_stream::make(loop, small);
  auto& [first, second] = ends;
  net::pipe_listener listener(loop, {});
  task_group group{loop};
  group.spawn(read_some(first));
  group.spawn(write_much(first));
  group.spawn(accept_one(listener));
  co_await sleep(1s);
  const auto all = list_tasks(loop);
  CHECK(all.size() == 3);
  CHECK(count_of(all, "pipe read") == 1);
  CHECK(count_of(all, "pipe write") == 1);
  CHECK(count_of(all, "pipe accept") == 1);
  group.cancel();
  co_await group.join();
}
