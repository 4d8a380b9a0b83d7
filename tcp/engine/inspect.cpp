#include "core.hpp"

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::flow_key;
using detail::listener_entry;
using detail::no_index;

namespace {

tcp::snapshot describe(const core& host, const connection& c) {
  tcp::snapshot out;
  out.state = c.state;
  out.ended = c.ended;
  out.local = {host.local_address(c.key), c.key.local_port};
  out.remote = {c.key.remote, c.key.remote_port};
  out.unread_bytes = c.rx.size();
  out.unacked_bytes = c.state == state::closed ? c.lost_bytes : c.tx.size();
  out.unsent_bytes = c.synchronized() ? c.unsent() : c.tx.size();
  out.out_of_order_bytes = c.out_of_order.size();
  out.held_bytes = c.held_bytes() + c.tx.held_bytes();
  out.snd_mss = c.snd_mss;
  out.rcv_mss = c.ack.rcv_mss;
  out.snd_wscale = c.snd_wscale;
  out.rcv_wscale = c.rcv_wscale;
  out.timestamps = c.timestamps;
  out.snd_cwnd_bytes = c.flow.cwnd;
  out.snd_ssthresh_bytes = c.flow.ssthresh;
  out.snd_wnd_bytes = c.snd_.wnd;
  out.rcv_wnd_bytes = c.rcv_.wnd;
  out.srtt = std::chrono::microseconds(c.flow.srtt_us);
  out.rttvar = std::chrono::microseconds(c.flow.rttvar_us);
  out.rto = std::chrono::milliseconds(c.flow.rto_ms);
  out.retransmits = c.flow.retransmits;
  out.total_retrans = c.flow.total_retrans;
  out.orphan = c.orphan;
  return out;
}

template <class Entry>
tcp::snapshot describe_compact(const core& host, const Entry& entry, state in) {
  const flow_key key = entry.key.expand();
  tcp::snapshot out;
  out.state = in;
  out.local = {host.local_address(key), key.local_port};
  out.remote = {key.remote, key.remote_port};
  out.rcv_wscale = entry.rcv_wscale;
  out.timestamps = entry.timestamps;
  return out;
}

listener_snapshot describe(const core& host, const listener_entry& entry) {
  listener_snapshot out;
  out.local = entry.local;
  out.accept_queue = entry.waiting_count;
  out.backlog = std::min(entry.policy.backlog, host.policy.somaxconn);
  out.accept_queue_peak = entry.waiting_peak;
  out.syn_queue = entry.half_open_count;
  out.syn_queue_peak = entry.half_open_peak;
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
  const bool room = c->synchronized() && c->tx.held_bytes() < c->send_buffer;
  if (over || c->fin_queued || room) out |= events::writable;
  if (c->synchronized()) out |= events::connected;
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

outcome<listener_snapshot> host::listener(socket_id id) const {
  const listener_entry* entry = core_->get_listener(id);
  if (entry == nullptr) return {{}, error::bad_handle};
  return {describe(*core_, *entry), error::none};
}

void host::for_each_connection(const std::function<void(const tcp::snapshot&)>& visit) const {
  const core& self = *core_;
  for (std::uint32_t i = 0; i < self.connections.extent(); ++i) {
    const connection& c = self.connections[i];
    if (c.state != state::closed && c.in_table) visit(describe(self, c));
  }
  for (const auto& queue : self.synack_queues) {
    for (std::uint32_t i = queue.front(); i != no_index; i = self.half_opens[i].links.next) {
      visit(describe_compact(self, self.half_opens[i], state::syn_received));
    }
  }
  for (const auto& queue : self.time_wait_queues) {
    for (std::uint32_t i = queue.entries.front(); i != no_index;
         i = self.time_waits[i].links.next) {
      visit(describe_compact(self, self.time_waits[i], state::time_wait));
    }
  }
}

void host::for_each_listener(const std::function<void(const listener_snapshot&)>& visit) const {
  for (const listener_entry& entry : core_->listeners) {
    if (entry.open) visit(describe(*core_, entry));
  }
}

const tcp::counters& host::counters() const noexcept {
  return core_->count;
}

memory_table host::memory() const noexcept {
  const core& self = *core_;
  memory_table out;
  out.connections = self.connections.size();
  out.half_open = self.half_opens.size();
  out.time_wait = self.time_waits.size();
  out.connection_bytes = sizeof(connection);
  out.half_open_bytes = sizeof(detail::half_open_entry_v4) + detail::index_share_bytes;
  out.time_wait_bytes = sizeof(detail::time_wait_entry_v4) + detail::index_share_bytes;
  out.held_bytes = self.connections.held_bytes() + self.half_opens.held_bytes() +
                   self.time_waits.held_bytes() + self.table.held_bytes();
  out.buffer_bytes = self.pool.used_bytes();
  return out;
}

std::size_t host::busy_count() const noexcept {
  return core_->connections.size() - core_->ended_count - core_->quiet_count;
}

std::span<const net::address> host::addresses() const noexcept {
  return core_->addresses;
}

}  // namespace runnel::tcp
