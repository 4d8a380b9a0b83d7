#include "net/kernel_fixture.hpp"
#include "runnel/net/kernel/unix.hpp"
#include "runnel/sleep.hpp"
#include "runnel/trace.hpp"
#include "support/kill_test.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

using namespace runnel;
using namespace std::chrono_literals;
using net::kernel::unix_stream;
using stream_pair = std::pair<unix_stream, unix_stream>;

namespace {

/// Counts the sends that a loop was given, and fails those that it is told to.
class send_counter final : public loop_observer {
 public:
  int error = 0;
  int sends = 0;

  void on_entry(const trace_entry&) noexcept override {}
  int on_operation(std::string_view name, std::uint64_t) noexcept override {
    if (name != "send") return 0;
    ++sends;
    return error;
  }
};

loop_options with(send_counter& counter) {
  return {.batch_sends_from = 1, .observer = &counter};
}

bool batches(loop& on) {
  return on.backend() == backend_kind::io_uring;
}

/// One completion, so that this turn is a busy one from here on.
task<> make_busy(loop& on) {
  auto ends = unix_stream::pair(on).value();
  CHECK(::send(ends.first.descriptor(), "1", 1, MSG_DONTWAIT) == 1);
  std::array<std::byte, 1> room{};
  co_await ends.second.readable();
  co_await ends.second.read(room);
}

task<> write_all(unix_stream& to, std::span<const std::byte> bytes, result<std::size_t>& sent) {
  sent = co_await to.write(bytes);
}

/// What has arrived, without waiting.
std::size_t arrived(const unix_stream& at) {
  std::array<std::byte, 64> room{};
  const ssize_t got = ::recv(at.descriptor(), room.data(), room.size(), MSG_DONTWAIT | MSG_PEEK);
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

task<> echo_once(unix_stream& at) {
  std::array<std::byte, 64> room{};
  const auto got = co_await at.read(room);
  CHECK(got.has_value());
  const std::size_t count = got ? *got : 0;
  const auto sent = co_await at.write(std::span<const std::byte>(room).first(count));
  CHECK(sent.has_value());
}

std::vector<stream_pair> many_pairs(loop& on, int count) {
  std::vector<stream_pair> pairs;
  for (int i = 0; i < count; ++i) pairs.push_back(unix_stream::pair(on).value());
  return pairs;
}

task<> ask_all(loop& on, std::vector<stream_pair>& pairs) {
  task_group group{on};
  for (auto& [near, far] : pairs) group.spawn(echo_once(near));
  // All of them wait when the first question arrives.
  co_await yield();
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const std::array<char, 2> question{'q', static_cast<char>(i)};
    CHECK(::send(pairs[i].second.descriptor(), question.data(), 2, MSG_DONTWAIT) == 2);
  }
  co_await group.join();
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    std::array<char, 8> answer{};
    CHECK(::recv(pairs[i].second.descriptor(), answer.data(), answer.size(), MSG_DONTWAIT) == 2);
    CHECK(answer[1] == static_cast<char>(i));
  }
}

}  // namespace

TEST_CASE("kernel sends: many answers of one turn leave in few system calls, each to its asker") {
  constexpr int count = 200;
  send_counter counter;
  loop driver{loop_options{.ring_entries = 64, .observer = &counter}};
  auto pairs = many_pairs(driver, count);
  driver.run(ask_all(driver, pairs));
  if (!batches(driver)) return;
  CHECK(counter.sends > count / 2);
  // The ring has 64 entries: 400 reads and answers in it take it a handful of times.
  CHECK(driver.metrics().enters < count / 4);
}

TEST_CASE("kernel sends: more at once than the ring has room for completions of") {
  loop driver{loop_options{.ring_entries = 8, .batch_sends_from = 1}};
  auto pairs = many_pairs(driver, 200);
  driver.run(ask_all(driver, pairs));
}

TEST_CASE("kernel sends: a quiet loop's writes are system calls of their own") {
  send_counter counter;
  loop driver{loop_options{.observer = &counter}};
  auto pairs = many_pairs(driver, 1);
  driver.run(ask_all(driver, pairs));
  CHECK(counter.sends == 0);
}

namespace {

task<> cancel_held(loop& on, stream_pair& ends) {
  co_await make_busy(on);
  const std::array<std::byte, 3> bytes{};
  result<std::size_t> sent{0};
  task_group group{on};
  group.spawn(write_all(ends.first, bytes, sent));
  co_await yield();
  group.cancel();
  co_await group.join();
  CHECK(sent.has_error());
  CHECK(sent.error() == errc::cancelled);
}

task<> end_held(loop& on, stream_pair& ends, bool abort, result<std::size_t>& sent) {
  co_await make_busy(on);
  const std::array<std::byte, 3> bytes{};
  task_group group{on};
  group.spawn(write_all(ends.first, bytes, sent));
  co_await yield();
  if (abort) {
    ends.first.abort();
  } else {
    CHECK(ends.first.shutdown().has_value());
  }
  co_await group.join();
}

}  // namespace

TEST_CASE("kernel sends: a write that is cancelled before its turn ends has sent nothing") {
  send_counter counter;
  loop driver{with(counter)};
  auto ends = unix_stream::pair(driver).value();
  if (!batches(driver)) return;
  driver.run(cancel_held(driver, ends));
  CHECK(counter.sends == 1);
  CHECK(arrived(ends.second) == 0);
}

