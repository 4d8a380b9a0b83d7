#include "runnel/tcp/engine/host.hpp"

#include <algorithm>

#include "core.hpp"

// The public face: what arrives, what to do next, listeners. Opening is in connect.cpp, commands on
// open connections are in commands.cpp, questions in inspect.cpp.

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::listener_entry;
using detail::no_index;

host::host(host_options options) : core_(std::make_unique<core>(std::move(options))) {}
host::host(host&&) noexcept = default;
host& host::operator=(host&&) noexcept = default;
host::~host() = default;

void host::on_packet(net::packet packet, time_point now) {
  core_->set_time(now);
  on_ip_packet(*core_, std::move(packet));
}

void host::on_timeout(time_point now) {
  core& self = *core_;
  self.set_time(now);
  self.wheel.advance(self.connections, self.now_ms, [&](std::uint32_t index) {
    on_connection_timer(self, self.connections[index]);
  });
  expire_half_opens(self);
  expire_time_waits(self);
}

const net::tx_packet* host::poll_transmit(time_point now) {
  core& self = *core_;
  self.set_time(now);
  self.raw_in_flight = {};
  if (!self.raw_replies.empty()) {
    self.raw_in_flight = self.raw_replies.pop();
    self.pieces[0] = self.raw_in_flight.bytes();
    self.transmit.pieces = std::span(self.pieces).first(1);
    self.transmit.size = static_cast<std::uint32_t>(self.raw_in_flight.size());
    self.transmit.offload = {};
    return &self.transmit;
  }
  if (!self.replies.empty()) {
    build_reply(self, self.replies.pop());
    return &self.transmit;
  }
  while (!self.tx_list.empty()) {
    connection& c = self.connections[self.tx_list.pop_front(self.connections)];
    c.in_tx = false;
    if (build_segment(self, c)) {
      // Its turn comes again behind the others.
      want_transmit(self, c);
      return &self.transmit;
    }
  }
  return nullptr;
}

time_point host::poll_timeout() const noexcept {
  const core& self = *core_;
  std::uint64_t at = self.wheel.next();
  const auto consider = [&](std::uint32_t deadline_ms) {
    const auto ahead = static_cast<std::int32_t>(deadline_ms - self.ms());
    at = std::min(at, self.now_ms + static_cast<std::uint64_t>(std::max(ahead, 0)));
  };
  for (const auto& queue : self.synack_queues) {
    if (!queue.empty()) consider(self.half_opens[queue.front()].deadline_ms);
  }
  for (const auto& queue : self.time_wait_queues) {
    if (!queue.entries.empty()) consider(self.time_waits[queue.entries.front()].deadline_ms);
  }
  if (at == UINT64_MAX) return time_point::max();
  return time_point(std::chrono::milliseconds(static_cast<std::int64_t>(at)));
}

bool host::poll_event(socket_event& out) noexcept {
  core& self = *core_;
  while (!self.dirty_listeners.empty()) {
    const std::uint32_t index = self.dirty_listeners.back();
    self.dirty_listeners.pop_back();
    listener_entry& listener = self.listeners[index];
    listener.dirty = false;
    if (!listener.open || listener.waiting_count == 0) continue;
    out = {listener.token, {index, listener.generation}, events::acceptable};
    return true;
  }
  const std::uint32_t index = self.dirty_list.pop_front(self.connections);
  if (index == no_index) return false;
  connection& c = self.connections[index];
  c.in_dirty = false;
  out = {c.token, {index, c.generation}, c.reported};
  c.reported = events::none;
  return true;
}

namespace {

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
  const net::address& address = local.address;
  const bool any = address.family() == net::family::unspecified || address.is_any();
  if (!any && self.local_index(address) < 0) return {{}, error::address_not_available};
  const std::uint32_t place = listener_place(self, address);
  const auto taken = [&](std::uint32_t port) {
    return self.listener_places.find(static_cast<std::uint16_t>(port), place) != no_index;
  };
  if (local.port == 0) {
    std::uint32_t port = self.policy.local_port_first;
    while (port <= self.policy.local_port_last && taken(port)) ++port;
    if (port > self.policy.local_port_last) return {{}, error::address_not_available};
    local.port = static_cast<std::uint16_t>(port);
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
  return {{index, c.generation}, error::none};
}

error host::close_listener(socket_id listener, time_point now) {
  core& self = *core_;
  self.set_time(now);
  listener_entry* entry = self.get_listener(listener);
  if (entry == nullptr) return error::bad_handle;
  // Half-open entries find their listener gone when they are next looked at.
  entry->open = false;
  self.listener_places.remove(listener.index);
  self.free_listeners.push_back(listener.index);
  self.policies.release(entry->child_policy);
  for (;;) {
    const std::uint32_t index = entry->waiting.pop_front(self.connections);
    if (index == no_index) break;
    connection& c = self.connections[index];
    c.listener = no_index;
    if (c.state == state::closed) {
      free_connection(self, c);
    } else {
      send_reset(self, c);
      end_connection(self, c, end_reason::aborted, error::connection_aborted);
    }
  }
  entry->waiting_count = 0;
  return error::none;
}

}  // namespace runnel::tcp
