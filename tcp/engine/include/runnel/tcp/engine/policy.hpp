#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace runnel::tcp {

/// When a listener answers with SYN cookies, which need no memory (net.ipv4.tcp_syncookies; the
/// values are Linux's).
enum class syncookies : std::uint8_t { off, on_overflow, always };

/// What becomes of a finished handshake that finds the accept queue full.
enum class accept_overflow : std::uint8_t {
  /// The acknowledgement is dropped and SYN-ACK goes on being sent again
  /// (net.ipv4.tcp_abort_on_overflow = 0).
  drop,
  /// RST (net.ipv4.tcp_abort_on_overflow = 1).
  reset,
  /// The entry waits, finished but half-open, and is let in as soon as `accept` makes room, first
  /// come, first served. It counts in the SYN queue; beyond that queue's bound it is `drop`, and
  /// `reset` for one that carries a cookie. What the peer sends meanwhile is not acknowledged, so
  /// that it comes again. After the time of a whole schedule of SYN-ACKs (63 s where
  /// `synack_retries` is 5) the peer gets RST.
  park,
};

/// What becomes of a connection that should enter TIME-WAIT when `max_tw_buckets` are in use.
enum class tw_overflow : std::uint8_t {
  /// It goes to CLOSED at once, and is counted, as Linux does.
  refuse,
  /// The oldest entry goes instead, and is counted.
  evict_oldest,
};

/// Whether `connect` may take a local port whose last connection to the same place is in TIME-WAIT
/// (net.ipv4.tcp_tw_reuse; the values are Linux's).
enum class tw_reuse : std::uint8_t { off, on, loopback };

/// Explicit congestion notification (net.ipv4.tcp_ecn; RFC 3168; the values are Linux's).
enum class ecn : std::uint8_t {
  off,
  /// Ask for it, and accept it.
  request,
  /// Accept it when the peer asks.
  accept,
};

/// The bits of `stack_policy::fastopen` (net.ipv4.tcp_fastopen; RFC 7413).
namespace fastopen_flag {
/// `connect` with `fastopen_connect` sends text with the SYN once it holds a cookie.
inline constexpr std::uint32_t client = 0x1;
/// Listeners with a `fastopen_queue` take text with the SYN.
inline constexpr std::uint32_t server = 0x2;
/// The client sends text with the SYN without a cookie.
inline constexpr std::uint32_t client_no_cookie = 0x4;
/// The server takes text with the SYN without a cookie.
inline constexpr std::uint32_t server_no_cookie = 0x200;
/// Every listener takes part, with its backlog as the queue.
inline constexpr std::uint32_t server_all = 0x400;
}  // namespace fastopen_flag

/// Whether a connection finds out by probes of its own what its path carries
/// (net.ipv4.tcp_mtu_probing; RFC 4821; the values are Linux's).
enum class mtu_probing : std::uint8_t {
  off,
  /// From when a path seems to swallow what is long, without a word.
  on_black_hole,
  /// From the beginning.
  always,
};

/// What is done about the MTU of the path (IP_MTU_DISCOVER; the values are Linux's). In IPv6, where
/// nobody fragments on the way, only what is said of ICMP errors makes a difference.
enum class mtu_discover : std::uint8_t {
  /// Routers may fragment (IP_PMTUDISC_DONT). An ICMP error still makes later packets shorter.
  dont,
  /// They must not (RFC 1191), unless they say that they carry less than
  /// `stack_policy::min_pmtu` (IP_PMTUDISC_WANT).
  want,
  /// They never may (IP_PMTUDISC_DO).
  always,
  /// They never may, and their errors are not believed: `stack_policy::mtu_probing` finds out
  /// (IP_PMTUDISC_PROBE; Linux's TCP lets them fragment then).
  probe,
  /// Routers may fragment, and their errors are not believed (IP_PMTUDISC_INTERFACE).
  interface,
};
/// The bits of `stack_policy::recovery` (net.ipv4.tcp_recovery; RFC 8985).
namespace recovery_flag {
/// Losses are told by time (RACK). Without it by what was selectively acknowledged above them, as
/// RFC 6675 has it; Linux 6.17 took that away.
inline constexpr std::uint32_t rack = 0x1;
/// How long a segment may be overtaken does not grow with D-SACKs.
inline constexpr std::uint32_t static_reordering_window = 0x2;
/// `reordering` segments that overtook one are no proof by themselves.
inline constexpr std::uint32_t no_dupthresh = 0x4;
}  // namespace recovery_flag

