#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "buffer_pool.hpp"
#include "closing.hpp"
#include "compact.hpp"
#include "connection.hpp"
#include "fastopen.hpp"
#include "flight.hpp"
#include "flow_table.hpp"
#include "host_timestamps.hpp"
#include "listener_entry.hpp"
#include "listener_table.hpp"
#include "path_mtu.hpp"
#include "peer_limiter.hpp"
#include "policy_store.hpp"
#include "port_map.hpp"
#include "receive_tuning.hpp"
#include "ring.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/wire/icmp.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/reassembly.hpp"
#include "runnel/wire/tcp.hpp"
#include "secret.hpp"
#include "segment.hpp"
#include "shards.hpp"

namespace runnel::tcp::detail {

/// No round trip is believed to take longer, and no policy lets a time-out grow further.
inline constexpr std::uint32_t rto_limit_ms = 120'000;
/// The default when a SYN has no MSS option (RFC 9293 §3.7.1).
inline constexpr std::uint16_t default_mss = 536;
inline constexpr std::uint16_t default_mss_v6 = 1220;
constexpr std::uint16_t default_mss_of(net::family family) noexcept {
  return family == net::family::v6 ? default_mss_v6 : default_mss;
}
/// The ECN bits of an IP header (RFC 3168 §5).
inline constexpr std::uint8_t ecn_mask = 3;
inline constexpr std::uint8_t ecn_capable = 2;
inline constexpr std::uint8_t ecn_congestion = 3;
/// Linux's TCP_ATO_MIN and TCP_DELACK_MAX: the bounds of an acknowledgement's delay.
inline constexpr std::uint16_t ato_min_ms = 40;
inline constexpr std::uint32_t ato_max_ms = 200;
/// Linux's TCP_MAX_QUICKACKS.
inline constexpr std::uint8_t quick_acks = 16;
/// RFC 6928.
inline constexpr std::uint32_t initial_window_segments = 10;
/// Answers that may wait for the next `poll_transmit`; more are dropped and their senders retry.
inline constexpr std::size_t reply_limit = 8192;

/// Beyond the last queue the time-outs of SYN-ACK are the longest.
inline constexpr std::size_t synack_queue_count = 8;

/// TIME-WAIT entries of one duration, oldest first.
struct time_wait_queue {
  std::uint32_t duration_ms = 0;
  index_list<time_wait_slab, &time_wait_entry::links> entries;
};

/// Everything a host is. The functions that work on it are grouped by event, a file each; this is
/// the list of the state they share.
struct core {
  explicit core(host_options options);
  ~core();

  // ---- configuration
  stack_policy policy;
  /// What is in force where nobody sets anything; every field is set.
  listener_policy listener_defaults;
  connection_policy connection_defaults;
  /// Without the keys of cookies, which are in rings of their own.
  host_keys keys;
  key_ring cookie_keys;
  key_ring fastopen_keys;
  /// Leads from `now_ms` to the time that machines with the same keys agree on.
  std::int64_t clock_offset_ms;
  std::vector<net::address> addresses;
  /// Where an address stands in `addresses`, when there are too many to look through.
  std::unordered_map<net::address, std::uint16_t> address_index;
  std::uint32_t mtu;
  std::uint32_t gso_max_bytes;
  bool checksum_offload_tx;
  bool checksum_offload_rx;
  shard_state shard;

  // ---- time, as the last call gave it
  time_point now{};
  std::uint64_t now_ms = 0;
  std::uint64_t now_in_us = 0;
  /// `now` is a whole number of milliseconds.
  bool on_tick = true;
  /// A time has been given; it may be zero.
  bool started = false;
  std::uint64_t started_ms = 0;
  void set_time(time_point at) noexcept;
  std::uint32_t ms() const noexcept { return static_cast<std::uint32_t>(now_ms); }
  /// How many 60 s steps the shared clock has made, which is what cookies count.
  std::uint64_t cookie_count() const noexcept {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(now_ms) + clock_offset_ms) / 60'000;
  }
  /// The moment `delay_ms` from now on the tick grid, never early and never 0.
  std::uint32_t after_ms(std::uint32_t delay_ms) const noexcept;
  /// What is left of the quiet time after the start (RFC 9293 §3.4.3); 0 when it is over.
  std::uint32_t quiet_left_ms() const noexcept {
    const auto end = started_ms + static_cast<std::uint64_t>(policy.quiet_time.count());
    return end > now_ms ? static_cast<std::uint32_t>(end - now_ms) : 0;
  }
  std::uint64_t now_ns() const noexcept {
    return static_cast<std::uint64_t>(now.time_since_epoch().count());
  }
  std::uint64_t now_us() const noexcept { return now_in_us; }
  std::uint64_t fine_now() const noexcept { return now_ns() / fine_tick_ns; }

