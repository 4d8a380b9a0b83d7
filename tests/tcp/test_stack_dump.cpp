#include <sstream>

#include "runnel/dump.hpp"
#include "runnel/task_group.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// What a dump says of tasks that wait for the TCP stack.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

task<> accept_for_ever(tcp::listener& on) {
  co_await on.accept();
}

task<> read_some(tcp::stream& of) {
  std::byte buffer[100];
  co_await of.read(buffer);
}

task<> write_much(tcp::stream& to) {
  const std::string text = pattern(500'000);
  co_await to.write(bytes_of(text));
}

task<> wait_drained(tcp::stream& of) {
  co_await of.drained();
}

task<> wait_readable(tcp::stream& of) {
  co_await of.readable();
}

task<> connect_nowhere(network& both) {
  co_await both.client.connect({server_address, 81});
}

std::string detail_of(const std::vector<task_record>& all, std::string_view what) {
  for (const task_record& each : all) {
    if (each.what == what) return each.detail;
  }
  return "nobody waits for " + std::string(what);
}

}  // namespace

TASK_TEST("tcp dump: each wait is named, with its peer") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  ends other = co_await connect_ends(both, listener);
  both.cut();
  task_group group{loop};
  group.spawn(accept_for_ever(listener));
  group.spawn(read_some(at.server));
  group.spawn(write_much(at.client));
  group.spawn(wait_readable(other.server));
  group.spawn(connect_nowhere(both));
  co_await sleep(1ms);
  // Not before there is something to drain.
  group.spawn(wait_drained(at.client));
  co_await sleep(100ms);
  const auto all = list_tasks(loop);
  CHECK(all.size() == 6);
  const std::string client = at.client.local_endpoint().to_string();
  CHECK(detail_of(all, "tcp accept") == listener.local_endpoint().to_string());
  CHECK(detail_of(all, "tcp read") == client);
  CHECK(detail_of(all, "tcp write") == server_endpoint.to_string());
  CHECK(detail_of(all, "tcp drained") == server_endpoint.to_string());
  CHECK(detail_of(all, "tcp readable") == other.client.local_endpoint().to_string());
  CHECK(detail_of(all, "tcp connect") == net::endpoint(server_address, 81).to_string());
  std::ostringstream text;
  dump_tasks(loop, text);
  CHECK(text.str().find("read_some at test_stack_dump.cpp:") != std::string::npos);
  group.cancel();
  co_await group.join();
}
