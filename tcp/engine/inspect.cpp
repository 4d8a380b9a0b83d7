#include "core.hpp"
#include "half_open.hpp"
#include "send_room.hpp"

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::flow_key;
using detail::listener_entry;
using detail::no_index;

namespace {

/// A moment of the engine's 32-bit clock that is less than 24 days away from its present.
time_point moment(const core& host, std::uint32_t at_ms) noexcept {
  const auto ahead = static_cast<std::int32_t>(at_ms - host.ms());
  const auto at = static_cast<std::int64_t>(host.now_ms) + ahead;
  return time_point(std::chrono::milliseconds(at));
}

/// A moment that has been; it may be up to 49 days ago.
time_point past_moment(const core& host, std::uint32_t at_ms) noexcept {
  const auto at = static_cast<std::int64_t>(host.now_ms) - (host.ms() - at_ms);
  return time_point(std::chrono::milliseconds(at));
}

void describe_timer(const core& host, const connection& c, tcp::snapshot& out) noexcept {
  if (c.timer != detail::rtx_timer::none) {
    const bool probes = c.timer == detail::rtx_timer::persist;
    out.timer = probes ? armed_timer::persist : armed_timer::retransmit;
    out.timer_due = moment(host, c.when.rtx);
    out.timer_retries = c.flow.retransmits;
  } else if (c.when.life != 0) {
    out.timer = armed_timer::time_wait;
    out.timer_due = moment(host, c.when.life);
  } else if (c.when.keepalive != 0) {
    out.timer = armed_timer::keepalive;
    out.timer_due = moment(host, c.when.keepalive);
    out.timer_retries = c.keepalive_sent;
  }
}

void describe_receiving(const core& host, const connection& c, tcp::snapshot& out) noexcept {
  out.receive_buffer = c.receive_buffer;
  out.rcv_mss = c.ack.rcv_mss;
  out.rcv_wnd_bytes = c.rcv_.wnd;
  if (!c.synchronized()) return;
  out.rcv_ssthresh_bytes = rcv_ssthresh_of(host, c);
  if (c.tuning == no_index) {
    out.rcv_space_bytes = first_space(host, c);
    return;
  }
  const detail::receive_tuning& t = host.receive_tunings[c.tuning];
  out.rcv_space_bytes = t.space;
  out.rcv_rtt = std::chrono::microseconds(t.rtt_us());
}

void describe_traffic(const core& host, const connection& c, tcp::snapshot& out) noexcept {
  out.traffic = c.traffic;
  std::uint32_t flight = c.may_send() ? c.tx.size() - c.unsent() : 0;
  if (c.state == state::syn_sent && c.syn_data) flight = distance(c.snd_.iss + 1, c.snd_.nxt);
  out.bytes_sent = c.traffic.bytes_acked + flight + c.traffic.bytes_retrans;
  if (c.traffic.data_segs_out > 0) out.last_sent = past_moment(host, c.last_sent_ms);
  if (c.traffic.bytes_received > 0) out.last_received = past_moment(host, c.ack.last_received_ms);
  if (c.synchronized()) out.last_ack = past_moment(host, c.last_ack_ms);
}

std::uint32_t unacked_bytes_of(const connection& c) noexcept {
  return c.state == state::closed ? c.lost_bytes : c.tx.size();
}

void describe_queues(const connection& c, tcp::snapshot& out) noexcept {
  const bool over = c.state == state::closed;
  out.unread_bytes = c.rx.size();
  out.unacked_bytes = unacked_bytes_of(c);
  out.unsent_bytes = c.may_send() ? c.unsent() : c.tx.size();
  out.out_of_order_bytes = c.out_of_order.size();
  const bool fin_unread = !over && c.fin_received && !c.fin_read;
  const bool handshake = c.state == state::syn_sent || c.state == state::syn_received;
  const bool syn_unacked = handshake && !c.syn_held;
  const bool fin_unacked = !over && c.fin_queued && !c.fin_acked();
  out.recv_queue = out.unread_bytes + (fin_unread ? 1 : 0);
  out.send_queue = out.unacked_bytes + (syn_unacked ? 1 : 0) + (fin_unacked ? 1 : 0);
}

tcp::snapshot describe(const core& host, const connection& c) {
  tcp::snapshot out;
  out.state = c.state;
  out.ended = c.ended;
  out.local = {host.local_address(c.key), c.key.local_port};
  out.remote = {c.key.remote, c.key.remote_port};
  describe_queues(c, out);
  out.held_bytes = c.held_bytes() + c.tx.held_bytes();
  out.send_held_bytes = c.tx.held_bytes();
  describe_receiving(host, c, out);
  out.send_buffer = send_buffer_of(host, c);
  out.snd_mss = c.snd_mss;
  out.snd_wscale = c.snd_wscale;
  out.rcv_wscale = c.rcv_wscale;
  out.advertised_mss = c.rcv_mss_offered;
  out.ato = std::chrono::milliseconds(c.ack.ato_ms);
  out.timestamps = c.timestamps;
  out.sack = c.sack_permitted;
  out.ecn = c.ecn;
  out.syn_data_acked = c.syn_data_acked;
  out.fastopen_fail = c.fastopen_fail;
  out.snd_cwnd_bytes = c.flow.cwnd;
  out.snd_ssthresh_bytes = c.flow.ssthresh;
  out.snd_wnd_bytes = c.snd_.wnd;
  out.srtt = std::chrono::microseconds(c.flow.srtt_us);
  out.rttvar = std::chrono::microseconds(c.flow.rttvar_us);
  out.rto = std::chrono::milliseconds(c.flow.rto_ms);
  out.retransmits = c.flow.retransmits;
  out.total_retrans = c.flow.total_retrans;
  out.orphan = c.orphan;
  out.soft_error = c.soft_error;
  out.path_mtu = path_mtu_of(host, c);
  if (c.path != no_index && host.paths[c.path].searching) {
    out.mtu_search_low = host.paths[c.path].search_low;
    out.mtu_search_high = host.paths[c.path].search_high;
    out.mtu_probe = host.paths[c.path].probe_size;
  }
  out.keepalive = setting(host, c, &connection_policy::keepalive);
  describe_timer(host, c, out);
  describe_traffic(host, c, out);
  return out;
}

bool is_shown(const connection& c) noexcept {
  return c.state != state::closed && c.in_table;
}

template <class Entry>
tcp::snapshot describe_compact(const core& host, const Entry& entry) {
  const flow_key key = entry.flow();
  tcp::snapshot out;
  out.local = {host.local_address(key), key.local_port};
  out.remote = {key.remote, key.remote_port};
  out.rcv_wscale = entry.rcv_wscale;
  out.timestamps = entry.timestamps;
  out.timer_due = moment(host, entry.deadline_ms);
  return out;
}

tcp::snapshot describe(const core& host, const detail::half_open_entry& entry) {
  tcp::snapshot out = describe_compact(host, entry);
  out.state = state::syn_received;
  out.snd_wscale = entry.snd_wscale;
  out.sack = entry.sack_permitted;
  out.ecn = entry.ecn;
  out.timer = armed_timer::retransmit;
  out.timer_retries = entry.retries;
  return out;
}

tcp::snapshot describe(const core& host, const detail::time_wait_entry& entry) {
  tcp::snapshot out = describe_compact(host, entry);
  out.state = state::time_wait;
  out.timer = armed_timer::time_wait;
  return out;
}

listener_snapshot describe(const core& host, const listener_entry& entry) {
  listener_snapshot out;
  out.local = entry.local;
  out.accept_queue = entry.waiting_count;
  out.backlog = backlog_of(host, entry);
  out.accept_queue_peak = entry.waiting_peak;
  out.syn_queue = entry.half_open_count;
  out.syn_queue_limit = syn_queue_limit(host, entry);
  out.syn_queue_peak = entry.half_open_peak;
  out.parked = entry.parked_count;
  out.fastopen_queue = entry.fastopen.pending();
  out.fastopen_limit = fastopen_limit(host, entry);
  out.accepted = entry.accepted;
  out.drops = entry.drops;
  return out;
}

}  // namespace

