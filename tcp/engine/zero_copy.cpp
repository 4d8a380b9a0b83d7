#include <algorithm>

#include "core.hpp"
#include "send_room.hpp"

// SEND and RECEIVE without a copy, and what belongs to them.

namespace runnel::tcp {

using detail::connection;
using detail::core;

outcome<std::size_t> host::receive(socket_id id, std::span<const std::span<std::byte>> into,
                                   time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  std::size_t taken = 0;
  bool wants_some = false;
  for (const std::span<std::byte> each : into) {
    taken += c->rx.read(self.pool, each);
    wants_some = wants_some || !each.empty();
  }
  if (taken == 0) return receive_nothing(self, *c, wants_some);
  note_read(self, *c);
  return {taken, error::none};
}

outcome<std::size_t> host::send_owned(socket_id id, net::owned_buffer& from, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (const error refused = begin_send(self, c); refused != error::none) return {0, refused};
  const std::size_t given = from.size();
  const std::size_t wanted = bytes_wanted(self, *c);
  const std::uint32_t limit = send_limit(self, *c);
  std::size_t taken = 0;
  if (wanted >= given || (wanted > 0 && from.in_packet() != nullptr)) {
    taken = c->tx.append_owned(self.pool, from, limit);
  } else if (wanted > 0) {
    net::owned_buffer front = from.share(0, wanted);
    taken = c->tx.append_owned(self.pool, front, limit);
    from.remove_prefix(taken);
  }
  return end_send(self, *c, taken, given);
}

outcome<std::size_t> host::send_room(socket_id id, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (const error refused = begin_send(self, c); refused != error::none) return {0, refused};
  const std::uint32_t limit = send_limit(self, *c);
  if (c->tx.held_bytes() < limit && bytes_wanted(self, *c) > 0) {
    return {limit - c->tx.held_bytes(), error::none};
  }
  c->wants_room = true;
  return {0, error::would_block};
}

net::packet host::allocate(socket_id id, std::size_t bytes) {
  core& self = *core_;
  const connection* c = self.get(id);
  if (c == nullptr) return {};
  const std::size_t most = detail::send_block_bytes(send_limit(self, *c));
  return self.pool.allocate_some(std::min(bytes, most));
}

outcome<std::size_t> host::borrow(socket_id id, std::span<net::owned_buffer> into, std::size_t most,
                                  time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  if (const std::size_t lent = c->rx.lend(into, most); lent > 0) return {lent, error::none};
  return receive_nothing(self, *c, !into.empty() && most > 0);
}

outcome<std::size_t> host::consume(socket_id id, std::size_t bytes, time_point now) {
  core& self = *core_;
  self.set_time(now);
  connection* c = self.get(id);
  if (c == nullptr) return {0, error::bad_handle};
  const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, c->rx.size()));
  if (count == 0) return {0, error::none};
  c->rx.drop(self.pool, count);
  note_read(self, *c);
  return {count, error::none};
}

}  // namespace runnel::tcp
