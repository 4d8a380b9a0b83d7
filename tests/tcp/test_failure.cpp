// Two stacks with a link of this process between them when each allocation fails once.

#include <string>
#include <vector>

#include "runnel/testing/replace_new.hpp"
#include "runnel/timeout.hpp"
#include "shard_network.hpp"
#include "support/failing_group.hpp"

namespace {

using namespace runnel;
using namespace std::chrono_literals;

task<> serve_one(tcp::listener& listener) {
  auto accepted = co_await listener.accept();
  if (!accepted) co_return;
  tcp::stream stream = std::move(*accepted);
  std::vector<std::byte> buffer(500);
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) break;
    const auto sent = co_await stream.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent) break;
  }
  co_await stream.close();
}

task<> ask_one(tcp::stack& from) {
  auto connected = co_await from.connect(tcp::test::server_endpoint);
  if (!connected) co_return;
  tcp::stream stream = std::move(*connected);
  const std::string text = tcp::test::pattern(3000);
  const auto sent = co_await stream.write(tcp::test::bytes_of(text));
  if (!sent) co_return;
  static_cast<void>(stream.shutdown());
  const std::string got = co_await tcp::test::read_to_end(stream);
  CHECK(text.substr(0, got.size()) == got);
  co_await stream.close();
}

task<> exchange(loop& owner, std::uint64_t) {
  tcp::test::network both(owner);
  tcp::listener_policy policy;
  policy.connection = both.server.engine().connection_defaults();
  auto listening = both.server.listen(tcp::test::server_endpoint, policy);
  if (!listening) co_return;
  tcp::listener listener = std::move(*listening);
  testing::failing_group group{owner};
  group.spawn([&] { return serve_one(listener); });
  group.spawn([&] { return ask_one(both.client); });
  // Longer than any peer of one that found no memory goes on trying.
  co_await with_timeout(2h, group.join());
  group.cancel();
  co_await group.join();
  group.rethrow();
}

/// Only while this lives may an allocation fail.
struct failing_part {
  failing_part() { testing::internal::allocation_faults.resume(); }
  failing_part(const failing_part&) = delete;
  failing_part& operator=(const failing_part&) = delete;
  ~failing_part() { testing::internal::allocation_faults.pause(); }
};

task<> look_at_shards(loop& owner, std::uint64_t) {
  testing::internal::allocation_faults.pause();
  tcp::test::shard_network net(owner);
  auto listeners = net.listen();
  co_await sleep(1ms);
  const failing_part from_here;
  const auto seen = co_await with_timeout(1h, net.servers[0]->look_at_all());
  if (!seen) CHECK(seen.error() == std::errc::not_enough_memory);
  if (seen) CHECK(seen->shards == 2);
}

/// Whether all allocations fail by now, so that what waits for memory waits for ever.
bool memory_is_over() {
  void* const some = ::operator new(1, std::nothrow);
  ::operator delete(some);
  return some == nullptr;
}

task<> change_shards(loop& owner, std::uint64_t) {
  testing::internal::allocation_faults.pause();
  tcp::test::shard_network net(owner);
  tcp::policy_set all = net.servers[0]->policy();
  all.connection.send_buffer = 50'000;
  co_await sleep(1ms);
  std::exception_ptr failed;
  bool over = false;
  {
    const failing_part from_here;
    try {
      CHECK(net.shards.set_policy(all).has_value());
      net.shards.rotate_cookie_key();
    } catch (const std::bad_alloc&) {
      failed = std::current_exception();
    }
    co_await sleep(100ms);
    over = memory_is_over();
  }
  const auto in_force = [&](std::size_t i) {
    return net.servers[i]->policy().connection.send_buffer;
  };
  if (!over) CHECK(in_force(0) == in_force(1));
  testing::internal::allocation_faults.resume();
  if (failed) std::rethrow_exception(failed);
}

}  // namespace

TEST_CASE("tcp failure: a connection bears every failed allocation") {
  testing::fail_everywhere(&exchange);
}

TEST_CASE("tcp failure: who looks at all shards gets an answer, also without memory for it") {
  testing::fail_everywhere(&look_at_shards, {.operations = false});
}

TEST_CASE("tcp failure: a change reaches all shards or none, also without memory for it") {
  testing::fail_everywhere(&change_shards, {.operations = false});
}
