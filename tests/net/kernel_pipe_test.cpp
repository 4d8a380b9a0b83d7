#include <runnel/net/kernel/pipe.hpp>

#include "net/bytes.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>

using namespace runnel;
using namespace std::chrono_literals;
using net::kernel::input_end;
using net::kernel::make_pipe;
using net::kernel::output_end;
using test::byte_string;
using test::bytes_of;

namespace {

task<> read_all(input_end& from, byte_string& into) {
  byte_string buffer(5000);
  for (;;) {
    const auto got = co_await from.read(buffer);
    if (!got || *got == 0) co_return;
    into.insert(into.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*got));
  }
}

task<> store_read_error(input_end& from, std::error_code& error) {
  byte_string buffer(10);
  const auto got = co_await from.read(buffer);
  error = got.has_error() ? got.error() : std::error_code{};
}

task<> flow(loop& owner, std::uint64_t) {
  auto [from, to] = make_pipe(owner).value();
  byte_string received;
  const byte_string much(300'000, std::byte{3});
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  group.spawn(read_all(from, received));
  const auto sent = co_await to.write(std::span<const std::byte>(much));
  static_cast<void>(sent);
  to.close();
  co_await group.join();
}

/// Puts another descriptor in the place of a standard one for a while.
class replaced {
 public:
  replaced(int number, int by) : number_(number), kept_(::dup(number)) { ::dup2(by, number); }
  replaced(const replaced&) = delete;
  replaced& operator=(const replaced&) = delete;
  ~replaced() {
    ::dup2(kept_, number_);
    ::close(kept_);
  }

 private:
  int number_;
  int kept_;
};

}  // namespace

RING_TASK_TEST("kernel pipe: much goes through a small buffer, and the end behind it") {
  auto [from, to] = make_pipe(loop).value();
  byte_string sent(500'000);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 7);
  byte_string received;
  task_group group{loop};
  group.spawn(read_all(from, received));
  const auto taken = co_await to.write(std::span<const std::byte>(sent));
  CHECK(taken == result<std::size_t>(sent.size()));
  to.close();
  co_await group.join();
  CHECK((received == sent));
}

RING_TASK_TEST("kernel pipe: nobody reads: a broken pipe, and no signal") {
  std::signal(SIGPIPE, SIG_DFL);
  auto [from, to] = make_pipe(loop).value();
  from.close();
  const byte_string bytes = bytes_of("x");
  for (int i = 0; i < 2; ++i) {
    const auto refused = co_await to.write(std::span<const std::byte>(bytes));
    CHECK(refused.error() == std::errc::broken_pipe);
  }
}

RING_TASK_TEST("kernel pipe: cancelled and late operations lose nothing") {
  auto [from, to] = make_pipe(loop).value();
  byte_string buffer(10);
  const auto late = co_await with_timeout(2ms, from.read(buffer));
  CHECK(late.error() == errc::deadline_exceeded);
  from.set_read_deadline(loop.now());
  const auto passed = co_await from.readable();
  CHECK(passed.error() == errc::deadline_exceeded);
  from.set_read_deadline(time_point::max());
  const byte_string much(1 << 20, std::byte{1});
  const auto part = co_await with_timeout(2ms, to.write(std::span<const std::byte>(much)));
  REQUIRE(part.has_value());
  CHECK(*part < much.size());
  to.set_write_deadline(loop.now());
  const auto none = co_await to.write(std::span<const std::byte>(much));
  CHECK(none.error() == errc::deadline_exceeded);
  to.close();
  byte_string received;
  co_await read_all(from, received);
  CHECK(received.size() == *part);
}

RING_TASK_TEST("kernel pipe: closing ends what is pending") {
  auto [from, to] = make_pipe(loop).value();
  std::error_code error;
  task_group group{loop};
  group.spawn(store_read_error(from, error));
  co_await yield();
  co_await yield();
  from.close();
  co_await group.join();
  CHECK(error == std::errc::bad_file_descriptor);
}

RING_TASK_TEST("kernel pipe: standard input and output leave the shared descriptors blocking") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  std::optional<input_end> input;
  std::optional<output_end> output;
  {
    const replaced in(0, ends[0]);
    const replaced out(1, ends[1]);
    input = net::kernel::standard_input(loop).value();
    output = net::kernel::standard_output(loop).value();
  }
  CHECK((::fcntl(ends[0], F_GETFL) & O_NONBLOCK) == 0);
  CHECK((::fcntl(ends[1], F_GETFL) & O_NONBLOCK) == 0);
  byte_string buffer(10);
  const auto early = co_await with_timeout(2ms, input->read(buffer));
  CHECK(early.error() == errc::deadline_exceeded);
  const byte_string line = bytes_of("line\n");
  const auto sent = co_await output->write(std::span<const std::byte>(line));
  CHECK(sent == result<std::size_t>(5));
  const auto got = co_await input->read(buffer);
  CHECK(got == result<std::size_t>(5));
  output->close();
  ::close(ends[1]);
  const auto end = co_await input->read(buffer);
  CHECK(end == result<std::size_t>(0));
  ::close(ends[0]);
}

TEST_CASE("kernel pipe: tasks that are destroyed at any moment leave nothing behind") {
  testing::kill_everywhere_real(&flow, {.time_step = 100us, .times = 3, .passes = 8});
}

TEST_CASE("kernel pipe: tasks that are cancelled at any moment come to their end") {
  testing::cancel_everywhere_real(&flow, {.time_step = 100us, .times = 3, .passes = 8});
}
