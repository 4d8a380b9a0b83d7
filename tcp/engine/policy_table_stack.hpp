#pragma once

#include "policy_table.hpp"

namespace runnel::tcp::detail {

inline constexpr std::array ecn_words = {policy_word{"off", 0}, policy_word{"request", 1},
                                         policy_word{"accept", 2}};
inline constexpr std::array tw_overflow_words = {policy_word{"refuse", 0},
                                                 policy_word{"evict_oldest", 1}};
inline constexpr std::array tw_reuse_words = {policy_word{"off", 0}, policy_word{"on", 1},
                                              policy_word{"loopback", 2}};
inline constexpr std::array fastopen_words = {
    policy_word{"client", fastopen_flag::client},
    policy_word{"server", fastopen_flag::server},
    policy_word{"client_no_cookie", fastopen_flag::client_no_cookie},
    policy_word{"server_no_cookie", fastopen_flag::server_no_cookie},
    policy_word{"server_all", fastopen_flag::server_all},
};

inline constexpr std::array mtu_probing_words = {
    policy_word{"off", 0}, policy_word{"on_black_hole", 1}, policy_word{"always", 2}};

/// What the fields of `stack_policy` are, in their order.
inline constexpr std::array stack_table = {
    row<&stack_policy::somaxconn>({
        .name = "somaxconn",
        .lowest = 0,
        .highest = UINT32_MAX,
        .sysctl = {.text = "net.core.somaxconn"},
        .meaning = "the bound of every listener's backlog",
    }),
    row<&stack_policy::max_syn_backlog>({
        .name = "max_syn_backlog",
        .lowest = 1,
        .highest = 1 << 28,
        .sysctl = {.text = "net.ipv4.tcp_max_syn_backlog"},
        .meaning = "the bound of half-open entries of one listener without cookies",
    }),
    row<&stack_policy::syn_linear_timeouts>({
        .name = "syn_linear_timeouts",
        .lowest = 0,
        .highest = 127,
        .sysctl = {.text = "net.ipv4.tcp_syn_linear_timeouts"},
        .meaning = "SYN retransmissions one second apart before the doubling starts",
    }),
    row<&stack_policy::timestamps>({
        .name = "timestamps",
        .change = policy_change::new_connections,
        .sysctl = {.text = "net.ipv4.tcp_timestamps"},
        .meaning = "offer and accept timestamps (RFC 7323)",
    }),
    row<&stack_policy::window_scaling>({
        .name = "window_scaling",
        .change = policy_change::new_connections,
        .sysctl = {.text = "net.ipv4.tcp_window_scaling"},
        .meaning = "offer and accept window scaling (RFC 7323)",
    }),
    row<&stack_policy::sack>({
        .name = "sack",
        .change = policy_change::new_connections,
        .sysctl = {.text = "net.ipv4.tcp_sack"},
        .meaning = "offer and accept selective acknowledgements (RFC 2018)",
    }),
    row<&stack_policy::dsack>({
        .name = "dsack",
        .sysctl = {.text = "net.ipv4.tcp_dsack"},
        .meaning = "tell the peer of text that arrived twice (RFC 2883)",
    }),
    row<&stack_policy::tail_loss_probe>({
        .name = "tail_loss_probe",
        .meaning = "probe for a lost tail after two round trips (RFC 8985)",
    }),
    row<&stack_policy::frto>({
        .name = "frto",
        .meaning = "find out whether a time-out was for nothing (RFC 5682)",
    }),
    row<&stack_policy::slow_start_after_idle>({
        .name = "slow_start_after_idle",
        .sysctl = {.text = "net.ipv4.tcp_slow_start_after_idle"},
        .meaning = "begin with a smaller window after a pause",
    }),
    row<&stack_policy::ecn>({
        .name = "ecn",
        .change = policy_change::new_connections,
        .sysctl = {.text = "net.ipv4.tcp_ecn"},
        .words = ecn_words,
        .meaning = "explicit congestion notification (RFC 3168): never, ask for it, or accept it",
    }),
    row<&stack_policy::fastopen>({
        .name = "fastopen",
        .kind = policy_kind::bits,
        .sysctl = {.text = "net.ipv4.tcp_fastopen"},
        .words = fastopen_words,
        .meaning = "who may send and take text with the SYN (RFC 7413)",
    }),
    row<&stack_policy::fastopen_blackhole_timeout>({
        .name = "fastopen_blackhole_timeout",
        .lowest = 0,
        .highest = day_ms,
        .sysctl = {.text = "net.ipv4.tcp_fastopen_blackhole_timeout_sec", .unit = seconds},
        .meaning = "pause of Fast Open after losses, doubled each time; 0 is none",
    }),
    row<&stack_policy::mtu_probing>({
        .name = "mtu_probing",
        .sysctl = {.text = "net.ipv4.tcp_mtu_probing"},
        .words = mtu_probing_words,
        .meaning = "probe for the MTU of the path (RFC 4821)",
    }),
    row<&stack_policy::base_mss>({
        .name = "base_mss",
        .kind = policy_kind::bytes,
        .lowest = 48,
        .highest = 65535,
        .sysctl = {.text = "net.ipv4.tcp_base_mss"},
        .meaning = "the MSS that probing begins with",
    }),
    row<&stack_policy::mtu_probe_floor>({
        .name = "mtu_probe_floor",
        .kind = policy_kind::bytes,
        .lowest = 48,
        .highest = 65535,
        .sysctl = {.text = "net.ipv4.tcp_mtu_probe_floor"},
        .meaning = "what a black hole makes the MSS at least",
    }),
    row<&stack_policy::probe_interval>({
        .name = "probe_interval",
        .lowest = 1 * seconds,
        .highest = day_ms,
        .sysctl = {.text = "net.ipv4.tcp_probe_interval", .unit = seconds},
        .meaning = "how long after its beginning a search that is over begins anew",
    }),
    row<&stack_policy::probe_threshold>({
        .name = "probe_threshold",
        .kind = policy_kind::bytes,
        .lowest = 1,
        .highest = 65535,
        .sysctl = {.text = "net.ipv4.tcp_probe_threshold"},
        .meaning = "how close a search comes before it is over",
    }),
    row<&stack_policy::retries1>({
        .name = "retries1",
        .lowest = 0,
        .highest = 255,
        .sysctl = {.text = "net.ipv4.tcp_retries1"},
        .meaning = "unanswered retransmissions until a black hole is suspected",
    }),
    row<&stack_policy::min_snd_mss>({
        .name = "min_snd_mss",
        .kind = policy_kind::bytes,
        .lowest = 48,
        .highest = 65535,
        .sysctl = {.text = "net.ipv4.tcp_min_snd_mss"},
        .meaning = "the smallest MSS that a peer or a path makes us send with",
    }),
    row<&stack_policy::min_adv_mss>({
        .name = "min_adv_mss",
        .kind = policy_kind::bytes,
        .change = policy_change::new_connections,
        .lowest = 1,
        .highest = 65495,
        .sysctl = {.text = "net.ipv4.route.min_adv_mss"},
        .meaning = "the least that our SYN offers, unless max_segment is less",
    }),
    row<&stack_policy::min_pmtu>({
        .name = "min_pmtu",
        .kind = policy_kind::bytes,
        .lowest = 68,
        .highest = 65535,
        .sysctl = {.text = "net.ipv4.route.min_pmtu"},
        .meaning = "what ICMP errors make IPv4 packets at least; IPv6 has 1280",
    }),
    row<&stack_policy::route_mtu_expires>({
        .name = "route_mtu_expires",
        .lowest = 1 * seconds,
        .highest = day_ms,
        .sysctl = {.text = "net.ipv4.route.mtu_expires", .unit = seconds},
        .meaning = "how long an ICMP error on the size of packets is believed",
    }),
    row<&stack_policy::rfc1337>({
        .name = "rfc1337",
        .sysctl = {.text = "net.ipv4.tcp_rfc1337"},
        .meaning = "ignore RST in TIME-WAIT",
    }),
    row<&stack_policy::max_tw_buckets>({
        .name = "max_tw_buckets",
        .lowest = 0,
        .highest = 1 << 28,
        .sysctl = {.text = "net.ipv4.tcp_max_tw_buckets"},
        .meaning = "the bound of TIME-WAIT entries",
    }),
    row<&stack_policy::tw_overflow>({
        .name = "tw_overflow",
        .words = tw_overflow_words,
        .meaning = "what happens beyond that bound; Linux refuses",
    }),
    row<&stack_policy::tw_reuse>({
        .name = "tw_reuse",
        .sysctl = {.text = "net.ipv4.tcp_tw_reuse"},
        .words = tw_reuse_words,
        .meaning = "whether connect may take a port out of TIME-WAIT; it needs timestamps",
    }),
    row<&stack_policy::tw_reuse_delay>({
        .name = "tw_reuse_delay",
        .lowest = 0,
        .highest = day_ms,
        .sysctl = {.text = "net.ipv4.tcp_tw_reuse_delay"},
        .meaning = "how old an entry must be for that",
    }),
    row<&stack_policy::tw_recycle>({
        .name = "tw_recycle",
        .sysctl = {.text = "net.ipv4.tcp_tw_recycle"},
        .meaning = "UNSAFE, gone since Linux 4.12: refuses clients behind an address translator",
    }),
    row<&stack_policy::quiet_time>({
        .name = "quiet_time",
        .lowest = 0,
        .highest = day_ms,
        .meaning = "no SYN is sent or answered for so long after the start (RFC 9293 3.4.3)",
    }),
    row<&stack_policy::max_orphans>({
        .name = "max_orphans",
        .lowest = 0,
        .highest = UINT32_MAX,
        .sysctl = {.text = "net.ipv4.tcp_max_orphans"},
        .meaning = "the bound of connections without an owner; one more is reset",
    }),
    row<&stack_policy::orphan_memory>({
        .name = "orphan_memory",
        .kind = policy_kind::bytes,
        .lowest = 0,
        .highest = std::int64_t{1} << 44,
        .meaning = "the bound of what the queues of those hold; 0 is memory_limit alone",
    }),
    row<&stack_policy::challenge_ack_limit>({
        .name = "challenge_ack_limit",
        .lowest = 0,
        .highest = UINT32_MAX,
        .sysctl = {.text = "net.ipv4.tcp_challenge_ack_limit", .form = linux_form::zero_is_none},
        .meaning = "challenge ACKs a second for the whole host (RFC 5961); 0 is unbounded",
    }),
    row<&stack_policy::challenge_ack_limit_per_peer>({
        .name = "challenge_ack_limit_per_peer",
        .lowest = 0,
        .highest = UINT32_MAX,
        .meaning = "the same for one peer's address; 0 is unbounded",
    }),
    row<&stack_policy::invalid_ratelimit>({
        .name = "invalid_ratelimit",
        .lowest = 0,
        .highest = day_ms,
        .sysctl = {.text = "net.ipv4.tcp_invalid_ratelimit"},
        .meaning = "the shortest time between two answers to invalid segments of a connection",
    }),
    row<&stack_policy::reject_limit>({
        .name = "reject_limit",
        .lowest = 0,
        .highest = UINT32_MAX,
        .meaning = "ICMP errors and RSTs to unknown connections a second; 0 is unbounded",
    }),
    row<&stack_policy::reject_limit_per_peer>({
        .name = "reject_limit_per_peer",
        .lowest = 0,
        .highest = UINT32_MAX,
        .meaning = "the same for one peer's address; 0 is unbounded",
    }),
    row<&stack_policy::failed_cookie_limit>({
        .name = "failed_cookie_limit",
        .lowest = 0,
        .highest = UINT32_MAX,
        .meaning = "wrong SYN cookies a second that are looked at closely; 0 is unbounded",
    }),
    row<&stack_policy::local_port_first>({
        .name = "local_port_first",
        .lowest = 1,
        .highest = 65535,
        .sysctl = {.text = "net.ipv4.ip_local_port_range", .form = linux_form::range},
        .meaning = "the first port for connect without one",
    }),
    row<&stack_policy::local_port_last>({
        .name = "local_port_last",
        .lowest = 1,
        .highest = 65535,
        .sysctl = {.text = "net.ipv4.ip_local_port_range", .form = linux_form::range},
        .meaning = "the last one",
    }),
    row<&stack_policy::auto_flowlabels>({
        .name = "auto_flowlabels",
        .sysctl = {.text = "net.ipv6.auto_flowlabels"},
        .meaning = "give each IPv6 flow a label (RFC 6437)",
    }),
    row<&stack_policy::ipfrag_high_thresh>({
        .name = "ipfrag_high_thresh",
        .kind = policy_kind::bytes,
        .lowest = 0,
        .highest = 1 << 30,
        .sysctl = {.text = "net.ipv4.ipfrag_high_thresh"},
        .meaning = "what fragments may hold until the others are here; 0 takes none",
    }),
    row<&stack_policy::ipfrag_time>({
        .name = "ipfrag_time",
        .lowest = 1,
        .highest = 300'000,
        .sysctl = {.text = "net.ipv4.ipfrag_time", .unit = seconds},
        .meaning = "how long an IPv4 packet waits for its missing fragments",
    }),
    row<&stack_policy::ip6frag_time>({
        .name = "ip6frag_time",
        .lowest = 1,
        .highest = 300'000,
        .sysctl = {.text = "net.ipv6.ip6frag_time", .unit = seconds},
        .meaning = "the same of an IPv6 packet",
    }),
    row<&stack_policy::gro>({
        .name = "gro",
        .meaning = "join what the link gives segment by segment before the engine sees it",
    }),
    row<&stack_policy::memory_limit>({
        .name = "memory_limit",
        .kind = policy_kind::bytes,
        .change = policy_change::new_host,
        .lowest = 1 << 20,
        .highest = std::int64_t{1} << 44,
        .sysctl = {.text = "net.ipv4.tcp_mem", .form = linux_form::three_pages},
        .meaning = "what the queues of the whole host may hold",
    }),
};

static_assert(stack_table.size() == count_fields<stack_policy>(),
              "every field of stack_policy needs a row here");

}  // namespace runnel::tcp::detail
