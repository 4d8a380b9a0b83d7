#include <algorithm>

#include "core.hpp"

// Commands on connections: SEND and RECEIVE of RFC 9293 §3.10, without blocking.

namespace runnel::tcp {

namespace detail {

void on_room(core& host, connection& c) {
  if (!c.synchronized() || c.fin_received) return;
  const sequence edge = c.rcv_.wup + c.rcv_.wnd;
  const std::uint32_t offered = after(edge, c.rcv_.nxt) ? distance(c.rcv_.nxt, edge) : 0;
  const std::uint32_t now = select_window(host, c);
  if (now == 0 || now < 2 * offered) return;
  c.ack.due = true;
  want_transmit(host, c);
}

}  // namespace detail

using detail::connection;
using detail::core;

namespace {

/// The pending error, told once (Linux's sk_err).
error take_error(connection& c) noexcept {
  return std::exchange(c.pending_error, error::none);
}

}  // namespace

outcome<std::size_t> host::send(socket_id id, std::span<const std::byte> bytes, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  if (const error told = take_error(*c); told != error::none) return {0, told};
  if (c->fin_queued || c->closed_by_owner || c->state == state::closed) {
    return {0, error::broken_pipe};
  }
  if (!c->may_write()) return {0, error::not_connected};
  if (under_pressure(self)) relieve_pressure(self, *c);
  const std::size_t taken = c->tx.append(self.pool, bytes, send_limit(self, *c));
  // Bytes of its own will be acknowledged and make room; for those of others nobody waits here.
  if (taken == 0 && !bytes.empty() && c->tx.empty()) return {0, error::no_buffer_space};
  if (taken < bytes.size()) c->wants_room = true;
  if (taken > 0) {
    release_syn(self, *c);
    want_transmit(self, *c);
  }
  if (taken == 0 && !bytes.empty()) return {0, error::would_block};
  return {taken, error::none};
}

outcome<std::size_t> host::receive(socket_id id, std::span<std::byte> into, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  if (const std::size_t taken = c->rx.read(self.pool, into); taken > 0) {
    on_room(self, *c);
    c->fin_read = c->fin_received && c->rx.empty();
    return {taken, error::none};
  }
  // The end of the stream is the end, whatever came after it; the error is for the next send.
  if (c->fin_received) {
    c->fin_read = true;
    return {0, error::none};
  }
  if (const error told = take_error(*c); told != error::none) return {0, told};
  if (into.empty() || c->state == state::closed) return {0, error::none};
  if (!c->may_write()) return {0, error::not_connected};
  // Who reads waits for the peer to speak first.
  release_syn(self, *c);
  return {0, error::would_block};
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