  // ---- objects
  buffer_pool pool;
  connection_slab connections;
  half_open_slab half_opens;
  time_wait_slab time_waits;
  sent_slab sent_ranges;
  flight_slab flights;
  path_slab paths;
  receive_tuning_slab receive_tunings;
  policy_store policies;
  flow_table table;
  std::vector<listener_entry> listeners;
  listener_table listener_places;
  /// Closed listeners, whose places are to be used again.
  std::vector<std::uint32_t> free_listeners;
  /// Closed listeners, some of whose waiting connections are still to be reset.
  std::vector<std::uint32_t> closing_listeners;

  /// Pieces of packets that wait for the others.
  wire::reassembler fragments;
  /// What the ids of fragmented IPv6 packets come from, and flow labels.
  std::uint64_t fragmented = 0;
  std::uint64_t label_key;

  // ---- timers
  timer_wheel<connection_slab, &connection::node> wheel;
  /// In `fine_tick_ns`.
  timer_wheel<receive_tuning_slab, &receive_tuning::node> fine_wheel;
  /// Half-open entries by number of time-outs: each queue has one duration.
  std::array<index_list<half_open_slab, &half_open_entry::links>, synack_queue_count> synack_queues;
  std::array<time_wait_queue, 16> time_wait_queues;
  /// Only with `stack_policy::tw_recycle`.
  host_timestamps newest_timestamps;

  // ---- Fast Open, connecting
  fastopen_cache fastopen_paths;
  fastopen_pause fastopen_paused;

  // ---- paths
  path_mtu_cache path_mtus;
  /// Identifications of packets that may be fragmented: each peer uses one of them.
  std::array<std::uint16_t, 256> ip_ids{};

  // ---- memory
  /// As `under_pressure` last saw it.
  bool memory_pressure = false;
  /// The connection that is looked at next when memory is short.
  std::uint32_t relief_hand = 0;

  // ---- what is to be done
  index_list<connection_slab, &connection::tx_links> tx_list;
  index_list<connection_slab, &connection::dirty_links> dirty_list;
  /// Has room for every listener once; `listen` sees to it, so that an arrival needs no memory.
  std::vector<std::uint32_t> dirty_listeners;
  ring<reply> replies{reply_limit};
  ring<net::packet> raw_replies{256};

  // ---- rates
  struct rate {
    std::uint64_t second = 0;
    std::uint32_t used = 0;
  };
  rate challenge_rate;
  rate reject_rate;
  peer_limiter challenge_peers;
  peer_limiter reject_peers;
  rate failed_cookie_rate;
  /// Whether one more of `limit` a second may go.
  bool take(rate& from, std::uint32_t limit) noexcept;
  /// Whether no more of `limit` may go this second.
  bool spent(const rate& from, std::uint32_t limit) const noexcept {
    return from.second == now_ms / 1000 && from.used >= limit;
  }

  tcp::counters count;
  /// Connections that are over and wait for their owner to let go.
  std::size_t ended_count = 0;
  /// Orphans in FIN-WAIT-2: nothing of theirs is left to deliver.
  std::size_t quiet_count = 0;
  /// The other ones.
  std::size_t orphan_count = 0;
  /// Memory that the send queues of all orphans hold.
  std::size_t orphan_bytes = 0;
  /// RFC 6056 algorithm 4: each place uses one of them.
  std::array<std::uint32_t, 256> port_counters{};
  /// The places that are short of local ports.
  std::unordered_map<flow_key, port_map, place_hash> port_maps;

  // ---- the packet on its way out
  alignas(8) std::array<std::byte, 128> scratch;
  std::array<std::span<const std::byte>, 24> pieces;
  /// The Fast Open option that is being written.
  std::array<std::byte, 16> fastopen_option;
  net::tx_packet transmit;
  /// A raw reply that is being sent; it lives until the next call.
  net::packet raw_in_flight;

