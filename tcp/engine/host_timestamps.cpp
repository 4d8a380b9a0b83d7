#include "host_timestamps.hpp"

#include "core.hpp"

// net.ipv4.tcp_tw_recycle as Linux had it up to 4.12: PAWS by host instead of by connection. It
// takes all that an address sends for one clock's, which a translator makes wrong.

namespace runnel::tcp::detail {

namespace {

/// Linux's TCP_PAWS_MSL and TCP_PAWS_WINDOW.
constexpr std::uint32_t believed_for_ms = 60'000;
constexpr std::int32_t tolerance = 1;

}  // namespace

void remember_host_timestamp(core& host, const net::address& peer, std::uint32_t tsval) {
  if (!host.policy.tw_recycle) return;
  auto* const known = host.newest_timestamps.make(peer, host.address_hash(peer), host.ms());
  if (known == nullptr) return;
  const bool stale = host.ms() - known->at_ms > believed_for_ms;
  const bool newer = !known->value || static_cast<std::int32_t>(tsval - *known->value) >= 0;
  if (!newer && !stale) return;
  known->value = tsval;
  known->at_ms = host.ms();
}

bool refused_by_host_timestamp(core& host, const segment& syn) {
  if (!host.policy.tw_recycle || !syn.options->timestamp) return false;
  const net::address& peer = syn.key.remote;
  const auto* const known = host.newest_timestamps.find(peer, host.address_hash(peer));
  if (known == nullptr || !known->value || host.ms() - known->at_ms >= believed_for_ms) {
    return false;
  }
  if (static_cast<std::int32_t>(*known->value - syn.options->timestamp->value) <= tolerance) {
    return false;
  }
  ++host.count.paws_passive;
  return true;
}

}  // namespace runnel::tcp::detail
