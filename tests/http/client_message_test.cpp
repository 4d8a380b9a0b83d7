#include "client_support.hpp"
#include "runnel/random.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;
using runnel::task_group;

namespace {

constexpr std::string_view chunked_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string chunked(std::string_view rest) {
  return std::string{chunked_head}.append(rest);
}

}  // namespace

TASK_TEST("http client messages: bodies by length, in chunks, and until the end") {
  const outcome length = co_await answered_with(loop, ok("abc"));
  CHECK(length.body == "abc");
  const outcome chunks =
      co_await answered_with(loop, chunked("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"));
  CHECK(chunks.body == "abcde");
  CHECK_FALSE(chunks.error);
  const outcome end = co_await answered_with(loop, "HTTP/1.1 200 OK\r\n\r\nto the end");
  CHECK(end.body == "to the end");
  CHECK_FALSE(end.error);
  const outcome old = co_await answered_with(loop, "HTTP/1.0 200 OK\r\n\r\nold");
  CHECK(old.body == "old");
}

TASK_TEST("http client messages: interim responses are skipped, but not without end") {
  const std::string interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  const outcome seen = co_await answered_with(loop, interim + interim + ok("final"));
  CHECK(seen.status == 200);
  CHECK(seen.body == "final");
  std::string many;
  for (int i = 0; i < 17; ++i) many += interim;
  const outcome refused = co_await answered_with(loop, many + ok("final"));
  CHECK(refused.error == http::errc::bad_message);
  const outcome switched = co_await answered_with(loop, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
  CHECK(switched.error == http::errc::bad_message);
}

TASK_TEST("http client messages: what is cut off is an error") {
  const outcome head = co_await answered_with(loop, "HTTP/1.1 200 OK\r\nContent-Le");
  CHECK(head.error == http::errc::truncated);
  const outcome nothing = co_await answered_with(loop, "");
  CHECK(nothing.error == http::errc::truncated);
  const outcome body =
      co_await answered_with(loop, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  CHECK(body.error == http::errc::truncated);
  CHECK(body.body == "abc");
  const outcome chunks = co_await answered_with(loop, chunked("5\r\nabc"));
  CHECK(chunks.error == http::errc::truncated);
  const outcome trailer = co_await answered_with(loop, chunked("3\r\nabc\r\n0\r\n"));
  CHECK(trailer.error == http::errc::truncated);
}

TASK_TEST("http client messages: what is not HTTP is an error") {
  const outcome nonsense = co_await answered_with(loop, "NONSENSE\r\n\r\n");
  CHECK(nonsense.error == http::errc::bad_message);
  const outcome conflict = co_await answered_with(
      loop, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
  CHECK(conflict.error == http::errc::bad_message);
  const outcome version = co_await answered_with(loop, "HTTP/2.0 200 OK\r\n\r\n");
  CHECK(version.error == http::errc::unsupported_version);
  const outcome chunk = co_await answered_with(loop, chunked("zz\r\nabc\r\n"));
  CHECK(chunk.error == http::errc::bad_message);
  std::string text{"HTTP/1.1 200 OK\r\nX: "};
  text.append(9000, 'x').append("\r\n\r\n");
  const outcome large = co_await answered_with(loop, std::move(text));
  CHECK(large.error == http::errc::header_too_large);
}

TASK_TEST("http client messages: a response that comes byte by byte") {
  client_rig rig{loop};
  task_group group{loop};
  const std::string text = chunked("3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
  group.spawn([](client_rig& at, std::string all) -> task<> {
    peer server = co_await at.accept();
    const std::string head = co_await receive_head(server);
    CHECK(!head.empty());
    for (const char& c : all) {
      co_await server.send({&c, 1});
      const auto rested = co_await runnel::sleep(1ms);
      CHECK(rested.has_value());
    }
    const std::string rest = co_await server.receive_all();
    CHECK(rest.empty());
  }(rig, text));
  const outcome seen = co_await fetch(rig.client, "/");
  CHECK(seen.body == "abc0123456789abcdef");
  CHECK(rig.client.counters().idle == 1);
  rig.client.close_idle();
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TEST_CASE("http client messages: 10,000 mutated responses end one way or the other") {
  const std::string originals[] = {
      ok("hello, world", "X-A: b\r\nConnection: keep-alive\r\n"),
      chunked("5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n"),
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\nDate: x\r\n\r\nbody to the end",
      "HTTP/1.1 204 No Content\r\n\r\n",
  };
  runnel::random_source random{20'26};
  std::size_t answered = 0;
  std::size_t refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string text = originals[i % 4];
    for (auto changes = 1 + random() % 4; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 3);
          break;
        case 2:
          text.append(text, random() % text.size(), 5);
          break;
        default:
          text[at] = "0123456789\r\n: ;"[random() % 15];
      }
      if (text.empty()) text.push_back('x');
    }
    runnel::loop driver{runnel::loop_options{.simulated = 0}};
    const outcome seen = driver.run(answered_with(driver, text));
    ++(seen.error ? refused : answered);
  }
  CHECK(answered > 500);
  CHECK(refused > 500);
}
