#pragma once

#include <doctest/doctest.h>

#include "net/bytes.hpp"
#include "support/task_test.hpp"

#include <runnel/net/stream.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// What every model of `net::stream` does, as one set of cases. A model is a type with
///
///     using stream_type = ...;
///     static constexpr bool resets;      // abort() is told from the end of the stream
///     static void run(test_body);        // on a loop of its own, or on several
///     static task<std::pair<stream_type, stream_type>> connect(loop&);
///
/// Use it by `RUNNEL_STREAM_CONTRACT(model, "name")` in one source of its own.
namespace runnel::testing {

using test::byte_string;
using test::bytes_of;

/// Long enough that the other side's bytes would have come, short enough to wait for in real time.
inline constexpr duration a_while = std::chrono::milliseconds{10};

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class Stream>
task<> write_text(Stream& to, std::string text) {
  const byte_string bytes = bytes_of(text);
  const auto taken = co_await to.write(std::span<const std::byte>(bytes));
  CHECK(taken == result<std::size_t>(bytes.size()));
}

template <class Stream>
task<> write_bytes(Stream& to, const byte_string& bytes) {
  const auto taken = co_await to.write(std::span<const std::byte>(bytes));
  CHECK(taken == result<std::size_t>(bytes.size()));
  CHECK(to.shutdown().has_value());
}

/// Reads until the end of the stream or an error, a few bytes at a time; gives the error.
template <class Stream>
task<std::error_code> read_to_end(Stream& from, byte_string& into, std::size_t at_once) {
  byte_string buffer(at_once);
  for (;;) {
    const auto count = co_await from.read(buffer);
    if (!count) co_return count.error();
    if (*count == 0) co_return std::error_code{};
    into.insert(into.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*count));
  }
}

template <class Stream>
task<> read_all_into(Stream& from, byte_string& into, std::size_t at_once) {
  const auto error = co_await read_to_end(from, into, at_once);
  CHECK_FALSE(error);
}

/// Exactly `count` bytes as text, fewer at the end of the stream.
template <class Stream>
task<std::string> read_text(Stream& from, std::size_t count) {
  std::string text;
  byte_string buffer(count);
  while (text.size() < count) {
    const auto got = co_await from.read(std::span(buffer).first(count - text.size()));
    if (!got || *got == 0) break;
    text += text_of(std::span(buffer).first(*got));
  }
  co_return text;
}

template <class Stream>
task<> store_read_error(Stream& from, std::optional<std::error_code>& error) {
  byte_string buffer(10);
  const auto count = co_await from.read(buffer);
  error = count.has_error() ? count.error() : std::error_code{};
}

/// Writes until it does not fit any more; gives how much was taken, and of the last call what it
/// said.
template <class Stream>
task<std::size_t> fill(Stream& to, std::optional<result<std::size_t>>& last) {
  const byte_string piece(256 * 1024, std::byte{7});
  std::size_t taken = 0;
  for (;;) {
    last = co_await with_timeout(a_while, to.write(std::span<const std::byte>(piece)));
    if (last->has_error()) co_return taken;
    taken += **last;
    if (**last < piece.size()) co_return taken;
  }
}

template <class Stream>
task<> write_for_ever(Stream& to, std::size_t& taken, std::error_code& error) {
  const byte_string piece(64 * 1024, std::byte{7});
  for (;;) {
    const auto count = co_await to.write(std::span<const std::byte>(piece));
    if (!count) {
      error = count.error();
      co_return;
    }
    taken += *count;
  }
}

template <class Model>
using pair_body = task<> (*)(loop& owner, typename Model::stream_type& a,
                             typename Model::stream_type& b);

template <class Model, pair_body<Model> Body>
task<> with_pair(loop& owner, std::uint64_t) {
  auto both = co_await Model::connect(owner);
  co_await Body(owner, both.first, both.second);
}

template <class Model>
struct stream_contract {
  using stream_type = typename Model::stream_type;

  static task<> order_and_end(loop&, stream_type& a, stream_type& b) {
    co_await write_text(a, "hello");
    CHECK(a.shutdown().has_value());
    CHECK(a.shutdown().has_value());
    byte_string empty;
    const auto none = co_await b.read(empty);
    CHECK(none == result<std::size_t>(0));
    const auto first = co_await read_text(b, 3);
    CHECK(first == "hel");
    const auto rest = co_await read_text(b, 3);
    CHECK(rest == "lo");
    byte_string buffer(3);
    for (int i = 0; i < 2; ++i) {
      const auto end = co_await b.read(buffer);
      CHECK(end == result<std::size_t>(0));
      const auto ready = co_await b.readable();
      CHECK(ready.has_value());
    }
    const byte_string more = bytes_of("more");
    const auto refused = co_await a.write(std::span<const std::byte>(more));
    CHECK(refused.error() == std::errc::broken_pipe);
  }

