// The chat room when each allocation fails once.

#include <string>

#include "examples/support/chat_room.hpp"
#include "runnel/net/pipe.hpp"
#include "runnel/sleep.hpp"
#include "runnel/testing/replace_new.hpp"
#include "support/failing_group.hpp"

namespace {

using namespace std::chrono_literals;
using example::chat_room;
using runnel::task;
using runnel::net::pipe_stream;

task<> type(pipe_stream& to, std::string_view text) {
  co_await to.write(std::as_bytes(std::span(text)));
  co_await runnel::sleep(1ms);
}

task<> serve(chat_room& room, pipe_stream& client) {
  return room.serve(std::move(client));
}

task<> meet(runnel::loop& loop, std::uint64_t) {
  chat_room room({.queue_lines = 2});
  auto ann = pipe_stream::make(loop);
  auto bob = pipe_stream::make(loop);
  runnel::testing::failing_group serving{loop};
  serving.spawn([&] { return serve(room, ann.first); });
  serving.spawn([&] { return serve(room, bob.first); });
  std::exception_ptr failed;
  try {
    co_await type(ann.second, "/name Ann\nhello\n");
    co_await type(bob.second, "/who\n/quit\n");
  } catch (const std::bad_alloc&) {
    failed = std::current_exception();
  }
  ann.second.abort();
  bob.second.abort();
  serving.cancel();
  co_await serving.join();
  CHECK(room.clients() == 0);
  serving.rethrow();
  if (failed) std::rethrow_exception(failed);
}

}  // namespace

TEST_CASE("chat: who finds no memory leaves the room, and nothing ends because of that") {
  runnel::testing::fail_everywhere(&meet, {.operations = false});
}