/// What decides how much a connection may have in flight (TCP_CONGESTION,
/// net.ipv4.tcp_congestion_control; the names are Linux's).
enum class congestion_control : std::uint8_t {
  /// RFC 9438: after a loss it comes back to the window of before, and stays there for long, in a
  /// time that does not depend on the round trip.
  cubic,
  /// RFC 5681: one segment more for each round trip, half of the window after a loss.
  reno,
  /// Bottleneck bandwidth and round-trip propagation time, version 1: what the path has delivered
  /// decides, and a loss as such does not. It paces. Beside others over a short queue it takes more
  /// than its share.
  bbr,
};

/// How slow start ends before something is lost. BBR has a way of its own.
enum class slow_start : std::uint8_t {
  /// As Linux's CUBIC does: when acknowledgements come in one train for half of the round trip, or
  /// when the round trip has grown by an eighth (tcp_cubic's `hystart`). For NewReno it is
  /// `standard`, as in Linux.
  hystart,
  /// RFC 9406: the round trip's growth slows slow start down for five rounds, and ends it if it
  /// remains.
  hystart_plus_plus,
  /// RFC 5681: not before a loss.
  standard,
};

/// How a connection ends when its owner closes or drops it.
enum class close_mode : std::uint8_t {
  /// FIN behind what is queued. With unread bytes it is RST instead (RFC 2525 §2.17).
  graceful,
  /// The same; who waits for the end waits no longer than `close_time`, and the rest is delivered
  /// without anybody waiting (SO_LINGER with a time).
  linger,
  /// RST now; everything queued is discarded (SO_LINGER with time 0).
  abort,
  /// FIN, and then what still arrives, like what is unread, is thrown away for up to `close_time`,
  /// so that no RST overtakes what was sent (RFC 9112 §9.6); then as `graceful`.
  lingering,
  /// Waits up to `close_time` for the peer's FIN and answers it, so that TIME-WAIT is the peer's.
  /// What is unread or arrives meanwhile is thrown away. Where none comes, or FIN was said already,
  /// it is `lingering`, for `peer_first_linger`.
  peer_first,
};

