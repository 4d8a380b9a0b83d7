#pragma once

#include <cstdint>
#include <optional>

#include "core.hpp"
#include "secret.hpp"

namespace runnel::tcp::detail {

// SYN cookies (RFC 4987 §3.6): what a half-open entry would remember, written into the SYN-ACK so
// that the third segment brings it back. Two layouts, because a peer with timestamps echoes 32 bits
// more. `count` is the number of 60 s steps that the host's clock has made; a cookie is good in the
// step it was made in and in the next one.
//
// The initial sequence number:
//
//                   31 ............................ 8  7    6    5   4..2    1..0
//   no timestamps   [ SipHash-2-4, 24 bits          ] [key][ECN][SACK][scale][MSS]
//                   31 ............................ 3  2    1..0
//   timestamps      [ SipHash-2-4, 29 bits          ] [key][MSS]
//
// and with timestamps, as Linux does it, the low bits of TSval:
//
//                   31 ............................ 6  5    4    3..0
//                   [ the clock                     ] [ECN][SACK][shift; 15 is none]
//
// The hash covers the addresses, the ports, the peer's first number, the step, the layout, the
// options and our own window shift. The option bits of the number are mixed with hash bits, or its
// low byte would say what the peer is.
//
// Forgery: a number is tried with three steps (a machine that shares the keys may be ahead of us)
// and the keys whose mark fits, usually one, so a blind guess without timestamps is right once in
// 2^24 / 3, which is 5.6 million; for a bare acknowledgement, which may be a keepalive probe, once
// in 2.8 million; with timestamps once in 2^29 / 3. Linux's odds are one in 2^29 / 4, without any
// option but the MSS for peers that have no timestamps. What a good guess wins is one connection to
// a listener that is being flooded.

/// How old a cookie gets: the step that it was made in and the one after it.
inline constexpr std::uint32_t cookie_lifetime_ms = 120'000;
/// How far the bits of the options set a timestamp back at most.
inline constexpr std::uint32_t timestamp_bits_span = 128;
// Checking a wrong one costs some hundred nanoseconds. Beyond `stack_policy::failed_cookie_limit`
// of them a second, each costs one hash or none: only the present step and key are tried, and not
// the number before, so that most of what the honest bring back is still taken. What is not taken
// then is dropped, for it may be a good one, whose peer sends again.

/// How much is tried before a cookie counts as wrong.
enum class cookie_effort : std::uint8_t {
  /// The steps next to the present one, and the previous key.
  full,
  /// The present step and key.
  least,
};

/// What a cookie remembers of a SYN.
struct cookie_options {
  std::uint16_t mss = default_mss;
  std::uint8_t snd_wscale = 0;
  bool window_scaled = false;
  bool sack_permitted = false;
  bool ecn = false;
  bool timestamps = false;

  friend bool operator==(const cookie_options&, const cookie_options&) noexcept = default;
};

/// Whom a cookie is for.
struct cookie_flow {
  net::address remote;
  net::address local;
  std::uint16_t remote_port = 0;
  std::uint16_t local_port = 0;
  /// The peer's first number.
  sequence irs;
  /// The shift that we offered, or would now: when it has changed, so has the meaning of windows.
  std::uint8_t rcv_wscale = 0;
};

/// What these options become on their way through a cookie: the MSS and the shift are rounded down
/// to what there are bits for.
cookie_options as_kept(const cookie_options& asked, net::family family) noexcept;

/// The initial sequence number that holds these options.
sequence make_cookie(const key_ring& keys, const cookie_flow& flow, const cookie_options& asked,
                     std::uint64_t count) noexcept;
/// The TSval that goes with it: the latest one up to `clock` that has the bits.
std::uint32_t cookie_timestamp(const cookie_options& asked, std::uint32_t clock) noexcept;

/// What the cookie says; nothing when it is not ours or too old. `echo` is the timestamp that the
/// peer gives back, if it sends any.
std::optional<cookie_options> check_cookie(const key_ring& keys, const cookie_flow& flow,
                                           sequence iss, std::optional<std::uint32_t> echo,
                                           std::uint64_t count,
                                           cookie_effort effort = cookie_effort::full) noexcept;

/// Answers a SYN with a cookie and opens the listener's gate.
void send_cookie(core& host, std::uint32_t listener, const segment& seg);
/// An acknowledgement for a listener and nobody's connection: true when it had a cookie of ours, or
/// is to be dropped for the number of bad ones, and nothing is left to be done.
/// `replaced` is a half-open entry of the same peer that the acknowledgement does not fit, and that
/// a cookie supersedes; `no_index` for none.
bool take_cookie(core& host, std::uint32_t listener, std::uint32_t replaced, segment& seg);

}  // namespace runnel::tcp::detail