  // ---- keyed hashes
  /// A key and its hash, the latest that was asked for or is expected to be: what is looked up
  /// often moves in the table right after. At first it is nobody's, for no host has so many
  /// addresses.
  mutable flow_key hashed_key{{}, 0, 0, UINT16_MAX};
  mutable std::uint64_t hashed = 0;
  std::uint64_t flow_hash(const flow_key& key) const noexcept;
  /// The same, computed anew.
  std::uint64_t hash_of(const flow_key& key) const noexcept;
  /// `hash` is that of `key`, which will be asked for next.
  void note_hash(const flow_key& key, std::uint64_t hash) const noexcept;
  std::uint64_t address_hash(const net::address& address) const noexcept;
  /// Of who shares an allowance: an IPv4 address, an IPv6 network of 64 bits, of which one peer has
  /// all.
  std::uint64_t peer_hash(const net::address& peer) const noexcept;
  /// What the packets of this flow carry as theirs (RFC 6437 §3); 0 is none.
  std::uint32_t flow_label(const flow_key& key) const noexcept;
  std::uint32_t timestamp_offset(const flow_key& key) const noexcept;
  /// For the choice of ports; `place` has port 0.
  std::uint64_t place_secret(const flow_key& place) const noexcept;
  tcp::sequence initial_sequence(const flow_key& key) const noexcept;

  // ---- the flow table
  struct links {
    core& host;
    std::uint32_t& next(entry_ref entry) noexcept;
    std::uint64_t hash(entry_ref entry) noexcept;
  };
  flow_key key_of(entry_ref entry) const noexcept;
  entry_ref find(const flow_key& key, std::uint64_t hash) const noexcept;
  entry_ref find(const flow_key& key) const noexcept { return find(key, flow_hash(key)); }
  /// Takes an entry in, or out.
  void enter(entry_ref entry, const flow_key& key) noexcept;
  void leave(entry_ref entry, const flow_key& key) noexcept;

  const net::address& local_address(const flow_key& key) const noexcept {
    return addresses[key.local_index];
  }
  /// The place of an address of this host; -1 when it is none.
  int local_index(const net::address& address) const noexcept {
    if (addresses.size() > few_addresses) return local_index_of_many(address);
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      if (addresses[i] == address) return static_cast<int>(i);
    }
    return -1;
  }
  int local_index_of_many(const net::address& address) const noexcept;
  /// So many are looked through faster than a table is asked.
  static constexpr std::size_t few_addresses = 4;

  connection* get(socket_id id) noexcept;
  const connection* get(socket_id id) const noexcept;
  listener_entry* get_listener(socket_id id) noexcept;
};

// ---- lifetime.cpp: birth and death of connections

/// A connection in CLOSED for the key, with a reference to this policy of `core::policies`; null
/// without memory.
connection* make_connection(core& host, const flow_key& key, std::uint32_t policy);
/// Moves between states and keeps TcpCurrEstab right.
void set_state(core& host, connection& c, state to) noexcept;
/// Leaves the table, the timers and the transmit list; what was received stays readable.
void detach_connection(core& host, connection& c) noexcept;
/// The connection is over for `reason`: detaches it, tells its owner, frees it when nobody owns it.
void end_connection(core& host, connection& c, end_reason reason, error told) noexcept;
/// Gives the object back.
void free_connection(core& host, connection& c) noexcept;
/// Sets bits for `poll_event`.
void report(core& host, connection& c, events what) noexcept;
/// Puts it on the transmit list.
void want_transmit(core& host, connection& c) noexcept;
void report_listener(core& host, std::uint32_t listener) noexcept;

// ---- connect.cpp

/// Sends SYN, now or when the quiet time is over.
void send_syn(core& host, connection& c);

// ---- arrival.cpp, listen.cpp, open.cpp, acknowledge.cpp, text.cpp: segments

void on_segment(core& host, segment& seg);
void on_connection_segment(core& host, connection& c, segment& seg);
void on_syn_sent_segment(core& host, connection& c, segment& seg);
void on_half_open_segment(core& host, std::uint32_t index, segment& seg);
void on_time_wait_segment(core& host, std::uint32_t index, segment& seg);
/// A segment for no connection: a listener's SYN, or nobody's. `reopened_iss` is the ISN to answer
/// with when a TIME-WAIT entry made room.
void on_unknown_segment(core& host, segment& seg, const tcp::sequence* reopened_iss);
/// Fifth check: acknowledgement and window. False when the segment is to be dropped.
bool check_ack(core& host, connection& c, segment& seg);
/// These bytes at the head of the send queue are acknowledged; `snd_.una` is the caller's.
void take_acknowledged(core& host, connection& c, std::uint32_t bytes);
/// Tells who waits for it that everything is acknowledged, if it is.
void tell_drained(core& host, connection& c) noexcept;
/// Reading made room: tells the peer when that is news to it.
void on_room(core& host, connection& c);
/// One more acknowledgement of its own, which no burst merges.
void owe_duplicate(core& host, connection& c);
/// The peer has sent this text before; told where it has SACK (RFC 2883). `counted` is by where it
/// was met.
void note_duplicate_text(core& host, connection& c, sequence left, sequence right,
                         std::uint64_t& counted);