/// What holds for one connection. Whatever is left unset is taken from the level above, live: a
/// connection asks its own policy, then the host's defaults. A listener's children take the
/// listener's; an active connection takes what `connect` is given. The comments name Linux's socket
/// option, then the sysctl that is its default, and the value of a host that sets nothing.
struct connection_policy {
  /// Room for received bytes, as memory held (SO_RCVBUF); the largest window is half of it. 0 lets
  /// it follow what is read in a round trip, from `stack_policy::rmem_default` up to `rmem_max`: 0.
  /// A default holds for connections that are made later. One that is set on a connection holds at
  /// once, but no window that was offered is taken back, and the scale is what the SYN has said.
  std::optional<std::uint32_t> receive_buffer{};
  /// Room for bytes not yet acknowledged, as memory held (SO_SNDBUF); 0 lets it follow the
  /// congestion window, from `stack_policy::wmem_default` up to `wmem_max`: 0. Where it is full,
  /// `events::writable` comes when a third of it is free, as in Linux.
  std::optional<std::uint32_t> send_buffer{};
  /// While so many bytes or more wait to be sent for the first time, beside what the windows let
  /// out at once, nothing more is taken from the application; `events::writable` comes when it is
  /// less than half (TCP_NOTSENT_LOWAT, net.ipv4.tcp_notsent_lowat): UINT32_MAX, which is no bound.
  /// As in Linux what is taken is rounded up to a segment.
  std::optional<std::uint32_t> notsent_lowat{};
  /// Send small segments without waiting for the acknowledgement of earlier ones (TCP_NODELAY):
  /// no.
  std::optional<bool> nodelay{};
  /// Hold small segments back until there is a full one, FIN, or 200 ms have passed (TCP_CORK): no.
  std::optional<bool> cork{};
  /// Acknowledge every segment at once (RTAX_QUICKACK): no.
  std::optional<bool> quickack{};
  /// The longest segment to send or to ask for, without headers; 0 takes it from the link's MTU
  /// (TCP_MAXSEG): 0. Fixed when the connection is made.
  std::optional<std::uint16_t> max_segment{};
  /// Whether routers may fragment, and what their word counts (IP_MTU_DISCOVER,
  /// net.ipv4.ip_no_pmtu_disc, of which 0 is want, 1 dont and 2 interface): want.
  std::optional<tcp::mtu_discover> mtu_discover{};
  /// Hop limit of what is sent (IP_TTL, net.ipv4.ip_default_ttl): 64.
  std::optional<std::uint8_t> ttl{};
  /// SYN retransmissions with doubling waits (TCP_SYNCNT, net.ipv4.tcp_syn_retries): 6.
  std::optional<std::uint8_t> syn_retries{};
  /// The retransmission time-out (RFC 6298) before a round trip has been measured, which is SYN's;
  /// Linux compiles it in: 1 s. At most `rto_max`. SYN-ACK of half-open entries, which have no
  /// policy of their own, always waits for 1 s first, and for 120 s at most.
  std::optional<std::chrono::milliseconds> rto_initial{};
  /// The least by which it exceeds the smoothed round-trip time (TCP_RTO_MIN_US,
  /// net.ipv4.tcp_rto_min_us): 200 ms. A change holds from the next measurement on. Below the time
  /// that the peer delays its acknowledgements it costs needless retransmissions.
  std::optional<std::chrono::milliseconds> rto_min{};
  /// What it grows to (TCP_RTO_MAX_MS, net.ipv4.tcp_rto_max_ms): 120 s.
  std::optional<std::chrono::milliseconds> rto_max{};
  /// Unanswered retransmissions and probes before the connection is given up, as the time that many
  /// doublings of 200 ms take, up to `rto_max` each (net.ipv4.tcp_retries2; RFC 1122 §4.2.3.5): 15,
  /// which is 924.6 s. As in Linux, `rto_min` does not change that.
  std::optional<std::uint8_t> retries2{};
  /// The same for a connection whose owner has closed it (net.ipv4.tcp_orphan_retries, where 0
  /// means 8): 8.
  std::optional<std::uint8_t> orphan_retries{};
  /// Probe an idle peer (SO_KEEPALIVE): no.
  std::optional<bool> keepalive{};
  /// How long a connection is idle before the first probe (TCP_KEEPIDLE,
  /// net.ipv4.tcp_keepalive_time): 2 h.
  std::optional<std::chrono::milliseconds> keepalive_time{};
  /// Between probes (TCP_KEEPINTVL, net.ipv4.tcp_keepalive_intvl): 75 s.
  std::optional<std::chrono::milliseconds> keepalive_interval{};
  /// Unanswered probes before the connection is given up (TCP_KEEPCNT,
  /// net.ipv4.tcp_keepalive_probes): 9.
  std::optional<std::uint8_t> keepalive_probes{};
  /// How long sent bytes may stay unacknowledged, a closed window keep bytes back, or an idle peer
  /// be silent once it is probed, before the connection is given up; 0 leaves it to `retries2`,
  /// `orphan_retries` and `keepalive_probes`, whose place it takes (TCP_USER_TIMEOUT; RFC 5482): 0.
  std::optional<std::chrono::milliseconds> user_timeout{};
  /// How long a closed connection waits in FIN-WAIT-2 for the peer's FIN; 0 is not at all, it is
  /// reset (TCP_LINGER2, where less than 0 is that; net.ipv4.tcp_fin_timeout): 60 s.
  std::optional<std::chrono::milliseconds> fin_timeout{};
  /// Twice the maximum segment lifetime: how long the 4-tuple of a connection that was closed first
  /// from here stays known (TCP_TIMEWAIT_LEN): 60 s.
  std::optional<std::chrono::milliseconds> time_wait{};
  /// How `close` and dropping end it (SO_LINGER): graceful.
  std::optional<close_mode> close{};
  /// The time of the modes that have one (SO_LINGER's l_linger): 2 s.
  std::optional<std::chrono::milliseconds> close_time{};
  /// How long `close_mode::peer_first` lingers once its time is over, so that a short one costs
  /// nobody the end of an answer (RFC 9112 §9.6; nginx's lingering_timeout); 0 is not at all: 5 s.
  std::optional<std::chrono::milliseconds> peer_first_linger{};
  /// How long a closed connection may be kept from sending by a window of zero before it is reset;
  /// 0 is Linux's rule: until the waits between probes have grown to 120 s, which takes 361 s on a
  /// path of 30 ms: 0.
  std::optional<std::chrono::milliseconds> orphan_window_timeout{};
  /// `connect` to a server whose Fast Open cookie is known succeeds at once, and what is written
  /// first goes with the SYN; otherwise the SYN asks for a cookie (TCP_FASTOPEN_CONNECT; RFC 7413):
  /// no. The text may reach the server twice. Fixed when the connection is made.
  std::optional<bool> fastopen_connect{};

