#include <algorithm>

#include "core.hpp"
#include "half_open.hpp"

// Commands on listeners (RFC 9293 §3.10.1, passive OPEN).

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::listener_entry;
using detail::no_index;

namespace {

/// Whether a listener has this port at a place that stands for some of the same addresses. One on
/// an address of its own goes before those on all.
bool is_taken(const core& self, std::uint16_t port, std::uint32_t place) noexcept {
  using detail::listener_table;
  const auto at = [&](std::uint32_t each) {
    return self.listener_places.find(port, each) != no_index;
  };
  if (place < listener_table::most_places) return at(place);
  if (at(place) || at(listener_table::every_address)) return true;
  return place == listener_table::every_address &&
         (at(listener_table::every_v4) || at(listener_table::every_v6));
}

template <class T>
void make_room(std::vector<T>& in, std::size_t count) {
  if (in.capacity() < count) in.reserve(std::max<std::size_t>(16, 2 * count));
}

/// An open listener without a policy. Everything that its life needs room for is reserved first.
std::uint32_t make_listener(core& self, const net::endpoint& local, std::uint32_t place) {
  const bool reuse = !self.free_listeners.empty();
  const auto index =
      reuse ? self.free_listeners.back() : static_cast<std::uint32_t>(self.listeners.size());
  if (!reuse) {
    make_room(self.free_listeners, index + std::size_t{1});
    make_room(self.closing_listeners, index + std::size_t{1});
    make_room(self.dirty_listeners, index + std::size_t{1});
    make_room(self.listeners, index + std::size_t{1});
  }
  self.listener_places.insert(index, local.port, place);
  if (reuse) {
    self.free_listeners.pop_back();
  } else {
    self.listeners.emplace_back();
  }
  listener_entry& entry = self.listeners[index];
  const std::uint32_t generation = entry.generation + 1;
  // A report of the one before it may still be in its list; it must not come in twice.
  const bool dirty = entry.dirty;
  entry = listener_entry();
  entry.open = true;
  entry.dirty = dirty;
  entry.local = local;
  entry.generation = generation;
  return index;
}

}  // namespace

outcome<socket_id> host::listen(net::endpoint local, const listener_policy& policy,
                                std::uint64_t token) {
  core& self = *core_;
  if (!check(policy).empty()) return {{}, error::invalid_argument};
  const net::address address = local.address.without_zone();
  const bool any = address.family() == net::family::unspecified || address.is_any();
  if (!any && self.local_index(address) < 0) return {{}, error::address_not_available};
  const bool v6only = policy.v6only.value_or(*self.listener_defaults.v6only);
  const std::uint32_t place = listener_place(self, address, v6only);
  const auto taken = [&](std::uint32_t port) {
    return is_taken(self, static_cast<std::uint16_t>(port), place);
  };
  // Nothing tells it apart from one that was given no address.
  local.address = place == detail::listener_table::every_address ? net::address() : address;
  if (local.port == 0) {
    const detail::port_range range = local_ports(self);
    std::uint32_t number = 0;
    while (number < range.count && taken(range.first + number * range.step)) ++number;
    if (number == range.count) return {{}, error::address_not_available};
    local.port = static_cast<std::uint16_t>(range.first + number * range.step);
  } else if (taken(local.port)) {
    return {{}, error::address_in_use};
  }
  const std::uint32_t child_policy = self.policies.share(policy.connection);
  if (child_policy == no_index) return {{}, error::no_buffer_space};
  const std::uint32_t index = make_listener(self, local, place);
  listener_entry& entry = self.listeners[index];
  entry.policy = policy;
  entry.child_policy = child_policy;
  entry.token = token;
  return {{index, entry.generation}, error::none};
}

outcome<socket_id> host::accept(socket_id listener, std::uint64_t token) {
  core& self = *core_;
  listener_entry* entry = self.get_listener(listener);
  if (entry == nullptr) return {{}, error::bad_handle};
  const std::uint32_t index = entry->waiting.pop_front(self.connections);
  if (index == no_index) return {{}, error::would_block};
  --entry->waiting_count;
  connection& c = self.connections[index];
  c.listener = no_index;
  c.owned = true;
  c.token = token;
  admit_parked(self, *entry);
  return {{index, c.generation}, error::none};
}

error host::close_listener(socket_id listener, time_point now) {
  core& self = *core_;
  self.set_time(now);
  listener_entry* entry = self.get_listener(listener);
  if (entry == nullptr) return error::bad_handle;
  self.listener_places.remove(listener.index);
  self.policies.release(entry->child_policy);
  // The other half-open entries find their listener gone when they are next looked at, at the
  // latest when their SYN-ACK times out; the last one gives the place back.
  entry->open = false;
  entry->closing = true;
  self.closing_listeners.push_back(listener.index);
  reset_waiting(self);
  return error::none;
}

namespace {

/// Those that wait believe that they are connected. False when there is no room to tell them all.
bool reset_waiting_of(core& self, listener_entry& entry) {
  while (self.replies.room() > 0 && !entry.parked.empty()) {
    reset_parked(self, entry.parked.front());
  }
  while (self.replies.room() > 0 && !entry.waiting.empty()) {
    connection& c = self.connections[entry.waiting.pop_front(self.connections)];
    --entry.waiting_count;
    c.listener = no_index;
    if (c.state == state::closed) {
      free_connection(self, c);
    } else {
      send_reset(self, c);
      end_connection(self, c, end_reason::aborted, error::connection_aborted);
    }
  }
  return entry.parked.empty() && entry.waiting.empty();
}

}  // namespace

void detail::reset_waiting(core& self) {
  while (!self.closing_listeners.empty()) {
    const std::uint32_t index = self.closing_listeners.back();
    listener_entry& entry = self.listeners[index];
    if (!reset_waiting_of(self, entry)) return;
    self.closing_listeners.pop_back();
    entry.closing = false;
    if (entry.unused()) self.free_listeners.push_back(index);
  }
}

}  // namespace runnel::tcp
