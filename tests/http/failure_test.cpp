// Server and client over pipes when each allocation fails once.

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "client_support.hpp"
#include "runnel/testing/replace_new.hpp"
#include "support/failing_group.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

/// A body in two parts, each from memory of its own.
class two_parts final : public http::body_source {
 public:
  task<runnel::result<std::size_t>> read(std::span<std::byte> into) override {
    if (given_ == 2) co_return std::size_t{0};
    ++given_;
    const std::string part(300, 'b');
    const std::size_t count = std::min(part.size(), into.size());
    std::memcpy(into.data(), part.data(), count);
    co_return count;
  }

 private:
  int given_ = 0;
};

task<http::response> handle(http::request& request) {
  auto body = co_await request.body().read_all();
  if (!body) co_return http::response::plain(http::status::internal_server_error);
  if (request.path() == "/big") co_return http::response::text(std::string(2000, 'b'));
  if (request.path() == "/parts") {
    auto source = std::make_unique<two_parts>();
    co_return http::response::stream(std::move(source), "text/plain");
  }
  co_return http::response::text(std::move(*body));
}

task<> talk(pipe_client& client) {
  for (const char* target : {"/small", "/big", "/parts"}) {
    auto response = co_await client.get(server_at, target);
    if (!response) continue;
    std::string body;
    const auto read = co_await response->body().read_into(body, 1 << 20);
    if (read && response->status() == http::status::ok) CHECK((body.empty() || body[0] == 'b'));
  }
  http::client_request request{http::method::post, "/echo"};
  request.set_body(std::string(1500, 'u')).expect_continue();
  auto response = co_await client.send(server_at, request);
  if (!response) co_return;
  std::string body;
  const auto read = co_await response->body().read_into(body, 1 << 20);
  if (read && response->status() == http::status::ok) CHECK(body.size() == 1500);
}

task<> ask_and_drain(pipe_client& client,
                     http::server<task<http::response> (*)(http::request&)>& server) {
  co_await talk(client);
  client.close_idle();
  server.drain();
}

task<> exchange(runnel::loop& owner, std::uint64_t) {
  net::pipe_listener_options small;
  small.capacity = 512;
  net::pipe_listener listener{owner, small};
  http::server_options options = quiet_options();
  options.max_connections_per_source = 3;
  http::server<task<http::response> (*)(http::request&)> server{owner, &handle, options};
  net::pipe_connector connector{listener};
  pipe_client client{owner, connector};
  failing_group group{owner};
  group.spawn([&] { return server.serve(listener); });
  group.spawn([&] { return ask_and_drain(client, server); });
  co_await group.join();
  CHECK(server.counters().busy == 0);
  CHECK(client.counters().busy == 0);
  group.rethrow();
}

}  // namespace

TEST_CASE("http failure: server and client bear every failed allocation") {
  fail_everywhere(&exchange);
}
