#include "runnel/tcp/engine/host.hpp"

#include <algorithm>

#include "core.hpp"
#include "half_open.hpp"
#include "ingress.hpp"
#include "prefetch.hpp"

// The public face: what arrives, and what to do next. Listeners are in listeners.cpp, opening in
// connect.cpp, commands on open connections in commands.cpp, questions in inspect.cpp.

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::listener_entry;
using detail::no_index;

namespace {

/// Whether the connection may have another segment to send. Mostly an answer or an acknowledgement
/// was all, and to find that out by planning the next one costs half as much as sending it.
bool may_have_more(const connection& c) noexcept {
  return c.unsent() > 0 || c.flight != no_index || c.path != no_index || c.syn_due || c.ack.due ||
         c.ack.duplicates > 0 || (c.fin_queued && !c.fin_sent) || c.probe_due || c.probe_new_due ||
         c.probe_resend_due || c.flow.phase != detail::recovery_phase::open;
}

}  // namespace

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
  expire_tunings(self);
  expire_half_opens(self);
  expire_time_waits(self);
  if (self.fragments.datagrams() > 0) expire_fragments(self);
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
  if (self.replies.empty()) reset_waiting(self);
  if (!self.replies.empty()) {
    build_reply(self, self.replies.pop());
    return &self.transmit;
  }
  while (!self.tx_list.empty()) {
    connection& c = self.connections[self.tx_list.pop_front(self.connections)];
    c.in_tx = false;
    if (!self.tx_list.empty()) prefetch(self.connections[self.tx_list.front()]);
    if (build_segment(self, c)) {
      // Its turn comes again behind the others.
      if (may_have_more(c)) want_transmit(self, c);
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
  // Without room for what they say they wait until `poll_transmit` has made some.
  if (self.replies.room() > 0) {
    for (const auto& queue : self.synack_queues) {
      if (!queue.empty()) consider(self.half_opens[queue.front()].deadline_ms);
    }
  }
  for (const auto& queue : self.time_wait_queues) {
    if (!queue.entries.empty()) consider(self.time_waits[queue.entries.front()].deadline_ms);
  }
  const time_point pieces = self.fragments.deadline().value_or(time_point::max());
  const std::uint64_t fine_ns = next_tuning_ns(self);
  if (at == UINT64_MAX && fine_ns == UINT64_MAX) return pieces;
  const std::uint64_t at_ns = at == UINT64_MAX ? UINT64_MAX : at * 1'000'000;
  const std::uint64_t first_ns = std::min(at_ns, fine_ns);
  return std::min(pieces,
                  time_point(std::chrono::nanoseconds(static_cast<std::int64_t>(first_ns))));
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

}  // namespace runnel::tcp
