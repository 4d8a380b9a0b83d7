#pragma once

#include <cstdint>
#include <string_view>

namespace runnel::tcp {

/// How a connection ended, as `stream::close` saw it.
enum class close_outcome : std::uint8_t {
  /// Both directions have ended; everything sent was acknowledged.
  clean,
  /// Everything sent and our FIN were acknowledged; the peer may still be sending. The engine
  /// finishes alone, within `connection_policy::fin_timeout`.
  peer_still_open,
  /// `connection_policy::close_time` was over before everything was acknowledged
  /// (`close_mode::linger`); the engine goes on alone.
  unfinished,
  /// The peer sent RST.
  reset,
  /// The peer stopped answering.
  timed_out,
  /// We sent RST: `abort`, unread bytes, or data that came for a closed connection.
  aborted,
  /// The wait was cancelled; the engine goes on alone.
  cancelled,
  /// The link is gone.
  link_lost,
};

/// What `stream::close` gives.
struct close_result {
  /// How it ended.
  close_outcome outcome = close_outcome::clean;
  /// Bytes that were written and not acknowledged when the connection ended, or when the wait did.
  std::uint32_t lost_bytes = 0;

  /// Whether all bytes and FIN have been acknowledged and nobody reset the connection.
  bool clean() const noexcept {
    return outcome == close_outcome::clean || outcome == close_outcome::peer_still_open;
  }
  friend bool operator==(const close_result&, const close_result&) = default;
};

/// What it means, in lower-case words: "peer still open".
constexpr std::string_view to_string(close_outcome of) noexcept {
  switch (of) {
    case close_outcome::clean:
      return "clean";
    case close_outcome::peer_still_open:
      return "peer still open";
    case close_outcome::unfinished:
      return "unfinished";
    case close_outcome::reset:
      return "reset";
    case close_outcome::timed_out:
      return "timed out";
    case close_outcome::aborted:
      return "aborted";
    case close_outcome::cancelled:
      return "cancelled";
    case close_outcome::link_lost:
      return "link lost";
  }
  return "?";
}

}  // namespace runnel::tcp
