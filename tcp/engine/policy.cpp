#include "runnel/tcp/engine/policy.hpp"

#include <array>
#include <cstdint>

#include "policy_table_connection.hpp"
#include "policy_table_listener.hpp"
#include "policy_table_stack.hpp"
#include "policy_value.hpp"
#include "runnel/tcp/engine/policy_set.hpp"

namespace runnel::tcp {

namespace {

using std::chrono::milliseconds;

/// The first field of the table that has a value it may not have.
template <class Policy, std::size_t Count>
std::string check_fields(const Policy& policy,
                         const std::array<detail::field_of<Policy>, Count>& table) {
  for (const auto& each : table) {
    const std::optional<std::int64_t> value = each.read(policy);
    if (!value || detail::allowed(each.what, *value)) continue;
    return detail::complaint_about(each.what.name, detail::range_text(each.what),
                                   detail::value_text(each.what, *value));
  }
  return {};
}

}  // namespace

connection_policy default_connection_policy() {
  return {
      .receive_buffer = 0,
      .send_buffer = 0,
      .notsent_lowat = UINT32_MAX,
      .nodelay = false,
      .cork = false,
      .quickack = false,
      .max_segment = 0,
      .mtu_discover = mtu_discover::want,
      .ttl = 64,
      .syn_retries = 6,
      .rto_initial = milliseconds(1'000),
      .rto_min = milliseconds(200),
      .rto_max = milliseconds(120'000),
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
      .peer_first_linger = milliseconds(5'000),
      .orphan_window_timeout = milliseconds(0),
      .fastopen_connect = false,
      .congestion_control = congestion_control::cubic,
      .slow_start = slow_start::hystart,
      .pacing = false,
      .max_pacing_rate = 0,
      .thin_linear_timeouts = false,
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
      .v6only = false,
      .connection = default_connection_policy(),
  };
}

connection_policy completed(connection_policy own) {
  detail::complete(own, default_connection_policy(), detail::connection_table);
  return own;
}

listener_policy completed(listener_policy own) {
  detail::complete(own, default_listener_policy(), detail::listener_table);
  own.connection = completed(own.connection);
  return own;
}

std::string check(const connection_policy& policy) {
  return check_fields(policy, detail::connection_table);
}

std::string check(const listener_policy& policy) {
  std::string bad = check_fields(policy, detail::listener_table);
  return bad.empty() ? check(policy.connection) : bad;
}

std::string check(const stack_policy& policy) {
  std::string bad = check_fields(policy, detail::stack_table);
  if (!bad.empty() || policy.local_port_first <= policy.local_port_last) return bad;
  return "local_port_last must be " + std::to_string(policy.local_port_first) +
         ", which is local_port_first, to 65535; it is " + std::to_string(policy.local_port_last);
}

std::string check(const policy_set& policy) {
  std::string bad = check(policy.stack);
  if (bad.empty()) bad = check(policy.listener);
  return bad.empty() ? check(policy.connection) : bad;
}

policy_set default_policy() {
  policy_set out;
  out.listener = default_listener_policy();
  out.listener.connection = {};
  out.connection = default_connection_policy();
  return out;
}

policy_set linux_policy() {
  policy_set out = default_policy();
  // 262,144 buckets: a half of them, and a 128th.
  out.stack.max_tw_buckets = 131'072;
  out.stack.max_syn_backlog = 2048;
  // Linux has no such bounds.
  out.stack.challenge_ack_limit_per_peer = 0;
  out.stack.reject_limit = 0;
  out.stack.reject_limit_per_peer = 0;
  out.stack.failed_cookie_limit = 0;
  out.stack.orphan_memory = 0;
  out.listener.cookie_overflow = accept_overflow::drop;
  return out;
}

}  // namespace runnel::tcp
