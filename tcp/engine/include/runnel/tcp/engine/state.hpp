#pragma once

#include <cstdint>
#include <string_view>

namespace runnel::tcp {

/// The states of RFC 9293 §3.3.2, in its order.
enum class state : std::uint8_t {
  listen,
  syn_sent,
  syn_received,
  established,
  fin_wait_1,
  fin_wait_2,
  close_wait,
  closing,
  last_ack,
  time_wait,
  closed,
};

/// As the RFC spells it: "SYN-SENT".
constexpr std::string_view rfc_name(state of) noexcept {
  switch (of) {
    case state::listen:
      return "LISTEN";
    case state::syn_sent:
      return "SYN-SENT";
    case state::syn_received:
      return "SYN-RECEIVED";
    case state::established:
      return "ESTABLISHED";
    case state::fin_wait_1:
      return "FIN-WAIT-1";
    case state::fin_wait_2:
      return "FIN-WAIT-2";
    case state::close_wait:
      return "CLOSE-WAIT";
    case state::closing:
      return "CLOSING";
    case state::last_ack:
      return "LAST-ACK";
    case state::time_wait:
      return "TIME-WAIT";
    case state::closed:
      return "CLOSED";
  }
  return "?";
}

/// As `ss` prints it: "SYN-RECV", "ESTAB", "UNCONN".
constexpr std::string_view ss_name(state of) noexcept {
  switch (of) {
    case state::syn_received:
      return "SYN-RECV";
    case state::established:
      return "ESTAB";
    case state::closed:
      return "UNCONN";
    default:
      return rfc_name(of);
  }
}

/// Why a connection is over. `none` while it is not.
enum class end_reason : std::uint8_t {
  none,
  /// Both directions ended with FIN, and ours was acknowledged.
  clean,
  /// The peer sent RST.
  reset,
  /// Retransmissions, probes or a handshake went unanswered for as long as the policy says.
  timed_out,
  /// We sent RST: `abort`, close with unread data, data for a closed connection, out of memory.
  aborted,
  /// The handshake was answered with RST, or with an ICMP error; the error that `receive` tells
  /// says which.
  refused,
};

/// What it means, in lower-case words: "timed out".
constexpr std::string_view to_string(end_reason of) noexcept {
  switch (of) {
    case end_reason::none:
      return "none";
    case end_reason::clean:
      return "clean";
    case end_reason::reset:
      return "reset";
    case end_reason::timed_out:
      return "timed out";
    case end_reason::aborted:
      return "aborted";
    case end_reason::refused:
      return "refused";
  }
  return "?";
}

}  // namespace runnel::tcp
