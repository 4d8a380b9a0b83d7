#include "support.hpp"
#include "support/temporary_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "runnel/net/http/files.hpp"

namespace fs = std::filesystem;
namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

/// A folder that is gone afterwards, with a folder to serve in it and a secret beside that.
class folder {
 public:
  folder() {
    write("secret.txt", "secret");
    write("www/hello.txt", "hello\n");
    write("www/index.html", "<p>index");
    write("www/empty.css", "");
    write("www/sub/index.html", "<p>sub");
    write("www/bare/x.json", "{}");
    write("www/.hidden", "hidden");
    write("www/.well-known/token", "token");
    write("www/with space.txt", "space");
    std::string large(300'000, '?');
    for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>('a' + i % 26);
    write("www/large.bin", large);
    fs::create_symlink("../secret.txt", path_ / "www/out.txt");
    fs::create_symlink("/", path_ / "www/top");
    fs::create_symlink("hello.txt", path_ / "www/in.txt");
    REQUIRE(::mkfifo((path_ / "www/pipe").c_str(), 0600) == 0);
  }

  std::string www() const { return (path_ / "www").string(); }
  void write(const fs::path& name, std::string_view content) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream{path_ / name, std::ios::binary} << content;
  }

 private:
  temporary_folder made_;
  fs::path path_ = made_.path();
};

/// A response, taken apart.
struct seen {
  std::string head;
  std::string body;

