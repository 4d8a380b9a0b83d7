#include <algorithm>

#include "core.hpp"

// Commands on connections: SEND, RECEIVE, CLOSE and ABORT of RFC 9293 §3.10, without blocking.

namespace runnel::tcp {

using detail::connection;
using detail::core;

namespace {

/// The pending error, told once (Linux's sk_err).
error take_error(connection& c) noexcept {
  return std::exchange(c.pending_error, error::none);
}

/// Queues FIN and moves to the state that waits for its acknowledgement.
void say_fin(core& host, connection& c) {
  if (c.fin_queued) return;
  c.fin_queued = true;
  switch (c.state) {
    case state::established:
      set_state(host, c, state::fin_wait_1);
      break;
    case state::close_wait:
      set_state(host, c, state::last_ack);
      break;
    // FIN follows the handshake (RFC 9293 §3.10.4, SYN-RECEIVED).
    default:
      break;
  }
  want_transmit(host, c);
}

/// The owner wants no more data.
void close_gracefully(core& host, connection& c) {
  if (c.closed_by_owner) return;
  c.closed_by_owner = true;
  switch (c.state) {
    case state::closed:
      return;
    case state::syn_sent:
      // Nothing was agreed on: it just goes (RFC 9293 §3.10.4). A late SYN-ACK draws RST.
      return end_connection(host, c, end_reason::aborted, error::connection_aborted);
    default:
      break;
  }
  if (!c.rx.empty()) {
    // RFC 2525 §2.17: bytes were lost, and the peer is to know.
    ++host.count.abort_on_close;
    send_reset(host, c);
    return end_connection(host, c, end_reason::aborted, error::connection_aborted);
  }
  say_fin(host, c);
  c.wants_drained = true;
  if (c.state == state::fin_wait_2) {
    c.when.life = host.after_ms(setting_ms(host, c, &connection_policy::fin_timeout));
    schedule(host, c);
  }
}

void abort_connection(core& host, connection& c) {
  c.closed_by_owner = true;
  if (c.state == state::closed) return;
  // RFC 9293 §3.10.5: SYN-SENT has nobody to reset, and where both have said FIN it is over without
  // RST; as in Linux, only once ours has left.
  const bool both_said = (c.state == state::closing || c.state == state::last_ack) && c.fin_sent;
  if (c.state != state::syn_sent && !both_said) send_reset(host, c);
  end_connection(host, c, end_reason::aborted, error::connection_aborted);
}

/// Reading made room: tells the peer when that is news to it. Linux's rule: when the window can be
/// doubled.
void maybe_update_window(core& host, connection& c) {
  if (!c.synchronized() || c.fin_received) return;
  const sequence edge = c.rcv_.wup + c.rcv_.wnd;
  const std::uint32_t offered = after(edge, c.rcv_.nxt) ? distance(c.rcv_.nxt, edge) : 0;
  const std::uint32_t now = select_window(host, c);
  if (now == 0 || now < 2 * offered) return;
  c.ack.due = true;
  want_transmit(host, c);
}

}  // namespace

outcome<std::size_t> host::send(socket_id id, std::span<const std::byte> bytes, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  if (const error told = take_error(*c); told != error::none) return {0, told};
  if (c->fin_queued || c->state == state::closed) return {0, error::broken_pipe};
  if (c->state == state::syn_sent || c->state == state::syn_received) {
    return {0, error::not_connected};
  }
  if (under_pressure(self)) relieve_pressure(self, *c);
  const std::size_t taken = c->tx.append(self.pool, bytes, send_limit(self, *c));
  // Bytes of its own will be acknowledged and make room; for those of others nobody waits here.
  if (taken == 0 && !bytes.empty() && c->tx.empty()) return {0, error::no_buffer_space};
  if (taken < bytes.size()) c->wants_room = true;
  if (taken > 0) want_transmit(self, *c);
  if (taken == 0 && !bytes.empty()) return {0, error::would_block};
  return {taken, error::none};
}

outcome<std::size_t> host::receive(socket_id id, std::span<std::byte> into, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  if (const std::size_t taken = c->rx.read(self.pool, into); taken > 0) {
    maybe_update_window(self, *c);
    return {taken, error::none};
  }
  // The end of the stream is the end, whatever came after it; the error is for the next send.
  if (c->fin_received) return {0, error::none};
  if (const error told = take_error(*c); told != error::none) return {0, told};
  if (into.empty() || c->state == state::closed) return {0, error::none};
  if (c->state == state::syn_sent || c->state == state::syn_received) {
    return {0, error::not_connected};
  }
  return {0, error::would_block};
}

error host::shutdown(socket_id id, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return error::bad_handle;
  if (c->state == state::syn_sent || c->state == state::closed) return error::not_connected;
  say_fin(self, *c);
  return error::none;
}

error host::close(socket_id id, close_mode mode, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return error::bad_handle;
  if (mode == close_mode::abort) {
    abort_connection(self, *c);
  } else {
    close_gracefully(self, *c);
  }
  return error::none;
}

void host::release(socket_id id, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return;
  close_gracefully(self, *c);
  c->owned = false;
  c->orphan = true;
  if (c->state == state::closed) {
    free_connection(self, *c);
    return;
  }
  if (c->in_dirty) {
    self.dirty_list.remove(self.connections, c->index);
    c->in_dirty = false;
  }
  note_quiet(self, *c);
}

error host::set_token(socket_id id, std::uint64_t token) {
  if (connection* c = core_->get(id); c != nullptr) {
    c->token = token;
    return error::none;
  }
  return error::bad_handle;
}

bool host::drained(socket_id id) {
  connection* c = core_->get(id);
  if (c == nullptr || c->state == state::closed) return true;
  if (c->unsent() == 0 && c->snd_.una == c->snd_.nxt && c->fin_queued == c->fin_sent) return true;
  c->wants_drained = true;
  return false;
}

}  // namespace runnel::tcp
