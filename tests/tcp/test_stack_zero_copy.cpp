#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "runnel/file.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/death_test.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"
#include "support/temporary_folder.hpp"

// Loans, owned buffers and files on a tcp::stream.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

tcp::connection_policy small_buffers(std::uint32_t bytes = 16'384) {
  tcp::connection_policy small;
  small.send_buffer = bytes;
  small.receive_buffer = bytes;
  return small;
}

std::string text_of(std::span<const net::owned_buffer> pieces) {
  std::string out;
  for (const net::owned_buffer& each : pieces) {
    out.append(reinterpret_cast<const char*>(each.bytes().data()), each.size());
  }
  return out;
}

task<std::string> borrow_to_end(tcp::stream& from) {
  std::string out;
  for (;;) {
    auto lent = co_await from.borrow();
    if (!lent || lent->empty()) co_return out;
    out += text_of(lent->pieces());
    lent->consume();
  }
}

/// A file of a folder of its own, with this text.
class text_file {
 public:
  explicit text_file(std::string_view text) {
    const std::string name = folder_.file("text");
    std::ofstream(name, std::ios::binary) << text;
    file_ = runnel::file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  }

  /// Reads go through the ring afterwards, where the file system can do without its cache.
  void forget_pages() const {
    ::fdatasync(file_.descriptor());
    ::posix_fadvise(file_.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  }
  const file& opened() const { return file_; }

 private:
  runnel::testing::temporary_folder folder_;
  file file_;
};

}  // namespace

TASK_TEST("tcp stream: what is borrowed is read once more unless it is consumed") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto sent = co_await at.client.write(bytes_of("some text"));
  CHECK(sent.value() == 9);
  {
    auto lent = co_await at.server.borrow();
    REQUIRE(lent.has_value());
    CHECK(text_of(lent->pieces()) == "some text");
    CHECK(lent->size() == 9);
  }
  {
    auto lent = co_await at.server.borrow(7);
    REQUIRE(lent.has_value());
    CHECK(text_of(lent->pieces()) == "some te");
    lent->consume(5);
    CHECK(text_of(lent->pieces()) == "te");
    tcp::loan moved = std::move(*lent);
    CHECK(lent->empty());
    moved.consume(1);
    CHECK(moved.size() == 1);
  }
  std::array<std::byte, 10> rest{};
  const auto got = co_await at.server.read(rest);
  CHECK(got.value() == 3);
  CHECK(std::ranges::equal(std::span(rest).first(3), bytes_of("ext")));
}

TASK_TEST("tcp stream: borrow waits, ends with the stream, and tells a reset after the bytes") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto none = co_await with_timeout(5ms, at.server.borrow());
  CHECK(none.error() == errc::deadline_exceeded);
  at.server.set_read_deadline(loop.now() + 5ms);
  const auto late = co_await at.server.borrow();
  CHECK(late.error() == errc::deadline_exceeded);
  at.server.set_read_deadline(time_point::max());
  task_group group{loop};
  const auto writes = [](tcp::stream& to) -> task<> {
    co_await sleep(5ms);
    co_await to.write(bytes_of("end"));
    to.shutdown();
  };
  group.spawn(writes(at.client));
  const std::string got = co_await borrow_to_end(at.server);
  CHECK(got == "end");
  const auto again = co_await at.server.borrow();
  REQUIRE(again.has_value());
  CHECK(again->empty());
  co_await group.join();

  ends second = co_await connect_ends(both, listener);
  co_await second.client.write(bytes_of("last"));
  co_await sleep(5ms);
  second.client.abort();
  co_await sleep(5ms);
  auto lent = co_await second.server.borrow();
  REQUIRE(lent.has_value());
  CHECK(text_of(lent->pieces()) == "last");
  lent->consume();
  for (int i = 0; i < 2; ++i) {
    const auto reset = co_await second.server.borrow();
    CHECK(reset.error() == std::errc::connection_reset);
  }
}

