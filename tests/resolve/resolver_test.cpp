#include "runnel/net/resolver.hpp"
#include "support/temporary_folder.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "name_server.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

using namespace runnel;
using namespace std::chrono_literals;
using net::resolve_errc;
using net::resolver;

namespace {

using addresses = std::vector<net::address>;

const net::address four = *net::address::parse("192.0.2.7");
const net::address other_four = *net::address::parse("192.0.2.8");
const net::address six = *net::address::parse("2001:db8::7");

std::map<std::string, testing::name_server::record> names() {
  return {{"both.example", {{four, six}}}, {"four.example", {{four, other_four}}},
          {"six.example", {{six}}},        {"broken.example", {{}, 2}},
          {"secret.example", {{}, 5}},     {"silent.example", {{}, -1}},
          {"noise.example", {{}, -2}}};
}

net::resolver_options asking(const testing::name_server& server) {
  net::resolver_options options;
  options.servers.push_back(server.where());
  options.timeout = 100ms;
  options.tries = 2;
  return options;
}

task<> look_up(resolver& with, std::string name, std::error_code& error, addresses& found) {
  auto got = co_await with.resolve(name);
  error = got.has_error() ? got.error() : std::error_code{};
  if (got) found = *got;
}

}  // namespace

RING_TASK_TEST("resolve: a name gives its addresses of either family or of one") {
  testing::name_server server{names()};
  resolver with{loop, asking(server)};
  auto both = co_await with.resolve("both.example");
  REQUIRE(both.has_value());
  CHECK(both->size() == 2);
  auto v4 = co_await with.resolve("both.example", net::family::v4);
  REQUIRE(v4.has_value());
  CHECK(*v4 == addresses{four});
  auto v6 = co_await with.resolve("both.example", net::family::v6);
  REQUIRE(v6.has_value());
  CHECK(*v6 == addresses{six});
  auto several = co_await with.resolve("four.example");
  REQUIRE(several.has_value());
  CHECK(several->size() == 2);
}

RING_TASK_TEST("resolve: each refusal has an error of its own") {
  testing::name_server server{names()};
  resolver with{loop, asking(server)};
  auto unknown = co_await with.resolve("nobody.example");
  CHECK(unknown.error() == resolve_errc::not_found);
  auto wrong_family = co_await with.resolve("four.example", net::family::v6);
  CHECK(wrong_family.error() == resolve_errc::no_address);
  auto broken = co_await with.resolve("broken.example");
  CHECK((broken.error() == resolve_errc::no_server ||
         broken.error() == resolve_errc::server_failure));
  auto secret = co_await with.resolve("secret.example");
  CHECK((secret.error() == resolve_errc::no_server || secret.error() == resolve_errc::refused));
  auto silent = co_await with.resolve("silent.example");
  CHECK(silent.error() == std::errc::timed_out);
  auto noise = co_await with.resolve("noise.example");
  CHECK(noise.has_error());
}

RING_TASK_TEST("resolve: what is no name asks nobody") {
  testing::name_server server{{}};
  resolver with{loop, asking(server)};
  auto empty = co_await with.resolve("");
  CHECK(empty.error() == resolve_errc::bad_name);
  auto too_long = co_await with.resolve(std::string(300, 'a'));
  CHECK(too_long.error() == resolve_errc::bad_name);
  auto cut = co_await with.resolve(std::string_view("four.example\0.evil", 18));
  CHECK(cut.error() == resolve_errc::bad_name);
  auto long_label = co_await with.resolve(std::string(70, 'a') + ".example");
  CHECK(long_label.has_error());
}

RING_TASK_TEST("resolve: the text of an address is that address") {
  testing::name_server server{{}};
  resolver with{loop, asking(server)};
  auto v4 = co_await with.resolve("192.0.2.7");
  REQUIRE(v4.has_value());
  CHECK(*v4 == addresses{four});
  auto v6 = co_await with.resolve("2001:db8::7", net::family::v6);
  REQUIRE(v6.has_value());
  CHECK(*v6 == addresses{six});
  auto wrong = co_await with.resolve("192.0.2.7", net::family::v6);
  CHECK(wrong.error() == resolve_errc::no_address);
}

