#include <algorithm>

#include "core.hpp"
#include "send_room.hpp"

// Commands on connections: SEND and RECEIVE of RFC 9293 §3.10, without blocking.

namespace runnel::tcp {

namespace detail {

void on_room(core& host, connection& c) {
  tune_on_read(host, c);
  if (!c.synchronized()) return;
  // Linux's tcp_cleanup_rbuf: who has read all that was written to its end waits for nothing.
  const bool complete = c.ack.pushed_again || (c.ack.pushed && !c.ack.interactive);
  const bool two_segments = distance(c.rcv_.wup, c.rcv_.nxt) > c.ack.rcv_mss;
  if (c.ack.delayed && (two_segments || (complete && c.held_bytes() == 0))) {
    c.ack.due = true;
    return want_transmit(host, c);
  }
  if (c.fin_received) return;
  const sequence edge = c.rcv_.wup + c.rcv_.wnd;
  const std::uint32_t offered = after(edge, c.rcv_.nxt) ? distance(c.rcv_.nxt, edge) : 0;
  // As Linux asks first: to whom half of all that there can be is offered there is nothing to tell,
  // and quick acknowledgements stay as they are. What is offered is rounded up to a step.
  const std::uint32_t most = c.receive_buffer / 2 + (std::uint32_t{1} << c.rcv_wscale);
  if (offered > most / 2) return;
  const std::uint32_t now = select_window(host, c);
  if (now == 0 || now < 2 * offered) return;
  c.ack.due = true;
  want_transmit(host, c);
}

/// The pending error, told once (Linux's sk_err).
static error take_error(connection& c) noexcept {
  return std::exchange(c.pending_error, error::none);
}

error begin_send(core& host, connection* c) {
  if (c == nullptr) return error::bad_handle;
  if (const error told = take_error(*c); told != error::none) return told;
  if (c->fin_queued || c->closed_by_owner || c->state == state::closed) return error::broken_pipe;
  if (!c->may_write()) return error::not_connected;
  if (under_pressure(host)) relieve_pressure(host, *c);
  return error::none;
}

outcome<std::size_t> end_send(core& host, connection& c, std::size_t taken, std::size_t wanted) {
  // Bytes of its own will be acknowledged and make room; for those of others nobody waits here.
  if (taken == 0 && wanted != 0 && c.tx.empty()) return {0, error::no_buffer_space};
  if (taken < wanted || !has_send_room(host, c)) c.wants_room = true;
  if (taken > 0) {
    release_syn(host, c);
    want_transmit(host, c);
  }
  if (taken == 0 && wanted != 0) return {0, error::would_block};
  return {taken, error::none};
}

void note_read(core& host, connection& c) {
  on_room(host, c);
  c.fin_read = c.fin_received && c.rx.empty();
}

outcome<std::size_t> receive_nothing(core& host, connection& c, bool wants_some) {
  // The end of the stream is the end, whatever came after it; the error is for the next send.
  if (c.fin_received) {
    c.fin_read = true;
    return {0, error::none};
  }
  if (const error told = take_error(c); told != error::none) return {0, told};
  if (!wants_some || c.state == state::closed) return {0, error::none};
  if (!c.may_write()) return {0, error::not_connected};
  // Who reads waits for the peer to speak first.
  release_syn(host, c);
  return {0, error::would_block};
}

}  // namespace detail

using detail::connection;
using detail::core;

outcome<std::size_t> host::send(socket_id id, std::span<const std::byte> bytes, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (const error refused = begin_send(self, c); refused != error::none) return {0, refused};
  const std::size_t wanted = std::min(bytes.size(), bytes_wanted(self, *c));
  const std::size_t taken = c->tx.append(self.pool, bytes.first(wanted), send_limit(self, *c));
  return end_send(self, *c, taken, bytes.size());
}

outcome<std::size_t> host::receive(socket_id id, std::span<std::byte> into, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  if (const std::size_t taken = c->rx.read(self.pool, into); taken > 0) {
    note_read(self, *c);
    return {taken, error::none};
  }
  return receive_nothing(self, *c, !into.empty());
}

error host::start(socket_id id, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return error::bad_handle;
  release_syn(self, *c);
  return error::none;
}

error host::set_token(socket_id id, std::uint64_t token) {
  if (connection* c = core_->get(id); c != nullptr) {
    c->token = token;
    return error::none;
  }
  return error::bad_handle;
}

}  // namespace runnel::tcp
