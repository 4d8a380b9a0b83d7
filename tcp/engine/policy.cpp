#include "runnel/tcp/engine/policy.hpp"

#include <cstdint>

namespace runnel::tcp {

namespace {

std::string out_of_range(const char* field, std::int64_t value, std::int64_t lowest,
                         std::int64_t highest) {
  if (value >= lowest && value <= highest) return {};
  return std::string(field) + " must be " + std::to_string(lowest) + " to " +
         std::to_string(highest) + "; it is " + std::to_string(value);
}

/// The longest time a policy may ask for: timers reach 2^31 ms.
constexpr std::int64_t day_ms = 24 * 60 * 60 * 1000;

}  // namespace

std::string check(const connection_policy& policy) {
  for (const std::string& bad : {
           out_of_range("receive_buffer", policy.receive_buffer, 2304, 1 << 30),
           out_of_range("send_buffer", policy.send_buffer, 4608, 1 << 30),
           policy.max_segment == 0 ? std::string()
                                   : out_of_range("max_segment", policy.max_segment, 88, 32767),
           out_of_range("ttl", policy.ttl, 1, 255),
           out_of_range("retries2", policy.retries2, 1, 60),
           out_of_range("orphan_retries", policy.orphan_retries, 1, 60),
           out_of_range("fin_timeout", policy.fin_timeout.count(), 1, day_ms),
           out_of_range("time_wait", policy.time_wait.count(), 0, day_ms),
       }) {
    if (!bad.empty()) return bad;
  }
  return {};
}

std::string check(const listener_policy& policy) {
  if (std::string bad = out_of_range("synack_retries", policy.synack_retries, 0, 60);
      !bad.empty()) {
    return bad;
  }
  return check(policy.connection);
}

std::string check(const stack_policy& policy) {
  for (const std::string& bad : {
           out_of_range("max_syn_backlog", policy.max_syn_backlog, 1, 1 << 28),
           out_of_range("syn_retries", policy.syn_retries, 1, 60),
           out_of_range("syn_linear_timeouts", policy.syn_linear_timeouts, 0, 60),
           out_of_range("max_tw_buckets", policy.max_tw_buckets, 0, 1 << 28),
           out_of_range("invalid_ratelimit", policy.invalid_ratelimit.count(), 0, day_ms),
           out_of_range("local_port_first", policy.local_port_first, 1, 65535),
           out_of_range("local_port_last", policy.local_port_last, policy.local_port_first, 65535),
           out_of_range("memory_limit", static_cast<std::int64_t>(policy.memory_limit), 1 << 20,
                        std::int64_t{1} << 44),
       }) {
    if (!bad.empty()) return bad;
  }
  return {};
}

}  // namespace runnel::tcp
