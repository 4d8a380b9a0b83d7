#include "shards.hpp"

#include <algorithm>
#include <cstring>

#include "core.hpp"
#include "siphash.hpp"

// Whose a packet is follows from its addresses and ports, the keys and the number of shards, which
// are the same at all of them, and from nothing that changes.

namespace runnel::tcp::detail {

namespace {

/// Of the high half: the table of each shard goes by the low one, and would have a part of its
/// buckets only if the shards did, too.
std::uint32_t part_of(std::uint64_t hash, std::uint32_t count) noexcept {
  return static_cast<std::uint32_t>((hash >> 32) * count >> 32);
}

void add_address(siphash& hash, const net::address& address) noexcept {
  if (address.is_v4()) {
    hash.add(address.to_v4_number());
    return;
  }
  std::uint64_t words[2];
  std::memcpy(words, address.bytes().data(), sizeof words);
  hash.add(words[0]).add(words[1]);
}

}  // namespace

port_range local_ports(const core& host) noexcept {
  std::uint32_t first = host.policy.local_port_first;
  std::uint32_t last = host.policy.local_port_last;
  const shard_state& shard = host.shard;
  if (shard.count == 1) return {first, last - first + 1, 1};
  first = std::max<std::uint32_t>(first, shard.first);
  last = std::min<std::uint32_t>(last, shard.last);
  first += (shard.index + shard.count - first % shard.count) % shard.count;
  return {first, first > last ? 0 : (last - first) / shard.count + 1, shard.count};
}

std::uint32_t owner_of(const core& host, const flow_key& key) noexcept {
  const shard_state& shard = host.shard;
  if (key.local_port >= shard.first && key.local_port <= shard.last) {
    return key.local_port % shard.count;
  }
  return part_of(host.flow_hash(key), shard.count);
}

bool is_foreign(const core& host, const flow_key& key) noexcept {
  return host.shard.count > 1 && owner_of(host, key) != host.shard.index;
}

std::uint32_t assembler_of(const core& host, const wire::ip_header& ip) noexcept {
  siphash hash(host.keys.lookup);
  add_address(hash, ip.source);
  add_address(hash, ip.destination);
  return part_of(hash.add(ip.id).finish(), host.shard.count);
}

void note_ended(core& host, const flow_key& key) noexcept {
  if (host.shard.count > 1) host.shard.ended.add(host.flow_hash(key), host.ms());
}

// On a link of its own the connection would have had it in time. What comes by the owner's link is
// not looked up: a duplicate that is late draws a RST there, as from Linux after LAST-ACK.
bool was_overtaken(const core& host, const segment& seg) noexcept {
  return host.shard.handed && !seg.has(flag::syn) &&
         host.shard.ended.holds(host.flow_hash(seg.key), host.ms());
}

void hand_over(core& host, net::packet packet, std::uint32_t shard) noexcept {
  const bool v6 = std::to_integer<unsigned>(packet.bytes().front()) >> 4 == 6;
  --(v6 ? host.count.ip6_in_receives : host.count.ip_in_receives);
  // What one shard hands over is the other's by the same numbers; where it is not, the two have
  // been made with different ones, and the packet would go to and fro for ever.
  if (host.shard.handed || !host.shard.strays.push({std::move(packet), shard})) {
    ++host.count.shard_dropped;
    return;
  }
  ++host.count.shard_handed;
}

}  // namespace runnel::tcp::detail

namespace runnel::tcp {

bool host::poll_stray(stray& out) noexcept {
  if (core_->shard.strays.empty()) return false;
  out = core_->shard.strays.pop();
  return true;
}

void host::on_stray(net::packet packet, time_point now) {
  detail::core& self = *core_;
  ++self.count.shard_taken;
  self.shard.handed = true;
  on_packet(std::move(packet), now);
  self.shard.handed = false;
}

void host::on_stray_lost() noexcept {
  --core_->count.shard_handed;
  ++core_->count.shard_dropped;
}

std::uint32_t host::owner_of(const net::endpoint& local,
                             const net::endpoint& remote) const noexcept {
  const int index = core_->local_index(local.address.without_zone());
  if (core_->shard.count == 1 || index < 0) return core_->shard.index;
  return detail::owner_of(*core_, {remote.address.without_zone(), remote.port, local.port,
                                   static_cast<std::uint16_t>(index)});
}

shard_options host::shard() const noexcept {
  return {core_->shard.index, core_->shard.count};
}

std::size_t host::share_of(std::size_t limit) const noexcept {
  return core_->shard.share(limit);
}

}  // namespace runnel::tcp
