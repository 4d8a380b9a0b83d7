// Once the buffers are there, a request on a kept connection allocates nothing.

#include "client_support.hpp"
#include "support/allocation_count.hpp"

#if RUNNEL_COUNT_ALLOCATIONS

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

http::response hello(http::request&) {
  return http::response::literal("hello\n");
}

task<> fetch_into_place(pipe_client& client, std::string& collected, int times) {
  for (int i = 0; i < times; ++i) {
    auto response = co_await client.get(server_at, "/hello");
    collected.clear();
    const auto read = co_await response->body().read_into(collected, 100);
    if (!read || collected != "hello\n") co_return;
  }
}

}  // namespace

TASK_TEST("http client: a request on a kept connection allocates nothing") {
  rig<http::response (*)(http::request&)> server{loop, &hello};
  net::pipe_connector connector{server.listener};
  pipe_client client{loop, connector};
  std::string collected;
  co_await fetch_into_place(client, collected, 10);
  const std::size_t before = allocations;
  co_await fetch_into_place(client, collected, 900);
  CHECK(allocations == before);
  CHECK(client.counters().responses == 910);
  client.close_idle();
  co_await server.finish();
}

#endif
