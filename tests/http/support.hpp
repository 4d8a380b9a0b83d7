#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/loop.hpp"
#include "runnel/net/http/server.hpp"
#include "runnel/net/pipe.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task.hpp"
#include "runnel/task_group.hpp"
#include "support/task_test.hpp"

namespace runnel::testing {

using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

/// Sun, 06 Nov 1994 08:49:37 GMT, always.
inline http::wall_time standing_clock() {
  return http::wall_time{std::chrono::seconds{784111777}};
}

inline constexpr std::string_view standing_date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

inline http::server_options quiet_options() {
  http::server_options options;
  options.clock = standing_clock;
  return options;
}

/// What a server sends for this status, body and Connection field.
inline std::string expected_response(std::string_view status_line, std::string_view fields,
                                     std::string_view body) {
  std::string text{"HTTP/1.1 "};
  text.append(status_line).append("\r\n").append(standing_date).append(fields);
  return text.append("\r\n").append(body);
}

/// The client's end of a connection, for tests that care about the bytes.
class peer {
 public:
  peer() = default;
  explicit peer(net::pipe_stream stream) noexcept : stream_(std::move(stream)) {}

  net::pipe_stream& stream() noexcept { return stream_; }

  task<> send(std::string_view text) {
    const auto sent = co_await stream_.write(std::as_bytes(std::span{text}));
    REQUIRE(sent.has_value());
    CHECK(*sent == text.size());
  }

  /// Reads until `size` bytes are there, or the end.
  task<std::string> receive(std::size_t size) {
    std::string text;
    while (text.size() < size) {
      const auto got = co_await stream_.read(room(size - text.size()));
      if (!got || *got == 0) break;
      text.append(room_.data(), *got);
    }
    co_return text;
  }

  /// Reads to the end of the stream; a reset shows as "<reset>" at the end of the text.
  task<std::string> receive_all() {
    std::string text;
    for (;;) {
      const auto got = co_await stream_.read(room(room_.size()));
      if (!got) text += "<reset>";
      if (!got || *got == 0) break;
      text.append(room_.data(), *got);
    }
    co_return text;
  }

  /// Reads one response with a Content-Length, or to the end.
  task<std::string> receive_response() {
    std::string text;
    while (!text.ends_with("\r\n\r\n")) {
      const std::string more = co_await receive(1);
      if (more.empty()) co_return text;
      text += more;
    }
    constexpr std::string_view field = "Content-Length: ";
    const std::size_t at = text.find(field);
    if (at == std::string::npos) co_return text;
    const std::string body = co_await receive(std::stoul(text.substr(at + field.size())));
    text += body;
    co_return text;
  }

 private:
  std::span<std::byte> room(std::size_t most) noexcept {
    return std::as_writable_bytes(std::span{room_}.first(std::min(most, room_.size())));
  }

  net::pipe_stream stream_;
  std::string room_ = std::string(4096, '?');
};

inline task<peer> connect(net::pipe_listener& listener,
                          net::endpoint from = {net::address::v4(127, 0, 0, 1), 0}) {
  auto stream = co_await listener.connect(from);
  REQUIRE(stream.has_value());
  co_return peer{std::move(*stream)};
}

/// A pipe that writes down what is done with it and when, and can act at any operation.
struct operation_log {
  struct entry {
    std::string_view what;
    std::size_t bytes;
    std::uint64_t turn;
  };

  std::size_t count(std::string_view what) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(entries, [what](const entry& e) { return e.what == what; }));
  }

  void note(std::string_view what, std::size_t bytes = 0) {
    entries.push_back({what, bytes, owner->metrics().turns});
    if (entries.size() == act_at && act) act();
  }

  loop* owner = nullptr;
  std::vector<entry> entries;
  /// `act` is called by the operation with this number, counted from 1.
  std::size_t act_at = 0;
  std::function<void()> act;
};

class logged_stream {
 public:
  logged_stream(net::pipe_stream stream, operation_log& log) noexcept
      : stream_(std::move(stream)), log_(&log) {}

  auto read(std::span<std::byte> into) {
    log_->note("read", into.size());
    return stream_.read(into);
  }
  auto readable() {
    log_->note("readable");
    return stream_.readable();
  }
  auto write(std::span<const std::byte> from) {
    log_->note("write", from.size());
    return stream_.write(from);
  }
  auto write(std::span<const std::span<const std::byte>> pieces) {
    std::size_t bytes = 0;
    for (const auto& piece : pieces) bytes += piece.size();
    log_->note("write", bytes);
    return stream_.write(pieces);
  }
  result<void> shutdown() {
    log_->note("shutdown");
    return stream_.shutdown();
  }
  auto close() {
    log_->note("close");
    return stream_.close();
  }
  auto drained() { return stream_.drained(); }
  void abort() noexcept {
    log_->note("abort");
    stream_.abort();
  }
  void set_read_deadline(time_point when) noexcept { stream_.set_read_deadline(when); }
  void set_write_deadline(time_point when) noexcept { stream_.set_write_deadline(when); }
  net::endpoint local_endpoint() const noexcept { return stream_.local_endpoint(); }
  net::endpoint remote_endpoint() const noexcept { return stream_.remote_endpoint(); }

 private:
  net::pipe_stream stream_;
  operation_log* log_;
};

class logged_listener {
 public:
  using stream_type = logged_stream;

  logged_listener(net::pipe_listener& listener, operation_log& log) noexcept
      : listener_(&listener), log_(&log) {}

  task<result<logged_stream>> accept() {
    log_->note("accept");
    auto stream = co_await listener_->accept();
    if (!stream) co_return stream.error();
    co_return logged_stream{std::move(*stream), *log_};
  }
  void close() noexcept { listener_->close(); }
  net::endpoint local_endpoint() const noexcept { return listener_->local_endpoint(); }

 private:
  net::pipe_listener* listener_;
  operation_log* log_;
};

static_assert(net::listener<logged_listener>);

/// A server with its listener and the group it runs in.
template <class Handler>
struct rig {
  rig(loop& owner, Handler handler, const http::server_options& options = quiet_options(),
      const net::pipe_listener_options& pipes = {})
      : listener(owner, pipes), server(owner, std::move(handler), options), group(owner) {
    group.spawn(server.serve(listener));
  }

  /// Drains it and waits for its end.
  task<> finish() {
    server.drain();
    const auto ended = co_await group.join();
    CHECK(ended.has_value());
    CHECK(server.counters().open == 0);
    CHECK(server.counters().busy == 0);
  }

  net::pipe_listener listener;
  http::server<Handler> server;
  task_group group;
};

inline std::string get(std::string_view target, std::string_view fields = {}) {
  std::string text{"GET "};
  return text.append(target).append(" HTTP/1.1\r\nHost: h\r\n").append(fields).append("\r\n");
}

}  // namespace runnel::testing