  std::string status() const { return head.substr(9, 3); }
  std::string field(std::string_view name) const {
    const std::size_t at = head.find(std::string{"\r\n"}.append(name).append(": "));
    if (at == std::string::npos) return {};
    const std::size_t begin = at + 2 + name.size() + 2;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

task<seen> ask(net::pipe_listener& listener, std::string_view target, std::string_view fields = {},
               std::string_view method = "GET") {
  peer client = co_await connect(listener);
  std::string request{method};
  request.append(" ").append(target).append(" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
  request.append(fields).append("\r\n");
  co_await client.send(request);
  const std::string text = co_await client.receive_all();
  const std::size_t end = text.find("\r\n\r\n");
  seen response;
  response.head = text.substr(0, end + 2);
  response.body = text.substr(end + 4);
  co_return response;
}

/// Asks with a condition on the answer to an earlier question.
task<std::string> status_with(net::pipe_listener& listener, std::string_view target,
                              std::string_view field, std::string_view value) {
  const std::string line = std::string{field}.append(": ").append(value).append("\r\n");
  const seen response = co_await ask(listener, target, line);
  co_return response.status();
}

}  // namespace

RING_TASK_TEST("http files: small and large files, folders, and what is not there") {
  folder at_disk;
  rig at{loop, http::file_handler{at_disk.www()}};
  const seen hello = co_await ask(at.listener, "/hello.txt?ignored");
  CHECK(hello.status() == "200");
  CHECK(hello.body == "hello\n");
  CHECK(hello.field("Content-Type") == "text/plain; charset=utf-8");
  CHECK(hello.field("Content-Length") == "6");
  CHECK_FALSE(hello.field("ETag").empty());
  const seen large = co_await ask(at.listener, "/large.bin");
  CHECK(large.body.size() == 300'000);
  CHECK(large.body.substr(260'000, 26) == "abcdefghijklmnopqrstuvwxyz");
  const seen empty = co_await ask(at.listener, "/empty.css");
  CHECK(empty.status() == "200");
  CHECK(empty.field("Content-Length") == "0");
  const seen index = co_await ask(at.listener, "/");
  CHECK(index.body == "<p>index");
  CHECK(index.field("Content-Type") == "text/html; charset=utf-8");
  const seen sub = co_await ask(at.listener, "/sub/");
  CHECK(sub.body == "<p>sub");
  const seen moved = co_await ask(at.listener, "/sub?q");
  CHECK(moved.status() == "301");
  CHECK(moved.field("Location") == "/sub/?q");
  const seen spaced = co_await ask(at.listener, "/with%20space.txt");
  CHECK(spaced.body == "space");
  const seen inside = co_await ask(at.listener, "/in.txt");
  CHECK(inside.body == "hello\n");
  for (const char* target : {"/absent", "/bare/", "/hello.txt/", "/hello.txt/x", "/pipe"}) {
    CAPTURE(target);
    const seen absent = co_await ask(at.listener, target);
    CHECK(absent.status() == "404");
  }
  co_await at.finish();
}

RING_TASK_TEST("http files: nothing leads out of the folder") {
  folder at_disk;
  rig at{loop, http::file_handler{at_disk.www()}};
  for (const char* target : {"/out.txt", "/top/etc/passwd", "/top/", "/.hidden", "/sub/.x"}) {
    CAPTURE(target);
    const seen response = co_await ask(at.listener, target);
    CHECK(response.status() == "404");
    CHECK(response.body.find("secret") == std::string::npos);
  }
  for (const char* target : {"/../secret.txt", "/%2e%2e/secret.txt", "/sub/../../secret.txt",
                             "/..%2fsecret.txt", "/hello.txt%00", "/%zz"}) {
    CAPTURE(target);
    const seen response = co_await ask(at.listener, target);
    CHECK(response.status() == "400");
  }
  const seen known = co_await ask(at.listener, "/.well-known/token");
  CHECK(known.body == "token");
  co_await at.finish();
}

RING_TASK_TEST("http files: methods, HEAD and conditions") {
  folder at_disk;
  rig at{loop, http::file_handler{at_disk.www()}};
  const seen posted = co_await ask(at.listener, "/hello.txt", "", "DELETE");
  CHECK(posted.status() == "405");
  CHECK(posted.field("Allow") == "GET, HEAD");
  const seen head = co_await ask(at.listener, "/large.bin", "", "HEAD");
  CHECK(head.status() == "200");
  CHECK(head.field("Content-Length") == "300000");
  CHECK(head.body.empty());
  const seen first = co_await ask(at.listener, "/hello.txt");
  const std::string tag = first.field("ETag");
  const std::string changed = first.field("Last-Modified");
  const std::string other{"\"other\""};
  const std::string same =
      co_await status_with(at.listener, "/hello.txt", "If-None-Match", other + ", W/" + tag);
  CHECK(same == "304");
  const std::string any = co_await status_with(at.listener, "/hello.txt", "If-None-Match", "*");
  CHECK(any == "304");
  const std::string new_tag =
      co_await status_with(at.listener, "/hello.txt", "If-None-Match", other);
  CHECK(new_tag == "200");
  const std::string since =
      co_await status_with(at.listener, "/hello.txt", "If-Modified-Since", changed);
  CHECK(since == "304");
  const std::string old = co_await status_with(at.listener, "/hello.txt", "If-Modified-Since",
                                               "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(old == "200");
  const std::string nonsense =
      co_await status_with(at.listener, "/hello.txt", "If-Modified-Since", "yesterday");
  CHECK(nonsense == "200");
  co_await at.finish();
}

RING_TASK_TEST("http files: a range of bytes") {
  folder at_disk;
  at_disk.write("www/ten", "0123456789");
  rig at{loop, http::file_handler{at_disk.www()}};
  struct example {
    std::string_view range;
    std::string_view status;
    std::string_view body;
    std::string_view content_range;
  };
  for (const example& each : std::array{
           example{"bytes=0-3", "206", "0123", "bytes 0-3/10"},
           example{"bytes=4-", "206", "456789", "bytes 4-9/10"},
           example{"bytes=-3", "206", "789", "bytes 7-9/10"},
           example{"bytes=-99", "206", "0123456789", "bytes 0-9/10"},
           example{"bytes=9-99", "206", "9", "bytes 9-9/10"},
           example{"bytes=10-", "416", "", "bytes */10"},
           example{"bytes=-0", "416", "", "bytes */10"},
           example{"bytes=0-1,3-4", "200", "0123456789", ""},
           example{"bytes=5-2", "200", "0123456789", ""},
           example{"bytes=x-", "200", "0123456789", ""},
           example{"bytes=18446744073709551616-", "200", "0123456789", ""},
           example{"lines=0-3", "200", "0123456789", ""},
       }) {
    CAPTURE(each.range);
    const std::string line = std::string{"Range: "}.append(each.range).append("\r\n");
    const seen response = co_await ask(at.listener, "/ten", line);
    CHECK(response.status() == each.status);
    CHECK(response.body == each.body);
    CHECK(response.field("Content-Range") == each.content_range);
  }
  const seen whole = co_await ask(at.listener, "/ten");
  const std::string with_tag =
      std::string{"Range: bytes=0-1\r\nIf-Range: "}.append(whole.field("ETag")).append("\r\n");
  const seen unchanged = co_await ask(at.listener, "/ten", with_tag);
  CHECK(unchanged.body == "01");
  const seen changed = co_await ask(at.listener, "/ten", "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n");
  CHECK(changed.body == "0123456789");
  const seen large = co_await ask(at.listener, "/large.bin", "Range: bytes=100000-299999\r\n");
  CHECK(large.status() == "206");
  CHECK(large.body.size() == 200'000);
  CHECK(large.body.front() == static_cast<char>('a' + 100'000 % 26));
  co_await at.finish();
}

RING_TASK_TEST("http files: a file that shrinks while it is sent breaks the connection off") {
  folder at_disk;
  net::pipe_listener_options pipes;
  pipes.capacity = 1000;
  rig at{loop, http::file_handler{at_disk.www()}, quiet_options(), pipes};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/large.bin"));
  const std::string begun = co_await client.receive(500);
  CHECK(begun.starts_with("HTTP/1.1 200 OK\r\n"));
  at_disk.write("www/large.bin", "short now");
  const std::string rest = co_await client.receive_all();
  CHECK(rest.ends_with("<reset>"));
  CHECK(at.server.counters().source_errors == 1);
  co_await at.finish();
}

TEST_CASE("http files: a folder that is not there is refused with a sentence") {
  CHECK_THROWS_AS(http::file_handler{"/nowhere/at/all"}, std::system_error);
}
