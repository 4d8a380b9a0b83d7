// Two stacks with a link of this process between them when each allocation fails once.

#include <string>
#include <vector>

#include "runnel/testing/replace_new.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
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

}  // namespace

TEST_CASE("tcp failure: a connection bears every failed allocation") {
  testing::fail_everywhere(&exchange);
}
