#include <runnel/net/fiber_iostream.hpp>

#include <boost/property_tree/json_parser.hpp>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <runnel/net/pipe.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include "support/death_test.hpp"
#include "support/kill_test.hpp"

namespace {

using namespace std::chrono_literals;
using namespace runnel;
using net::fiber_iostream;
using net::fiber_streambuf;
using net::pipe_options;
using net::pipe_stream;

std::pair<pipe_stream, pipe_stream> small_pipe(loop& owner, std::size_t capacity = 5) {
  pipe_options options;
  options.capacity = capacity;
  return pipe_stream::make(owner, options);
}

/// Sends a text in bits, with time between them.
task<> trickle(pipe_stream& to, std::string text, std::size_t bit) {
  for (std::size_t at = 0; at < text.size(); at += bit) {
    const std::string part = text.substr(at, bit);
    const auto sent = co_await to.write(std::as_bytes(std::span(part)));
    if (!sent) co_return;
    co_await sleep(1ms);
  }
  static_cast<void>(to.shutdown());
}

task<std::string> read_to_end(pipe_stream& from) {
  std::string text;
  std::vector<std::byte> room(7);
  for (;;) {
    const auto got = co_await from.read(room);
    if (!got || *got == 0) break;
    text.append(reinterpret_cast<const char*>(room.data()), *got);
  }
  co_return text;
}

task<> keep(task<std::string> from, std::string& text) {
  text = co_await std::move(from);
}

std::string numbers_text(int count) {
  std::ostringstream text;
  for (int i = 0; i < count; ++i) text << i * 37 << (i % 5 == 0 ? "\n" : " ");
  return text.str();
}

}  // namespace

TASK_TEST("fiber iostream: words, lines and iterators read what comes in bits") {
  for (const std::size_t buffer : {std::size_t{1}, std::size_t{3}, std::size_t{8192}}) {
    auto [mine, theirs] = small_pipe(loop);
    task_group group{loop};
    group.spawn(trickle(theirs, "12 -7 word\na line of text\n\nthe rest\nwithout an end", 4));
    auto body = [&mine, buffer](fiber& self) {
      fiber_iostream io(self, mine, buffer);
      int first = 0;
      int second = 0;
      std::string word;
      std::string line;
      std::string empty = "?";
      io >> first >> second >> word >> std::ws;
      std::getline(io, line);
      std::getline(io, empty);
      const std::string rest{std::istreambuf_iterator<char>(io), std::istreambuf_iterator<char>()};
      CHECK(first == 12);
      CHECK(second == -7);
      CHECK(word == "word");
      CHECK(line == "a line of text");
      CHECK(empty == "");
      CHECK(rest == "the rest\nwithout an end");
      CHECK(io.get() == EOF);
      CHECK(io.eof());
      CHECK(!io.bad());
      CHECK(!io.read_error());
    };
    co_await run_fiber(body);
    co_await group.join();
  }
}

TASK_TEST("fiber iostream: writes more than any buffer holds, in order") {
  for (const std::size_t buffer : {std::size_t{1}, std::size_t{3}, std::size_t{8192}}) {
    auto [mine, theirs] = small_pipe(loop);
    std::string got;
    task_group group{loop};
    group.spawn(keep(read_to_end(theirs), got));
    auto body = [&mine, buffer](fiber& self) {
      fiber_iostream io(self, mine, buffer);
      io << numbers_text(300) << 'x' << 42 << std::flush;
      CHECK(io.good());
      io << "end" << std::endl;
      CHECK(io.good());
      CHECK(!io.write_error());
      CHECK(mine.shutdown().has_value());
    };
    co_await run_fiber(body);
    co_await group.join();
    CHECK(got == numbers_text(300) + "x42end\n");
  }
}

TASK_TEST("fiber iostream: a question leaves before its answer is waited for") {
  auto [mine, theirs] = small_pipe(loop, 100);
  task_group group{loop};
  group.spawn(run_fiber([&stream = theirs](fiber& self) {
    fiber_iostream io(self, stream);
    int number = 0;
    while (io >> number) io << number * number << '\n';
    CHECK(io.eof());
  }));
  auto body = [&stream = mine](fiber& self) {
    fiber_iostream io(self, stream);
    for (int i = 1; i < 20; ++i) {
      int square = 0;
      io << i << '\n';
      io >> square;
      CHECK(square == i * i);
    }
    CHECK(stream.shutdown().has_value());
  };
  co_await run_fiber(body);
  co_await group.join();
}

