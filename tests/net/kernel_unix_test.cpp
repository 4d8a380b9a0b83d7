#include <runnel/net/kernel/unix.hpp>

#include "net/kernel_fixture.hpp"
#include "net/stream_contract.hpp"
#include "support/kill_test.hpp"
#include "support/temporary_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

using namespace runnel;
using namespace std::chrono_literals;
using net::kernel::stale_file;
using net::kernel::unix_connector;
using net::kernel::unix_listener;
using net::kernel::unix_listener_options;
using net::kernel::unix_stream;
using testing::read_text;
using testing::temporary_folder;
using testing::write_text;

namespace {

bool exists(const std::string& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0;
}

struct unix_model {
  using stream_type = unix_stream;
  static constexpr bool resets = false;

  static void run(testing::test_body body) { testing::run_both_ways(body); }
  static task<std::pair<stream_type, stream_type>> connect(loop& owner) {
    co_return unix_stream::pair(owner).value();
  }
};

task<> connect_into(loop& owner, std::string path, std::vector<unix_stream>& into) {
  unix_connector connector{owner, path};
  auto connected = co_await connector.connect();
  if (connected) into.push_back(std::move(*connected));
}

task<> accept_until_cancelled(unix_listener& listener, int& count) {
  for (;;) {
    const auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    ++count;
  }
}

task<> meet(loop& owner, std::uint64_t) {
  unix_listener_options options;
  options.backlog = 0;
  const std::string name = "@runnel-meet-" + std::to_string(::getpid());
  auto listener = unix_listener::listen(owner, name, options).value();
  cancel_scope& scope = co_await this_scope();
  std::vector<unix_stream> connected;
  task_group group{scope};
  for (int i = 0; i < 4; ++i) group.spawn(connect_into(owner, name, connected));
  int count = 0;
  const auto limit = co_await with_timeout(20ms, accept_until_cancelled(listener, count));
  static_cast<void>(limit);
  co_await group.join();
}

}  // namespace

RUNNEL_STREAM_CONTRACT(unix_model, "Unix contract")

RING_TASK_TEST("Unix: a listener makes its file, is connected to, and removes it") {
  temporary_folder place;
  unix_listener_options options;
  options.mode = 0600;
  auto listener = unix_listener::listen(loop, place.file("socket"), options).value();
  struct stat facts {};
  CHECK(::lstat(place.file("socket").c_str(), &facts) == 0);
  CHECK((facts.st_mode & 0777) == 0600);
  unix_connector connector{loop, place.file("socket")};
  auto client = co_await connector.connect();
  REQUIRE(client.has_value());
  auto server = co_await listener.accept();
  REQUIRE(server.has_value());
  co_await write_text(*client, "hello");
  const auto text = co_await read_text(*server, 5);
  CHECK(text == "hello");
  CHECK(server->peer().value().process == ::getpid());
  listener.close();
  CHECK_FALSE(exists(place.file("socket")));
  const auto gone = co_await connector.connect();
  CHECK(gone.error() == std::errc::no_such_file_or_directory);
}

RING_TASK_TEST("Unix: a file that is there is replaced only when it is stale and that was asked") {
  temporary_folder place;
  {
    // What a process leaves that is killed: the file without the socket.
    auto first = unix_listener::listen(loop, place.file("socket")).value();
    std::filesystem::rename(place.file("socket"), place.file("kept"));
  }
  std::filesystem::rename(place.file("kept"), place.file("socket"));
  CHECK(exists(place.file("socket")));
  unix_connector connector{loop, place.file("socket")};
  const auto refused = co_await connector.connect();
  CHECK(refused.error() == std::errc::connection_refused);
  unix_listener_options replacing;
  replacing.existing = stale_file::replace;
  CHECK(unix_listener::listen(loop, place.file("socket")).error() == std::errc::address_in_use);
  auto second = unix_listener::listen(loop, place.file("socket"), replacing).value();
  CHECK(unix_listener::listen(loop, place.file("socket"), replacing).error() ==
        std::errc::address_in_use);
  const auto connected = co_await connector.connect();
  CHECK(connected.has_value());
  std::filesystem::remove(place.file("socket"));
  auto third = unix_listener::listen(loop, place.file("socket")).value();
  second.close();
  CHECK(exists(place.file("socket")));
}

RING_TASK_TEST("Unix: abstract names need no file, and names may be too long") {
  const std::string name = "@runnel-test-" + std::to_string(::getpid());
  auto listener = unix_listener::listen(loop, name).value();
  CHECK_FALSE(exists(name));
  unix_connector connector{loop, name};
  auto client = co_await connector.connect();
  CHECK(client.has_value());
  const std::string longer(200, 'x');
  CHECK(unix_listener::listen(loop, longer).error() == std::errc::filename_too_long);
  unix_connector nowhere{loop, longer};
  const auto refused = co_await nowhere.connect();
  CHECK(refused.error() == std::errc::filename_too_long);
}

RING_TASK_TEST("Unix: connects wait while the backlog is full") {
  const std::string name = "@runnel-full-" + std::to_string(::getpid());
  unix_listener_options options;
  options.backlog = 0;
  auto listener = unix_listener::listen(loop, name, options).value();
  std::vector<unix_stream> connected;
  task_group group{loop};
  for (int i = 0; i < 5; ++i) group.spawn(connect_into(loop, name, connected));
  co_await yield();
  co_await yield();
  CHECK(connected.size() < 5);
  for (int i = 0; i < 5; ++i) {
    const auto accepted = co_await listener.accept();
    CHECK(accepted.has_value());
  }
  co_await group.join();
  CHECK(connected.size() == 5);
}

TEST_CASE("Unix: tasks that are destroyed at any moment leave nothing behind") {
  testing::kill_everywhere_real(&meet, {.time_step = 500us, .times = 3, .passes = 6});
}

TEST_CASE("Unix: tasks that are cancelled at any moment come to their end") {
  testing::cancel_everywhere_real(&meet, {.time_step = 500us, .times = 3, .passes = 6});
}