  static task<> much(loop& owner, stream_type& a, stream_type& b) {
    random_source random{17};
    byte_string sent(3 << 20);
    for (auto& byte : sent) byte = static_cast<std::byte>(random());
    byte_string received;
    byte_string back;
    task_group group{owner};
    group.spawn(read_all_into(b, received, 1000 + random.below(40'000)));
    group.spawn(write_bytes(a, sent));
    group.spawn(read_all_into(a, back, 1000 + random.below(40'000)));
    group.spawn(write_bytes(b, sent));
    co_await group.join();
    CHECK((received == sent));
    CHECK((back == sent));
  }

  static task<> pieces(loop&, stream_type& a, stream_type& b) {
    const auto head = bytes_of("head");
    const auto tail = bytes_of("tail and more");
    std::vector<std::span<const std::byte>> pieces{{}, head, {}, tail, {}};
    for (int i = 0; i < 100; ++i) pieces.emplace_back(head);
    const auto taken = co_await a.write(std::span<const std::span<const std::byte>>(pieces));
    CHECK(taken == result<std::size_t>(101 * head.size() + tail.size()));
    const auto text = co_await read_text(b, 21);
    CHECK(text == "headtail and morehead");
    byte_string rest;
    CHECK(a.shutdown().has_value());
    co_await read_all_into(b, rest, 1000);
    CHECK(rest.size() == 99 * head.size());
  }

  static task<> half_close(loop&, stream_type& a, stream_type& b) {
    CHECK(a.shutdown().has_value());
    byte_string buffer(10);
    const auto end = co_await b.read(buffer);
    CHECK(end == result<std::size_t>(0));
    co_await write_text(b, "answer");
    const auto text = co_await read_text(a, 6);
    CHECK(text == "answer");
    const auto drained = co_await b.drained();
    CHECK(drained.has_value());
    const auto last = co_await b.close();
    CHECK(last.clean());
    const auto first = co_await a.close();
    CHECK(first.clean());
  }

  static task<> readable(loop& owner, stream_type& a, stream_type& b) {
    const auto early = co_await with_timeout(a_while, b.readable());
    CHECK(early.error() == errc::deadline_exceeded);
    task_group group{owner};
    group.spawn(write_text(a, "x"));
    for (int i = 0; i < 2; ++i) {
      const auto ready = co_await b.readable();
      CHECK(ready.has_value());
    }
    const auto text = co_await read_text(b, 1);
    CHECK(text == "x");
    co_await group.join();
    const auto empty = co_await with_timeout(a_while, b.readable());
    CHECK(empty.error() == errc::deadline_exceeded);
    CHECK(a.shutdown().has_value());
    const auto ended = co_await b.readable();
    CHECK(ended.has_value());
  }

  static task<> cancelled_read(loop& owner, stream_type& a, stream_type& b) {
    byte_string buffer(10);
    const auto late = co_await with_timeout(a_while, b.read(buffer));
    CHECK(late.error() == errc::deadline_exceeded);
    co_await write_text(a, "hello");
    {
      std::optional<std::error_code> error;
      task_group group{owner};
      group.cancel();
      group.spawn(store_read_error(b, error));
      co_await group.join();
      CHECK(error == errc::cancelled);
    }
    const auto text = co_await read_text(b, 5);
    CHECK(text == "hello");
  }

  static task<> cancelled_write(loop& owner, stream_type& a, stream_type& b) {
    std::optional<result<std::size_t>> last;
    std::size_t taken = co_await fill(a, last);
    const byte_string one(1, std::byte{7});
    // What the peer's kernel takes over may make room once more.
    for (;;) {
      const auto more = co_await with_timeout(a_while, a.write(std::span<const std::byte>(one)));
      if (!more) {
        CHECK(more.error() == errc::deadline_exceeded);
        break;
      }
      taken += *more;
    }
    byte_string received;
    task_group group{owner};
    group.spawn(read_all_into(b, received, 100'000));
    CHECK(a.shutdown().has_value());
    co_await group.join();
    CHECK(received.size() == taken);
  }

  static task<> read_deadline(loop& owner, stream_type& a, stream_type& b) {
    b.set_read_deadline(owner.now() + a_while);
    const auto begin = owner.now();
    byte_string buffer(10);
    auto count = co_await b.read(buffer);
    CHECK(count.error() == errc::deadline_exceeded);
    CHECK(owner.now() - begin >= a_while);
    co_await write_text(a, "hello");
    count = co_await b.read(buffer);
    CHECK(count.error() == errc::deadline_exceeded);
    auto ready = co_await b.readable();
    CHECK(ready.error() == errc::deadline_exceeded);
    b.set_read_deadline(time_point::max());
    ready = co_await b.readable();
    CHECK(ready.has_value());
    const auto text = co_await read_text(b, 5);
    CHECK(text == "hello");
    b.set_read_deadline(owner.now() + std::chrono::hours{1});
    std::optional<std::error_code> error;
    task_group group{owner};
    group.spawn(store_read_error(b, error));
    co_await yield();
    co_await yield();
    b.set_read_deadline(owner.now() + std::chrono::milliseconds{1});
    co_await group.join();
    CHECK(error == errc::deadline_exceeded);
  }

  static task<> write_deadline(loop& owner, stream_type& a, stream_type& b) {
    a.set_write_deadline(owner.now() + a_while);
    std::size_t taken = 0;
    std::error_code error;
    co_await write_for_ever(a, taken, error);
    CHECK(error == errc::deadline_exceeded);
    CHECK(taken > 0);
    a.set_write_deadline(time_point::max());
    byte_string received;
    task_group group{owner};
    group.spawn(read_all_into(b, received, 100'000));
    co_await write_text(a, "end");
    CHECK(a.shutdown().has_value());
    co_await group.join();
    CHECK(received.size() == taken + 3);
  }

  static task<> abort(loop&, stream_type& a, stream_type& b) {
    co_await write_text(a, "hello");
    a.abort();
    a.abort();
    const auto text = co_await read_text(b, 5);
    CHECK(text == "hello");
    byte_string received;
    const auto ended = co_await read_to_end(b, received, 10);
    if (Model::resets) {
      CHECK(ended == std::errc::connection_reset);
      const byte_string more = bytes_of("more");
      auto refused = co_await b.write(std::span<const std::byte>(more));
      CHECK((refused.error() == std::errc::connection_reset ||
             refused.error() == std::errc::broken_pipe));
      refused = co_await b.write(std::span<const std::byte>(more));
      CHECK((refused.error() == std::errc::connection_reset ||
             refused.error() == std::errc::broken_pipe));
      const auto drained = co_await b.drained();
      CHECK(drained.error() == std::errc::connection_reset);
      CHECK(b.shutdown().error() == std::errc::connection_reset);
      const auto theirs = co_await b.close();
      CHECK_FALSE(theirs.clean());
    }
    byte_string buffer(10);
    const auto count = co_await a.read(buffer);
    CHECK(count.error() == std::errc::connection_aborted);
    const auto mine = co_await a.close();
    CHECK_FALSE(mine.clean());
  }

  static task<> abort_and_write(loop&, stream_type& a, stream_type& b) {
    co_await write_text(a, "hello");
    a.abort();
    const byte_string more = bytes_of("more");
    // The writer is the first who hears of it.
    const auto refused = co_await b.write(std::span<const std::byte>(more));
    if (Model::resets) CHECK(refused.has_error());
    const auto ready = co_await b.readable();
    CHECK(ready.has_value());
    const auto text = co_await read_text(b, 5);
    CHECK(text == "hello");
    byte_string buffer(10);
    const auto count = co_await b.read(buffer);
    if (Model::resets) CHECK(count.error() == std::errc::connection_reset);
  }

  static task<> abort_wakes(loop& owner, stream_type& a, stream_type& b) {
    std::optional<std::error_code> theirs;
    std::optional<std::error_code> ours;
    std::size_t taken = 0;
    std::error_code write_error;
    task_group group{owner};
    group.spawn(store_read_error(a, theirs));
    group.spawn(store_read_error(b, ours));
    group.spawn(write_for_ever(b, taken, write_error));
    while (taken == 0) co_await yield();
    b.abort();
    co_await group.join();
    CHECK(ours == std::errc::connection_aborted);
    CHECK(write_error == std::errc::connection_aborted);
    // It was given bytes, which came first.
    CHECK(theirs == std::error_code{});
    byte_string received;
    const auto ended = co_await read_to_end(a, received, 1 << 20);
    if (Model::resets) CHECK(ended == std::errc::connection_reset);
  }

  static task<> unread(loop&, stream_type& a, stream_type& b) {
    co_await write_text(a, "hello");
    const auto there = co_await b.readable();
    CHECK(there.has_value());
    const auto ending = co_await b.close();
    CHECK_FALSE(ending.clean());
    byte_string buffer(10);
    const auto count = co_await a.read(buffer);
    if (Model::resets) CHECK(count.error() == std::errc::connection_reset);
    const auto again = co_await b.close();
    CHECK_FALSE(again.clean());
    const auto late = co_await b.read(buffer);
    CHECK(late.error() == std::errc::bad_file_descriptor);
    const auto wait = co_await b.readable();
    CHECK(wait.error() == std::errc::bad_file_descriptor);
    const auto write = co_await b.write(std::span<const std::byte>(buffer));
    CHECK(write.error() == std::errc::bad_file_descriptor);
    CHECK(b.shutdown().error() == std::errc::bad_file_descriptor);
  }

  static task<> destroyed(loop&, stream_type& a, stream_type& b) {
    co_await write_text(a, "hello");
    { stream_type gone = std::move(a); }
    byte_string received;
    co_await read_all_into(b, received, 2);
    CHECK(text_of(received) == "hello");
  }

  static task<> close_wakes(loop& owner, stream_type& a, stream_type& b) {
    std::optional<std::error_code> error;
    task_group group{owner};
    group.spawn(store_read_error(a, error));
    co_await yield();
    co_await yield();
    const auto ending = co_await a.close();
    CHECK(ending.clean());
    co_await group.join();
    CHECK(error == std::errc::bad_file_descriptor);
    byte_string buffer(1);
    const auto end = co_await b.read(buffer);
    CHECK(end == result<std::size_t>(0));
  }

  static task<> ping_pong(loop& owner, stream_type& a, stream_type& b) {
    const auto answer = [](stream_type& from) -> task<> {
      for (int i = 0; i < 2000; ++i) {
        const auto text = co_await read_text(from, 4);
        CHECK(text == "ping");
        co_await write_text(from, "pong");
      }
    };
    task_group group{owner};
    group.spawn(answer(b));
    for (int i = 0; i < 2000; ++i) {
      co_await write_text(a, "ping");
      const auto text = co_await read_text(a, 4);
      CHECK(text == "pong");
    }
    co_await group.join();
  }

  template <pair_body<Model> Body>
  static void run(const char* what) {
    INFO(what);
    Model::run(&with_pair<Model, Body>);
  }
};

}  // namespace runnel::testing

#define RUNNEL_STREAM_CASE_(model, name, what, member)             \
  TEST_CASE(name ": " what) {                                      \
    ::runnel::testing::stream_contract<model>::run<                \
        &::runnel::testing::stream_contract<model>::member>(what); \
  }

#define RUNNEL_STREAM_CONTRACT(model, name)                                                       \
  RUNNEL_STREAM_CASE_(model, name, "what is written is read, and the end comes after it",         \
                      order_and_end)                                                              \
  RUNNEL_STREAM_CASE_(model, name, "much goes in both directions at once", much)                  \
  RUNNEL_STREAM_CASE_(model, name, "pieces are written in order as one", pieces)                  \
  RUNNEL_STREAM_CASE_(model, name, "half-close leaves the other direction open", half_close)      \
  RUNNEL_STREAM_CASE_(model, name, "readable waits for bytes and for the end", readable)          \
  RUNNEL_STREAM_CASE_(model, name, "a cancelled read has consumed nothing", cancelled_read)       \
  RUNNEL_STREAM_CASE_(model, name, "a cancelled write says how much was taken", cancelled_write)  \
  RUNNEL_STREAM_CASE_(model, name, "a read deadline stands until it is moved", read_deadline)     \
  RUNNEL_STREAM_CASE_(model, name, "a write deadline loses nothing", write_deadline)              \
  RUNNEL_STREAM_CASE_(model, name, "abort resets the peer behind what had arrived", abort)        \
  RUNNEL_STREAM_CASE_(model, name, "a writer that hears of a reset loses no bytes of the reader", \
                      abort_and_write)                                                            \
  RUNNEL_STREAM_CASE_(model, name, "abort wakes what is pending on both sides", abort_wakes)      \
  RUNNEL_STREAM_CASE_(model, name, "closing with bytes unread resets the peer", unread)           \
  RUNNEL_STREAM_CASE_(model, name, "a destroyed stream has closed, and its bytes are read",       \
                      destroyed)                                                                  \
  RUNNEL_STREAM_CASE_(model, name, "closing ends what is pending", close_wakes)                   \
  RUNNEL_STREAM_CASE_(model, name, "many small messages go to and fro", ping_pong)
