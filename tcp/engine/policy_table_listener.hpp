#pragma once

#include "policy_table.hpp"

namespace runnel::tcp::detail {

inline constexpr std::array syncookies_words = {
    policy_word{"off", 0}, policy_word{"on_overflow", 1}, policy_word{"always", 2}};
inline constexpr std::array overflow_words = {policy_word{"drop", 0}, policy_word{"reset", 1},
                                              policy_word{"park", 2}};

/// What the fields of `listener_policy` are, in their order.
inline constexpr std::array listener_table = {
    row<&listener_policy::backlog>({
        .name = "backlog",
        .lowest = 0,
        .highest = UINT32_MAX,
        .meaning = "finished handshakes that may wait for accept, and one more; see listen(2)",
    }),
    row<&listener_policy::synack_retries>({
        .name = "synack_retries",
        .lowest = 0,
        .highest = 255,
        .sysctl = {.text = "net.ipv4.tcp_synack_retries"},
        .option = {.text = "TCP_SYNCNT", .highest = 127},
        .meaning = "SYN-ACK retransmissions until a half-open entry is dropped",
    }),
    row<&listener_policy::syncookies>({
        .name = "syncookies",
        .sysctl = {.text = "net.ipv4.tcp_syncookies"},
        .words = syncookies_words,
        .meaning = "whether a full SYN queue, or every SYN, is answered with a cookie",
    }),
    row<&listener_policy::overflow>({
        .name = "overflow",
        .sysctl = {.text = "net.ipv4.tcp_abort_on_overflow"},
        .words = overflow_words,
        .meaning = "what a finished handshake meets in a full accept queue",
    }),
    row<&listener_policy::cookie_overflow>({
        .name = "cookie_overflow",
        .words = overflow_words,
        .meaning = "the same for one that carries a cookie; Linux drops it in silence",
    }),
    row<&listener_policy::legacy_sizing>({
        .name = "legacy_sizing",
        .meaning = "size the SYN queue as Linux 2.6 to 4.3 did",
    }),
    row<&listener_policy::defer_accept>({
        .name = "defer_accept",
        .lowest = 0,
        .highest = day_ms,
        .option = {.text = "TCP_DEFER_ACCEPT", .unit = seconds},
        .meaning = "how long a third segment without text is ignored; 0 is off",
    }),
    row<&listener_policy::fastopen_queue>({
        .name = "fastopen_queue",
        .lowest = 0,
        .highest = UINT32_MAX,
        .option = {.text = "TCP_FASTOPEN"},
        .meaning = "connections that may have text of their SYN and no handshake; 0 is off",
    }),
    row<&listener_policy::v6only>({
        .name = "v6only",
        .change = policy_change::new_connections,
        .sysctl = {.text = "net.ipv6.bindv6only"},
        .option = {.text = "IPV6_V6ONLY"},
        .meaning = "a listener on :: leaves IPv4 to others",
    }),
};

/// `listener_policy::connection` has a table of its own.
static_assert(listener_table.size() + 1 == count_fields<listener_policy>(),
              "every field of listener_policy needs a row here");

}  // namespace runnel::tcp::detail
