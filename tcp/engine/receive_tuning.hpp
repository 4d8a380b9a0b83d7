#pragma once

#include <cstdint>

#include "runnel/tcp/engine/sequence.hpp"
#include "slab.hpp"
#include "timer_wheel.hpp"

namespace runnel::tcp::detail {

struct core;
struct connection;
struct segment;

/// The clock of `receive_tuning::node`: acknowledgements wait for less than the other timers' tick.
inline constexpr std::uint64_t fine_tick_ns = 50'000;

/// What a connection needs while text streams in, and not before or after: how long the round trip
/// is as a receiver sees it, how much is read in one (Linux's Dynamic Right-Sizing), how far the
/// window has opened, and acknowledgements that wait to go as one. Plain data in a slab. What
/// survives it is `connection::receive_buffer` and the window that was offered last.
struct receive_tuning {
  /// The slab's free list.
  std::uint32_t next = no_index;
  /// Whose it is.
  std::uint32_t owner = no_index;
  /// For the end of waiting, and for the look whether the stream has ended.
  timer_node node;

  /// The most that the window may be. It opens with what arrives, so that who sends small segments,
  /// which hold more memory than they bring, is promised less (Linux's rcv_ssthresh).
  std::uint32_t rcv_ssthresh = 0;

  // ---- the round trip (Linux's rcv_rtt_est)
  /// In eighths of us; 0 while nothing was measured.
  std::uint32_t rtt_eighths = 0;
  /// Without timestamps: a window of text, up to this number, takes a round trip at least.
  sequence rtt_end;
  bool rtt_timed = false;
  std::uint64_t rtt_begin_us = 0;
  /// The echo that was measured last: each counts once.
  std::uint32_t last_echo = 0;

  // ---- what is read in a round trip (Linux's rcvq_space)
  std::uint32_t space = 0;
  sequence space_begin;
  std::uint64_t space_begin_us = 0;

  // ---- duplicate acknowledgements that wait (Linux's compressed_ack)
  /// RCV.NXT of the hole that they are about.
  sequence hole;
  /// Those of this hole that went at once.
  std::uint8_t told = 0;
  std::uint8_t waiting = 0;
  /// When those that wait go, in `fine_tick_ns`.
  std::uint64_t until = 0;

  std::uint32_t rtt_us() const noexcept { return rtt_eighths / 8; }
};

static_assert(sizeof(receive_tuning) <= 112, "a tuning block is to stay small");
using receive_tuning_slab = slab<receive_tuning, 64>;

// ---- receive_window.cpp

/// What a connection, or a listener's child, with this `receive_buffer` begins with.
std::uint32_t first_receive_buffer(const core& host, std::uint32_t policy_value) noexcept;
/// The scale for the largest window that it may ever offer (RFC 7323 §2.3).
std::uint8_t window_scale_for(const core& host, std::uint32_t policy_value) noexcept;
/// The window beside a SYN, which is never scaled. Whole segments, as Linux has it.
std::uint16_t first_window(std::uint32_t receive_buffer, std::uint32_t mss) noexcept;
/// The most that the window may be now: see `receive_tuning::rcv_ssthresh`.
std::uint32_t rcv_ssthresh_of(const core& host, const connection& c) noexcept;
/// What a connection reads in a round trip before anything was measured.
std::uint32_t first_space(const core& host, const connection& c) noexcept;
/// The window to offer now; never takes back what was offered.
std::uint32_t select_window(core& host, connection& c) noexcept;
/// Remembers that a segment says RCV.NXT and this window.
void note_advertised(core& host, connection& c, std::uint32_t window) noexcept;

// ---- receive_tuning.cpp

/// The connection's block; a fresh one when it has none, null without memory.
receive_tuning* tuning_of(core& host, connection& c) noexcept;
/// Gives it back.
void give_back_tuning(core& host, connection& c) noexcept;
/// Text of the segment, which holds `truesize` bytes of memory, has arrived in order.
void tune_on_arrival(core& host, connection& c, const segment& seg, std::uint32_t length,
                     std::uint32_t truesize) noexcept;
/// The same ahead of a hole.
void tune_out_of_order(core& host, connection& c, std::uint32_t length,
                       std::uint32_t truesize) noexcept;
/// The application has read.
void tune_on_read(core& host, connection& c) noexcept;
/// What was received holds as much as the buffer allows: more is allowed where that is no harm, or
/// the window closes to two segments (Linux's tcp_clamp_window).
void clamp_window(core& host, connection& c) noexcept;
/// The timers of blocks that are due.
void expire_tunings(core& host);
/// The first of them, in ns; UINT64_MAX when there is none.
std::uint64_t next_tuning_ns(const core& host) noexcept;

// ---- compressed_ack.cpp

/// Whether the acknowledgement of a segment ahead of a hole waits for others; if not it is owed
/// now.
bool compress_ack(core& host, connection& c) noexcept;
/// Those that wait go now, as one.
void release_compressed(core& host, connection& c, receive_tuning& t) noexcept;
/// A segment acknowledges: nothing waits any more.
void note_acknowledged(core& host, connection& c) noexcept;
/// The block is to be looked at again at this tick, if not earlier.
void wake_tuning(core& host, receive_tuning& t, std::uint64_t tick) noexcept;

}  // namespace runnel::tcp::detail
