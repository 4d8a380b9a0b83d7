#include <utility>

#include "core.hpp"

// CLOSE, ABORT and release: RFC 9293 §3.10.4 and §3.10.5, and the ways to end that applications
// otherwise write by hand. All of them go on without an owner.

namespace runnel::tcp {

namespace detail {

namespace {

void run_life_timer(core& host, connection& c, life_timer what, std::uint32_t delay_ms) noexcept {
  c.life = what;
  c.when.life = host.after_ms(delay_ms);
  schedule(host, c);
}

void stop_life_timer(connection& c) noexcept {
  c.life = life_timer::none;
  c.when.life = 0;
}

/// What arrived and nobody has read is gone, and so is what still arrives.
void discard_input(core& host, connection& c) {
  c.discards = true;
  const bool unread = !c.rx.empty();
  c.rx.clear(host.pool);
  if (unread) on_room(host, c);
}

/// RFC 2525 §2.17: bytes were lost, and the peer is to know.
void end_unread(core& host, connection& c) {
  ++host.count.abort_on_close;
  send_reset(host, c);
  end_connection(host, c, end_reason::aborted, error::connection_aborted);
}

/// RFC 9293 §3.10.5: where both have said FIN it is over without RST; as in Linux, only once ours
/// has left.
bool deserves_reset(const connection& c) noexcept {
  switch (c.state) {
    case state::syn_received:
    case state::established:
    case state::fin_wait_1:
    case state::fin_wait_2:
    case state::close_wait:
      return true;
    case state::closing:
    case state::last_ack:
      return !c.fin_sent;
    default:
      return false;
  }
}

void abort_connection(core& host, connection& c) {
  c.closed_by_owner = true;
  if (c.state == state::closed) return;
  // As Linux counts it: unread bytes first, else this.
  const bool unread = !c.rx.empty();
  ++(unread ? host.count.abort_on_close : host.count.abort_on_data);
  if (unread || deserves_reset(c)) send_reset(host, c);
  end_connection(host, c, end_reason::aborted, error::connection_aborted);
}

/// The steps that all modes but `abort` begin with; false when the connection is over.
bool take_from_owner(core& host, connection& c, bool discards) {
  c.closed_by_owner = true;
  if (c.state == state::closed) return false;
  if (c.syn_held) {
    // Nobody knows of it.
    end_connection(host, c, end_reason::clean, error::none);
    return false;
  }
  if (c.state == state::syn_sent && !c.writes_early) {
    // Nothing was agreed on: it just goes. A late SYN-ACK draws RST.
    end_connection(host, c, end_reason::aborted, error::connection_aborted);
    return false;
  }
  if (!discards && !c.rx.empty()) {
    end_unread(host, c);
    return false;
  }
  c.wants_drained = true;
  if (discards) {
    discard_input(host, c);
  } else {
    // Pieces behind a hole have no reader either.
    forget_out_of_order(host, c);
  }
  if (c.timer == rtx_timer::persist) bound_closed_window(host, c);
  return true;
}

/// FIN and no reader: what is left is the peer's FIN, or the end of someone's patience.
void say_last_fin(core& host, connection& c) {
  say_fin(host, c);
  if (c.state == state::fin_wait_2) wait_for_fin(host, c, host.count.abort_on_linger);
}

std::uint32_t peer_first_linger_ms(const core& host, const connection& c) noexcept {
  return setting_ms(host, c, &connection_policy::peer_first_linger);
}

/// FIN, while what still arrives is thrown away for so long.
void linger_on(core& host, connection& c, std::uint32_t time_ms) {
  // Behind the peer's FIN nothing comes that a reset could answer.
  c.discards = time_ms > 0 && !c.fin_received;
  if (c.discards) run_life_timer(host, c, life_timer::discard, time_ms);
  say_last_fin(host, c);
}

}  // namespace

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

bool wait_for_fin(core& host, connection& c, std::uint64_t& when_unwilling) {
  if (c.discards) return note_quiet(host, c);
  const std::uint32_t patience_ms = setting_ms(host, c, &connection_policy::fin_timeout);
  if (patience_ms == 0) {
    ++when_unwilling;
    send_reset(host, c);
    end_connection(host, c, end_reason::aborted, error::connection_aborted);
    return false;
  }
  run_life_timer(host, c, life_timer::fin_wait_2, patience_ms);
  return note_quiet(host, c);
}

void on_peer_fin(core& host, connection& c) {
  if (c.life != life_timer::await_peer) return;
  stop_life_timer(c);
  c.discards = false;
  say_fin(host, c);
}

void close_connection(core& host, connection& c, close_mode mode, std::uint32_t time_ms) {
  if (mode == close_mode::abort) return abort_connection(host, c);
  if (c.closed_by_owner) return;
  const bool discards = mode == close_mode::lingering || mode == close_mode::peer_first;
  if (!take_from_owner(host, c, discards)) return;
  const bool peer_may_begin = c.state == state::established || c.state == state::syn_received;
  if (mode == close_mode::peer_first && time_ms > 0 && !c.fin_queued && peer_may_begin) {
    return run_life_timer(host, c, life_timer::await_peer, time_ms);
  }
  if (mode == close_mode::peer_first && time_ms > 0) time_ms = peer_first_linger_ms(host, c);
  if (discards) return linger_on(host, c, time_ms);
  if (mode == close_mode::linger && c.state != state::fin_wait_2) {
    run_life_timer(host, c, life_timer::linger, time_ms);
  }
  say_last_fin(host, c);
}

void on_life_timeout(core& host, connection& c) {
  const life_timer what = c.life;
  c.life = life_timer::none;
  switch (what) {
    case life_timer::none:
      break;
    case life_timer::fin_wait_2:
      // The peer never says FIN (net.ipv4.tcp_fin_timeout).
      end_connection(host, c, end_reason::clean, error::none);
      break;
    case life_timer::linger:
      report(host, c, events::close_time_over);
      break;
    case life_timer::discard:
      c.discards = false;
      if (c.state == state::fin_wait_2) wait_for_fin(host, c, host.count.abort_on_linger);
      break;
    case life_timer::await_peer:
      linger_on(host, c, peer_first_linger_ms(host, c));
      break;
  }
}

}  // namespace detail

using detail::connection;
using detail::core;

namespace {

constexpr std::chrono::milliseconds longest_close_time = std::chrono::hours(24);

}  // namespace

error host::shutdown(socket_id id, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return error::bad_handle;
  const bool early = c->state == state::syn_sent && !c->writes_early;
  if (early || c->state == state::closed) return error::not_connected;
  release_syn(self, *c);
  say_fin(self, *c);
  return error::none;
}

error host::close(socket_id id, time_point now) {
  const connection* c = core_->get(id);
  if (c == nullptr) return error::bad_handle;
  return close(id, setting(*core_, *c, &connection_policy::close), now);
}

error host::close(socket_id id, close_mode mode, time_point now) {
  const connection* c = core_->get(id);
  if (c == nullptr) return error::bad_handle;
  return close(id, mode, setting(*core_, *c, &connection_policy::close_time), now);
}

error host::close(socket_id id, close_mode mode, std::chrono::milliseconds time, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return error::bad_handle;
  if (time < std::chrono::milliseconds(0) || time > longest_close_time) {
    return error::invalid_argument;
  }
  close_connection(self, *c, mode, static_cast<std::uint32_t>(time.count()));
  return error::none;
}

void host::release(socket_id id, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return;
  if (!c->closed_by_owner && c->state != state::closed) {
    ++self.count.released_open;
    close_connection(self, *c, setting(self, *c, &connection_policy::close),
                     setting_ms(self, *c, &connection_policy::close_time));
  }
  if (c->in_dirty) {
    self.dirty_list.remove(self.connections, c->index);
    c->in_dirty = false;
  }
  c->owned = false;
  if (c->state == state::closed) {
    free_connection(self, *c);
  } else {
    adopt_orphan(self, *c);
  }
}

bool host::drained(socket_id id) {
  connection* c = core_->get(id);
  if (c == nullptr || c->state == state::closed || c->drained()) return true;
  c->wants_drained = true;
  return false;
}

}  // namespace runnel::tcp
