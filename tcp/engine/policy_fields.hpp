#pragma once

#include <tuple>

#include "runnel/tcp/engine/policy.hpp"

namespace runnel::tcp::detail {

/// Every field of a connection's policy.
inline constexpr auto connection_fields = [] {
  using p = connection_policy;
  return std::tuple(&p::receive_buffer, &p::send_buffer, &p::nodelay, &p::cork, &p::quickack,
                    &p::max_segment, &p::ttl, &p::syn_retries, &p::retries2, &p::orphan_retries,
                    &p::keepalive, &p::keepalive_time, &p::keepalive_interval, &p::keepalive_probes,
                    &p::user_timeout, &p::fin_timeout, &p::time_wait, &p::close, &p::close_time,
                    &p::orphan_window_timeout, &p::fastopen_connect);
}();

/// Every field of a listener's policy that has a default to be taken from.
inline constexpr auto listener_fields = [] {
  using p = listener_policy;
  return std::tuple(&p::backlog, &p::synack_retries, &p::syncookies, &p::overflow,
                    &p::cookie_overflow, &p::legacy_sizing, &p::defer_accept, &p::fastopen_queue);
}();

/// Takes from `defaults` whatever `own` leaves unset.
template <class Policy, class Fields>
void complete(Policy& own, const Policy& defaults, const Fields& fields) {
  std::apply(
      [&](auto... field) {
        ((own.*field = (own.*field).has_value() ? own.*field : defaults.*field), ...);
      },
      fields);
}

}  // namespace runnel::tcp::detail