events host::readiness(socket_id id) const noexcept {
  const connection* c = core_->get(id);
  if (c == nullptr) return events::none;
  events out = events::none;
  const bool over = c->state == state::closed;
  if (over || !c->rx.empty() || c->fin_received || c->pending_error != error::none) {
    out |= events::readable;
  }
  const bool room = c->may_write() && has_send_room(*core_, *c);
  if (over || c->fin_queued || room) out |= events::writable;
  if (c->may_write()) out |= events::connected;
  if (over) out |= events::closed;
  return out;
}

error host::pending_error(socket_id id) const noexcept {
  const connection* c = core_->get(id);
  return c == nullptr ? error::bad_handle : c->pending_error;
}

outcome<tcp::snapshot> host::snapshot(socket_id id) const {
  const connection* c = core_->get(id);
  if (c == nullptr) return {{}, error::bad_handle};
  return {describe(*core_, *c), error::none};
}

connection_ends host::ends(socket_id id) const noexcept {
  const connection* c = core_->get(id);
  if (c == nullptr) return {};
  return {{core_->local_address(c->key), c->key.local_port}, {c->key.remote, c->key.remote_port}};
}

end_reason host::ended(socket_id id) const noexcept {
  const connection* c = core_->get(id);
  return c == nullptr ? end_reason::none : c->ended;
}

