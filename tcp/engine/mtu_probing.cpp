#include <algorithm>

#include "core.hpp"
#include "recovery.hpp"

// Packetization layer path MTU discovery (RFC 4821) as Linux does it: one segment of new text that
// is larger than the MSS asks whether the path carries its size. Its arrival makes that the MSS;
// its loss tells of the size, not of congestion.

namespace runnel::tcp::detail {

namespace {

/// Linux's tcp_mtu_probe asks for this many segments of window.
constexpr std::uint32_t least_window_segments = 11;

std::uint16_t mtu_of_mss(const connection& c, std::uint32_t mss) noexcept {
  return static_cast<std::uint16_t>(std::min<std::uint32_t>(mss + overhead_of(c), UINT16_MAX));
}

/// What the peer takes, in a packet without options: where the search ends.
std::uint16_t highest_mtu(const core& host, const connection& c, const path_state& path) noexcept {
  const std::uint32_t headers = overhead_of(c) - (c.timestamps ? 12 : 0);
  return static_cast<std::uint16_t>(
      std::min<std::uint32_t>(path.mss_clamp + headers, path_mtu_of(host, c)));
}

/// The search is over; after `probe_interval` it begins anew, from what is known to get through
/// (Linux's tcp_mtu_check_reprobe; RFC 4821 §7.7).
void search_again(core& host, connection& c, path_state& path) noexcept {
  const auto interval =
      static_cast<std::uint32_t>(std::chrono::milliseconds(host.policy.probe_interval).count());
  if (host.ms() - path.searched_ms < interval) return;
  path.searched_ms = host.ms();
  path.search_high = highest_mtu(host, c, path);
  path.search_low = std::min(mtu_of_mss(c, c.snd_mss), path.search_high);
}

}  // namespace

void begin_mtu_search(core& host, connection& c, path_state& path) noexcept {
  path.searching = true;
  path.searched_ms = host.ms();
  path.probe_size = 0;
  path.search_high = highest_mtu(host, c, path);
  path.search_low = std::min(mtu_of_mss(c, host.policy.base_mss), path.search_high);
}

void suspect_black_hole(core& host, connection& c) noexcept {
  if (host.policy.mtu_probing == mtu_probing::off) return;
  path_state* const path = path_of(host, c);
  if (path == nullptr) return;
  if (!path->searching) {
    begin_mtu_search(host, c, *path);
  } else {
    // RFC 4821 §7.7: even what was known to get through does not any more.
    std::uint32_t mss = mss_of_mtu(host, c, path->search_low, path->mss_clamp) / 2;
    mss = std::min<std::uint32_t>(mss, host.policy.base_mss);
    mss = std::max<std::uint32_t>({mss, host.policy.mtu_probe_floor, host.policy.min_snd_mss});
    path->search_low = std::min(mtu_of_mss(c, mss), path->search_low);
  }
  sync_mss(host, c);
}

mtu_probe plan_mtu_probe(core& host, connection& c, std::uint32_t& length) noexcept {
  if (c.path == no_index) return mtu_probe::none;
  path_state& path = host.paths[c.path];
  // SACK blocks of our own would make packets of other sizes.
  if (!path.searching || path.probe_size != 0 || c.flow.phase != recovery_phase::open ||
      c.flow.cwnd < least_window_segments * c.snd_mss || !c.sacks.empty()) {
    return mtu_probe::none;
  }
  const std::uint32_t middle = (std::uint32_t{path.search_low} + path.search_high) / 2;
  const std::uint32_t size = mss_of_mtu(host, c, middle, path.mss_clamp);
  const std::uint32_t interval = path.search_high - path.search_low;
  if (size <= c.snd_mss || interval < host.policy.probe_threshold) {
    search_again(host, c, path);
    return mtu_probe::none;
  }
  // So many segments behind it tell of its loss before a time-out does.
  const std::uint32_t needed = size + (c.reordering + 1U) * c.snd_mss;
  if (c.unsent() < needed || c.snd_.wnd < needed) return mtu_probe::none;
  if (c.in_flight() + needed > c.snd_.wnd) return mtu_probe::wait;
  const std::uint32_t pipe = pipe_of(host, c);
  const std::uint32_t room = std::max<std::uint32_t>(size, 2U * c.snd_mss);
  // Waiting for a window to empty that is too small for the probe would let out a packet at a time.
  if (room > c.flow.cwnd) return mtu_probe::none;
  if (pipe + room > c.flow.cwnd) {
    if (pipe == 0) return mtu_probe::none;
    c.flow.limited_at = c.snd_.nxt;
    return mtu_probe::wait;
  }
  length = size;
  return mtu_probe::go;
}

void note_mtu_probe(core& host, connection& c, sequence begin, std::uint32_t length) noexcept {
  path_state& path = host.paths[c.path];
  path.probe_size = mtu_of_mss(c, length);
  path.probe_begin = begin;
  path.probe_end = begin + length;
}

void check_mtu_probe(core& host, connection& c) noexcept {
  path_state& path = host.paths[c.path];
  if (path.probe_size == 0 || before(c.snd_.una, path.probe_end)) return;
  path.search_low = path.probe_size;
  path.probe_size = 0;
  ++host.count.mtup_success;
  sync_mss(host, c);
}

void abandon_mtu_probe(core& host, connection& c) noexcept {
  host.paths[c.path].probe_size = 0;
}

void fail_mtu_probe(core& host, connection& c) noexcept {
  path_state& path = host.paths[c.path];
  const auto below = static_cast<std::uint16_t>(path.probe_size - 1);
  path.search_high = std::max(std::min(path.search_high, below), path.search_low);
  path.probe_size = 0;
  ++host.count.mtup_fail;
  resend_for_path(host, c, path.probe_begin, path.probe_end);
}

bool lost_only_mtu_probe(core& host, connection& c) noexcept {
  if (c.path == no_index || c.flow.phase != recovery_phase::open) return false;
  const path_state& path = host.paths[c.path];
  if (path.probe_size == 0 || c.snd_.una != path.probe_begin) return false;
  // RFC 4821 §7.6.4: with others beside it the path may be congested, and the probe tells nothing.
  const std::uint32_t size = distance(path.probe_begin, path.probe_end);
  if (host.flights[c.flight].lost_bytes > size) return false;
  fail_mtu_probe(host, c);
  return true;
}

}  // namespace runnel::tcp::detail