/// Seventh: the text.
void take_text(core& host, connection& c, segment& seg);
/// Eighth: FIN.
void take_fin(core& host, connection& c, const segment& seg);
/// Leaves of what our SYN or SYN-ACK has offered, which `c` says, what the peer offers too.
void negotiate(core& host, connection& c, const wire::tcp_options& options);
void enter_established(core& host, connection& c);
/// Whether this SYN asks for ECN and this host agrees.
bool agrees_on_ecn(const core& host, const segment& syn) noexcept;
/// The MSS that a SYN offers, where `max_segment` is the policy's.
std::uint16_t own_mss(const core& host, std::uint16_t max_segment, net::family family);
/// The MSS that the peer's SYN offers, or leaves unsaid.
std::uint16_t peer_mss(const core& host, const wire::tcp_options& options,
                       net::family family) noexcept;

// ---- commands.cpp, zero_copy.cpp

/// Why nothing may be sent now; takes the pending error.
error begin_send(core& host, connection* c);
/// Of `wanted` bytes so many were queued: what `send` answers.
outcome<std::size_t> end_send(core& host, connection& c, std::size_t taken, std::size_t wanted);
/// Bytes were taken out of `connection::rx`.
void note_read(core& host, connection& c);
/// What `receive` answers when it has taken nothing.
outcome<std::size_t> receive_nothing(core& host, connection& c, bool wants_some);

// ---- reject.cpp: answers without a connection

/// RST as RFC 9293 §3.10.7.1 forms it, rate-limited.
void send_reset_for(core& host, const segment& seg);
/// The same for a peer that has proved its address by acknowledging our first number: it is told
/// whatever strangers have drawn.
void reset_proven(core& host, const segment& seg);
/// Whether one more RST or ICMP message may go to this peer, whom nothing is known of. Counts when
/// not.
bool may_reject(core& host, const net::address& peer) noexcept;
/// Whether one more challenge ACK may.
bool may_challenge(core& host, const net::address& peer) noexcept;
/// RST for a connection of ours (RFC 9293 §3.10.5).
void send_reset(core& host, const connection& c);
/// RFC 5961: an ACK that asks the peer to prove itself. Limited for the host and the connection.
void send_challenge_ack(core& host, connection& c);
/// An ACK that no burst merges, for an unacceptable segment; limited as Linux does.
void send_plain_ack(core& host, connection& c, const segment& seg, std::uint64_t& skipped);
/// An ACK as it is to leave now; what it offers counts as offered.
reply ack_reply(core& host, connection& c);
/// Queues it for `poll_transmit`; false, counted, when there is no room: it is lost.
bool send_reply(core& host, const reply& r);

// ---- time_wait.cpp

/// Replaces the connection by a TIME-WAIT entry and ends it.
void enter_time_wait(core& host, connection& c);
void free_time_wait(core& host, std::uint32_t index) noexcept;
void expire_time_waits(core& host);
/// How long ago it was entered, or last started anew.
std::uint32_t time_wait_age_ms(const core& host, const time_wait_entry& entry) noexcept;
/// Whether timestamps would tell a new connection's segments from the old one's (RFC 6191).
bool may_recycle(const core& host, const time_wait_entry& entry) noexcept;
/// Drops the entry for a connection of ours; the ISN that this one must have.
sequence recycle(core& host, std::uint32_t index) noexcept;

// ---- host_timestamps.cpp: what tw_recycle goes by

/// The peer's newest timestamp when a connection to it enters TIME-WAIT.
void remember_host_timestamp(core& host, const net::address& peer, std::uint32_t tsval);
/// Whether the policy has this SYN dropped, because its address has sent a newer timestamp lately.
bool refused_by_host_timestamp(core& host, const segment& syn);

// ---- output.cpp, emit.cpp

/// Fills `host.transmit` with the next segment of `c`; false when it has nothing to say.
bool build_segment(core& host, connection& c);
void build_reply(core& host, const reply& r);

// ---- rtt.cpp, recovery.cpp