std::uint32_t host::unacked_bytes(socket_id id) const noexcept {
  const connection* c = core_->get(id);
  return c == nullptr ? 0 : unacked_bytes_of(*c);
}

outcome<listener_snapshot> host::listener(socket_id id) const {
  const listener_entry* entry = core_->get_listener(id);
  if (entry == nullptr) return {{}, error::bad_handle};
  return {describe(*core_, *entry), error::none};
}

void host::for_each_connection(const std::function<void(const tcp::snapshot&)>& visit) const {
  const core& self = *core_;
  for (std::uint32_t i = 0; i < self.connections.extent(); ++i) {
    const connection& c = self.connections[i];
    if (is_shown(c)) visit(describe(self, c));
  }
  for (const auto& queue : self.synack_queues) {
    for (std::uint32_t i = queue.front(); i != no_index; i = self.half_opens[i].links.next) {
      visit(describe(self, self.half_opens[i]));
    }
  }
  for (const auto& queue : self.time_wait_queues) {
    for (std::uint32_t i = queue.entries.front(); i != no_index;
         i = self.time_waits[i].links.next) {
      visit(describe(self, self.time_waits[i]));
    }
  }
}

namespace {

/// A place of a slab holds an entry if looking its key up leads back to it.
bool leads_to(const core& host, const flow_key& key, detail::entry_ref place) noexcept {
  return host.find(key) == place;
}

/// Visits up to `places` of `count` places; what is left of them, or nothing when there are more.
template <class Visit>
std::uint32_t walk_places(std::uint32_t& index, std::uint32_t count, std::uint32_t places,
                          Visit&& visit) {
  for (; index < count && places > 0; ++index, --places) visit(index);
  return index < count ? 0 : places;
}

std::uint32_t walk_full(const core& host, std::uint32_t& index, std::uint32_t places,
                        const std::function<void(const tcp::snapshot&)>& visit) {
  const std::uint32_t count = host.connections.size() == 0 ? 0 : host.connections.extent();
  return walk_places(index, count, places, [&](std::uint32_t place) {
    const connection& c = host.connections[place];
    if (is_shown(c)) visit(describe(host, c));
  });
}

/// The same with compact entries of one family.
template <class Slab>
std::uint32_t walk_entries(const core& host, const Slab& slab, typename Slab::range range,
                           detail::entry_kind kind, std::uint32_t& index, std::uint32_t places,
                           const std::function<void(const tcp::snapshot&)>& visit) {
  return walk_places(index, range.count, places, [&](std::uint32_t place) {
    const std::uint32_t at = range.first + place;
    const auto& entry = slab[at];
    if (leads_to(host, entry.flow(), detail::entry_ref(kind, at))) visit(describe(host, entry));
  });
}

}  // namespace

