#pragma once

#include <runnel/event.hpp>
#include <runnel/net/resolver.hpp>
#include <runnel/net/stream.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace runnel::net {

/// How `connect_to` goes through the addresses of a name.
struct connect_to_options {
  /// How long one attempt has before the next one is begun beside it (RFC 8305 section 8).
  duration attempt_delay = std::chrono::milliseconds{250};
  /// Only addresses of this family.
  net::family family = net::family::unspecified;
};

namespace detail {

/// The attempts of one `connect_to`: the first that is open wins.
template <class Stream>
struct connect_race {
  std::optional<Stream> won{};
  std::error_code failure{};
  event changed{};
};

/// Addresses of the two families in turn, beginning with the family of the best one, so that one
/// that leads nowhere costs one delay (RFC 8305 section 4).
inline std::vector<address> in_turn(const std::vector<address>& sorted) {
  std::vector<address> first;
  std::vector<address> second;
  for (const address& one : sorted) {
    (one.family() == sorted.front().family() ? first : second).push_back(one);
  }
  std::vector<address> all;
  for (std::size_t i = 0; i < first.size() || i < second.size(); ++i) {
    if (i < first.size()) all.push_back(first[i]);
    if (i < second.size()) all.push_back(second[i]);
  }
  return all;
}

template <class Connector>
task<> attempt(Connector& by, endpoint to, connect_race<typename Connector::stream_type>& race) {
  auto opened = co_await by.connect(to);
  if (!opened) {
    // The first refusal is the one of the best address, and tells most.
    if (!race.failure) race.failure = opened.error();
  } else if (!race.won) {
    race.won.emplace(std::move(*opened));
  }
  race.changed.set();
}

}  // namespace detail

/// Opens a stream to a host by its name: looks it up, then tries its addresses, each begun when the
/// one before has failed or has had its delay; the first that answers wins, the others are
/// cancelled and awaited ("Happy Eyeballs", RFC 8305). Gives `result<Stream>`; when none answers
/// the error of the first that failed, or the resolver's. Cancelled: `errc::cancelled`, and nothing
/// remains. `by`, `names` and `host` must outlive it. Costs a frame for each attempt.
template <connector Connector>
task<result<typename Connector::stream_type>> connect_to(Connector& by, resolver& names,
                                                         std::string_view host, std::uint16_t port,
                                                         connect_to_options options = {}) {
  using stream = typename Connector::stream_type;
  auto found = co_await names.resolve(host, options.family);
  if (!found) co_return found.error();
  const std::vector<address> all = detail::in_turn(*found);
  detail::connect_race<stream> race;
  auto& scope = co_await this_scope();
  task_group attempts{scope, on_failure::collect};
  std::error_code stopped;
  for (std::size_t next = 0; next < all.size() && !race.won && !stopped; ++next) {
    race.changed.reset();
    attempts.spawn(detail::attempt(by, endpoint{all[next], port}, race));
    const bool is_last = next + 1 == all.size();
    auto waited = co_await with_timeout(is_last ? duration::max() : options.attempt_delay,
                                        race.changed.wait());
    if (!waited && waited.error() == errc::cancelled) stopped = waited.error();
  }
  while (!race.won && !stopped && !attempts.empty()) {
    race.changed.reset();
    auto waited = co_await race.changed.wait();
    if (!waited) stopped = waited.error();
  }
  attempts.cancel();
  auto joined = co_await attempts.join();
  if (race.won) co_return std::move(*race.won);
  if (stopped) co_return stopped;
  if (!joined) co_return joined.error();
  co_return race.failure;
}

}  // namespace runnel::net
