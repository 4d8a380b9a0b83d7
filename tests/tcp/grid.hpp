#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "runnel/tcp/engine/state.hpp"

// The grid: what each state does with each event. The cells are data, so that the same ones are
// tested (test_grid.cpp) and printed (docs/states.md).

namespace runnel::tcp::test::grid {

/// The states in the order of RFC 9293 §3.10.7, with those twice whose reactions depend on how they
/// were reached.
enum class row : std::uint8_t {
  closed,
  listen,
  syn_sent,
  syn_received,
  syn_received_active,
  established,
  fin_wait_1,
  fin_wait_1_closed,
  fin_wait_2,
  fin_wait_2_closed,
  close_wait,
  closing,
  last_ack,
  time_wait,
};
inline constexpr std::size_t row_count = 14;

/// What happens, in the order of RFC 9293 §3.10: calls, segments as the checks of §3.10.7.4 look at
/// them, timers. A segment has SEG.SEQ = RCV.NXT and acknowledges nothing new unless it says so.
enum class event : std::uint8_t {
  shutdown,
  close,
  abort,
  old_text,
  text_beyond,
  ack_beyond,
  rst_exact,
  rst_inside,
  rst_outside,
  syn_again,
  syn_other,
  syn_ack,
  ack,
  ack_old,
  ack_ancient,
  ack_unsent,
  text,
  fin,
  fin_ack,
  resend_timer,
  last_timer,
};
inline constexpr std::size_t event_count = 21;

/// What goes out on the wire.
enum class reply : std::uint8_t {
  nothing,
  ack,
  /// At the number that the segment acknowledges.
  rst,
  /// To a segment without ACK.
  rst_for_all,
  /// Of a connection that ends from here.
  rst_here,
  syn,
  syn_ack,
  /// Of a TIME-WAIT that is opened again.
  syn_ack_beyond,
  text,
  fin,
  fin_again,
};

/// What the application learns, from events and from the next calls.
enum class told : std::uint8_t {
  nothing,
  no_connection,
  not_connected,
  connected,
  connected_text,
  connected_end,
  waiting,
  waiting_text,
  waiting_end,
  text,
  end,
  acknowledged,
  clean,
  end_clean,
  refused,
  reset,
  reset_pipe,
  timed_out,
  aborted,
};

struct cell {
  event on;
  reply says;
  state next;
  told hears;
  /// The sections and rows that say so, and what else is to be known.
  std::string_view why;
  /// For `last_timer`: when it is over, in ms.
  std::int64_t after_ms = -1;
};

struct row_cells {
  row id;
  state in;
  /// In the table's head.
  std::string_view name;
  /// How it was reached.
  std::string_view how;
  /// One for each event, in their order.
  std::span<const cell> cells;
};

/// CLOSED up to ESTABLISHED.
std::span<const row_cells> opening_rows();
/// FIN-WAIT-1 up to TIME-WAIT.
std::span<const row_cells> closing_rows();

std::string_view name_of(event of);
/// With the RFC's words for a segment.
std::string_view text_of(event of);
std::string_view text_of(reply of);
std::string_view text_of(told of);

}  // namespace runnel::tcp::test::grid
