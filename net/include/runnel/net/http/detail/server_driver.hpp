#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "runnel/detail/check.hpp"
#include "runnel/net/http/answer.hpp"
#include "runnel/net/http/detail/eager.hpp"
#include "runnel/net/http/detail/server_connection.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"

namespace runnel::http::detail {

/// A connection with its stream, and the way for the slow paths to use it without knowing its type.
template <net::stream Stream>
class stream_connection final : public server_connection {
 public:
  stream_connection(ticket place, Stream& over) noexcept
      : server_connection(std::move(place)), stream(over) {}

  Stream& stream;

 private:
  task<result<std::size_t>> read_some(std::span<std::byte> into) override {
    auto got = co_await stream.read(into);
    co_return got;
  }
  task<result<std::size_t>> write_some(std::span<const std::span<const std::byte>> from) override {
    auto sent = co_await stream.write(from);
    co_return sent;
  }
  void set_read_deadline(time_point when) noexcept override { stream.set_read_deadline(when); }
  void set_write_deadline(time_point when) noexcept override { stream.set_write_deadline(when); }
};

/// Has the task fill the connection's slot. Responses to earlier requests of a batch are held back
/// only as long as the handlers do not wait.
template <class Stream>
task<> respond_behind_others(stream_connection<Stream>& self, task<response> later) {
  eager<response> running = run_eagerly(std::move(later));
  co_await running.start();
  if (!running.done()) {
    while (self.has_output()) {
      const auto sent = co_await self.stream.write(self.pieces());
      self.on_written(sent);
    }
  }
  self.slot() = co_await running.finish();
}

/// Calls the handler: the task that will give the response, or none where the slot is filled. Not a
/// coroutine, so that nobody's frame holds the response in between.
template <class Stream, class Handler>
task<response> ask(stream_connection<Stream>& self, Handler& handler) {
  task<response> later;
  if constexpr (std::same_as<std::invoke_result_t<Handler&, request&>, answer>) {
    answer given = handler(self.current());
    if (response* const now = given.at_once()) {
      self.slot() = std::move(*now);
      return later;
    }
    later = given.later();
  } else {
    later = handler(self.current());
  }
  runnel::detail::check(static_cast<bool>(later),
                        "runnel: an http handler gave a task that was moved from.");
  return later;
}

/// Serves requests as long as there is something to read or write. It is a coroutine of its own, so
/// that a connection that waits for its next request does not hold this frame.
template <class Stream, class Handler>
task<> converse(stream_connection<Stream>& self, Handler& handler) {
  using made = std::invoke_result_t<Handler&, request&>;
  for (;;) {
    const next_step step = self.next();
    if (step == next_step::rest) break;
    if (step == next_step::read) {
      const auto got = co_await self.stream.read(self.room());
      self.on_read(got);
    } else if (step == next_step::write) {
      const auto sent = co_await self.stream.write(self.pieces());
      self.on_written(sent);
    } else if (step == next_step::stream_body) {
      co_await self.stream_body();
    } else if (step == next_step::discard_body) {
      co_await self.discard_body();
    } else {
      try {
        if constexpr (std::same_as<made, response>) {
          self.slot() = handler(self.current());
        } else {
          task<response> later = ask(self, handler);
          if (self.has_output() && later) {
            co_await respond_behind_others(self, std::move(later));
          } else if (later) {
            self.slot() = co_await std::move(later);
          }
        }
        self.on_reply();
      } catch (...) {
        self.on_handler_exception();
      }
    }
  }
}

/// Reads and throws away what the client still sends after our end of the stream, within bounds.
template <class Stream>
task<> linger(stream_connection<Stream>& self) {
  self.on_linger();
  for (;;) {
    const auto ready = co_await self.stream.readable();
    if (!ready) break;
    const auto got = co_await self.stream.read(self.core().waste());
    if (!self.keeps_lingering(got)) break;
  }
}

/// The life of one connection.
template <class Stream, class Handler>
task<> serve_connection(Stream stream, ticket place, Handler& handler) {
  stream_connection<Stream> self{std::move(place), stream};
  // What is written here is complete, or more of it follows at once.
  if constexpr (requires { stream.set_nodelay(true); }) stream.set_nodelay(true);
  try {
    for (;;) {
      self.on_wait();
      const auto ready = co_await stream.readable();
      if (!self.on_wake(ready)) break;
      co_await converse(self, handler);
      if (self.ending() != ending::none) break;
    }
  } catch (...) {
    // No memory. What a handler throws was answered long before.
    self.on_failure();
  }
  const parting how_to_end = self.on_end();
  if (self.ending() == ending::abort) stream.abort();
  if (self.ending() == ending::abort || self.ending() == ending::lost) co_return;
  if constexpr (net::leavable_stream<Stream>) {
    if (how_to_end.how != net::departure::graceful) {
      self.on_left();
      stream.leave(how_to_end.how, how_to_end.time);
      co_return;
    }
  }
  if (how_to_end.how == net::departure::peer_first) {
    // Whatever it says, the end of the stream is next.
    self.on_await_client();
    const auto said = co_await stream.readable();
    static_cast<void>(said);
  }
  const auto finished = stream.shutdown();
  if (finished && how_to_end.lingers) co_await linger(self);
  const auto how = co_await stream.close();
  self.on_closed(how.clean());
}

/// Answers 503 to a connection over a limit, as cheaply as can be.
template <class Stream>
task<> refuse_connection(Stream stream, ticket place) {
  const refusal plan{place.core()};
  stream.set_read_deadline(plan.deadline);
  stream.set_write_deadline(plan.deadline);
  const auto sent = co_await stream.write(plan.message);
  const auto finished = stream.shutdown();
  std::size_t left = refusal::linger_bytes;
  while (sent && finished && left > 0) {
    const auto got = co_await stream.read(plan.waste.first(left));
    if (!got || *got == 0) break;
    left -= *got;
  }
  const auto how = co_await with_deadline(plan.deadline, stream.close());
  static_cast<void>(how);
}

/// A running `serve` that a drain can stop.
template <class Listener>
class stoppable final : public listening {
 public:
  explicit stoppable(Listener& listener) noexcept : listener_(&listener) {}

