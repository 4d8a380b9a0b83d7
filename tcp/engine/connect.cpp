#include <bit>

#include "local_ports.hpp"

// Active open (RFC 9293 §3.10.1): the local end, the port that may come out of TIME-WAIT, and SYN.

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::entry_kind;
using detail::entry_ref;
using detail::flow_key;
using detail::no_index;
using detail::port_choice;

namespace {

/// The scope of an IPv6 address, as the larger number the wider (RFC 6724 §3.1).
unsigned scope_of(const net::address& address) noexcept {
  return address.is_link_local() || address.is_loopback() ? 2 : 14;
}

/// How many of the first 64 bits two IPv6 addresses share.
int common_prefix(const net::address& a, const net::address& b) noexcept {
  int shared = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    const auto differs = static_cast<std::uint8_t>(a.bytes()[i] ^ b.bytes()[i]);
    if (differs != 0) return shared + std::countl_zero(differs);
    shared += 8;
  }
  return shared;
}

/// Whether the first suits better as a source towards `remote`: of RFC 6724 §5 the
/// rules 1, 2 and 8; it has no table of labels.
bool suits_better(const net::address& a, const net::address& b,
                  const net::address& remote) noexcept {
  if (a == remote || b == remote) return a == remote;
  const unsigned scope_a = scope_of(a);
  const unsigned scope_b = scope_of(b);
  if (scope_a < scope_b) return scope_a >= scope_of(remote);
  if (scope_b < scope_a) return scope_b < scope_of(remote);
  return common_prefix(a, remote) > common_prefix(b, remote);
}

/// The place of the local address in the host's table.
outcome<std::uint16_t> choose_source(const core& self, const net::address& remote,
                                     const net::address& wanted) {
  if (wanted.family() == net::family::unspecified || wanted.is_any()) {
    const net::address* best = nullptr;
    for (const net::address& mine : self.addresses) {
      if (mine.family() != remote.family()) continue;
      if (best == nullptr || (remote.is_v6() && suits_better(mine, *best, remote))) best = &mine;
      if (remote.is_v4()) break;
    }
    if (best == nullptr) return {0, error::family_not_supported};
    return {static_cast<std::uint16_t>(best - self.addresses.data()), error::none};
  }
  const int index = self.local_index(wanted);
  if (index < 0) return {0, error::address_not_available};
  if (wanted.family() != remote.family()) return {0, error::family_not_supported};
  return {static_cast<std::uint16_t>(index), error::none};
}

/// The local port, and the TIME-WAIT entry that it is taken from.
outcome<port_choice> choose_local_port(core& self, const flow_key& key) {
  if (key.local_port == 0) {
    const port_choice chosen = choose_port(self, key);
    if (chosen.port != 0) return {chosen, error::none};
    ++self.count.local_ports_exhausted;
    return {{}, error::address_not_available};
  }
  if (detail::is_foreign(self, key)) return {{}, error::address_not_available};
  port_choice named{key.local_port, no_index};
  if (const entry_ref taken = self.find(key)) {
    // As in Linux, who names the port does not wait for the delay.
    if (taken.kind() != entry_kind::time_wait ||
        !may_recycle(self, self.time_waits[taken.index()])) {
      return {{}, error::address_in_use};
    }
    named.time_wait = taken.index();
  }
  note_port_named(self, key);
  return {named, error::none};
}

}  // namespace

void detail::send_syn(core& self, connection& c) {
  c.timer = rtx_timer::retransmit;
  const std::uint32_t quiet_ms = self.quiet_left_ms();
  c.when.rtx = self.after_ms(quiet_ms > 0 ? quiet_ms : rto_initial_of(self, c));
  schedule(self, c);
  if (quiet_ms > 0) return;
  c.syn_due = true;
  want_transmit(self, c);
}

outcome<socket_id> host::connect(net::endpoint remote, const connect_options& options,
                                 std::uint64_t token, time_point now) {
  core& self = *core_;
  self.set_time(now);
  remote.address = remote.address.without_zone();
  // What is in use has been checked.
  const std::uint32_t known_policy = self.policies.find(options.policy);
  if ((known_policy == no_index && !check(options.policy).empty()) || remote.port == 0 ||
      remote.address.is_any() || remote.address.is_multicast() ||
      remote.address.is_limited_broadcast() || remote.address.is_v4_mapped()) {
    return {{}, error::invalid_argument};
  }
  const auto source = choose_source(self, remote.address, options.local.address.without_zone());
  if (!source) return {{}, source.error};
  flow_key key{remote.address, remote.port, options.local.port, source.value};
  const auto local = choose_local_port(self, key);
  if (!local) return {{}, local.error};
  key.local_port = local.value.port;
  connection* c = make_connection(self, key, self.policies.share(known_policy, options.policy));
  if (c == nullptr) return {{}, error::no_buffer_space};
  c->owned = true;
  c->token = token;
  c->in_table = true;
  c->snd_.iss = self.initial_sequence(key);
  if (local.value.time_wait != no_index) c->snd_.iss = recycle(self, local.value.time_wait);
  self.enter(entry_ref(entry_kind::connection, c->index), key);
  c->snd_.una = c->snd_.iss;
  c->snd_.nxt = c->snd_.iss;
  c->timestamps = self.policy.timestamps;
  c->sack_permitted = self.policy.sack;
  c->window_scaled = self.policy.window_scaling;
  if (c->window_scaled) {
    c->rcv_wscale = detail::window_scale_for(self, c->tuned ? 0 : c->receive_buffer);
  }
  ++self.count.active_opens;
  set_state(self, *c, state::syn_sent);
  if (begin_fastopen(self, *c)) {
    c->syn_held = true;
    c->writes_early = true;
    report(self, *c, events::connected | events::writable);
  } else {
    send_syn(self, *c);
  }
  return {{c->index, c->generation}, error::none};
}

}  // namespace runnel::tcp
