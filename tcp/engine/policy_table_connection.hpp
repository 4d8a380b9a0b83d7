#pragma once

#include "policy_table.hpp"

namespace runnel::tcp::detail {

inline constexpr std::array close_words = {
    policy_word{"graceful", 0},  policy_word{"linger", 1},     policy_word{"abort", 2},
    policy_word{"lingering", 3}, policy_word{"peer_first", 4},
};

inline constexpr std::array congestion_words = {policy_word{"cubic", 0}, policy_word{"reno", 1},
                                                policy_word{"bbr", 2}};
inline constexpr std::array slow_start_words = {
    policy_word{"hystart", 0}, policy_word{"hystart_plus_plus", 1}, policy_word{"standard", 2}};

inline constexpr std::array mtu_discover_words = {
    policy_word{"dont", 0},  policy_word{"want", 1},      policy_word{"always", 2},
    policy_word{"probe", 3}, policy_word{"interface", 4},
};

/// What the fields of `connection_policy` are, in their order.
inline constexpr std::array connection_table = {
    row<&connection_policy::receive_buffer>({
        .name = "receive_buffer",
        .kind = policy_kind::bytes,
        .lowest = 2304,
        .highest = 1 << 30,
        .zero = true,
        .option = {.text = "SO_RCVBUF", .form = linux_form::doubled},
        .meaning = "room for received bytes, as memory held; 0 grows as needed (rmem)",
    }),
    row<&connection_policy::send_buffer>({
        .name = "send_buffer",
        .kind = policy_kind::bytes,
        .lowest = 4608,
        .highest = 1 << 30,
        .zero = true,
        .option = {.text = "SO_SNDBUF", .form = linux_form::doubled},
        .meaning = "room for bytes not yet acknowledged, as memory held; 0 grows as needed (wmem)",
    }),
    row<&connection_policy::notsent_lowat>({
        .name = "notsent_lowat",
        .kind = policy_kind::bytes,
        .lowest = 1,
        .highest = UINT32_MAX,
        .sysctl = {.text = "net.ipv4.tcp_notsent_lowat"},
        .option = {.text = "TCP_NOTSENT_LOWAT", .form = linux_form::zero_is_default},
        .meaning = "nothing is taken while so much was never sent; 4294967295 is no bound",
    }),
    row<&connection_policy::nodelay>({
        .name = "nodelay",
        .option = {.text = "TCP_NODELAY"},
        .meaning = "send small segments without waiting for the acknowledgement of earlier ones",
    }),
    row<&connection_policy::cork>({
        .name = "cork",
        .option = {.text = "TCP_CORK"},
        .meaning = "hold small segments back until there is a full one, FIN, or 200 ms have passed",
    }),
    row<&connection_policy::quickack>({
        .name = "quickack",
        .option = {.text = "RTAX_QUICKACK"},
        .meaning = "acknowledge every segment at once",
    }),
    row<&connection_policy::max_segment>({
        .name = "max_segment",
        .kind = policy_kind::bytes,
        .change = policy_change::new_connections,
        .lowest = 88,
        .highest = 32767,
        .zero = true,
        .option = {.text = "TCP_MAXSEG"},
        .meaning = "the longest segment to send or to ask for; 0 takes it from the link's MTU",
    }),
    row<&connection_policy::mtu_discover>({
        .name = "mtu_discover",
        .sysctl = {.text = "net.ipv4.ip_no_pmtu_disc", .form = linux_form::no_pmtu_disc},
        .option = {.text = "IP_MTU_DISCOVER"},
        .words = mtu_discover_words,
        .meaning = "whether routers may fragment, and whether their word on sizes is believed",
    }),
    row<&connection_policy::ttl>({
        .name = "ttl",
        .lowest = 1,
        .highest = 255,
        .sysctl = {.text = "net.ipv4.ip_default_ttl"},
        .option = {.text = "IP_TTL"},
        .meaning = "hop limit of what is sent",
    }),
    row<&connection_policy::syn_retries>({
        .name = "syn_retries",
        .lowest = 1,
        .highest = 127,
        .sysctl = {.text = "net.ipv4.tcp_syn_retries"},
        .option = {.text = "TCP_SYNCNT"},
        .meaning = "SYN retransmissions with doubling waits",
    }),
    row<&connection_policy::rto_initial>({
        .name = "rto_initial",
        .lowest = 1,
        .highest = 120 * seconds,
        .meaning = "the retransmission time-out before anything is measured; Linux compiles in 1 s",
    }),
    row<&connection_policy::rto_min>({
        .name = "rto_min",
        .lowest = 1,
        .highest = 120 * seconds,
        .sysctl = {.text = "net.ipv4.tcp_rto_min_us", .form = linux_form::thousandths},
        .option = {.text = "TCP_RTO_MIN_US", .form = linux_form::thousandths},
        .meaning = "what the retransmission time-out is longer than the round-trip time, at least",
    }),
    row<&connection_policy::rto_max>({
        .name = "rto_max",
        .lowest = 1 * seconds,
        .highest = 120 * seconds,
        .sysctl = {.text = "net.ipv4.tcp_rto_max_ms"},
        .option = {.text = "TCP_RTO_MAX_MS"},
        .meaning = "the longest retransmission time-out, and the longest wait between probes",
    }),
    row<&connection_policy::retries2>({
        .name = "retries2",
        .lowest = 0,
        .highest = 255,
        .sysctl = {.text = "net.ipv4.tcp_retries2"},
        .meaning = "unanswered retransmissions until a connection is given up; 15 are 924.6 s",
    }),
    row<&connection_policy::orphan_retries>({
        .name = "orphan_retries",
        .lowest = 1,
        .highest = 255,
        .sysctl = {.text = "net.ipv4.tcp_orphan_retries", .form = linux_form::zero_is_eight},
        .meaning = "the same for a connection that its owner has closed",
    }),
    row<&connection_policy::keepalive>({
        .name = "keepalive",
        .option = {.text = "SO_KEEPALIVE"},
        .meaning = "probe an idle peer",
    }),
    row<&connection_policy::keepalive_time>({
        .name = "keepalive_time",
        .lowest = 1,
        .highest = 32767 * seconds,
        .sysctl = {.text = "net.ipv4.tcp_keepalive_time", .unit = seconds},
        .option = {.text = "TCP_KEEPIDLE", .unit = seconds},
        .meaning = "how long a connection is idle before the first probe",
    }),
    row<&connection_policy::keepalive_interval>({
        .name = "keepalive_interval",
        .lowest = 1,
        .highest = 32767 * seconds,
        .sysctl = {.text = "net.ipv4.tcp_keepalive_intvl", .unit = seconds},
        .option = {.text = "TCP_KEEPINTVL", .unit = seconds},
        .meaning = "the time between probes",
    }),
    row<&connection_policy::keepalive_probes>({
        .name = "keepalive_probes",
        .lowest = 1,
        .highest = 127,
        .sysctl = {.text = "net.ipv4.tcp_keepalive_probes"},
        .option = {.text = "TCP_KEEPCNT"},
        .meaning = "unanswered probes until the connection is given up",
    }),
    row<&connection_policy::user_timeout>({
        .name = "user_timeout",
        .lowest = 0,
        .highest = day_ms,
        .option = {.text = "TCP_USER_TIMEOUT"},
        .meaning = "how long sent bytes or probes may stay unanswered; 0 leaves it to the retries",
    }),
    row<&connection_policy::fin_timeout>({
        .name = "fin_timeout",
        .lowest = 0,
        .highest = day_ms,
        .sysctl = {.text = "net.ipv4.tcp_fin_timeout", .unit = seconds},
        .option = {.text = "TCP_LINGER2",
                   .unit = seconds,
                   .form = linux_form::zero_is_unset,
                   .highest = 120},
        .meaning =
            "how long a closed connection waits in FIN-WAIT-2 for the peer's FIN; 0 resets it",
    }),
    row<&connection_policy::time_wait>({
        .name = "time_wait",
        .lowest = 0,
        .highest = day_ms,
        .meaning = "TIME-WAIT, twice the maximum segment lifetime; Linux compiles in 60 s",
    }),
    row<&connection_policy::close>({
        .name = "close",
        .option = {.text = "SO_LINGER", .form = linux_form::linger},
        .words = close_words,
        .meaning = "how closing and dropping a connection end it",
    }),
    row<&connection_policy::close_time>({
        .name = "close_time",
        .lowest = 0,
        .highest = day_ms,
        .option = {.text = "SO_LINGER", .unit = seconds, .form = linux_form::linger},
        .meaning = "the time of the ways to close that have one",
    }),
    row<&connection_policy::peer_first_linger>({
        .name = "peer_first_linger",
        .lowest = 0,
        .highest = day_ms,
        .meaning = "how long peer_first lingers once its time is over",
    }),
    row<&connection_policy::orphan_window_timeout>({
        .name = "orphan_window_timeout",
        .lowest = 0,
        .highest = day_ms,
        .meaning = "how long a window of zero may hold up a closed connection; 0 is Linux's 361 s",
    }),
    row<&connection_policy::fastopen_connect>({
        .name = "fastopen_connect",
        .change = policy_change::new_connections,
        .option = {.text = "TCP_FASTOPEN_CONNECT"},
        .meaning = "send what is written first with the SYN (RFC 7413)",
    }),
    row<&connection_policy::congestion_control>({
        .name = "congestion_control",
        .sysctl = {.text = "net.ipv4.tcp_congestion_control", .form = linux_form::word},
        .option = {.text = "TCP_CONGESTION", .form = linux_form::word},
        .words = congestion_words,
        .meaning = "how the window follows what the path carries",
    }),
    row<&connection_policy::slow_start>({
        .name = "slow_start",
        .words = slow_start_words,
        .meaning = "how slow start ends without a loss (RFC 9406)",
    }),
    row<&connection_policy::pacing>({
        .name = "pacing",
        .meaning = "spread what CUBIC and Reno send over the round trip, as under Linux's fq",
    }),
    row<&connection_policy::max_pacing_rate>({
        .name = "max_pacing_rate",
        .kind = policy_kind::bytes,
        .lowest = 1,
        .highest = INT64_MAX,
        .zero = true,
        .option = {.text = "SO_MAX_PACING_RATE", .form = linux_form::zero_is_all_ones},
        .meaning = "the bound of the pace in bytes a second, which turns pacing on; 0 is none",
    }),
    row<&connection_policy::thin_linear_timeouts>({
        .name = "thin_linear_timeouts",
        .sysctl = {.text = "net.ipv4.tcp_thin_linear_timeouts"},
        .option = {.text = "TCP_THIN_LINEAR_TIMEOUTS"},
        .meaning = "no doubling of time-outs while less than four segments are in flight",
    }),
};

static_assert(connection_table.size() == count_fields<connection_policy>(),
              "every field of connection_policy needs a row here");

}  // namespace runnel::tcp::detail
