#include "core.hpp"

namespace runnel::tcp::detail {

connection* make_connection(core& host, const flow_key& key, std::uint32_t policy) {
  if (policy == no_index) return nullptr;
  const std::uint32_t index = host.connections.allocate();
  if (index == no_index) {
    host.policies.release(policy);
    return nullptr;
  }
  connection& c = host.connections[index];
  const std::uint32_t generation = c.generation + 1;
  connection_slab::renew(c);
  c.generation = generation;
  c.key = key;
  c.policy = policy;
  const std::uint32_t room = setting(host, c, &connection_policy::receive_buffer);
  c.receive_buffer = first_receive_buffer(host, room);
  c.tuned = room == 0;
  const std::uint32_t send_buffer = setting(host, c, &connection_policy::send_buffer);
  c.send_buffer = send_buffer != 0 ? send_buffer : host.policy.wmem_default;
  c.rcv_mss_offered =
      own_mss(host, setting(host, c, &connection_policy::max_segment), key.remote.family());
  c.fastopen_wanted = setting(host, c, &connection_policy::fastopen_connect);
  c.flow.rto_ms = rto_initial_of(host, c);
  c.reordering = host.policy.reordering;
  c.ts_offset = host.timestamp_offset(key);
  c.index = index;
  inherit_path_mtu(host, c);
  return &c;
}

void set_state(core& host, connection& c, state to) noexcept {
  const auto counted = [](state of) { return of == state::established || of == state::close_wait; };
  if (counted(c.state) && !counted(to)) --host.count.curr_estab;
  if (counted(c.state) && to == state::closed) ++host.count.estab_resets;
  if (!counted(c.state) && counted(to)) ++host.count.curr_estab;
  c.state = to;
}

void detach_connection(core& host, connection& c) noexcept {
  judge_fastopen_path(host, c);
  if (c.in_table) {
    c.in_table = false;
    host.leave(entry_ref(entry_kind::connection, c.index), c.key);
    note_ended(host, c.key);
  }
  host.wheel.cancel(host.connections, c.index);
  c.when = {};
  if (c.in_tx) {
    c.in_tx = false;
    host.tx_list.remove(host.connections, c.index);
  }
}

void end_connection(core& host, connection& c, end_reason reason, error told) noexcept {
  leave_fastopen_queue(host, c, reason == end_reason::reset);
  detach_connection(host, c);
  forget_orphan(host, c);
  c.lost_bytes = c.tx.size();
  c.tx.clear(host.pool);
  c.out_of_order.clear(host.pool);
  clear_ranges(host, c);
  give_back_flight(host, c);
  give_back_path(host, c);
  give_back_tuning(host, c);
  set_state(host, c, state::closed);
  c.ended = reason;
  c.pending_error = told;
  if (!c.owned && c.listener == no_index) {
    free_connection(host, c);
    return;
  }
  c.counted_ended = true;
  ++host.ended_count;
  report(host, c, events::readable | events::writable | events::closed);
}

void free_connection(core& host, connection& c) noexcept {
  if (c.in_dirty) host.dirty_list.remove(host.connections, c.index);
  forget_orphan(host, c);
  c.tx.clear(host.pool);
  clear_ranges(host, c);
  give_back_flight(host, c);
  give_back_path(host, c);
  give_back_tuning(host, c);
  c.rx.clear(host.pool);
  c.out_of_order.clear(host.pool);
  c.in_dirty = false;
  c.owned = false;
  if (c.counted_ended) --host.ended_count;
  host.policies.release(c.policy);
  host.connections.release(c.index);
}

void report(core& host, connection& c, events what) noexcept {
  if (!c.owned) return;
  c.reported |= what;
  if (c.in_dirty) return;
  c.in_dirty = true;
  host.dirty_list.push_back(host.connections, c.index);
}

void want_transmit(core& host, connection& c) noexcept {
  if (c.in_tx || c.state == state::closed) return;
  c.in_tx = true;
  host.tx_list.push_back(host.connections, c.index);
}

void report_listener(core& host, std::uint32_t listener) noexcept {
  listener_entry& entry = host.listeners[listener];
  if (entry.dirty) return;
  entry.dirty = true;
  host.dirty_listeners.push_back(listener);
}

}  // namespace runnel::tcp::detail