  /// How the window follows what the path carries (TCP_CONGESTION,
  /// net.ipv4.tcp_congestion_control): cubic. A change holds from when everything that was sent is
  /// acknowledged.
  std::optional<tcp::congestion_control> congestion_control{};
  /// How slow start ends without a loss: hystart.
  std::optional<tcp::slow_start> slow_start{};
  /// CUBIC and Reno spread what they send over the round trip, at `stack_policy::pacing_ss_ratio`
  /// and `pacing_ca_ratio` of the window for each; the first ten segments go at once: no. In Linux
  /// it is the fq qdisc that does it. BBR always paces.
  std::optional<bool> pacing{};
  /// The bytes a second, headers not counted, that the pace of any algorithm is bounded by; a bound
  /// turns pacing on (SO_MAX_PACING_RATE). 0 is no bound: 0.
  std::optional<std::uint64_t> max_pacing_rate{};
  /// Up to six time-outs of a connection with less than four segments in flight, which no
  /// duplicates can tell of a loss, come without doubling the wait (TCP_THIN_LINEAR_TIMEOUTS,
  /// net.ipv4.tcp_thin_linear_timeouts): no.
  std::optional<bool> thin_linear_timeouts{};

  friend bool operator==(const connection_policy&, const connection_policy&) = default;
};