TASK_TEST("fiber iostream: a whole stream is copied by its buffer, and each part at once") {
  auto [mine, theirs] = small_pipe(loop, 100);
  task_group group{loop};
  group.spawn(run_fiber([&stream = theirs](fiber& self) {
    fiber_iostream io(self, stream);
    io << io.rdbuf() << std::flush;
    CHECK(io.good());
    CHECK(stream.shutdown().has_value());
  }));
  auto body = [&stream = mine](fiber& self) {
    fiber_iostream io(self, stream);
    for (int i = 0; i < 12; ++i) {
      const std::string sent(static_cast<std::size_t>(i * i + 1), static_cast<char>('a' + i));
      std::string got;
      io << sent << '\n' << std::flush;
      CHECK(std::getline(io, got));
      CHECK(got == sent);
    }
    CHECK(stream.shutdown().has_value());
    CHECK(io.get() == EOF);
  };
  co_await run_fiber(body);
  co_await group.join();
}

TASK_TEST("fiber iostream: a parser that knows only std::istream reads from a stream") {
  auto [mine, theirs] = small_pipe(loop);
  task_group group{loop};
  group.spawn(
      trickle(theirs, R"({"name": "runnel", "ports": [80, 443], "deep": {"er": true}})", 3));
  auto body = [&stream = mine](fiber& self) {
    fiber_iostream io(self, stream, 16);
    boost::property_tree::ptree tree;
    boost::property_tree::read_json(io, tree);
    CHECK(tree.get<std::string>("name") == "runnel");
    CHECK(tree.get<bool>("deep.er"));
    CHECK(tree.get_child("ports").size() == 2);
  };
  co_await run_fiber(body);
  co_await group.join();
}

TASK_TEST("fiber iostream: a failure is badbit, and can be asked for or thrown") {
  auto [mine, theirs] = small_pipe(loop, 100);
  const std::string text = "some words";
  co_await theirs.write(std::as_bytes(std::span(text)));
  theirs.abort();
  auto body = [&stream = mine](fiber& self) {
    fiber_iostream io(self, stream);
    std::string first;
    std::string second;
    std::string third;
    io >> first >> second >> third;
    CHECK(first == "some");
    CHECK(second == "words");
    CHECK(io.bad());
    CHECK(io.read_error() == std::errc::connection_reset);
    io.clear();
    io << "too late" << std::flush;
    CHECK(io.bad());
    CHECK(io.write_error());
    io.clear();
    io.exceptions(std::ios::badbit);
    CHECK_THROWS_AS(io.get(), std::system_error);
    fiber_streambuf bare(self, stream);
    CHECK_THROWS_AS(bare.sgetc(), std::system_error);
  };
  co_await run_fiber(body);
}

TASK_TEST("fiber iostream: after a deadline it goes on, and nothing is lost or sent twice") {
  auto [mine, theirs] = small_pipe(loop);
  auto body = [&stream = mine, &loop](fiber& self) {
    fiber_iostream io(self, stream, 8);
    std::string word;
    stream.set_read_deadline(loop.now() + 1s);
    io >> word;
    CHECK(io.bad());
    CHECK(io.read_error() == errc::deadline_exceeded);
    io.clear();
    stream.set_read_deadline(time_point::max());
    stream.set_write_deadline(loop.now() + 1s);
    io << "0123456" << std::flush;
    CHECK(io.bad());
    CHECK(io.write_error() == errc::deadline_exceeded);
    io.clear();
    stream.set_write_deadline(time_point::max());
    io << "789" << std::flush;
    CHECK(io.good());
    io >> word;
    CHECK(word == "late");
    CHECK(stream.shutdown().has_value());
  };
  task_group group{loop};
  group.spawn(run_fiber(body));
  co_await sleep(3s);
  std::string got;
  group.spawn(trickle(theirs, "late ", 2));
  group.spawn(keep(read_to_end(theirs), got));
  co_await group.join();
  CHECK(got == "0123456789");
}

