#include <algorithm>
#include <bit>

#include "core.hpp"
#include "half_open.hpp"
#include "syncookies.hpp"

// Where a segment goes, and segments for no connection: RFC 9293 §3.10.7.1 (CLOSED) and §3.10.7.2
// (LISTEN). The limits are those of Linux's tcp_conn_request, in its order.

namespace runnel::tcp::detail {

namespace {

/// What a listener does with a SYN.
enum class syn_verdict : std::uint8_t { admit, cookie, drop };

/// What is left of max_syn_backlog is kept for when it is needed: the last quarter, as in Linux
/// with cookies off.
bool in_reserve(const core& host, const listener_entry& listener) noexcept {
  return listener.half_open_count > host.policy.max_syn_backlog - host.policy.max_syn_backlog / 4;
}

/// Whether the accept queue keeps new requests out too. Linux up to 4.9 let them in as long as at
/// most one of those at hand was fresh.
bool keeps_syns_out(const core& host, const listener_entry& listener) noexcept {
  if (!accept_queue_full(host, listener)) return false;
  return !setting(host, listener, &listener_policy::legacy_sizing) || listener.young_count > 1;
}

/// `reopens`: the SYN takes the place of a TIME-WAIT entry. Its sender has shown that it is there,
/// and costs no more than it did, so that the SYN queue's limits are not for it.
syn_verdict judge_syn(core& host, listener_entry& listener, bool reopens) noexcept {
  if (out_of_memory(host)) {
    ++listener.drops.no_memory;
    return syn_verdict::drop;
  }
  const syncookies cookies = setting(host, listener, &listener_policy::syncookies);
  const bool full = listener.half_open_count >= syn_queue_limit(host, listener);
  const bool wants_cookie = !reopens && (full || cookies == syncookies::always);
  if (wants_cookie && cookies == syncookies::off) {
    ++host.count.req_q_full_drop;
    ++listener.drops.syn_queue_full;
    return syn_verdict::drop;
  }
  if (wants_cookie) ++host.count.req_q_full_do_cookies;
  if (keeps_syns_out(host, listener)) {
    ++host.count.listen_overflows;
    ++listener.drops.accept_queue_full_syns;
    return syn_verdict::drop;
  }
  if (wants_cookie) return syn_verdict::cookie;
  if (!reopens && cookies == syncookies::off && in_reserve(host, listener)) {
    ++listener.drops.syn_backlog_reserve;
    return syn_verdict::drop;
  }
  return syn_verdict::admit;
}

void on_listener_syn(core& host, std::uint32_t index, listener_entry& listener, segment& seg,
                     const sequence* reopened_iss) {
  switch (judge_syn(host, listener, reopened_iss != nullptr)) {
    case syn_verdict::cookie:
      return send_cookie(host, index, seg);
    case syn_verdict::drop:
      ++host.count.listen_drops;
      return;
    case syn_verdict::admit:
      break;
  }
  const sequence iss = reopened_iss == nullptr ? host.initial_sequence(seg.key) : *reopened_iss;
  const half_open_request request = request_of(host, index, seg, iss);
  const fastopen_answer fast = judge_fastopen(host, listener, seg);
  if (fast.opens && open_with_syn(host, request, seg, fast.gives_cookie)) return;
  const std::uint32_t entry = insert_half_open(host, request);
  if (entry == no_index) {
    ++host.count.listen_drops;
    ++listener.drops.no_memory;
    return;
  }
  reply answer = synack_of(host, request);
  answer.fastopen_cookie = fast.gives_cookie;
  send_reply(host, answer);
}

}  // namespace

std::uint64_t syn_queue_limit(const core& host, const listener_entry& listener) noexcept {
  const std::uint64_t backlog = backlog_of(host, listener);
  if (!setting(host, listener, &listener_policy::legacy_sizing)) return backlog + 1;
  // Linux 2.6 to 4.3: reqsk_queue_alloc.
  const std::uint64_t bounded = std::min<std::uint64_t>(backlog, host.policy.max_syn_backlog);
  return std::bit_ceil(std::max<std::uint64_t>(bounded, 8) + 1);
}

std::uint32_t listener_place(const core& host, const net::address& address, bool v6only) noexcept {
  if (address.family() == net::family::unspecified) return listener_table::every_address;
  if (!address.is_any()) return static_cast<std::uint32_t>(host.local_index(address));
  if (address.is_v4()) return listener_table::every_v4;
  return v6only ? listener_table::every_v6 : listener_table::every_address;
}

namespace {

/// The listener of this port on the address, or on all; of the latter there is one for a family.
std::uint32_t find_place(const core& host, const flow_key& key) noexcept {
  const listener_table& places = host.listener_places;
  std::uint32_t found = places.find(key.local_port, key.local_index);
  if (found != no_index) return found;
  found = places.find(key.local_port, listener_table::every_address);
  if (found != no_index) return found;
  return places.find(key.local_port,
                     key.remote.is_v6() ? listener_table::every_v6 : listener_table::every_v4);
}

/// It belongs to nothing here.
void refuse(core& host, const segment& seg) {
  if (was_overtaken(host, seg)) {
    ++host.count.shard_overtaken;
  } else {
    send_reset_for(host, seg);
  }
}

}  // namespace

listener_entry* find_listener(core& host, const flow_key& key, std::uint32_t& index) noexcept {
  const std::uint32_t found = find_place(host, key);
  if (found == no_index) return nullptr;
  index = found;
  return &host.listeners[found];
}

void on_unknown_segment(core& host, segment& seg, const sequence* reopened_iss) {
  std::uint32_t index = no_index;
  listener_entry* listener = find_listener(host, seg.key, index);
  if (seg.has(flag::rst)) return;
  if (listener == nullptr) return refuse(host, seg);
  if (seg.has(flag::ack)) {
    if (!take_cookie(host, index, no_index, seg)) refuse(host, seg);
    return;
  }
  // FIN and SYN together are no request (Linux drops them too).
  if (!seg.has(flag::syn) || seg.has(flag::fin)) return;
  if (host.quiet_left_ms() > 0) {
    ++host.count.quiet_time_drops;
    return;
  }
  if (refused_by_host_timestamp(host, seg)) return;
  on_listener_syn(host, index, *listener, seg, reopened_iss);
}

namespace {

void on_foreign_segment(core& host, segment& seg) noexcept {
  --host.count.in_segs;
  seg.payload->begin -= seg.header_bytes;
  // Its sum was found right here.
  if (seg.payload->offload.checksum == net::checksum_state::unverified) {
    seg.payload->offload.checksum = net::checksum_state::verified;
  }
  hand_over(host, std::move(seg.payload), owner_of(host, seg.key));
}

}  // namespace

void on_segment(core& host, segment& seg) {
  const entry_ref entry = host.find(seg.key);
  if (!entry) {
    if (is_foreign(host, seg.key)) return on_foreign_segment(host, seg);
    return on_unknown_segment(host, seg, nullptr);
  }
  switch (entry.kind()) {
    case entry_kind::connection:
      on_connection_segment(host, host.connections[entry.index()], seg);
      break;
    case entry_kind::half_open:
      on_half_open_segment(host, entry.index(), seg);
      break;
    case entry_kind::time_wait:
      on_time_wait_segment(host, entry.index(), seg);
      break;
  }
}

}  // namespace runnel::tcp::detail
