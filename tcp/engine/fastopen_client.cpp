#include <algorithm>

#include "core.hpp"
#include "fastopen.hpp"

// The side of Fast Open that connects: which SYN carries text, and what is learned from the answer.
// Linux's tcp_fastopen_defer_connect, tcp_send_syn_data and tcp_rcv_fastopen_synack.

namespace runnel::tcp::detail {

namespace {

/// Room that is left for options which middleboxes add (Linux's MAX_TCP_OPTION_SPACE).
constexpr std::uint32_t option_room = 40;
/// A pause doubles up to 64 times the shortest one.
constexpr std::uint32_t pause_doublings_max = 6;

fastopen_cache::entry* known_path(core& host, const connection& c) noexcept {
  const net::address& peer = c.key.remote;
  fastopen_cache::entry* const found = host.fastopen_paths.find(peer, host.address_hash(peer));
  if (found == nullptr || found->value.local_index != c.key.local_index) return nullptr;
  return found;
}

bool paused(const core& host) noexcept {
  const fastopen_pause& pause = host.fastopen_paused;
  const auto shortest =
      static_cast<std::uint64_t>(host.policy.fastopen_blackhole_timeout.count()) * 1000;
  if (shortest == 0 || pause.times == 0) return false;
  const std::uint32_t doublings = std::min(pause.times - 1, pause_doublings_max);
  return host.now_ms < pause.since_ms + (shortest << doublings);
}

bool may_send_text(core& host, const connection& c) noexcept {
  if ((host.policy.fastopen & fastopen_flag::client_no_cookie) != 0) return true;
  const fastopen_cache::entry* const known = known_path(host, c);
  return known != nullptr && known->value.cookie_bytes > 0;
}

/// What one SYN takes of the send queue.
std::uint32_t syn_room(core& host, const connection& c) noexcept {
  const net::family family = c.key.remote.family();
  const auto headers = static_cast<std::uint32_t>(wire::ip_header_bytes(family) + 20);
  const std::uint32_t fits =
      std::min<std::uint32_t>(c.rcv_mss_offered, path_mtu_of(host, c) - headers);
  const fastopen_cache::entry* const known = known_path(host, c);
  const std::uint32_t theirs = known == nullptr ? 0 : known->value.mss;
  const std::uint32_t segment = std::min(fits, theirs == 0 ? default_mss_of(family) : theirs);
  return segment > option_room ? segment - option_room : 0;
}

void pause_fastopen(core& host) noexcept {
  if (host.policy.fastopen_blackhole_timeout.count() == 0) return;
  ++host.fastopen_paused.times;
  host.fastopen_paused.since_ms = host.now_ms;
  ++host.count.fastopen_blackhole;
}

void remember_path(core& host, const connection& c, const wire::tcp_options& options) noexcept {
  const net::address& peer = c.key.remote;
  const bool gives = options.fast_open && !options.fast_open->empty();
  fastopen_cache::entry* known = known_path(host, c);
  if (known == nullptr && gives) {
    known = host.fastopen_paths.make(peer, host.address_hash(peer), host.ms());
  }
  if (known == nullptr) return;
  fastopen_path& path = known->value;
  known->at_ms = host.ms();
  path.local_index = c.key.local_index;
  path.mss = peer_mss(host, options, peer.family());
  if (!gives) return;
  path.cookie_bytes = static_cast<std::uint8_t>(options.fast_open->size());
  std::ranges::copy(*options.fast_open, path.cookie.begin());
}

}  // namespace

bool begin_fastopen(core& host, connection& c) noexcept {
  if (!c.fastopen_wanted) return false;
  if ((host.policy.fastopen & fastopen_flag::client) == 0 || paused(host)) return false;
  c.fastopen_asks = true;
  if (may_send_text(host, c)) return true;
  c.fastopen_fail = fastopen_client_fail::cookie_unavailable;
  return false;
}

void release_syn(core& host, connection& c) {
  if (!c.syn_held) return;
  c.syn_held = false;
  send_syn(host, c);
}

fastopen_syn plan_fastopen_syn(core& host, const connection& c) noexcept {
  fastopen_syn out;
  // A SYN that is sent again is a plain one: the text, or the option, may be what was swallowed.
  if (!c.fastopen_asks || c.snd_.nxt != c.snd_.iss) return out;
  const bool blind = (host.policy.fastopen & fastopen_flag::client_no_cookie) != 0;
  const fastopen_cache::entry* const known = known_path(host, c);
  if (known != nullptr && known->value.cookie_bytes > 0) {
    std::copy_n(known->value.cookie.begin(), known->value.cookie_bytes,
                host.fastopen_option.begin());
    out.option = std::span(host.fastopen_option).first(known->value.cookie_bytes);
  } else if (!blind) {
    out.option.emplace();
    return out;
  }
  if (c.writes_early) out.text_bytes = std::min(c.tx.size(), syn_room(host, c));
  return out;
}

void on_fastopen_synack(core& host, connection& c, const segment& seg) {
  if (!c.fastopen_asks) return;
  remember_path(host, c, *seg.options);
  if (!c.syn_data) return;
  const std::uint32_t sent = distance(c.snd_.iss + 1, c.snd_.nxt);
  const std::uint32_t taken = distance(c.snd_.iss + 1, seg.ack);
  take_acknowledged(host, c, taken);
  c.syn_data_acked = taken == sent;
  if (c.syn_data_acked) {
    ++host.count.fastopen_active;
    return;
  }
  // The rest goes as if it had never left.
  ++host.count.fastopen_active_fail;
  c.fastopen_fail = c.flow.retransmits > 0 ? fastopen_client_fail::syn_retransmitted
                                           : fastopen_client_fail::data_not_acked;
  c.traffic.bytes_retrans += sent - taken;
  c.snd_.nxt = seg.ack;
}

void take_back_syn_text(connection& c) noexcept {
  if (!c.syn_data) return;
  c.syn_data = false;
  c.traffic.bytes_retrans += distance(c.snd_.iss + 1, c.snd_.nxt);
  c.snd_.nxt = c.snd_.iss + 1;
}

void suspect_fastopen_path(core& host, const connection& c, bool given_up) noexcept {
  // Who was heard after the handshake is not behind such a box.
  if (!c.fastopen_asks || c.traffic.data_segs_in > 0) return;
  if (c.flow.retransmits == 2 || (c.flow.retransmits < 2 && given_up)) pause_fastopen(host);
}

void judge_fastopen_path(core& host, const connection& c) noexcept {
  if (!c.fastopen_asks) return;
  // FIN came and the text before it never did: someone on the path has kept it.
  if (c.traffic.data_segs_in == 0 && c.fin_seen && !c.fin_received) return pause_fastopen(host);
  if (c.traffic.data_segs_in > 0 && c.syn_data_acked) host.fastopen_paused.times = 0;
}

}  // namespace runnel::tcp::detail