/// What holds for one listener. What is left unset is taken from the host's defaults, live.
struct listener_policy {
  /// Finished handshakes that may wait for `accept`; one more is let in, as Linux does (listen(2)):
  /// 4096. Bounded by `stack_policy::somaxconn`.
  std::optional<std::uint32_t> backlog{};
  /// SYN-ACK retransmissions before a half-open entry is dropped (TCP_SYNCNT of the listener,
  /// net.ipv4.tcp_synack_retries): 5. While the SYN queue is over half full with entries that were
  /// retried already, old entries get fewer, down to 2, as in Linux.
  std::optional<std::uint8_t> synack_retries{};
  /// Whether a full SYN queue is answered with cookies (net.ipv4.tcp_syncookies): on_overflow.
  std::optional<tcp::syncookies> syncookies{};
  /// What a finished handshake meets in a full accept queue (net.ipv4.tcp_abort_on_overflow): drop.
  std::optional<accept_overflow> overflow{};
  /// The same for one that carries a cookie, of which nothing else remembers: park. Linux drops it
  /// in silence, whatever tcp_abort_on_overflow says.
  std::optional<accept_overflow> cookie_overflow{};
  /// Size the SYN queue as Linux 2.6 to 4.3 did: the backlog, bounded by somaxconn and
  /// max_syn_backlog, at least 8, and one more, rounded up to a power of two; and let SYNs in while
  /// the accept queue is full, as long as at most one entry is not retried yet, as Linux did up to
  /// 4.9: no.
  std::optional<bool> legacy_sizing{};
  /// How long the third segment may come without text and be ignored, so that `accept` gives only
  /// connections that have something to read; 0 is off (TCP_DEFER_ACCEPT): 0. As in Linux it is
  /// rounded up to a whole number of SYN-ACK time-outs (1, 3, 7, 15, ... s); at the last of them
  /// SYN-ACK is sent again, and the acknowledgement that this draws is let in. As there, 255 of
  /// them are the most, which take 8 h 18 min.
  std::optional<std::chrono::milliseconds> defer_accept{};
  /// Connections that may have taken text with their SYN while their handshake is not done; 0 takes
  /// none (TCP_FASTOPEN): 0. Bounded by `stack_policy::somaxconn`; beyond it, and while SYN cookies
  /// answer, the handshake is an ordinary one. A server whose requests must not happen twice should
  /// leave it at 0: a SYN may be duplicated on its way (RFC 7413 §6.1).
  std::optional<std::uint32_t> fastopen_queue{};
  /// Whether a listener on `::` leaves IPv4 to others (IPV6_V6ONLY, net.ipv6.bindv6only): no. Its
  /// IPv4 peers are told as IPv4 addresses, never as ::ffff:0:0/96. One on no address takes both
  /// families, whatever this says. Fixed when the listener is made.
  std::optional<bool> v6only{};
  /// What its children start from.
  connection_policy connection{};

  friend bool operator==(const listener_policy&, const listener_policy&) = default;
};

