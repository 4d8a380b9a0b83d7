#include "path_mtu.hpp"

#include <algorithm>

#include "core.hpp"

// What ICMP errors say of the path, for how long that is believed, and what follows for the MSS.

namespace runnel::tcp::detail {

namespace {

std::uint32_t header_bytes(const connection& c) noexcept {
  constexpr std::uint32_t tcp_bytes = 20;
  return static_cast<std::uint32_t>(wire::ip_header_bytes(c.key.remote.family())) + tcp_bytes;
}

std::uint32_t option_bytes(const connection& c) noexcept {
  return c.timestamps ? 12 : 0;
}

std::uint32_t expiry_ms(const core& host) noexcept {
  return static_cast<std::uint32_t>(
      std::chrono::milliseconds(host.policy.route_mtu_expires).count());
}

/// ICMP errors are heard (IP_PMTUDISC_PROBE and IP_PMTUDISC_INTERFACE do without).
bool heeds_errors(const core& host, const connection& c) noexcept {
  const mtu_discover how = setting(host, c, &connection_policy::mtu_discover);
  return how != mtu_discover::probe && how != mtu_discover::interface;
}

bool is_fresh(const core& host, std::uint32_t learned_ms) noexcept {
  return host.ms() - learned_ms < expiry_ms(host);
}

}  // namespace

std::uint32_t path_mtu_of(const core& host, const connection& c) noexcept {
  if (c.path_mtu == 0 || !heeds_errors(host, c)) return host.mtu;
  if (c.path != no_index && !is_fresh(host, host.paths[c.path].learned_ms)) return host.mtu;
  return c.path_mtu;
}

std::uint32_t packet_limit(const core& host, const connection& c) noexcept {
  const std::uint32_t mtu = path_mtu_of(host, c);
  if (c.path == no_index || !host.paths[c.path].searching) return mtu;
  return std::min<std::uint32_t>(mtu, host.paths[c.path].search_low);
}

bool dont_fragment(const core& host, const connection& c) noexcept {
  switch (setting(host, c, &connection_policy::mtu_discover)) {
    case mtu_discover::dont:
    case mtu_discover::interface:
      return false;
    case mtu_discover::want:
      return c.path == no_index || !host.paths[c.path].fragments;
    case mtu_discover::always:
    case mtu_discover::probe:
      break;
  }
  return true;
}

std::uint32_t overhead_of(const connection& c) noexcept {
  return header_bytes(c) + option_bytes(c);
}

std::uint32_t mss_of_mtu(const core& host, const connection& c, std::uint32_t mtu,
                         std::uint32_t mss_clamp) noexcept {
  const std::uint32_t headers = header_bytes(c);
  const std::uint32_t fits = mtu > headers ? mtu - headers : 0;
  // Whatever the policy says, the link has to take it.
  const std::uint32_t least = std::min<std::uint32_t>(host.policy.min_snd_mss, host.mtu - headers);
  return std::max(std::min(mss_clamp, fits), least) - option_bytes(c);
}

path_state* path_of(core& host, connection& c) noexcept {
  if (c.path != no_index) return &host.paths[c.path];
  const std::uint32_t index = host.paths.allocate();
  if (index == no_index) return nullptr;
  c.path = index;
  path_state& path = host.paths[index];
  path = path_state();
  path.cut_until = c.snd_.una;
  path.synced_mtu = static_cast<std::uint16_t>(host.mtu);
  // Nothing but the agreement has made it smaller so far.
  path.mss_clamp = static_cast<std::uint16_t>(c.snd_mss + option_bytes(c));
  return &path;
}

void give_back_path(core& host, connection& c) noexcept {
  if (c.path == no_index) return;
  host.paths.release(c.path);
  c.path = no_index;
}

void agree_on_mss(core& host, connection& c, std::uint16_t mss_clamp) noexcept {
  c.snd_mss = static_cast<std::uint16_t>(
      mss_of_mtu(host, c, path_mtu_of(host, c), std::uint32_t{mss_clamp}));
  const bool searches = host.policy.mtu_probing == mtu_probing::always;
  path_state* const path = searches || c.path != no_index ? path_of(host, c) : nullptr;
  if (path == nullptr) return;
  path->mss_clamp = mss_clamp;
  // When it was made there was no sequence number yet.
  if (path->cut_mss == 0) path->cut_until = c.snd_.una;
  if (searches) begin_mtu_search(host, c, *path);
  sync_mss(host, c);
}

void learn_path_mtu(core& host, connection& c, std::uint32_t mtu, bool fragments) noexcept {
  path_state* const path = path_of(host, c);
  c.path_mtu = static_cast<std::uint16_t>(mtu);
  const auto known = host.path_mtus.make(c.key.remote, host.address_hash(c.key.remote), host.ms());
  if (known != nullptr) {
    known->at_ms = host.ms();
    known->value = {c.path_mtu, fragments};
  }
  if (path != nullptr) {
    path->learned_ms = host.ms();
    path->fragments = fragments;
  }
  sync_mss(host, c);
}

void inherit_path_mtu(core& host, connection& c) noexcept {
  if (host.path_mtus.empty()) return;
  const auto known = host.path_mtus.find(c.key.remote, host.address_hash(c.key.remote));
  if (known == nullptr || !is_fresh(host, known->at_ms)) return;
  path_state* const path = path_of(host, c);
  if (path == nullptr) return;
  path->learned_ms = known->at_ms;
  path->fragments = known->value.fragments;
  c.path_mtu = known->value.mtu;
}

void sync_mss(core& host, connection& c) noexcept {
  const std::uint32_t mtu = path_mtu_of(host, c);
  if (c.path == no_index) {
    const std::uint32_t agreed = c.snd_mss + option_bytes(c);
    c.snd_mss = static_cast<std::uint16_t>(mss_of_mtu(host, c, mtu, agreed));
    return;
  }
  path_state& path = host.paths[c.path];
  path.synced_mtu = static_cast<std::uint16_t>(mtu);
  std::uint32_t mss = mss_of_mtu(host, c, mtu, path.mss_clamp);
  if (path.searching) {
    path.search_high = std::min(path.search_high, path.synced_mtu);
    path.search_low = std::min(path.search_low, path.search_high);
    mss = std::min(mss, mss_of_mtu(host, c, path.search_low, path.mss_clamp));
  }
  if (mss == c.snd_mss) return;
  path.cut_until = c.snd_.nxt;
  path.cut_mss = c.snd_mss;
  c.snd_mss = static_cast<std::uint16_t>(mss);
  // Before the handshake is done there is none; later it lets one segment out at least.
  if (c.flow.cwnd != 0) c.flow.cwnd = std::max(c.flow.cwnd, mss);
}

void refresh_path(core& host, connection& c) noexcept {
  path_state& path = host.paths[c.path];
  if (path_mtu_of(host, c) != path.synced_mtu) sync_mss(host, c);
  if (c.path_mtu != 0 && !is_fresh(host, path.learned_ms)) {
    c.path_mtu = 0;
    path.fragments = false;
  }
  const bool of_use = path.searching || c.path_mtu != 0 || before(c.snd_.una, path.cut_until);
  if (!of_use) give_back_path(host, c);
}

void keep_cut_point(core& host, const connection& c) noexcept {
  path_state& path = host.paths[c.path];
  path.cut_until = later(path.cut_until, c.snd_.una);
}

std::uint32_t segment_size_at(const core& host, const connection& c, sequence begin) noexcept {
  if (c.path == no_index) return c.snd_mss;
  const path_state& path = host.paths[c.path];
  return before(begin, path.cut_until) && path.cut_mss != 0 ? path.cut_mss : c.snd_mss;
}

bool same_cut_around(const core& host, const connection& c, sequence begin) noexcept {
  if (c.path == no_index) return true;
  const path_state& path = host.paths[c.path];
  if (path.probe_size != 0 && (begin == path.probe_begin || begin == path.probe_end)) return false;
  return begin != path.cut_until;
}

}  // namespace runnel::tcp::detail