TASK_TEST("tcp stream: a loan may outlive its stream, also one that is closed or reset") {
  network both(loop);
  auto listener = both.listen();
  const std::string text = pattern(4'000);
  tcp::loan kept;
  {
    ends at = co_await connect_ends(both, listener);
    co_await at.client.write(bytes_of(text));
    co_await sleep(5ms);
    auto lent = co_await at.server.borrow();
    REQUIRE(lent.has_value());
    kept = std::move(*lent);
    at.client.abort();
    co_await sleep(5ms);
    co_await at.server.close();
    CHECK(text_of(kept.pieces()) == text);
  }
  co_await sleep(5ms);
  CHECK(text_of(kept.pieces()) == text);
  kept.consume(3'000);
  CHECK(text_of(kept.pieces()) == text.substr(3'000));
}

TASK_TEST("tcp stream: owned buffers are written whole, however small the send buffer is") {
  network both(loop, small_buffers());
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(300'000);
  int released = 0;
  task_group group{loop};
  const auto writes = [](tcp::stream& to, const std::string& what, int& count) -> task<> {
    net::owned_buffer owned =
        net::owned_buffer::with_release(bytes_of(what), [&count] { ++count; });
    std::vector<net::owned_buffer> pieces;
    pieces.push_back(owned.take_front(10));
    pieces.emplace_back();
    pieces.push_back(owned.take_front(100'000));
    const auto sent = co_await to.write(pieces);
    CHECK(sent.value() == 100'010);
    CHECK(pieces[2].empty());
    const auto rest = co_await to.write(std::move(owned));
    CHECK(rest.value() == 199'990);
    CHECK(count == 0);
    co_await to.drained();
    CHECK(count == 1);
    to.shutdown();
  };
  group.spawn(writes(at.client, text, released));
  const std::string got = co_await borrow_to_end(at.server);
  CHECK((got == text));
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("tcp stream: a cancelled write of owned buffers leaves in them what was not taken") {
  network both(loop, small_buffers());
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(200'000);
  std::array<net::owned_buffer, 2> pieces{
      net::owned_buffer::permanent(bytes_of(text).first(9'000)),
      net::owned_buffer::permanent(bytes_of(text).subspan(9'000))};
  const auto writes = [](tcp::stream& to,
                         std::span<net::owned_buffer> from) -> task<result<std::size_t>> {
    auto sent = co_await to.write(from);
    co_return sent;
  };
  const auto sent = co_await with_timeout(100ms, writes(at.client, pieces));
  REQUIRE(sent.has_value());
  CHECK(*sent >= 16'000);
  CHECK(pieces[0].empty());
  CHECK(pieces[1].size() == 200'000 - *sent);
  co_await at.client.close(tcp::close_mode::abort);
}

TASK_TEST("tcp stream: packets of the stack are filled in place and sent as they are") {
  network both(loop, small_buffers(30'000));
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(100'000);
  task_group group{loop};
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<> {
    while (!what.empty()) {
      auto block = co_await to.allocate(what.size());
      if (!block) break;
      const std::size_t size = std::min(block->room().size(), what.size());
      CHECK(size >= 512);
      std::ranges::copy(bytes_of(what.substr(0, size)), block->room().begin());
      block->resize(size);
      const auto sent = co_await to.write(net::owned_buffer(std::move(*block)));
      CHECK(sent.value() == size);
      what.remove_prefix(size);
    }
    to.shutdown();
    const auto refused = co_await to.allocate(100);
    CHECK(refused.error() == std::errc::broken_pipe);
  };
  group.spawn(writes(at.client, text));
  const std::string got = co_await read_to_end(at.server);
  CHECK((got == text));
  co_await group.join();
  co_await at.client.drained();
  CHECK(both.client.engine().memory().buffer_bytes == 0);
}

TASK_TEST("tcp stream: read fills several places in order") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  co_await at.client.write(bytes_of("head and body"));
  std::array<std::byte, 5> head{};
  std::array<std::byte, 20> body{};
  const std::array<std::span<std::byte>, 2> places{head, body};
  const auto got = co_await at.server.read(places);
  CHECK(got.value() == 13);
  CHECK(std::ranges::equal(head, bytes_of("head ")));
  CHECK(std::ranges::equal(std::span(body).first(8), bytes_of("and body")));
  at.client.shutdown();
  const auto end = co_await at.server.read(places);
  CHECK(end.value() == 0);
}

TEST_CASE("tcp stream: a second loan, or reading beside one, is a checked error") {
  for (const bool reads : {false, true}) {
    const testing::death end = testing::run_in_child([reads] {
      loop driver{loop_options{.simulated = 0}};
      const auto body = [](loop& on, bool by_read) -> task<> {
        network both(on);
        auto listener = both.listen();
        ends at = co_await connect_ends(both, listener);
        co_await at.client.write(bytes_of("text"));
        auto lent = co_await at.server.borrow();
        std::byte buffer[10];
        if (by_read) {
          co_await at.server.read(buffer);
        } else {
          auto other = co_await at.server.borrow();
        }
      };
      driver.run(body(driver, reads));
    });
    CHECK(end.aborted);
    CHECK(end.said.find("while one is out") + end.said.find("while a loan of it is out") !=
          2 * std::string::npos);
  }
}

RING_TASK_TEST("tcp stream: write_file sends a range, from the page cache and without it") {
  for (const bool cached : {true, false}) {
    CAPTURE(cached);
    network both(loop, small_buffers(60'000));
    auto listener = both.listen();
    ends at = co_await connect_ends(both, listener);
    const std::string text = pattern(1'000'000);
    const text_file content(text);
    if (!cached) content.forget_pages();
    task_group group{loop};
    const auto writes = [](tcp::stream& to, const file& from) -> task<> {
      const auto all = co_await to.write_file(from, 1'000, 900'000);
      CHECK(all.ok());
      CHECK(all.bytes == 900'000);
      const auto nothing = co_await to.write_file(from, 5, 0);
      CHECK(nothing.ok());
      to.shutdown();
    };
    group.spawn(writes(at.client, content.opened()));
    const std::string got = co_await borrow_to_end(at.server);
    CHECK((got == text.substr(1'000, 900'000)));
    co_await group.join();
    co_await at.client.drained();
    CHECK(both.client.engine().memory().buffer_bytes == 0);
  }
}

RING_TASK_TEST("tcp stream: write_file says where a file ended, and why it cannot be read") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(100'000);
  const text_file content(text);
  const auto ended = co_await at.client.write_file(content.opened(), 10'000, 200'000);
  CHECK(ended.error == errc::file_too_short);
  CHECK(ended.bytes == 90'000);
  const auto beyond = co_await at.client.write_file(content.opened(), 200'000, 1);
  CHECK(beyond.error == errc::file_too_short);
  CHECK(beyond.bytes == 0);
  const file nothing;
  const auto unreadable = co_await at.client.write_file(nothing, 0, 10);
  CHECK(unreadable.error == std::errc::bad_file_descriptor);
  at.client.shutdown();
  const auto refused = co_await at.client.write_file(content.opened(), 0, 10);
  CHECK(refused.error == std::errc::broken_pipe);
  const std::string got = co_await read_to_end(at.server);
  CHECK((got == text.substr(10'000)));
}

RING_TASK_TEST(
    "tcp stream: a cancelled write_file tells how many bytes were taken, and holds no more") {
  network both(loop, small_buffers(60'000));
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(1'000'000);
  const text_file content(text);
  net::file_written done;
  const auto writes = [](tcp::stream& to, const file& from, net::file_written& out) -> task<> {
    out = co_await to.write_file(from, 0, 1'000'000);
  };
  {
    task_group group{loop};
    group.spawn(writes(at.client, content.opened(), done));
    co_await sleep(20ms);
    CHECK(both.client.engine().memory().buffer_bytes < 80'000);
    group.cancel();
    co_await group.join();
  }
  CHECK(done.error == errc::cancelled);
  CHECK(done.bytes >= 40'000);
  CHECK(done.bytes < 400'000);
  const auto finishes = [](tcp::stream& to) -> task<> {
    const auto rest = co_await to.write(bytes_of("!"));
    CHECK(rest.value() == 1);
    to.shutdown();
  };
  task_group group{loop};
  group.spawn(finishes(at.client));
  const std::string got = co_await borrow_to_end(at.server);
  co_await group.join();
  CHECK((got == text.substr(0, done.bytes) + "!"));
}

namespace {

task<> forward(tcp::stream from, tcp::stream& to) {
  for (;;) {
    auto lent = co_await from.borrow();
    if (!lent || lent->empty()) break;
    const auto sent = co_await to.write(lent->pieces());
    if (!sent) break;
    lent->consume(*sent);
  }
  to.shutdown();
  co_await to.drained();
}

task<> write_owned(tcp::stream& to, std::string text) {
  const auto sent = co_await to.write(net::owned_buffer::holding(std::move(text)));
  if (!sent) co_return;
  auto block = co_await to.allocate(500);
  if (!block) co_return;
  block->resize(500);
  std::ranges::fill(block->bytes(), std::byte{'x'});
  auto owned = net::owned_buffer(std::move(*block));
  const auto more = co_await to.write(std::move(owned));
  if (more) to.shutdown();
}

// Every awaitable of this page but write_file, over buffers too small for the text: one stack sends
// owned buffers, the other sends them back from loans.
task<> everything(loop& on, std::uint64_t) {
  network both(on, small_buffers(8'192));
  auto listener = both.listen();
  auto back =
      both.client.listen({client_address, 81}, {.connection = small_buffers(8'192)}).value();
  cancel_scope& mine = co_await this_scope();
  task_group group{mine, on_failure::collect};
  auto out = co_await both.client.connect(server_endpoint);
  auto in = co_await listener.accept();
  auto reply = co_await both.server.connect({client_address, 81});
  auto answer = co_await back.accept();
  if (out && in && reply && answer) {
    group.spawn(write_owned(*out, pattern(30'000)));
    group.spawn(forward(std::move(*in), *reply));
    const std::string got = co_await borrow_to_end(*answer);
    if (!mine.cancelled()) CHECK(got == pattern(30'000) + std::string(500, 'x'));
    listener.close();
  }
  co_await group.join();
}

// The same where the stacks go before the tasks that hold loans and buffers of their pools.
task<> stacks_go_first(loop& on, std::uint64_t) {
  task_group group{on, on_failure::collect};
  network both(on, small_buffers(8'192));
  auto listener = both.listen();
  auto back =
      both.client.listen({client_address, 81}, {.connection = small_buffers(8'192)}).value();
  auto out = co_await both.client.connect(server_endpoint);
  auto in = co_await listener.accept();
  auto reply = co_await both.server.connect({client_address, 81});
  auto answer = co_await back.accept();
  group.spawn(write_owned(*out, pattern(30'000)));
  group.spawn(forward(std::move(*in), *reply));
  for (;;) {
    auto lent = co_await answer->borrow(700);
    if (!lent || lent->empty()) break;
    co_await sleep(100us);
    lent->consume();
  }
  co_await group.join();
}

task<> file_goes(loop& on, std::uint64_t) {
  network both(on, small_buffers(20'000));
  auto listener = both.listen();
  const std::string text = pattern(60'000);
  const text_file content(text);
  content.forget_pages();
  cancel_scope& mine = co_await this_scope();
  task_group group{mine, on_failure::collect};
  auto out = co_await both.client.connect(server_endpoint);
  auto in = co_await listener.accept();
  if (!out || !in) co_return;
  const auto writes = [](tcp::stream& to, const file& from) -> task<> {
    const auto done = co_await to.write_file(from, 0, 60'000);
    if (done.ok()) to.shutdown();
  };
  group.spawn(writes(*out, content.opened()));
  const std::string got = co_await borrow_to_end(*in);
  if (!mine.cancelled()) CHECK((got == text));
  co_await group.join();
}

}  // namespace

TEST_CASE("tcp zero copy: tasks may be destroyed wherever they wait") {
  testing::kill_everywhere(&everything, {.time_step = 1ms, .times = 60, .passes = 4});
}

TEST_CASE("tcp zero copy: tasks may be cancelled wherever they wait and come to their end") {
  testing::cancel_everywhere(&everything, {.time_step = 1ms, .times = 60, .passes = 4});
}

TEST_CASE("tcp zero copy: destroyed tasks may find the stack gone before their loans") {
  testing::kill_everywhere(&stacks_go_first, {.time_step = 1ms, .times = 60, .passes = 4});
}

TEST_CASE("tcp zero copy: write_file may be destroyed and cancelled wherever it waits") {
  testing::kill_everywhere_real(&file_goes, {.time_step = 1ms, .times = 12, .passes = 3});
  testing::cancel_everywhere_real(&file_goes, {.time_step = 1ms, .times = 12, .passes = 3});
}
