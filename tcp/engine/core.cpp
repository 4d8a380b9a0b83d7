#include "core.hpp"
#include "ingress.hpp"

#include <algorithm>
#include <stdexcept>

#include "local_ports.hpp"
#include "siphash.hpp"

namespace runnel::tcp::detail {

namespace {

std::uint64_t word_at(std::span<const std::uint8_t> bytes) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data(), 8);
  return word;
}

std::uint64_t hash_flow(const secret_key& key, const flow_key& flow) noexcept {
  siphash hash(key);
  const std::uint64_t ports = std::uint64_t{flow.remote_port} << 16 | flow.local_port;
  if (flow.remote.is_v4()) {
    hash.add(ports << 32 | flow.remote.to_v4_number());
    return hash.finish(flow.local_index, sizeof flow.local_index);
  }
  const auto bytes = flow.remote.bytes();
  hash.add(word_at(bytes)).add(word_at(bytes.subspan(8))).add(ports << 32 | flow.remote.scope_id());
  return hash.finish(flow.local_index, sizeof flow.local_index);
}

/// What the longest headers leave of the longest packet: 40 bytes of IPv6, 60 of TCP.
constexpr std::uint32_t super_segment_limit = 65535 - 40 - 60;

/// A host has one link, so that a zone says nothing that it does not know: where packets are
/// compared with addresses, none has one.
std::vector<net::address> without_zones(std::vector<net::address> all) {
  for (net::address& each : all) each = each.without_zone();
  return all;
}

std::uint64_t hash_fragment(const void* context, std::span<const std::byte> key) noexcept {
  siphash hash(*static_cast<const secret_key*>(context));
  while (!key.empty()) {
    std::uint64_t word = 0;
    const std::size_t size = std::min(key.size(), sizeof(word));
    std::memcpy(&word, key.data(), size);
    hash.add(word);
    key = key.subspan(size);
  }
  return hash.finish();
}

void require(const std::string& complaint) {
  if (!complaint.empty()) throw std::invalid_argument(complaint);
}

}  // namespace

core::core(host_options options)
    : policy(options.policy),
      listener_defaults(completed(options.listener)),
      connection_defaults(completed(options.connection)),
      keys(options.keys),
      cookie_keys(options.keys.cookie, options.keys.cookie_previous),
      fastopen_keys(options.keys.fastopen, options.keys.fastopen_previous),
      clock_offset_ms(options.clock_offset / std::chrono::milliseconds(1)),
      addresses(without_zones(std::move(options.addresses))),
      mtu(options.mtu),
      gso_max_bytes(std::min(options.gso_max_bytes, super_segment_limit)),
      checksum_offload_tx(options.checksum_offload_tx),
      checksum_offload_rx(options.checksum_offload_rx),
      shard(options.shard, policy),
      pool(shard.share(policy.memory_limit), siphash(keys.lookup).add(0).finish()),
      fragments(reassembly_of(*this), hash_fragment, &keys.lookup),
      label_key(siphash(keys.tuple).add(0x6c6162656cU).finish()) {
  for (auto* each : {&keys, &options.keys}) {
    wipe(each->cookie);
    wipe(each->cookie_previous);
    wipe(each->fastopen);
    wipe(each->fastopen_previous);
  }
  require(check(policy));
  require(check(listener_defaults));
  require(check(connection_defaults));
  constexpr std::uint32_t most_shards = 256;
  if (shard.count < 1 || shard.count > most_shards || shard.index >= shard.count) {
    throw std::invalid_argument("a host is one of 1 to " + std::to_string(most_shards) +
                                " shards, counted from 0; it was to be number " +
                                std::to_string(shard.index) + " of " + std::to_string(shard.count));
  }
  if (addresses.empty() || addresses.size() > listener_table::most_places) {
    throw std::invalid_argument("a host needs 1 to " + std::to_string(listener_table::most_places) +
                                " addresses; it was given " + std::to_string(addresses.size()));
  }
  if (mtu < 576 || mtu > 65535) {
    throw std::invalid_argument("the MTU must be 576 to 65535 bytes; it is " + std::to_string(mtu));
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const net::address& address = addresses[i];
    if (address.family() == net::family::unspecified || address.is_any() ||
        address.is_multicast() || address.is_limited_broadcast() || address.is_v4_mapped()) {
      throw std::invalid_argument("a host's address must be a unicast address; " +
                                  address.to_string() + " is not");
    }
    if (address.is_v6() && mtu < wire::min_mtu_v6) {
      throw std::invalid_argument(
          "IPv6 needs an MTU of 1280 at least (RFC 8200 section 5); it is " + std::to_string(mtu));
    }
    if (!address_index.emplace(address, static_cast<std::uint16_t>(i)).second) {
      throw std::invalid_argument("the address " + address.to_string() + " is given twice");
    }
  }
}

core::~core() {
  // Some may be in blocks of the pool, which goes first.
  while (!shard.strays.empty()) shard.strays.pop();
  for (std::uint32_t i = 0; i < connections.extent(); ++i) {
    connections[i].tx.clear(pool);
    connections[i].rx.clear(pool);
    connections[i].out_of_order.clear(pool);
  }
}

void core::set_time(time_point at) noexcept {
  if (started && at <= now) return;
  now = at;
  now_ms = now_ns() / 1'000'000;
  now_in_us = now_ns() / 1000;
  on_tick = now_ns() % 1'000'000 == 0;
  if (!started) {
    wheel.start(now_ms);
    fine_wheel.start(fine_now());
    started_ms = now_ms;
  }
  started = true;
}

std::uint32_t core::after_ms(std::uint32_t delay_ms) const noexcept {
  const std::uint32_t at = ms() + delay_ms + (on_tick ? 0 : 1);
  return at == 0 ? 1 : at;
}