TASK_TEST("fiber iostream: cancellation ends a wait with its error") {
  auto [mine, theirs] = small_pipe(loop);
  auto body = [&stream = mine](fiber& self) {
    fiber_iostream io(self, stream);
    std::string line;
    CHECK(!std::getline(io, line));
    CHECK(io.bad());
    CHECK(io.read_error() == errc::cancelled);
  };
  const time_point start = loop.now();
  result<void> ended = co_await with_timeout(1s, run_fiber(body));
  CHECK(ended.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 1s);
}

TASK_TEST("fiber iostream: what is not flushed is lost with it, without waiting") {
  auto [mine, theirs] = small_pipe(loop);
  auto body = [&stream = mine](fiber& self) {
    fiber_iostream io(self, stream);
    io << "sent" << std::flush << "lost, and longer than the pipe";
  };
  const time_point start = loop.now();
  co_await run_fiber(body);
  CHECK(loop.now() == start);
  CHECK(mine.shutdown().has_value());
  const std::string got = co_await read_to_end(theirs);
  CHECK(got == "sent");
}

namespace {

task<> question_and_answer(loop& owner, std::uint64_t) {
  auto [mine, theirs] = small_pipe(owner);
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  group.spawn(run_fiber([&stream = theirs](fiber& self) {
    fiber_iostream io(self, stream, 4);
    std::string word;
    while (io >> word) {
      auto slept = self.await(sleep(1ms));
      if (!slept) break;
      io << word << word << '\n';
    }
  }));
  group.spawn(run_fiber([&stream = mine](fiber& self) {
    fiber_iostream io(self, stream, 4);
    for (int i = 0; i < 3; ++i) {
      std::string answer;
      io << "a-long-question\n";
      if (!(io >> answer)) return;
    }
    static_cast<void>(stream.shutdown());
  }));
  co_await group.join();
}

}  // namespace

TEST_CASE("fiber iostream: destroyed at any moment it unwinds, cancelled at any moment it ends") {
  testing::kill_everywhere(&question_and_answer);
  testing::cancel_everywhere(&question_and_answer);
}

TEST_CASE("fiber iostream: when its fiber is destroyed, nothing behind the wait runs") {
  using wait_in = void (*)(std::iostream&);
  const std::vector<wait_in> waits = {
      [](std::iostream& io) { io.get(); },
      [](std::iostream& io) {
        std::string line;
        std::getline(io, line);
      },
      [](std::iostream& io) {
        int number = 0;
        io >> number;
      },
      [](std::iostream& io) { io << io.rdbuf(); },
      [](std::iostream& io) { io << "more than the pipe holds" << std::flush; },
      [](std::iostream& io) { io << std::string(100, 'x') << 42; },
      [](std::iostream& io) {
        io.setstate(std::ios::failbit);
        std::istreambuf_iterator<char> direct(io.rdbuf());
        static_cast<void>(*direct);
      },
  };
  for (const wait_in wait : waits) {
    loop driver{{.simulated = 0}};
    auto [mine, theirs] = small_pipe(driver);
    bool went_on = false;
    auto body = [&stream = mine, &went_on, wait](fiber& self) {
      fiber_iostream io(self, stream, 8);
      wait(io);
      went_on = true;
    };
    CHECK_THROWS_AS(driver.run(run_fiber(body)), deadlock_error);
    CHECK(!went_on);
  }
}

TEST_CASE("fiber iostream: a fiber that ignores for ever that its stream failed is named") {
  const testing::death d = testing::run_in_child([] {
    loop driver{{.simulated = 0}};
    auto [mine, theirs] = pipe_stream::make(driver);
    auto body = [&stream = mine](fiber& self) {
      fiber_streambuf buffer(self, stream);
      std::istream io(&buffer);
      std::string line;
      for (;;) {
        std::getline(io, line);
        io.clear();
      }
    };
    try {
      driver.run(run_fiber(body));
    } catch (const deadlock_error&) {
    }
  });
  CHECK(d.aborted);
  CHECK(d.said.starts_with("runnel: a fiber goes on waiting for ever"));
}
