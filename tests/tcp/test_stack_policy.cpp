#include <algorithm>
#include <vector>

#include "stack_network.hpp"
#include "support/task_test.hpp"
#include "tcp/src/keys.hpp"

// Policies through the surface: stack, listener and stream, as values and by name.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using text = std::optional<std::string>;

std::vector<tcp::secret_key> all_of(const tcp::host_keys& keys) {
  return {keys.lookup, keys.isn, keys.tuple, keys.cookie, keys.fastopen};
}

bool all_differ(std::vector<tcp::secret_key> keys) {
  std::sort(keys.begin(), keys.end());
  return std::adjacent_find(keys.begin(), keys.end()) == keys.end();
}

}  // namespace

TASK_TEST("tcp stack: sysctls are set and read by name while it runs") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  auto pair = co_await connect_ends(both, listener);
  CHECK(both.client.set("net.ipv4.tcp_keepalive_time", "600") == "");
  CHECK(both.client.get("net.ipv4.tcp_keepalive_time") == text("600"));
  CHECK(pair.client.get("TCP_KEEPIDLE") == text("600"));
  CHECK(both.client.set("net.ipv4.tcp_syn_retries", "0") ==
        "net.ipv4.tcp_syn_retries must be 1 to 127; it is 0");
  CHECK(both.client.get("net.ipv4.tcp_syn_retrys") == std::nullopt);
  CHECK(both.client.get("fastopen_key") == text("(set)"));
}

TASK_TEST("tcp stack: a set of policies is taken over, or refused as a whole") {
  network both(loop);
  tcp::policy_set all = tcp::linux_policy();
  CHECK(both.client.set_policy(all).has_value());
  CHECK(both.client.policy() == all);
  all.stack.rfc1337 = true;
  all.connection.ttl = std::uint8_t{0};
  const auto refused = both.client.set_policy(all);
  CHECK(refused.error() == std::errc::invalid_argument);
  CHECK(both.client.policy() == tcp::linux_policy());
  co_return;
}

TASK_TEST("tcp stack: it is made of a set, keys included") {
  tcp::policy_set all = tcp::linux_policy();
  all.listener.backlog = 7;
  all.keys.cookie_key = {{1, 2}};
  tcp::stack_options options = options_for(client_address);
  options.use(all);
  CHECK(options.shared_keys == all.keys);
  net::link_pair wire{{}};
  tcp::stack stack(loop, wire.first(), std::move(options));
  auto listener = stack.listen({.port = 80}).value();
  CHECK(listener.info().backlog == 7);
  CHECK(listener.get("cookie_overflow") == text("drop"));
  all.keys = {};
  CHECK(stack.policy() == all);
  co_return;
}

TASK_TEST("tcp stack: keys are rotated by name and by call while it runs") {
  network both(loop);
  tcp::stack& stack = both.client;
  const std::string key = "00000001-00000000-00000002-00000000";
  for (const char* name : {"cookie_key", "fastopen_key", "net.ipv4.tcp_fastopen_key"}) {
    CHECK(stack.set(name, key) == "");
    CHECK(stack.set(name, key + "," + key) == "");
    CHECK(stack.set(name, key + ",1").find("must be 32 hexadecimal digits") != std::string::npos);
    CHECK(stack.get(name) == text("(set)"));
  }
  stack.rotate_cookie_key();
  stack.rotate_fastopen_key();
  stack.set_cookie_keys({1, 2}, {3, 4});
  stack.set_fastopen_keys({1, 2}, {3, 4});
  CHECK(stack.policy().keys == tcp::policy_keys());
  co_return;
}

TASK_TEST("tcp listener: options by name hold for it and for those that it makes") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  CHECK(listener.set("backlog", "9") == "");
  CHECK(listener.info().backlog == 9);
  CHECK(listener.set("TCP_KEEPIDLE", "30") == "");
  CHECK(listener.set("TCP_SYNCNT", "2") == "");
  CHECK(listener.policy().synack_retries == 2);
  CHECK(listener.get("TCP_KEEPIDLE") == text("30"));
  auto pair = co_await connect_ends(both, listener);
  CHECK(pair.server.get("TCP_KEEPIDLE") == text("30"));
  CHECK(pair.client.get("TCP_KEEPIDLE") == text("7200"));
  CHECK(listener.set("TCP_KEEPIDLE", "0") == "TCP_KEEPIDLE must be 1 to 32767 s; it is 0");
  CHECK(listener.set_policy({.backlog = 3}).has_value());
  CHECK(listener.info().backlog == 3);
  CHECK(listener.get("TCP_KEEPIDLE") == text("7200"));
  listener.close();
  CHECK(listener.set("backlog", "1") == "the listener is closed");
  CHECK(listener.get("backlog") == std::nullopt);
  CHECK(listener.set_policy({}).error() == std::errc::bad_file_descriptor);
}

TASK_TEST("tcp stream: options by name and as values, and the nearest level wins") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  auto pair = co_await connect_ends(both, listener);
  CHECK(pair.client.set("TCP_KEEPIDLE", "30") == "");
  CHECK(both.client.set("keepalive_time", "10min") == "");
  CHECK(pair.client.get("TCP_KEEPIDLE") == text("30"));
  CHECK(pair.client.policy().keepalive_time == 30s);
  CHECK(pair.client.set("TCP_MAXSEG", "600") == "max_segment is fixed when the connection is made");
  CHECK(pair.client.set("net.ipv4.tcp_fin_timeout", "1") ==
        "'net.ipv4.tcp_fin_timeout' holds for a whole stack; for a connection it is fin_timeout "
        "or TCP_LINGER2");
  tcp::connection_policy own;
  own.user_timeout = 5s;
  CHECK(pair.client.set_policy(own).has_value());
  CHECK(pair.client.get("TCP_USER_TIMEOUT") == text("5000"));
  CHECK(pair.client.get("TCP_KEEPIDLE") == text("600"));
  own.ttl = std::uint8_t{0};
  CHECK(pair.client.set_policy(own).error() == std::errc::invalid_argument);
  const auto ended = co_await pair.client.close();
  CHECK(ended.clean());
  CHECK(pair.client.set("TCP_NODELAY", "1") == "the stream is closed");
  CHECK(pair.client.get("TCP_NODELAY") == std::nullopt);
  CHECK(pair.client.policy() == tcp::connection_policy());
  CHECK(pair.client.set_policy({}).error() == std::errc::bad_file_descriptor);
}

TEST_CASE("tcp hostile: keys are each another, and come from a seed on a simulated loop alone") {
  const auto keys_of = [](loop_options options) {
    loop owner(options);
    return all_of(tcp::detail::random_keys(owner));
  };
  const auto real = keys_of({});
  std::vector<tcp::secret_key> both = keys_of({});
  both.insert(both.end(), real.begin(), real.end());
  CHECK(all_differ(both));
  const auto simulated = keys_of({.simulated = 7});
  CHECK(all_differ(simulated));
  CHECK(simulated == keys_of({.simulated = 7}));
  CHECK(simulated != keys_of({.simulated = 8}));
}