/// What holds for the whole host.
struct stack_policy {
  /// The bound of every listener's backlog (net.core.somaxconn).
  std::uint32_t somaxconn = 4096;
  /// The bound of half-open entries of one listener where cookies are off
  /// (net.ipv4.tcp_max_syn_backlog): one more than all but its last quarter, as in Linux. With
  /// cookies the backlog alone is the bound, and these begin beyond it.
  std::uint32_t max_syn_backlog = 4096;
  /// SYN retransmissions one second apart before the doubling starts
  /// (net.ipv4.tcp_syn_linear_timeouts).
  std::uint8_t syn_linear_timeouts = 4;
  /// Offer and accept RFC 7323 timestamps (net.ipv4.tcp_timestamps).
  bool timestamps = true;
  /// Offer and accept RFC 7323 window scaling (net.ipv4.tcp_window_scaling).
  bool window_scaling = true;
  /// Offer and accept selective acknowledgements (net.ipv4.tcp_sack; RFC 2018).
  bool sack = true;
  /// Tell the peer of text that arrived twice (net.ipv4.tcp_dsack; RFC 2883).
  bool dsack = true;
  /// Turn a lost tail into a loss that acknowledgements tell, by a probe after two round trips
  /// (net.ipv4.tcp_early_retrans, where 3 and 4 are on and 0 to 2 are off; RFC 8985 §7).
  bool tail_loss_probe = true;
  /// How losses are found, as `recovery_flag` bits (net.ipv4.tcp_recovery).
  std::uint32_t recovery = recovery_flag::rack;
  /// How many segments a path is taken to let overtake one, until it is seen to do worse: so many
  /// duplicates are a loss (net.ipv4.tcp_reordering; RFC 5681 §3.2). Connections begin with it.
  std::uint16_t reordering = 3;
  /// The most that it is taken to do (net.ipv4.tcp_max_reordering).
  std::uint16_t max_reordering = 300;
  /// The pace in percent of `cwnd` for each round trip, in the first half of slow start and after
  /// it (net.ipv4.tcp_pacing_ss_ratio, net.ipv4.tcp_pacing_ca_ratio); see
  /// `connection_policy::pacing`.
  std::uint16_t pacing_ss_ratio = 200;
  /// The same after slow start (net.ipv4.tcp_pacing_ca_ratio).
  std::uint16_t pacing_ca_ratio = 120;
  /// Find out whether a retransmission time-out was for nothing before all is sent again
  /// (net.ipv4.tcp_frto; RFC 5682).
  bool frto = true;
  /// After a pause of an RTO begin with a smaller window (net.ipv4.tcp_slow_start_after_idle;
  /// RFC 5681 §4.1).
  bool slow_start_after_idle = true;
  /// Explicit congestion notification (net.ipv4.tcp_ecn).
  tcp::ecn ecn = tcp::ecn::accept;
  /// Fast Open, as `fastopen_flag` bits (net.ipv4.tcp_fastopen).
  std::uint32_t fastopen = fastopen_flag::client;
  /// How long `connect` does without Fast Open after a sign that the path swallows it: three
  /// time-outs in a row, or FIN without the text before it. Doubled each time, up to 64 times; 0 is
  /// never paused (net.ipv4.tcp_fastopen_blackhole_timeout_sec).
  std::chrono::seconds fastopen_blackhole_timeout{0};
  /// Whether connections probe for the MTU of their path (net.ipv4.tcp_mtu_probing; RFC 4821): what
  /// is `always` holds for connections that begin later.
  tcp::mtu_probing mtu_probing = tcp::mtu_probing::off;
  /// The MSS that the search for it begins with (net.ipv4.tcp_base_mss).
  std::uint16_t base_mss = 1024;
  /// What a black hole makes the MSS at least (net.ipv4.tcp_mtu_probe_floor).
  std::uint16_t mtu_probe_floor = 48;
  /// When a search is over, how long after its beginning there is another one
  /// (net.ipv4.tcp_probe_interval).
  std::chrono::seconds probe_interval{600};
  /// A search is over when it has come as close as so many bytes (net.ipv4.tcp_probe_threshold).
  std::uint16_t probe_threshold = 8;
  /// Unanswered retransmissions until the path is suspected of being a black hole, counted in time
  /// as `connection_policy::retries2` is (net.ipv4.tcp_retries1).
  std::uint8_t retries1 = 3;
  /// The smallest MSS that a peer or a path makes us send with, timestamps included; it costs a
  /// packet's headers for each so many bytes (net.ipv4.tcp_min_snd_mss).
  std::uint16_t min_snd_mss = 48;
  /// The least that our SYN offers where `max_segment` does not say less
  /// (net.ipv4.route.min_adv_mss). What is more than the link's MTU takes, the link has to
  /// fragment.
  std::uint16_t min_adv_mss = 256;
  /// No ICMP error makes IPv4 packets shorter than this; a path that carries less is left to
  /// fragment them (net.ipv4.route.min_pmtu). In IPv6 it is 1280, and what says less is ignored.
  std::uint16_t min_pmtu = 552;
  /// How long an ICMP error's word of a path is believed, by its connection and by later ones to
  /// the same address; then longer packets try again (net.ipv4.route.mtu_expires).
  std::chrono::seconds route_mtu_expires{600};
  /// Ignore RST in TIME-WAIT (net.ipv4.tcp_rfc1337).
  bool rfc1337 = false;
  /// TIME-WAIT entries (net.ipv4.tcp_max_tw_buckets, which is 131072 on a large machine).
  std::uint32_t max_tw_buckets = 4U << 20;
  /// What happens beyond them.
  tcp::tw_overflow tw_overflow = tcp::tw_overflow::refuse;
  /// Whether `connect` may reuse a port out of TIME-WAIT (net.ipv4.tcp_tw_reuse). It needs
  /// timestamps.
  tcp::tw_reuse tw_reuse = tcp::tw_reuse::loopback;
  /// How old an entry must be for that (net.ipv4.tcp_tw_reuse_delay). A repeated FIN, which starts
  /// TIME-WAIT anew, starts this anew too; in Linux it does not.
  std::chrono::milliseconds tw_reuse_delay{1000};
  /// UNSAFE: drop a SYN whose timestamp is older than the newest that its address has sent from
  /// TIME-WAIT (net.ipv4.tcp_tw_recycle, which Linux 4.12 removed). It refuses clients that share
  /// an address behind a translator.
  bool tw_recycle = false;
  /// How long after the first time it is given the host sends no SYN and answers none, so that
  /// segments of an earlier life die first (RFC 9293 §3.4.3): `connect` holds its SYN back until
  /// then, and a SYN that arrives is dropped in silence and counted. Linux has none.
  std::chrono::milliseconds quiet_time{0};
  /// Connections without an owner that are not in TIME-WAIT (net.ipv4.tcp_max_orphans); one more is
  /// reset and counted. Those in FIN-WAIT-2 have a bound of the same size of their own, beyond
  /// which they are forgotten and counted, as Linux does with its compact entries.
  std::uint32_t max_orphans = 131072;
  /// Memory that the queues of all connections without an owner may hold; beyond it a connection
  /// that is dropped is reset and counted, unless it holds next to nothing. 0 is bounded by
  /// `memory_limit` alone, whose last sixteenth is not for them.
  std::size_t orphan_memory = std::size_t{256} << 20;
  /// Challenge ACKs a second for the whole host (net.ipv4.tcp_challenge_ack_limit; RFC 5961 §7).
  /// Off, as in Linux: what all share, one peer can measure to learn of another's connection
  /// (CVE-2016-5696), and `invalid_ratelimit` bounds each connection.
  std::uint32_t challenge_ack_limit = INT32_MAX;
  /// Challenge ACKs a second for one peer's address, over all its connections; 0 is unbounded.
  std::uint32_t challenge_ack_limit_per_peer = 1000;
  /// Shortest time between two answers to invalid segments of one connection
  /// (net.ipv4.tcp_invalid_ratelimit).
  std::chrono::milliseconds invalid_ratelimit{500};
  /// ICMP errors and RSTs a second for the whole host to those of whom nothing is known; 0 is
  /// unbounded. RST for a connection, or for who has acknowledged our SYN-ACK and finds the accept
  /// queue full, has no bound.
  std::uint32_t reject_limit = 10'000;
  /// The same for one peer's address, of which some may share an allowance; 0 is unbounded.
  std::uint32_t reject_limit_per_peer = 1000;
  /// SYN cookies that turn out wrong, a second, for the whole host; 0 is unbounded, as in Linux. A
  /// few percent of a core go into so many. Beyond it only what costs little is tried: cookies of
  /// the present minute, made with the present key, of which RunnelCookieChecksLimited counts the
  /// ones that are none. These are dropped without an answer.
  std::uint32_t failed_cookie_limit = 100'000;
  /// Local ports for `connect` without one: first and last (net.ipv4.ip_local_port_range).
  std::uint16_t local_port_first = 32768;
  /// The last of them.
  std::uint16_t local_port_last = 60999;
  /// Give the packets of each IPv6 flow a label of their own, by a keyed hash, so that routers can
  /// spread flows (net.ipv6.auto_flowlabels; RFC 6437).
  bool auto_flowlabels = true;
  /// Memory that the fragments of packets may hold while others are missing, in both families
  /// together (net.ipv4.ipfrag_high_thresh); beyond it the oldest packets go. 0 takes no fragments.
  std::size_t ipfrag_high_thresh = std::size_t{4} << 20;
  /// How long an IPv4 packet waits for its missing fragments (net.ipv4.ipfrag_time), and an IPv6
  /// packet (net.ipv6.ip6frag_time; RFC 8200 §4.5).
  std::chrono::milliseconds ipfrag_time{30'000};
  /// The same for IPv6 (net.ipv6.ip6frag_time).
  std::chrono::milliseconds ip6frag_time{60'000};
  /// Join segments that one read of the link gives in a row before the engine sees them, where the
  /// link does not join them itself (ethtool's gro): no. It saves the engine about a fifth of its
  /// time for each segment, which is a few percent of all where a packet costs a system call, as
  /// over TUN. For `tcp::stack`, which reads the link; a bare host takes packets as they are given.
  bool gro = false;
  /// Room for bytes not yet acknowledged of one connection (net.ipv4.tcp_wmem): what it has however
  /// short memory is, what it begins with, and what it grows to. The last two are for connections
  /// whose `send_buffer` is 0.
  std::uint32_t wmem_min = 4096;
  /// What a connection begins with.
  std::uint32_t wmem_default = 16384;
  /// What it grows to.
  std::uint32_t wmem_max = 4U << 20;
  /// Room for received bytes of one connection (net.ipv4.tcp_rmem): what it has however short
  /// memory is, what it begins with, and what it grows to. The last two are for connections whose
  /// `receive_buffer` is 0. The scale of the windows comes from the last.
  std::uint32_t rmem_min = 4096;
  /// What a connection begins with.
  std::uint32_t rmem_default = 131'072;
  /// What it grows to.
  std::uint32_t rmem_max = 32U << 20;
  /// Let that room grow with what is read in a round trip (net.ipv4.tcp_moderate_rcvbuf; Dynamic
  /// Right-Sizing). Without it the room stays what it is.
  bool moderate_rcvbuf = true;
  /// Of the duplicate acknowledgements of one hole, those after the third may wait so many
  /// nanoseconds, or a twentieth of the round trip where that is less, and go as one, where the
  /// peer has SACK (net.ipv4.tcp_comp_sack_delay_ns). The clock of this waiting ticks every 50 us:
  /// it ends at the first tick after the delay, or, where `comp_sack_slack_ns` does not allow that,
  /// at the last one before.
  std::uint32_t comp_sack_delay_ns = 1'000'000;
  /// By how much longer they may wait (net.ipv4.tcp_comp_sack_slack_ns).
  std::uint32_t comp_sack_slack_ns = 100'000;
  /// How many go as one; 0 has each go by itself (net.ipv4.tcp_comp_sack_nr).
  std::uint8_t comp_sack_nr = 44;
  /// Memory that all queued bytes of the host may hold, the packets of the link that they were left
  /// in and the record of what is in flight included (net.ipv4.tcp_mem, whose last value it is:
  /// pressure begins at two thirds of it). Fixed when the host is made.
  std::size_t memory_limit = std::size_t{1} << 30;

  friend bool operator==(const stack_policy&, const stack_policy&) = default;
};

/// What a host uses where nobody sets anything: every field is set.
connection_policy default_connection_policy();
/// The same for listeners.
listener_policy default_listener_policy();

/// The policy with every field set: where it leaves one unset, the default's.
connection_policy completed(connection_policy own);
/// The same for listeners.
listener_policy completed(listener_policy own);

/// The first value out of range, named with the range that is allowed; empty when all are good.
std::string check(const connection_policy& policy);
/// The same for a listener's.
std::string check(const listener_policy& policy);
/// The same for a stack's.
std::string check(const stack_policy& policy);

}  // namespace runnel::tcp