void sample_rtt(core& host, connection& c, std::uint32_t rtt_us) noexcept;
/// The time-out that the round trips measured so far come to, without any doubling.
std::uint32_t measured_rto_ms(const core& host, const connection& c) noexcept;
void start_congestion_control(connection& c) noexcept;
/// Before sending after a pause: `cwnd` halves for each RTO of it, down to the initial window, as
/// in Linux (RFC 5681 §4.1).
void restart_after_idle(core& host, connection& c) noexcept;
void on_retransmission_timeout(core& host, connection& c) noexcept;
/// Sends what is in flight between the two numbers again, in segments of the new MSS. The path is
/// not congested: the window stays (Linux's tcp_simple_retransmit).
void resend_for_path(core& host, connection& c, sequence begin, sequence end) noexcept;

// ---- memory.cpp

/// Drops what waits ahead of a hole, and the reports of it (RFC 2018 §8 lets a receiver do so).
void forget_out_of_order(core& host, connection& c) noexcept;
/// Looks anew whether there is pressure, and counts when it begins.
bool update_pressure(core& host) noexcept;
/// Whether the queues hold so much of `memory_limit` that everyone is kept short.
inline bool under_pressure(core& host) noexcept {
  const bool calm = !host.memory_pressure && host.pool.used_bytes() <= host.pool.pressure_bytes();
  return !calm && update_pressure(host);
}
/// Whether next to nothing is left.
bool out_of_memory(const core& host) noexcept;
/// What one connection may hold under pressure, both directions together.
std::uint32_t share_under_pressure(const core& host) noexcept;
/// What it may hold now; UINT32_MAX without pressure.
inline std::uint32_t memory_share(core& host) noexcept {
  return under_pressure(host) ? share_under_pressure(host) : UINT32_MAX;
}
/// Takes memory back from a few connections in turn, but not from `current`; O(1) for each call,
/// and a byte is moved at most once.
void relieve_pressure(core& host, const connection& current);
/// Whether what was received holds less than the connection's buffer; makes it so where that is
/// possible.
bool make_room(core& host, connection& c);
/// Whether the connection may have so many more bytes received under pressure; makes it so where
/// that is possible.
bool may_hold_under_pressure(core& host, connection& c, std::uint32_t bytes);
inline bool may_hold_more(core& host, connection& c, std::uint32_t bytes) {
  return !under_pressure(host) || may_hold_under_pressure(host, c, bytes);
}
// ---- listen.cpp: who listens

/// The listener that serves the flow, one of its own address before one of all; O(1).
listener_entry* find_listener(core& host, const flow_key& key, std::uint32_t& index) noexcept;
/// Where a listener on `address`, which is the host's or none, stands in `listener_places`.
std::uint32_t listener_place(const core& host, const net::address& address, bool v6only) noexcept;

/// The value in force for a connection, or for what has this policy: its own, or the host's
/// default.
template <class T>
T setting(const core& host, const connection_policy& own,
          std::optional<T> connection_policy::*field) noexcept {
  return own.*field ? *(own.*field) : *(host.connection_defaults.*field);
}
template <class T>
T setting(const core& host, const connection& c,
          std::optional<T> connection_policy::*field) noexcept {
  return setting(host, host.policies[c.policy], field);
}
/// The same in milliseconds.
template <class Own>
std::uint32_t setting_ms(
    const core& host, const Own& own,
    std::optional<std::chrono::milliseconds> connection_policy::*field) noexcept {
  return static_cast<std::uint32_t>(setting(host, own, field).count());
}
/// What the retransmission time-out begins with, and grows to.
inline std::uint32_t rto_max_of(const core& host, const connection& c) noexcept {
  return setting_ms(host, c, &connection_policy::rto_max);
}
inline std::uint32_t rto_initial_of(const core& host, const connection& c) noexcept {
  return std::min(setting_ms(host, c, &connection_policy::rto_initial), rto_max_of(host, c));
}
/// The value in force for a listener.
template <class T>
T setting(const core& host, const listener_entry& listener,
          std::optional<T> listener_policy::*field) noexcept {
  return listener.policy.*field ? *(listener.policy.*field) : *(host.listener_defaults.*field);
}

/// How many connections may wait for `accept`, but for the one more that Linux lets in.
inline std::uint32_t backlog_of(const core& host, const listener_entry& listener) noexcept {
  return std::min(setting(host, listener, &listener_policy::backlog), host.policy.somaxconn);
}
/// Linux lets one more in than the backlog says.
inline bool accept_queue_full(const core& host, const listener_entry& listener) noexcept {
  return listener.waiting_count > backlog_of(host, listener);
}

/// `a` is due at `now`, both modulo 2^32.
constexpr bool is_due(std::uint32_t a, std::uint32_t now) noexcept {
  return static_cast<std::int32_t>(a - now) <= 0;
}

}  // namespace runnel::tcp::detail
