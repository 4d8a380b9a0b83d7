#include "runnel/net/connect_to.hpp"

#include <map>

#include "name_server.hpp"
#include "net/scripted_connector.hpp"
#include "support/task_test.hpp"

using namespace std::chrono_literals;
using namespace runnel;
using testing::scripted_connector;

namespace {

const net::address four = *net::address::parse("192.0.2.7");
const net::address other_four = *net::address::parse("192.0.2.8");
const net::address six = *net::address::parse("2001:db8::7");

}  // namespace

TEST_CASE("connect_to: the families are tried in turn") {
  const auto order = net::detail::in_turn({four, other_four, six}, 80);
  const std::vector<net::endpoint> wanted{{four, 80}, {six, 80}, {other_four, 80}};
  CHECK(order == wanted);
}

RING_TASK_TEST("connect_to: a host's name leads to the address that answers") {
  testing::name_server server{{{"two.example", {{four, other_four}}}}};
  net::resolver_options options;
  options.servers.push_back(server.where());
  net::resolver names{loop, options};
  scripted_connector by;
  by.script[four] = {0ms, std::errc::connection_refused};
  auto opened = co_await net::connect_to(by, names, "two.example", 8080);
  REQUIRE(opened.has_value());
  CHECK(opened->remote_endpoint() == net::endpoint{other_four, 8080});
  auto unknown = co_await net::connect_to(by, names, "nobody.example", 8080);
  CHECK(unknown.error() == net::resolve_errc::not_found);
  const net::connect_to_options v6_only{.family = net::family::v6};
  auto wrong_family = co_await net::connect_to(by, names, "two.example", 8080, v6_only);
  CHECK(wrong_family.error() == net::resolve_errc::no_address);
}