RING_TASK_TEST("resolve: localhost and the file of hosts need no server") {
  const testing::temporary_folder folder;
  const std::string path = folder.file("hosts");
  std::ofstream(path) << "# a comment\n192.0.2.7 in-the-file.example alias\n";
  ::setenv("CARES_HOSTS", path.c_str(), 1);
  testing::name_server server{names()};
  resolver with{loop, asking(server)};
  auto listed = co_await with.resolve("in-the-file.example", net::family::v4);
  auto alias = co_await with.resolve("alias", net::family::v4);
  ::unsetenv("CARES_HOSTS");
  REQUIRE(listed.has_value());
  CHECK(*listed == addresses{four});
  REQUIRE(alias.has_value());
  CHECK(*alias == addresses{four});
  auto self = co_await with.resolve("localhost", net::family::v4);
  REQUIRE(self.has_value());
  CHECK(self->front().is_loopback());
}

RING_TASK_TEST("resolve: many names at once") {
  testing::name_server server{names()};
  resolver with{loop, asking(server)};
  constexpr std::size_t count = 100;
  std::vector<std::error_code> errors(count);
  std::vector<addresses> found(count);
  task_group group{loop};
  for (std::size_t i = 0; i < count; ++i) {
    group.spawn(look_up(with, i % 2 == 0 ? "four.example" : "nobody.example", errors[i], found[i]));
  }
  auto joined = co_await group.join();
  CHECK(joined.has_value());
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(found[i].size() == (i % 2 == 0 ? 2 : 0));
    CHECK((errors[i] == resolve_errc::not_found) == (i % 2 == 1));
  }
}

RING_TASK_TEST("resolve: a deadline ends a look-up that nobody answers") {
  testing::name_server server{names()};
  auto options = asking(server);
  options.timeout = 1h;
  resolver with{loop, options};
  auto late = co_await with_timeout(20ms, with.resolve("silent.example"));
  CHECK(late.error() == errc::deadline_exceeded);
  auto next = co_await with.resolve("four.example");
  CHECK(next.has_value());
}

TEST_CASE("resolve: a look-up may be cancelled or destroyed at any point") {
  static testing::name_server server{names()};
  static constexpr auto body = [](loop& on, std::uint64_t) -> task<> {
    auto options = asking(server);
    options.timeout = 4ms;
    options.tries = 1;
    resolver with{on, options};
    auto quick = co_await with.resolve("four.example");
    auto slow = co_await with.resolve("silent.example");
    CHECK(!slow.has_value());
    CHECK((quick.has_value() || quick.error()));
  };
  testing::kill_everywhere_real(body, {.time_step = 2ms, .times = 4, .passes = 2});
  testing::cancel_everywhere_real(body, {.time_step = 2ms, .times = 4, .passes = 2});
}

RING_TASK_TEST("resolve: destroying the resolver ends its look-ups") {
  testing::name_server server{names()};
  auto with = std::make_unique<resolver>(loop, asking(server));
  std::error_code error;
  addresses found;
  task_group group{loop};
  group.spawn(look_up(*with, "silent.example", error, found));
  co_await yield();
  with.reset();
  auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(error == errc::cancelled);
}

TASK_TEST("resolve: a simulated loop says that it has no network") {
  resolver with{loop};
  auto name = co_await with.resolve("four.example");
  CHECK(name.error() == errc::not_supported);
  auto literal = co_await with.resolve("192.0.2.7");
  CHECK(literal.has_value());
}

TEST_CASE("resolve: a server that is no address is refused in one sentence") {
  loop owner;
  net::resolver_options options;
  options.servers.push_back({});
  CHECK_THROWS_WITH_AS(resolver(owner, options), doctest::Contains("servers"),
                       std::invalid_argument);
}
