#pragma once

#include <runnel/event.hpp>
#include <runnel/net/stream.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>
#include <runnel/wire/address.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace runnel::net {

/// How `connect_any` goes through its endpoints.
struct connect_any_options {
  /// How long one attempt has before the next one is begun beside it (RFC 8305 section 8).
  duration attempt_delay = std::chrono::milliseconds{250};
};

namespace detail {

/// The attempts of one `connect_any`: the first that is open wins.
template <class Stream>
struct connect_race {
  std::optional<Stream> won{};
  std::error_code failure{};
  std::exception_ptr thrown{};
  event changed{};

  bool over() const noexcept { return won || thrown; }
};

template <class Connector>
task<> attempt(Connector& by, endpoint to, connect_race<typename Connector::stream_type>& race) {
  std::error_code failure;
  try {
    auto opened = co_await by.connect(to);
    if (!opened) {
      failure = opened.error();
    } else if (!race.won) {
      race.won.emplace(std::move(*opened));
    }
  } catch (const std::bad_alloc&) {
    failure = std::make_error_code(std::errc::not_enough_memory);
  } catch (...) {
    race.thrown = std::current_exception();
  }
  // The first refusal is the one of the best address, and tells most.
  if (!race.failure) race.failure = failure;
  race.changed.set();
}

}  // namespace detail

/// Opens a stream to one of several endpoints of one service: each is begun when the one before has
/// failed or has had its delay; the first that answers wins, the others are cancelled and awaited
/// ("Happy Eyeballs", RFC 8305 section 5). Gives `result<Stream>`; when none answers the error of
/// the first that failed, `std::errc::invalid_argument` when there is none. Cancelled:
/// `errc::cancelled`, and nothing remains. What `by.connect` throws ends it: the others are
/// cancelled and awaited, then it is thrown; `std::bad_alloc` is a failure like others. `by` must
/// outlive it. Costs a frame for each attempt.
template <connector Connector>
task<result<typename Connector::stream_type>> connect_any(Connector& by, std::vector<endpoint> to,
                                                          connect_any_options options = {}) {
  if (to.empty()) co_return std::make_error_code(std::errc::invalid_argument);
  detail::connect_race<typename Connector::stream_type> race;
  auto& scope = co_await this_scope();
  task_group attempts{scope, on_failure::collect};
  std::error_code stopped;
  for (std::size_t next = 0; next < to.size() && !race.over() && !stopped; ++next) {
    race.changed.reset();
    try {
      attempts.spawn(detail::attempt(by, to[next], race));
    } catch (const std::bad_alloc&) {
      stopped = std::make_error_code(std::errc::not_enough_memory);
      break;
    }
    if (next + 1 == to.size()) break;
    auto waited = co_await with_timeout(options.attempt_delay, race.changed.wait());
    if (!waited && waited.error() == errc::cancelled) stopped = waited.error();
  }
  while (!race.over() && !stopped && !attempts.empty()) {
    race.changed.reset();
    auto waited = co_await race.changed.wait();
    if (!waited) stopped = waited.error();
  }
  attempts.cancel();
  static_cast<void>(co_await attempts.join());
  if (race.thrown) std::rethrow_exception(race.thrown);
  if (race.won) co_return std::move(*race.won);
  if (stopped) co_return stopped;
  co_return race.failure;
}

}  // namespace runnel::net
