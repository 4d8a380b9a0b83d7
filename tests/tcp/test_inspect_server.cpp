#include "runnel/tcp/inspect_server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "json.hpp"
#include "runnel/poll.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"
#include "support/temporary_folder.hpp"

// The Unix socket that another shell looks through, on the real kernel.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using runnel::testing::temporary_folder;
using namespace std::chrono_literals;

namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un out = {};
  out.sun_family = AF_UNIX;
  path.copy(out.sun_path, sizeof(out.sun_path) - 1);
  return out;
}

/// A client that neither blocks nor waits longer than the test.
class caller {
 public:
  explicit caller(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const sockaddr_un to = address_of(path);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0;
  }
  caller(caller&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  caller& operator=(caller&&) = delete;
  ~caller() {
    if (fd_ >= 0) ::close(fd_);
  }

  bool connected() const { return connected_; }
  void say(std::string_view text) const {
    CHECK(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  /// The answer has begun.
  task<bool> begins() {
    const auto ready = co_await poll_once(fd_, POLLIN);
    co_return ready.has_value();
  }
  /// What is there by now, up to so many bytes.
  std::string hear(std::size_t most) const {
    std::string out(most, '\0');
    const ssize_t got = ::recv(fd_, out.data(), out.size(), 0);
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
  }
  task<std::string> hear_all() {
    std::string out;
    std::vector<char> buffer(64 * 1024);
    for (;;) {
      const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (got > 0) {
        out.append(buffer.data(), static_cast<std::size_t>(got));
        continue;
      }
      if (got == 0 || errno != EAGAIN) co_return out;
      const auto ready = co_await poll_once(fd_, POLLIN);
      if (!ready) co_return out;
    }
  }

 private:
  int fd_;
  bool connected_ = false;
};

task<std::string> ask(std::string path, std::string line) {
  caller client(path);
  REQUIRE(client.connected());
  client.say(line + "\n");
  auto answer = co_await client.hear_all();
  co_return answer;
}

bool is_there(const std::string& path) {
  struct stat found = {};
  return ::lstat(path.c_str(), &found) == 0;
}

unsigned mode_of(const std::string& path) {
  struct stat found = {};
  REQUIRE(::lstat(path.c_str(), &found) == 0);
  return found.st_mode & 0777;
}

inspect_server_options at(const std::string& path) {
  inspect_server_options options;
  options.path = path;
  return options;
}

inspect_server open_at(loop& owner, const network& both, const inspect_server_options& options) {
  auto made = inspect_server::open(owner, both.server, options);
  REQUIRE(made.has_value());
  return std::move(made.value());
}

/// Why a socket is not made at this path.
std::string refusal(loop& owner, const network& both, const inspect_server_options& options) {
  const auto made = inspect_server::open(owner, both.server, options);
  REQUIRE(made.has_error());
  const std::string sentence = made.error().message();
  CHECK(made.error().code());
  CHECK(sentence.ends_with('.'));
  CHECK(sentence.find('\n') == std::string::npos);
  return sentence;
}

task<> serve(inspect_server& server, std::error_code& ended) {
  const auto done = co_await server.serve();
  ended = done.has_error() ? done.error() : std::error_code();
}

/// So many listeners that their page does not fit into a socket's buffers.
std::vector<listener> many_listeners(network& both) {
  std::vector<listener> out;
  for (std::uint16_t port = 1000; port < 7000; ++port) {
    net::endpoint at;
    at.port = port;
    out.push_back(both.server.listen(at).value());
  }
  return out;
}

}  // namespace

RING_TASK_TEST("S111: another shell sees a running stack's listeners and connections") {
  temporary_folder folder;
  network both(loop);
  auto listening = both.listen({.backlog = 7});
  auto pair = co_await connect_ends(both, listening);
  inspect_server server = open_at(loop, both, at(folder.file("socket")));
  CHECK(server.path() == folder.file("socket"));
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  const auto listeners = co_await ask(server.path(), "ss -tlnH");
  CHECK(listeners.starts_with("ok\nLISTEN     0      7 "));
  const auto all = co_await ask(server.path(), "-tan");
  CHECK(all.find("\nESTAB      0      0             10.0.0.2:80") != std::string::npos);
  const auto json = co_await ask(server.path(), "ss -tajoim");
  REQUIRE(json.starts_with("ok\n"));
  REQUIRE(json.ends_with("\nend\n"));
  CHECK(parse_json(json.substr(3, json.size() - 7))["sockets"].size() == 2);
  const auto counters = co_await ask(server.path(), "nstat TcpPassive*");
  CHECK(counters == "ok\n#runnel\nTcpPassiveOpens                 1                  0.0\nend\n");
  const auto words = co_await ask(server.path(), "diagnose");
  CHECK(words.starts_with("ok\nNothing to say"));
  running.cancel();
  co_await running.join();
  CHECK(ended == errc::cancelled);
}

RING_TASK_TEST("S111: what cannot be answered gets one sentence") {
  temporary_folder folder;
  network both(loop);
  inspect_server server = open_at(loop, both, at(folder.file("socket")));
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  const auto flag = co_await ask(server.path(), "ss -x");
  CHECK(flag == "error: There is no flag -x here.\n");
  const auto filter = co_await ask(server.path(), "ss -t sport = :http");
  CHECK(filter.starts_with("error: Filter: \":http\" is no port number; "));
  const auto longest =
      co_await ask(server.path(), std::string(inspect_server::longest_request, ' '));
  CHECK(longest == "error: A request has at most 4096 bytes.\n");
  const auto binary = co_await ask(server.path(), std::string("ss\0-t", 5));
  CHECK(binary.starts_with("error: "));
  running.cancel();
  co_await running.join();
}

RING_TASK_TEST("S111: a request may come in pieces, and without its end of line") {
  temporary_folder folder;
  network both(loop);
  inspect_server server = open_at(loop, both, at(folder.file("socket")));
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  caller client(server.path());
  client.say("nst");
  const auto other = co_await ask(server.path(), "ss -tH");
  CHECK(other == "ok\nend\n");
  client.say("at -z TcpInSegs\nignored");
  const auto answer = co_await client.hear_all();
  CHECK(answer.starts_with("ok\n#runnel\nTcpInSegs "));
  running.cancel();
  co_await running.join();
}

RING_TASK_TEST(
    "S111: the socket has the permissions that were asked for, and goes with its server") {
  temporary_folder folder;
  network both(loop);
  const std::string path = folder.file("socket");
  {
    inspect_server server = open_at(loop, both, at(path));
    CHECK(mode_of(path) == 0600);
    inspect_server moved = std::move(server);
    CHECK(is_there(path));
  }
  CHECK(!is_there(path));
  {
    inspect_server_options options = at(path);
    options.mode = 0660;
    inspect_server server = open_at(loop, both, options);
    CHECK(mode_of(path) == 0660);
    // Somebody puts another file in its place: that one stays.
    std::filesystem::remove(path);
    std::ofstream(path) << "mine";
  }
  CHECK(is_there(path));
  co_return;
}

RING_TASK_TEST("S111: a dead process's socket is replaced, a living one's is not") {
  temporary_folder folder;
  network both(loop);
  const std::string path = folder.file("socket");
  {
    const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_un name = address_of(path);
    REQUIRE(::bind(dead, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
    REQUIRE(::listen(dead, 1) == 0);
    ::close(dead);
  }
  REQUIRE(is_there(path));
  inspect_server server = open_at(loop, both, at(path));
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  CHECK(refusal(loop, both, at(path)) == "A running program answers on the inspection socket " +
                                             path + ": give another path, or end that program.");
  const auto answer = co_await ask(path, "ss -tH");
  CHECK(answer == "ok\nend\n");
  running.cancel();
  co_await running.join();
}

RING_TASK_TEST("S111: a path that cannot be a socket is refused with one sentence") {
  temporary_folder folder;
  network both(loop);
  const std::string path = folder.file("notes");
  std::ofstream(path) << "not a socket";
  CHECK(refusal(loop, both, at(path)).find(path + ", where something else is") !=
        std::string::npos);
  CHECK(std::filesystem::file_size(path) == 12);
  CHECK(refusal(loop, both, at(folder.file("no/such/folder"))).find("No such file") !=
        std::string::npos);
  CHECK(refusal(loop, both, at(std::string(200, 'x'))).find("1 to 107 letters") !=
        std::string::npos);
  inspect_server_options options = at(folder.file("socket"));
  options.mode = 01777;
  CHECK(refusal(loop, both, options).find("0 to 0777") != std::string::npos);
  options.mode = 0600;
  options.clients = 0;
  CHECK(refusal(loop, both, options).find("clients of 1 or more") != std::string::npos);
  CHECK(!is_there(folder.file("socket")));
  co_return;
}

TASK_TEST("S111: a loop in virtual time has no Unix sockets") {
  network both(loop);
  CHECK(refusal(loop, both, at("/nowhere")).find("virtual time") != std::string::npos);
  co_return;
}

RING_TASK_TEST("S111: a client that does not read holds up nobody, and is cut off") {
  temporary_folder folder;
  network both(loop);
  const auto listeners = many_listeners(both);
  inspect_server_options options = at(folder.file("socket"));
  options.patience = 200ms;
  options.clients = 2;
  inspect_server server = open_at(loop, both, options);
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  const auto whole = co_await ask(server.path(), "ss -tlniH");
  CHECK(std::count(whole.begin(), whole.end(), '\n') == 1 + 2 * 6000 + 1);
  caller stuck(server.path());
  stuck.say("ss -tlniH\n");
  for (int i = 0; i < 3; ++i) {
    const auto answer = co_await ask(server.path(), "nstat -z TcpInSegs");
    CHECK(answer.starts_with("ok\n"));
  }
  // Two places, both with clients that say or read nothing: the next one has its turn after them.
  caller silent(server.path());
  const auto answer = co_await ask(server.path(), "nstat -z TcpInSegs");
  CHECK(answer.starts_with("ok\n"));
  const auto begun = co_await stuck.hear_all();
  CHECK(begun.size() < whole.size());
  CHECK(whole.starts_with(begun));
  CHECK(!begun.ends_with("\nend\n"));
  const auto nothing = co_await silent.hear_all();
  CHECK(nothing == "");
  running.cancel();
  co_await running.join();
}

RING_TASK_TEST("S111: a client that reads slowly, but reads, gets the whole answer") {
  temporary_folder folder;
  network both(loop);
  const auto listeners = many_listeners(both);
  inspect_server_options options = at(folder.file("socket"));
  options.patience = 500ms;
  inspect_server server = open_at(loop, both, options);
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  caller slow(server.path());
  slow.say("ss -tlniH\n");
  const time_point began = loop.now();
  std::string answer;
  // It takes longer than the patience until there is room for more, and never for so long until
  // something is read.
  while (loop.now() - began < 1200ms) {
    const auto begun = co_await slow.begins();
    REQUIRE(begun);
    answer += slow.hear(4 * 1024);
    const auto rested = co_await sleep(20ms);
    REQUIRE(rested);
  }
  const auto rest = co_await slow.hear_all();
  answer += rest;
  CHECK(std::count(answer.begin(), answer.end(), '\n') == 1 + 2 * 6000 + 1);
  CHECK(answer.ends_with("\nend\n"));
  running.cancel();
  co_await running.join();
}

RING_TASK_TEST("S111: clients that ask for nothing give up their places soon") {
  temporary_folder folder;
  network both(loop);
  inspect_server_options options = at(folder.file("socket"));
  options.clients = 1;
  options.request_patience = 50ms;
  options.patience = 1h;
  inspect_server server = open_at(loop, both, options);
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  caller silent(server.path());
  caller dawdling(server.path());
  dawdling.say("ss");
  const auto answer = co_await ask(server.path(), "ss -tH");
  CHECK(answer == "ok\nend\n");
  const auto nothing = co_await silent.hear_all();
  CHECK(nothing == "");
  running.cancel();
  co_await running.join();
}

TEST_CASE("S111: without a path there are few places where a socket can be") {
  const std::vector<std::string> places = default_inspect_paths();
  REQUIRE(!places.empty());
  CHECK(places.front() == default_inspect_path());
  const std::set<std::string> different(places.begin(), places.end());
  CHECK(different.size() == places.size());
  const std::string fallback = ::geteuid() == 0
                                   ? std::string("/run/runnel.sock")
                                   : "/tmp/runnel-" + std::to_string(::geteuid()) + ".sock";
  CHECK(different.count(fallback) == 1);
}

RING_TASK_TEST("S111: clients that hang up in the middle leave nothing behind") {
  temporary_folder folder;
  network both(loop);
  const auto listeners = many_listeners(both);
  inspect_server server = open_at(loop, both, at(folder.file("socket")));
  task_group running(loop);
  std::error_code ended;
  running.spawn(serve(server, ended));
  for (int i = 0; i < 20; ++i) {
    caller client(server.path());
    if (i % 2 == 0) client.say("ss -tlniH\n");
    const auto answer = co_await ask(server.path(), "ss -tH");
    CHECK(answer == "ok\nend\n");
  }
  running.cancel();
  co_await running.join();
}

RING_TASK_TEST("S111: cancelling ends a server in the middle of its answers") {
  temporary_folder folder;
  network both(loop);
  const auto listeners = many_listeners(both);
  std::vector<caller> clients;
  std::error_code ended;
  {
    inspect_server server = open_at(loop, both, at(folder.file("socket")));
    task_group running(loop);
    running.spawn(serve(server, ended));
    for (int i = 0; i < 12; ++i) {
      clients.emplace_back(server.path());
      clients.back().say(i % 2 == 0 ? "ss -tlniH\n" : "ss");
    }
    for (std::size_t i = 0; i < 8; i += 2) {
      const auto begun = co_await clients[i].begins();
      CHECK(begun);
    }
    running.cancel();
    co_await running.join();
  }
  CHECK(ended == errc::cancelled);
  CHECK(!is_there(folder.file("socket")));
  for (caller& each : clients) {
    const auto rest = co_await each.hear_all();
    CHECK(rest.size() < 1'000'000);
  }
}
