#include <algorithm>

#include "core.hpp"

// Where a segment goes, and segments for no connection: RFC 9293 §3.10.7.1 (CLOSED) and §3.10.7.2
// (LISTEN).

namespace runnel::tcp::detail {

namespace {

/// What is left of max_syn_backlog is kept for when it is needed: the last quarter, as in Linux
/// with cookies off.
bool in_reserve(const core& host, const listener_entry& listener) noexcept {
  return listener.half_open_count > host.policy.max_syn_backlog - host.policy.max_syn_backlog / 4;
}

void on_listener_syn(core& host, std::uint32_t index, listener_entry& listener, segment& seg,
                     const sequence* reopened_iss) {
  const std::uint32_t backlog = backlog_of(host, listener);
  if (out_of_memory(host)) {
    ++host.count.listen_drops;
    ++listener.drops.no_memory;
    return;
  }
  if (listener.waiting_count > backlog) {
    ++host.count.listen_overflows;
    ++host.count.listen_drops;
    ++listener.drops.accept_queue_full_syns;
    return;
  }
  if (listener.half_open_count > backlog) {
    ++host.count.req_q_full_drop;
    ++host.count.listen_drops;
    ++listener.drops.syn_queue_full;
    return;
  }
  if (in_reserve(host, listener)) {
    ++host.count.listen_drops;
    ++listener.drops.syn_backlog_reserve;
    return;
  }
  const sequence iss = reopened_iss == nullptr ? host.initial_sequence(seg.key) : *reopened_iss;
  if (!make_half_open(host, index, seg, iss)) {
    ++host.count.listen_drops;
    ++listener.drops.no_memory;
  }
}

}  // namespace

std::uint32_t listener_place(const core& host, const net::address& address) noexcept {
  if (address.family() == net::family::unspecified || address.is_any()) {
    return listener_table::every_address;
  }
  return static_cast<std::uint32_t>(host.local_index(address));
}

listener_entry* find_listener(core& host, const flow_key& key, std::uint32_t& index) noexcept {
  std::uint32_t found = host.listener_places.find(key.local_port, key.local_index);
  if (found == no_index) {
    found = host.listener_places.find(key.local_port, listener_table::every_address);
    if (found == no_index) return nullptr;
    const net::family bound = host.listeners[found].local.address.family();
    if (bound != net::family::unspecified && bound != key.remote.family()) return nullptr;
  }
  index = found;
  return &host.listeners[found];
}

void on_unknown_segment(core& host, segment& seg, const sequence* reopened_iss) {
  std::uint32_t index = no_index;
  listener_entry* listener = find_listener(host, seg.key, index);
  if (seg.has(flag::rst)) return;
  if (listener == nullptr || seg.has(flag::ack)) return send_reset_for(host, seg);
  // FIN and SYN together are no request (Linux drops them too).
  if (!seg.has(flag::syn) || seg.has(flag::fin)) return;
  if (host.quiet_left_ms() > 0) {
    ++host.count.quiet_time_drops;
    return;
  }
  if (refused_by_host_timestamp(host, seg)) return;
  on_listener_syn(host, index, *listener, seg, reopened_iss);
}

void on_segment(core& host, segment& seg) {
  const entry_ref entry = host.find(seg.key);
  if (!entry) return on_unknown_segment(host, seg, nullptr);
  switch (entry.kind()) {
    case entry_kind::connection:
      on_connection_segment(host, host.connections[entry.index()], seg);
      break;
    case entry_kind::half_open_v4:
      on_half_open_segment(host, entry.index(), seg);
      break;
    case entry_kind::time_wait_v4:
      on_time_wait_segment(host, entry.index(), seg);
      break;
  }
}

}  // namespace runnel::tcp::detail
