#include "runnel/tcp/engine/policy.hpp"

#include <cstdint>

#include "policy_fields.hpp"

namespace runnel::tcp {

namespace {

using std::chrono::milliseconds;

/// The longest time a policy may ask for: timers reach 2^31 ms.
constexpr std::int64_t day_ms = 24 * 60 * 60 * 1000;

std::string out_of_range(const char* field, std::int64_t value, std::int64_t lowest,
                         std::int64_t highest) {
  if (value >= lowest && value <= highest) return {};
  return std::string(field) + " must be " + std::to_string(lowest) + " to " +
         std::to_string(highest) + "; it is " + std::to_string(value);
}

/// The same for a field that may be unset.
template <class T>
std::string out_of_range(const char* field, const std::optional<T>& value, std::int64_t lowest,
                         std::int64_t highest) {
  if (!value) return {};
  if constexpr (requires { value->count(); }) {
    return out_of_range(field, std::int64_t{value->count()}, lowest, highest);
  } else {
    return out_of_range(field, static_cast<std::int64_t>(*value), lowest, highest);
  }
}

std::string first_of(std::initializer_list<std::string> complaints) {
  for (const std::string& each : complaints) {
    if (!each.empty()) return each;
  }
  return {};
}

}  // namespace

connection_policy default_connection_policy() {
  return {
      .receive_buffer = 1U << 20,
      .send_buffer = 1U << 20,
      .nodelay = false,
      .cork = false,
      .quickack = false,
      .max_segment = 0,
      .ttl = 64,
      .syn_retries = 6,
      .retries2 = 15,
      .orphan_retries = 8,
      .keepalive = false,
      .keepalive_time = milliseconds(7'200'000),
      .keepalive_interval = milliseconds(75'000),
      .keepalive_probes = 9,
      .user_timeout = milliseconds(0),
      .fin_timeout = milliseconds(60'000),
      .time_wait = milliseconds(60'000),
      .close = close_mode::graceful,
      .close_time = milliseconds(2'000),
      .orphan_window_timeout = milliseconds(0),
      .fastopen_connect = false,
  };
}

listener_policy default_listener_policy() {
  return {
      .backlog = 4096,
      .synack_retries = 5,
      .syncookies = syncookies::on_overflow,
      .overflow = accept_overflow::drop,
      .cookie_overflow = accept_overflow::park,
      .legacy_sizing = false,
      .defer_accept = milliseconds(0),
      .fastopen_queue = 0,
      .connection = default_connection_policy(),
  };
}

connection_policy completed(connection_policy own) {
  detail::complete(own, default_connection_policy(), detail::connection_fields);
  return own;
}

listener_policy completed(listener_policy own) {
  detail::complete(own, default_listener_policy(), detail::listener_fields);
  own.connection = completed(own.connection);
  return own;
}

std::string check(const connection_policy& policy) {
  if (policy.max_segment != 0) {
    if (std::string bad = out_of_range("max_segment", policy.max_segment, 88, 32767);
        !bad.empty()) {
      return bad;
    }
  }
  return first_of({
      out_of_range("receive_buffer", policy.receive_buffer, 2304, 1 << 30),
      out_of_range("send_buffer", policy.send_buffer, 4608, 1 << 30),
      out_of_range("ttl", policy.ttl, 1, 255),
      out_of_range("syn_retries", policy.syn_retries, 1, 127),
      out_of_range("retries2", policy.retries2, 1, 60),
      out_of_range("orphan_retries", policy.orphan_retries, 1, 60),
      out_of_range("keepalive_time", policy.keepalive_time, 1, 32767 * 1000),
      out_of_range("keepalive_interval", policy.keepalive_interval, 1, 32767 * 1000),
      out_of_range("keepalive_probes", policy.keepalive_probes, 1, 127),
      out_of_range("user_timeout", policy.user_timeout, 0, day_ms),
      out_of_range("fin_timeout", policy.fin_timeout, 1, day_ms),
      out_of_range("time_wait", policy.time_wait, 0, day_ms),
      out_of_range("close", policy.close, 0, 4),
      out_of_range("close_time", policy.close_time, 0, day_ms),
      out_of_range("orphan_window_timeout", policy.orphan_window_timeout, 0, day_ms),
  });
}

std::string check(const listener_policy& policy) {
  std::string bad = first_of({
      out_of_range("synack_retries", policy.synack_retries, 0, 60),
      out_of_range("syncookies", policy.syncookies, 0, 2),
      out_of_range("overflow", policy.overflow, 0, 2),
      out_of_range("cookie_overflow", policy.cookie_overflow, 0, 2),
      out_of_range("defer_accept", policy.defer_accept, 0, day_ms),
  });
  return bad.empty() ? check(policy.connection) : bad;
}

std::string check(const stack_policy& policy) {
  return first_of({
      out_of_range("max_syn_backlog", policy.max_syn_backlog, 1, 1 << 28),
      out_of_range("syn_linear_timeouts", policy.syn_linear_timeouts, 0, 60),
      out_of_range("ecn", static_cast<std::int64_t>(policy.ecn), 0, 2),
      out_of_range("fastopen", policy.fastopen, 0, 0x607),
      out_of_range("fastopen_blackhole_timeout", policy.fastopen_blackhole_timeout.count(), 0,
                   day_ms / 1000),
      out_of_range("max_tw_buckets", policy.max_tw_buckets, 0, 1 << 28),
      out_of_range("tw_overflow", static_cast<std::int64_t>(policy.tw_overflow), 0, 1),
      out_of_range("tw_reuse", static_cast<std::int64_t>(policy.tw_reuse), 0, 2),
      out_of_range("tw_reuse_delay", policy.tw_reuse_delay.count(), 0, day_ms),
      out_of_range("quiet_time", policy.quiet_time.count(), 0, day_ms),
      out_of_range("invalid_ratelimit", policy.invalid_ratelimit.count(), 0, day_ms),
      out_of_range("local_port_first", policy.local_port_first, 1, 65535),
      out_of_range("local_port_last", policy.local_port_last, policy.local_port_first, 65535),
      out_of_range("memory_limit", static_cast<std::int64_t>(policy.memory_limit), 1 << 20,
                   std::int64_t{1} << 44),
  });
}

}  // namespace runnel::tcp