bool host::walk_connections(walk_position& from, std::uint32_t places,
                            const std::function<void(const tcp::snapshot&)>& visit) const {
  const core& self = *core_;
  const auto& half = self.half_opens;
  const auto& waiting = self.time_waits;
  using detail::entry_kind;
  while (from.part < 5) {
    std::uint32_t& at = from.index;
    switch (from.part) {
      case 0:
        places = walk_full(self, at, places, visit);
        break;
      case 1:
        places =
            walk_entries(self, half, half.v4_places(), entry_kind::half_open, at, places, visit);
        break;
      case 2:
        places =
            walk_entries(self, half, half.v6_places(), entry_kind::half_open, at, places, visit);
        break;
      case 3:
        places = walk_entries(self, waiting, waiting.v4_places(), entry_kind::time_wait, at, places,
                              visit);
        break;
      default:
        places = walk_entries(self, waiting, waiting.v6_places(), entry_kind::time_wait, at, places,
                              visit);
        break;
    }
    if (places == 0) return true;
    ++from.part;
    from.index = 0;
  }
  return false;
}

bool host::walk_full_connections(walk_position& from, std::uint32_t places,
                                 const std::function<void(const tcp::snapshot&)>& visit) const {
  return walk_full(*core_, from.index, places, visit) == 0;
}

void host::for_each_listener(const std::function<void(const listener_snapshot&)>& visit) const {
  for (const listener_entry& entry : core_->listeners) {
    if (entry.open) visit(describe(*core_, entry));
  }
}

bool host::walk_listeners(walk_position& from, std::uint32_t places,
                          const std::function<void(const listener_snapshot&)>& visit) const {
  const auto& listeners = core_->listeners;
  for (; from.index < listeners.size() && places > 0; ++from.index, --places) {
    if (listeners[from.index].open) visit(describe(*core_, listeners[from.index]));
  }
  return from.index < listeners.size();
}

const tcp::counters& host::counters() const noexcept {
  return core_->count;
}

memory_table host::memory() const noexcept {
  const core& self = *core_;
  memory_table out;
  out.connections = self.connections.size();
  out.half_open = self.half_opens.size();
  out.half_open_v6 = self.half_opens.v6_size();
  out.time_wait = self.time_waits.size();
  out.time_wait_v6 = self.time_waits.v6_size();
  out.connection_bytes = sizeof(connection);
  out.half_open_bytes = sizeof(detail::half_open_entry) + detail::index_share_bytes;
  out.half_open_bytes_v6 = sizeof(detail::half_open_request) + detail::index_share_bytes;
  out.time_wait_bytes = sizeof(detail::time_wait_entry) + detail::index_share_bytes;
  out.time_wait_bytes_v6 =
      sizeof(detail::tailed<detail::time_wait_entry>) + detail::index_share_bytes;
  out.held_bytes = self.connections.held_bytes() + self.half_opens.held_bytes() +
                   self.time_waits.held_bytes() + self.table.held_bytes() +
                   self.sent_ranges.held_bytes() + self.flights.held_bytes() +
                   self.paths.held_bytes() + self.receive_tunings.held_bytes();
  out.buffer_bytes = self.pool.buffer_bytes();
  out.flight_bytes = self.pool.charged_bytes();
  out.orphans = self.orphan_count + self.quiet_count;
  out.orphan_bytes = self.orphan_bytes;
  return out;
}

std::size_t host::busy_count() const noexcept {
  return core_->connections.size() - core_->ended_count - core_->quiet_count;
}

std::span<const net::address> host::addresses() const noexcept {
  return core_->addresses;
}

}  // namespace runnel::tcp
