#pragma once

#include <cstdint>

#include "peer_cache.hpp"
#include "runnel/tcp/engine/sequence.hpp"
#include "slab.hpp"

// What a connection knows of the packets that its path carries: by ICMP errors (RFC 1191, RFC 8201;
// path_mtu.cpp) and by probes of its own (RFC 4821; mtu_probing.cpp). Both end in one MSS.

namespace runnel::tcp::detail {

struct core;
struct connection;

/// A connection's block in `core::paths`, held while it searches for its path's MTU, or an ICMP
/// error has told it. Sizes are of whole packets, headers included, but for the MSSs.
struct path_state {
  /// The slab's free list.
  std::uint32_t next = no_index;
  /// When `connection::path_mtu` was learned, and when the search last began anew.
  std::uint32_t learned_ms = 0;
  std::uint32_t searched_ms = 0;
  /// The probe that is on its way, while `probe_size` is not 0.
  sequence probe_begin;
  sequence probe_end;
  /// What is in flight below this number was cut by `cut_mss`: the MSS has changed since.
  sequence cut_until;
  std::uint16_t cut_mss = 0;
  /// The MSS that both sides agreed on; no options are taken off it.
  std::uint16_t mss_clamp = 0;
  /// What the path was last taken to carry (Linux's icsk_pmtu_cookie).
  std::uint16_t synced_mtu = 0;
  /// The search is between what is known to get through and what may.
  std::uint16_t search_low = 0;
  std::uint16_t search_high = 0;
  std::uint16_t probe_size = 0;
  /// `connection::snd_mss` is what the search has found so far.
  bool searching : 1 = false;
  /// The path carries less than we may send: routers have to fragment it (Linux's mtu_locked).
  bool fragments : 1 = false;
};

static_assert(sizeof(path_state) <= 40, "the block of a path is to stay small");
using path_slab = slab<path_state, 64>;

/// What an ICMP error said of the path to an address, for connections to come.
struct learned_mtu {
  std::uint16_t mtu = 0;
  bool fragments = false;
};
using path_mtu_cache = peer_cache<learned_mtu>;

// ---- path_mtu.cpp

/// The longest packet that the path is taken to carry: an ICMP error's word as long as it holds, or
/// the link's MTU.
std::uint32_t path_mtu_of(const core& host, const connection& c) noexcept;
/// The longest packet that may leave, except for a probe.
std::uint32_t packet_limit(const core& host, const connection& c) noexcept;
/// Whether packets say that routers must not fragment them (IP_MTU_DISCOVER).
bool dont_fragment(const core& host, const connection& c) noexcept;
/// What of a packet is no text: IP's and TCP's headers and the options of every segment.
std::uint32_t overhead_of(const connection& c) noexcept;
/// The MSS for packets of this size, within what both sides agreed on; never below
/// `stack_policy::min_snd_mss`.
std::uint32_t mss_of_mtu(const core& host, const connection& c, std::uint32_t mtu,
                         std::uint32_t mss_clamp) noexcept;

/// The connection's block; a fresh one when it has none, null without memory.
path_state* path_of(core& host, connection& c) noexcept;
void give_back_path(core& host, connection& c) noexcept;
/// Both sides have agreed on an MSS: the first one to send with.
void agree_on_mss(core& host, connection& c, std::uint16_t mss_clamp) noexcept;
/// An ICMP error says that the path carries `mtu`, which is less than `path_mtu_of`, or the same
/// again. With `fragments` it carries even less.
void learn_path_mtu(core& host, connection& c, std::uint32_t mtu, bool fragments) noexcept;
/// A new connection begins with what others were told of its path.
void inherit_path_mtu(core& host, connection& c) noexcept;
/// Makes `snd_mss` what the path and the search allow (Linux's tcp_sync_mss).
void sync_mss(core& host, connection& c) noexcept;
/// Before something leaves: what was learned may be too old to be believed, or the policy may be
/// another one. Only for connections with a block.
void refresh_path(core& host, connection& c) noexcept;
/// SND.UNA has moved; the point up to which the segments are of another size follows it, or it
/// would come round again after 2 GiB. For a connection that has a block.
void keep_cut_point(core& host, const connection& c) noexcept;
/// The size of the segments that what begins here was cut into.
std::uint32_t segment_size_at(const core& host, const connection& c, sequence begin) noexcept;
/// Whether what begins here may be kept in one range with what ends here: not where the size of the
/// segments changes.
bool same_cut_around(const core& host, const connection& c, sequence begin) noexcept;

// ---- mtu_probing.cpp

/// Begins the search at `stack_policy::base_mss`.
void begin_mtu_search(core& host, connection& c, path_state& path) noexcept;
/// Segments have gone unanswered for so long that the path may swallow their size.
void suspect_black_hole(core& host, connection& c) noexcept;

enum class mtu_probe : std::uint8_t {
  /// New text goes in segments of the MSS.
  none,
  /// What is in flight has to become less first.
  wait,
  /// The next packet is a probe.
  go,
};
/// Whether new text may probe now, and with how much of it.
mtu_probe plan_mtu_probe(core& host, connection& c, std::uint32_t& length) noexcept;
/// A probe of so many bytes of text leaves.
void note_mtu_probe(core& host, connection& c, sequence begin, std::uint32_t length) noexcept;
/// Something was acknowledged: perhaps the probe.
void check_mtu_probe(core& host, connection& c) noexcept;
/// Something was sent again while the probe is out: it tells nothing any more.
void abandon_mtu_probe(core& host, connection& c) noexcept;
/// The probe did not arrive: the search goes on below it, and its text goes again. The path is not
/// congested.
void fail_mtu_probe(core& host, connection& c) noexcept;
/// What was found lost just now is the probe and nothing else: `fail_mtu_probe`.
bool lost_only_mtu_probe(core& host, connection& c) noexcept;

}  // namespace runnel::tcp::detail