TEST_CASE("kernel sends: shutdown comes behind what was written in its turn, abort in its place") {
  for (const bool abort : {false, true}) {
    send_counter counter;
    loop driver{with(counter)};
    auto ends = unix_stream::pair(driver).value();
    result<std::size_t> sent{0};
    if (!batches(driver)) return;
    driver.run(end_held(driver, ends, abort, sent));
    CHECK(counter.sends == 1);
    CHECK(sent.has_error() == abort);
    if (abort) CHECK(sent.error() == std::errc::connection_aborted);
    CHECK(arrived(ends.second) == (abort ? 0 : 3));
  }
}

namespace {

task<> write_and_vanish(unix_stream stream, std::span<const std::byte> bytes) {
  co_await stream.write(bytes);
}

task<> reuse_number(loop& on, stream_pair ends, std::optional<stream_pair>& later) {
  co_await make_busy(on);
  const std::array<std::byte, 3> bytes{};
  const int number = ends.first.descriptor();
  {
    task<> writer = write_and_vanish(std::move(ends.first), bytes);
    task_group group{on};
    group.spawn(std::move(writer));
    co_await yield();
    group.cancel();
    co_await group.join();
  }
  later = unix_stream::pair(on).value();
  CHECK((later->first.descriptor() == number || later->second.descriptor() == number));
  co_await yield();
  co_await yield();
}

}  // namespace

TEST_CASE("kernel sends: what a closed stream had not sent never reaches another of its number") {
  send_counter counter;
  loop driver{with(counter)};
  std::optional<stream_pair> later;
  if (!batches(driver)) return;
  driver.run(reuse_number(driver, unix_stream::pair(driver).value(), later));
  CHECK(arrived(later->first) == 0);
  CHECK(arrived(later->second) == 0);
}

namespace {

task<> read_all(unix_stream& from, std::vector<std::byte>& into) {
  std::array<std::byte, 5000> room{};
  for (;;) {
    const auto got = co_await from.read(room);
    if (!got || *got == 0) co_return;
    into.insert(into.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*got));
  }
}

task<> write_pieces(unix_stream& to, std::span<const std::byte> bytes, std::size_t piece) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(piece, bytes.size()));
    const auto sent = co_await to.write(part);
    CHECK(sent.has_value());
    CHECK((sent ? *sent : 0) == part.size());
    bytes = bytes.subspan(part.size());
  }
  CHECK(to.shutdown().has_value());
}

task<> transfer(loop& on, stream_pair& ends, std::span<const std::byte> bytes, std::size_t piece,
                std::vector<std::byte>& got) {
  task_group group{on};
  group.spawn(read_all(ends.second, got));
  group.spawn(write_pieces(ends.first, bytes, piece));
  co_await group.join();
}

}  // namespace

TEST_CASE("kernel sends: a send that finds little room or none goes on when there is some") {
  std::vector<std::byte> bytes(300'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 >> 3);
  for (const std::size_t piece : {std::size_t{16'000}, std::size_t{1'000}, std::size_t{40'000}}) {
    send_counter counter;
    loop driver{with(counter)};
    auto ends = unix_stream::pair(driver).value();
    const int small = 4096;
    CHECK(::setsockopt(ends.first.descriptor(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    std::vector<std::byte> got;
    driver.run(transfer(driver, ends, bytes, piece, got));
    CHECK(got == bytes);
    if (batches(driver) && piece <= 16'384) CHECK(counter.sends > 0);
  }
}

namespace {

task<> write_to_gone(loop& on, stream_pair& ends, std::vector<std::error_code>& told) {
  const std::array<std::byte, 3> bytes{};
  for (int i = 0; i < 2; ++i) {
    co_await make_busy(on);
    const auto sent = co_await ends.first.write(bytes);
    told.push_back(sent.has_error() ? sent.error() : std::error_code{});
  }
}

}  // namespace

TEST_CASE("kernel sends: the error of a send is the write's own") {
  send_counter counter;
  loop driver{with(counter)};
  auto ends = unix_stream::pair(driver).value();
  std::vector<std::error_code> told;
  ends.second.abort();
  driver.run(write_to_gone(driver, ends, told));
  if (batches(driver)) CHECK(counter.sends == 2);
  CHECK(told[0] == std::errc::broken_pipe);
  CHECK(told[1] == std::errc::broken_pipe);
}

TEST_CASE("kernel sends: one that could not be started is told to its writer and ends nothing") {
  send_counter counter;
  counter.error = ENOMEM;
  loop driver{with(counter)};
  auto ends = unix_stream::pair(driver).value();
  std::vector<std::error_code> told;
  driver.run(write_to_gone(driver, ends, told));
  if (!batches(driver)) return;
  CHECK(counter.sends == 2);
  CHECK(told[0] == std::errc::not_enough_memory);
  CHECK(told[1] == std::errc::not_enough_memory);
  CHECK_FALSE(arrived(ends.second) > 0);
}

namespace {

task<> many_answers(loop& owner, std::uint64_t) {
  auto pairs = many_pairs(owner, 12);
  co_await ask_all(owner, pairs);
}

}  // namespace

TEST_CASE("kernel sends: writers may be destroyed at any moment") {
  testing::kill_everywhere_real(&many_answers, {.time_step = 200us, .times = 3, .passes = 12});
}
