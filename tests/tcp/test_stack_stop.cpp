#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

// Tasks that are destroyed, or cancelled, wherever they wait for the TCP stack. Worth most under
// AddressSanitizer.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

tcp::connection_policy tiny_buffers() {
  tcp::connection_policy tiny;
  tiny.send_buffer = 8'192;
  tiny.receive_buffer = 8'192;
  return tiny;
}

task<> serve(tcp::listener& on) {
  for (;;) {
    auto accepted = co_await on.accept();
    if (!accepted) co_return;
    tcp::stream at = std::move(*accepted);
    std::byte buffer[2'000];
    for (;;) {
      const auto ready = co_await at.readable();
      if (!ready) co_return;
      const auto got = co_await at.read(buffer);
      if (!got) co_return;
      if (*got == 0) break;
      const auto sent = co_await at.write(std::span<const std::byte>(buffer, *got));
      if (!sent) co_return;
    }
    co_await at.close();
  }
}

task<> write_text(tcp::stream& to, std::string_view text) {
  co_await to.write(bytes_of(text));
  to.shutdown();
  co_await to.drained();
}

// Every awaitable of the surface, over buffers too small for the text, so that each of them waits.
// Nothing is checked on the way: when it is cancelled each may give an error.
task<> everything(loop& on, std::uint64_t) {
  network both(on, tiny_buffers());
  auto listener = both.listen();
  const std::string text = pattern(20'000);
  cancel_scope& mine = co_await this_scope();
  task_group group{mine, on_failure::collect};
  group.spawn(serve(listener));
  auto refused = co_await both.client.connect({server_address, 81});
  (void)refused;
  auto connected = co_await with_timeout(1s, both.client.connect(server_endpoint));
  if (connected) {
    tcp::stream at = std::move(*connected);
    at.set_read_deadline(on.now() + 1s);
    group.spawn(write_text(at, text));
    const std::string got = co_await read_to_end(at);
    if (!mine.cancelled()) CHECK(got == text);
    co_await at.close();
    listener.close();
    co_await group.join();
  }
  listener.close();
  co_await group.join();
  co_await both.client.idle();
}

// The same with the group declared first, so that on the way down the stacks go before the tasks
// that use them.
task<> stacks_go_first(loop& on, std::uint64_t) {
  task_group group{on, on_failure::collect};
  const std::string text = pattern(20'000);
  network both(on, tiny_buffers());
  auto listener = both.listen();
  group.spawn(serve(listener));
  auto connected = co_await both.client.connect(server_endpoint);
  tcp::stream at = std::move(connected.value());
  group.spawn(write_text(at, text));
  std::byte buffer[100];
  for (;;) {
    const auto got = co_await at.read(buffer);
    if (!got || *got == 0) break;
  }
  co_await at.close();
  listener.close();
  co_await group.join();
}

}  // namespace

TEST_CASE("tcp stack: tasks may be destroyed wherever they wait") {
  testing::kill_everywhere(&everything, {.time_step = 1ms, .times = 60, .passes = 4});
}

TEST_CASE("tcp stack: tasks may be cancelled wherever they wait and come to their end") {
  testing::cancel_everywhere(&everything, {.time_step = 1ms, .times = 60, .passes = 4});
}

TEST_CASE("tcp stack: destroyed tasks may find the stack gone before their streams") {
  testing::kill_everywhere(&stacks_go_first, {.time_step = 1ms, .times = 60, .passes = 4});
}

TEST_CASE("tcp stack: a loop without anything to wait for destroys tasks that hold streams") {
  loop driver{{.simulated = 0}};
  const auto waits_for_ever = [](loop& on) -> task<> {
    task_group group{on};
    network both(on);
    auto listener = both.listen();
    ends at = co_await connect_ends(both, listener);
    group.spawn(serve(listener));
    std::byte buffer[16];
    co_await at.client.read(buffer);
  };
  CHECK_THROWS_AS(driver.run(waits_for_ever(driver)), deadlock_error);
}
