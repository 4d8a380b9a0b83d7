#include <runnel/net/kernel/tcp.hpp>
#include <runnel/sleep.hpp>
#include <runnel/trace.hpp>

#include "net/kernel_fixture.hpp"
#include "support/kill_test.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <string_view>
#include <vector>

using namespace runnel;
using namespace std::chrono_literals;
using net::kernel::tcp_connector;
using net::kernel::tcp_listener;
using net::kernel::tcp_listener_options;
using net::kernel::tcp_stream;
using testing::any_loopback_port;

namespace {

const tcp_listener_options multishot{.multishot = true};

tcp_listener listen_at(loop& owner) {
  return tcp_listener::listen(owner, any_loopback_port, multishot).value();
}

// How many connections wait in the kernel.
unsigned backlog_of(const tcp_listener& listener) {
  tcp_info info{};
  socklen_t size = sizeof info;
  CHECK(::getsockopt(listener.descriptor(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
  return info.tcpi_unacked;
}

task<> accept_some(tcp_listener& listener, std::vector<tcp_stream>& into, int count) {
  for (int i = 0; i < count; ++i) {
    auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    into.push_back(std::move(*accepted));
  }
}

task<> connect_some(loop& owner, tcp_listener& listener, std::vector<tcp_stream>& into, int count) {
  tcp_connector connector{owner};
  for (int i = 0; i < count; ++i) {
    auto connected = co_await connector.connect(listener.local_endpoint());
    if (!connected) co_return;
    into.push_back(std::move(*connected));
  }
}

void check_same_peers(const std::vector<tcp_stream>& clients,
                      const std::vector<tcp_stream>& accepted) {
  CHECK(clients.size() == accepted.size());
  for (const tcp_stream& one : accepted) {
    CHECK(std::any_of(clients.begin(), clients.end(), [&](const tcp_stream& client) {
      return client.local_endpoint() == one.remote_endpoint();
    }));
  }
}

// Until the loop has been in the kernel.
task<> turn() {
  co_await sleep(1ns);
}

task<> accept_and_close(tcp_listener& listener) {
  auto first = co_await listener.accept();
  CHECK(first.has_value());
  listener.close();
  first->abort();
}

task<> accept_all(loop& owner, int count) {
  auto listener = listen_at(owner);
  std::vector<tcp_stream> accepted;
  std::vector<tcp_stream> clients;
  task_group group{owner};
  group.spawn(accept_some(listener, accepted, count));
  group.spawn(connect_some(owner, listener, clients, count));
  co_await group.join();
  check_same_peers(clients, accepted);
}

task<> several_accept(loop& owner, std::uint64_t) {
  auto listener = listen_at(owner);
  std::vector<tcp_stream> accepted;
  std::vector<tcp_stream> clients;
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  for (int i = 0; i < 3; ++i) group.spawn(accept_some(listener, accepted, 1));
  group.spawn(connect_some(owner, listener, clients, 4));
  co_await group.join();
}

// Counts the loop's accept operations, and makes them fail.
class accept_watch final : public loop_observer {
 public:
  explicit accept_watch(int error) : error_(error) {}
  int on_operation(std::string_view name, std::uint64_t) noexcept override {
    if (name != "accept") return 0;
    ++count;
    return error_;
  }
  void on_entry(const trace_entry&) noexcept override {}

  int count = 0;

 private:
  int error_;
};

// Takes all descriptors but those that are open.
class no_descriptors {
 public:
  no_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest = ::dup(0);
    ::close(lowest);
    const rlimit less{static_cast<rlim_t>(lowest), before_.rlim_max};
    CHECK(::setrlimit(RLIMIT_NOFILE, &less) == 0);
  }
  ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

class raw_client {
 public:
  explicit raw_client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }
  raw_client(const raw_client&) = delete;
  raw_client& operator=(const raw_client&) = delete;
  ~raw_client() { ::close(fd_); }

  // Waits for it.
  bool was_reset() const {
    char byte = 0;
    return ::recv(fd_, &byte, 1, 0) < 0 && errno == ECONNRESET;
  }

 private:
  int fd_;
};

}  // namespace

TEST_CASE("kernel accept: one operation serves all connections, each with its peer") {
  accept_watch watch{0};
  loop driver{loop_options{.observer = &watch}};
  driver.run(accept_all(driver, 40));
  CHECK(watch.count == (driver.backend() == backend_kind::io_uring ? 1 : 0));
}

TEST_CASE("kernel accept: an operation that is refused is done without") {
  for (const int error : {EINVAL, EIO, ENOMEM, EMFILE}) {
    INFO("error ", error);
    accept_watch watch{error};
    loop driver{loop_options{.observer = &watch}};
    driver.run(accept_all(driver, 10));
    if (error == EINVAL) CHECK(watch.count <= 1);
  }
}

RING_TASK_TEST("kernel accept: what nobody awaits waits here up to a bound, then in the kernel") {
  auto listener = listen_at(loop);
  std::vector<tcp_stream> accepted;
  std::vector<tcp_stream> clients;
  task_group group{loop};
  group.spawn(accept_some(listener, accepted, 1));
  co_await turn();
  co_await connect_some(loop, listener, clients, 1);
  co_await group.join();
  constexpr int many = 200;
  for (int i = 0; i < many; ++i) {
    co_await connect_some(loop, listener, clients, 1);
    co_await turn();
  }
  CHECK(backlog_of(listener) > many / 2);
  co_await accept_some(listener, accepted, many);
  CHECK(backlog_of(listener) == 0);
  check_same_peers(clients, accepted);
  // And it goes on.
  group.spawn(accept_some(listener, accepted, 3));
  co_await connect_some(loop, listener, clients, 3);
  co_await group.join();
  check_same_peers(clients, accepted);
}

RING_TASK_TEST("kernel accept: a cancelled accept loses no connection, nor does a destroyed one") {
  auto listener = listen_at(loop);
  tcp_connector connector{loop};
  for (int turns = 0; turns < 6; ++turns) {
    for (const bool destroyed : {false, true}) {
      std::vector<tcp_stream> accepted;
      testing::victim victim = testing::make_victim(accept_some(listener, accepted, 1));
      auto group = std::make_unique<task_group>(loop);
      if (destroyed) {
        victim.start(loop);
      } else {
        group->spawn(accept_some(listener, accepted, 1));
      }
      co_await turn();
      auto client = (co_await connector.connect(listener.local_endpoint())).value();
      for (int i = 0; i < turns; ++i) co_await turn();
      victim.destroy();
      group->cancel();
      co_await group->join();
      if (accepted.empty()) {
        auto later = (co_await listener.accept()).value();
        accepted.push_back(std::move(later));
      }
      CHECK(accepted.front().remote_endpoint() == client.local_endpoint());
    }
  }
}

RING_TASK_TEST("kernel accept: closing resets what has arrived and ends the waits") {
  auto listener = listen_at(loop);
  std::vector<tcp_stream> accepted;
  std::vector<tcp_stream> clients;
  task_group group{loop};
  group.spawn(accept_some(listener, accepted, 1));
  co_await turn();
  co_await connect_some(loop, listener, clients, 4);
  co_await group.join();
  listener.close();
  for (std::size_t i = 1; i < clients.size(); ++i) {
    const auto reset = co_await clients[i].readable();
    CHECK(reset.error() == std::errc::connection_reset);
  }
  auto other = listen_at(loop);
  group.spawn(accept_some(other, accepted, 1));
  co_await turn();
  other.close();
  co_await group.join();
  CHECK(accepted.size() == 1);
}

RING_TASK_TEST("kernel accept: without free descriptors an accept says so, and the next goes on") {
  for (const bool at_once : {false, true}) {
    auto listener = tcp_listener::listen(loop, any_loopback_port, {.multishot = at_once}).value();
    std::vector<tcp_stream> clients;
    std::vector<tcp_stream> accepted;
    task_group group{loop};
    group.spawn(accept_some(listener, accepted, 1));
    co_await turn();
    co_await connect_some(loop, listener, clients, 1);
    co_await group.join();
    // The kernel's own end, which needs a descriptor only when it is accepted.
    raw_client silent{listener.local_endpoint().port};
    std::error_code error;
    {
      const no_descriptors none;
      auto refused = co_await listener.accept();
      if (refused.has_value()) {
        // It had arrived before.
        accepted.push_back(std::move(*refused));
      } else {
        error = refused.error();
      }
    }
    if (error) {
      CHECK(error == std::errc::too_many_files_open);
      auto later = co_await listener.accept();
      CHECK(later.has_value());
    }
    CHECK((error || at_once));
  }
}

TEST_CASE("kernel accept: what arrives for a loop that dies is reset") {
  std::optional<tcp_listener> listener;
  std::optional<raw_client> client;
  {
    loop driver;
    const auto body = [](loop& owner, std::optional<tcp_listener>& made,
                         std::optional<raw_client>& late) -> task<> {
      made = listen_at(owner);
      std::vector<tcp_stream> accepted;
      std::vector<tcp_stream> clients;
      task_group group{owner};
      group.spawn(accept_some(*made, accepted, 1));
      co_await turn();
      co_await connect_some(owner, *made, clients, 1);
      co_await group.join();
      late.emplace(made->local_endpoint().port);
    };
    driver.run(body(driver, listener, client));
  }
  listener.reset();
  CHECK(client->was_reset());
}

TEST_CASE("kernel accept: closing resets what the kernel had accepted and nobody has seen") {
  // More than a turn takes in.
  constexpr int many = 300;
  std::deque<raw_client> clients;
  const auto body = [](loop& owner, std::deque<raw_client>& late) -> task<> {
    auto listener = listen_at(owner);
    task_group group{owner};
    group.spawn(accept_and_close(listener));
    co_await turn();
    for (int i = 0; i < many; ++i) late.emplace_back(listener.local_endpoint().port);
    co_await group.join();
    co_await turn();
  };
  {
    loop driver;
    driver.run(body(driver, clients));
  }
  for (const raw_client& each : clients) CHECK(each.was_reset());
}

TEST_CASE("kernel accept: tasks that are destroyed at any moment leave nothing behind") {
  const int before = testing::open_descriptors();
  testing::kill_everywhere_real(&several_accept, {.time_step = 200us, .times = 3, .passes = 12});
  CHECK(testing::open_descriptors() == before);
}

TEST_CASE("kernel accept: tasks that are cancelled at any moment come to their end") {
  const int before = testing::open_descriptors();
  testing::cancel_everywhere_real(&several_accept, {.time_step = 200us, .times = 3, .passes = 12});
  CHECK(testing::open_descriptors() == before);
}