bool core::take(rate& from, std::uint32_t limit) noexcept {
  if (limit == 0) return true;
  const std::uint64_t second = now_ms / 1000;
  if (from.second != second) from = {second, 0};
  if (from.used >= limit) return false;
  ++from.used;
  return true;
}

std::uint64_t core::flow_hash(const flow_key& key) const noexcept {
  if (key != hashed_key) note_hash(key, hash_of(key));
  return hashed;
}

std::uint64_t core::hash_of(const flow_key& key) const noexcept {
  return hash_flow(keys.lookup, key);
}

void core::note_hash(const flow_key& key, std::uint64_t hash) const noexcept {
  // One by one: what is copied from fields just written in smaller pieces would stall.
  hashed_key.remote = key.remote;
  hashed_key.remote_port = key.remote_port;
  hashed_key.local_port = key.local_port;
  hashed_key.local_index = key.local_index;
  hashed = hash;
}

std::uint64_t core::address_hash(const net::address& address) const noexcept {
  return hash_flow(keys.lookup, {address, 0, 0, 0});
}

std::uint64_t core::peer_hash(const net::address& peer) const noexcept {
  if (peer.is_v4()) return address_hash(peer);
  return siphash(keys.lookup).add(word_at(peer.bytes())).finish();
}

std::uint32_t core::flow_label(const flow_key& key) const noexcept {
  if (!policy.auto_flowlabels || !key.remote.is_v6()) return 0;
  const auto bytes = key.remote.bytes();
  const std::uint64_t ends =
      std::uint64_t{key.remote_port} << 32 | std::uint32_t{key.local_port} << 16 | key.local_index;
  std::uint64_t mixed = label_key;
  for (const std::uint64_t word : {word_at(bytes), word_at(bytes.subspan(8)), ends}) {
    mixed = (mixed ^ word) * 0x9e3779b97f4a7c15U;
    mixed ^= mixed >> 32;
  }
  return static_cast<std::uint32_t>(mixed & 0xfffff);
}

std::uint32_t core::timestamp_offset(const flow_key& key) const noexcept {
  return static_cast<std::uint32_t>(hash_flow(keys.tuple, key));
}

std::uint64_t core::place_secret(const flow_key& place) const noexcept {
  return hash_flow(keys.tuple, place);
}

tcp::sequence core::initial_sequence(const flow_key& key) const noexcept {
  // RFC 6528: ISN = M + F(tuple, secret), M ticking every 4 µs. Linux's ticks every
  // 64 ns and comes round after 275 s.
  const std::uint64_t secret = hash_flow(keys.isn, key);
  return tcp::sequence(static_cast<std::uint32_t>(secret + now_us() / 4));
}

std::uint32_t& core::links::next(entry_ref entry) noexcept {
  switch (entry.kind()) {
    case entry_kind::connection:
      return host.connections[entry.index()].next;
    case entry_kind::half_open:
      return host.half_opens[entry.index()].next;
    case entry_kind::time_wait:
      break;
  }
  return host.time_waits[entry.index()].next;
}

std::uint64_t core::links::hash(entry_ref entry) noexcept {
  return host.flow_hash(host.key_of(entry));
}

flow_key core::key_of(entry_ref entry) const noexcept {
  switch (entry.kind()) {
    case entry_kind::connection:
      return connections[entry.index()].key;
    case entry_kind::half_open:
      return half_opens[entry.index()].flow();
    case entry_kind::time_wait:
      break;
  }
  return time_waits[entry.index()].flow();
}

entry_ref core::find(const flow_key& key, std::uint64_t hash) const noexcept {
  chain_link at = table.first(hash);
  while (at) {
    const entry_ref entry = at.entry();
    const bool wanted = at.may_have(hash);
    if (!wanted && at.is_last()) break;
    std::uint32_t next = 0;
    switch (entry.kind()) {
      case entry_kind::connection: {
        const connection& c = connections[entry.index()];
        if (wanted && c.key == key) return entry;
        next = c.next;
        break;
      }
      case entry_kind::half_open: {
        const half_open_entry& half = half_opens[entry.index()];
        if (wanted && half.is_for(key)) return entry;
        next = half.next;
        break;
      }
      case entry_kind::time_wait: {
        const time_wait_entry& old = time_waits[entry.index()];
        if (wanted && old.is_for(key)) return entry;
        next = old.next;
        break;
      }
    }
    if (at.is_last()) break;
    at = chain_link(next);
  }
  return {};
}

void core::enter(entry_ref entry, const flow_key& key) noexcept {
  table.insert(links{*this}, entry, flow_hash(key));
  note_port_taken(*this, key);
}

void core::leave(entry_ref entry, const flow_key& key) noexcept {
  table.remove(links{*this}, entry, flow_hash(key));
  note_port_free(*this, key);
}

int core::local_index_of_many(const net::address& address) const noexcept {
  const auto found = address_index.find(address);
  return found == address_index.end() ? -1 : found->second;
}

const connection* core::get(socket_id id) const noexcept {
  if (id.index >= connections.extent()) return nullptr;
  const connection& c = connections[id.index];
  return c.owned && c.generation == id.generation ? &c : nullptr;
}

connection* core::get(socket_id id) noexcept {
  return const_cast<connection*>(static_cast<const core*>(this)->get(id));
}

listener_entry* core::get_listener(socket_id id) noexcept {
  if (id.index >= listeners.size()) return nullptr;
  listener_entry& entry = listeners[id.index];
  return entry.open && entry.generation == id.generation ? &entry : nullptr;
}

}  // namespace runnel::tcp::detail