 private:
  void stop() noexcept override { listener_->close(); }

  Listener* listener_;
};

/// How long to wait after a failed accept, so that a lasting failure costs no core.
inline constexpr std::chrono::milliseconds accept_pause{10};

/// Accepts until the listener is closed or can accept no more; gives why, unless a drain closed it.
template <class Listener, class Handler>
task<result<void>> accept_all(Listener& listener, listening& through, Handler& handler,
                              server_core& core, task_group& group) {
  using stream_type = typename Listener::stream_type;
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) {
      if (through.draining()) break;
      ++core.counters().accept_errors;
      if (!is_passing(accepted.error())) co_return accepted.error();
      const auto rested = co_await sleep(accept_pause);
      if (!rested) co_return rested.error();
      continue;
    }
    stream_type stream = std::move(*accepted);
    try {
      ticket place = core.admit(through, stream.remote_endpoint());
      if (place.kind() == admission::admit) {
        group.spawn(serve_connection(std::move(stream), std::move(place), handler));
      } else if (place.kind() == admission::refuse) {
        group.spawn(refuse_connection(std::move(stream), std::move(place)));
      } else {
        stream.abort();
      }
    } catch (const std::bad_alloc&) {
      // The connection is closed; those that are there go on.
      ++core.counters().dropped;
    }
  }
  co_return result<void>{};
}

template <class Listener, class Handler>
task<result<void>> serve(Listener& listener, Handler& handler, server_core& core) {
  cancel_scope& scope = co_await this_scope();
  stoppable<Listener> through{listener};
  // A connection that fails says nothing about the others.
  task_group group{scope, on_failure::collect};
  core.add(through);
  auto ended = co_await accept_all(listener, through, handler, core, group);
  core.drain(through);
  const auto joined = co_await with_timeout(core.options().drain_grace, group.join());
  static_cast<void>(joined);
  co_return ended;
}

}  // namespace runnel::http::detail
