#include "receive_tuning.hpp"

#include <algorithm>

#include "core.hpp"

// How the receive buffer and its window grow: Linux's tcp_rcv_space_adjust, tcp_rcv_rtt_measure and
// tcp_grow_window. What is read in a round trip tells how fast the sender is, and the buffer is
// made as large as it takes to let it become faster.

namespace runnel::tcp::detail {

namespace {

/// So long nothing arrives before the stream is taken to have ended.
constexpr std::uint32_t quiet_ms = 1000;
/// Segments shorter than this open nothing.
constexpr std::uint32_t least_opening_bytes = 128;

constexpr std::uint64_t ticks_of_ms(std::uint32_t ms) noexcept {
  return std::uint64_t{ms} * 1'000'000 / fine_tick_ns;
}

/// The first number that was not read yet.
sequence copied_seq(const connection& c) noexcept {
  return c.rcv_.nxt - (c.fin_received ? 1U : 0U) - c.rx.size();
}

/// A sample that is the lowest so far holds at once, so that the buffer does not outgrow the path.
/// Longer ones are smoothed; those without timestamps, which include what the sender waits, are
/// not heeded.
void take_rtt(receive_tuning& t, std::uint64_t sample_us, bool by_window) noexcept {
  sample_us = std::clamp<std::uint64_t>(sample_us, 1, std::uint64_t{rto_limit_ms} * 1000);
  const auto sample = static_cast<std::uint32_t>(sample_us) * 8;
  if (t.rtt_eighths == 0 || sample < t.rtt_eighths) {
    t.rtt_eighths = sample;
  } else if (!by_window) {
    t.rtt_eighths += static_cast<std::uint32_t>(sample_us) - t.rtt_eighths / 8;
  }
}

/// A window of text cannot come within less than a round trip.
void measure_by_window(const core& host, const connection& c, receive_tuning& t) noexcept {
  if (t.rtt_timed) {
    if (before(c.rcv_.nxt, t.rtt_end)) return;
    take_rtt(t, host.now_us() - t.rtt_begin_us, true);
  }
  t.rtt_timed = true;
  t.rtt_end = c.rcv_.nxt + c.rcv_.wnd;
  t.rtt_begin_us = host.now_us();
}

/// Only of full segments: what a sender was slow to write says nothing of the path. Less than a
/// millisecond is for the window to measure.
void measure_by_echo(const core& host, const connection& c, receive_tuning& t, const segment& seg,
                     std::uint32_t length) noexcept {
  if (!c.timestamps || !seg.options->timestamp) return;
  const std::uint32_t echo = seg.options->timestamp->echo;
  if (echo == t.last_echo) return;
  t.last_echo = echo;
  if (length < c.ack.rcv_mss) return;
  const std::uint32_t elapsed_ms = host.ms() - (echo - c.ts_offset);
  if (elapsed_ms == 0 || elapsed_ms > rto_limit_ms) return;
  take_rtt(t, std::uint64_t{elapsed_ms} * 1000, false);
}

/// By how much a segment opens the window that holds more memory than half of it brings: less and
/// less, the wider it is open already, and nothing where the buffer could not hold a window of
/// such segments (Linux's __tcp_grow_window).
std::uint32_t slow_step(const core& host, const connection& c, const receive_tuning& t,
                        std::uint32_t length, std::uint32_t truesize) noexcept {
  std::uint32_t cost = truesize / 4;
  std::uint32_t window = std::max(host.policy.rmem_max, c.receive_buffer) / 4;
  while (t.rcv_ssthresh <= window && window > 0) {
    if (cost <= length) return 2U * c.ack.rcv_mss;
    cost /= 2;
    window /= 2;
  }
  return 0;
}

void open_window(core& host, connection& c, receive_tuning& t, std::uint32_t length,
                 std::uint32_t truesize) noexcept {
  if (under_pressure(host)) {
    t.rcv_ssthresh = std::min<std::uint32_t>(t.rcv_ssthresh, 4U * c.rcv_mss_offered);
    return;
  }
  const std::uint32_t held = c.held_bytes();
  const std::uint32_t room = held >= c.receive_buffer ? 0 : (c.receive_buffer - held) / 2;
  if (room <= t.rcv_ssthresh) return;
  std::uint32_t step =
      truesize / 2 <= length ? 2U * c.rcv_mss_offered : slow_step(host, c, t, length, truesize);
  if (step == 0) return;
  step = std::max(step, 2 * length);
  t.rcv_ssthresh += std::min(room - t.rcv_ssthresh, step);
  c.ack.quick |= 1;
}

/// How far ahead of RCV.NXT text has arrived.
std::uint32_t reach(const connection& c) noexcept {
  std::uint32_t most = 0;
  for (const auto& each : c.sacks.blocks()) {
    if (after(sequence(each.right), c.rcv_.nxt)) {
      most = std::max(most, distance(c.rcv_.nxt, sequence(each.right)));
    }
  }
  return most;
}

/// `read` bytes were read in a round trip: that much is on its way again, twice where the sender
/// doubles its window, and what was read is always a round trip late.
void grow_buffer(core& host, connection& c, receive_tuning& t, std::uint32_t read) noexcept {
  const std::uint64_t before = std::max(t.space, 1U);
  t.space = read;
  // For who waits to be accepted, or has no owner any more, nobody reads (Linux's sk_socket).
  if (!c.owned || c.closed_by_owner) return;
  if (!c.tuned || !host.policy.moderate_rcvbuf || under_pressure(host)) return;
  std::uint64_t window = std::uint64_t{read} * 2;
  if (read > before) window += window * (read - before) / before * 2;
  if (!c.out_of_order.empty()) window += reach(c);
  const std::uint64_t buffer = std::min<std::uint64_t>(window * 2, host.policy.rmem_max);
  if (buffer > c.receive_buffer) c.receive_buffer = static_cast<std::uint32_t>(buffer);
}

/// Nothing waits to be read or to be put in order, and nothing has come for long.
bool has_ended(const core& host, const connection& c) noexcept {
  return c.held_bytes() == 0 && host.ms() - c.ack.last_received_ms >= quiet_ms;
}

void on_tuning_timer(core& host, std::uint32_t index) {
  receive_tuning& t = host.receive_tunings[index];
  connection& c = host.connections[t.owner];
  if (t.waiting > 0) {
    if (t.until > host.fine_now()) return wake_tuning(host, t, t.until);
    release_compressed(host, c, t);
  }
  if (has_ended(host, c)) return give_back_tuning(host, c);
  // While something waits to be read, reading brings it back.
  if (c.held_bytes() == 0) wake_tuning(host, t, host.fine_now() + ticks_of_ms(quiet_ms));
}

}  // namespace

receive_tuning* tuning_of(core& host, connection& c) noexcept {
  if (c.tuning != no_index) return &host.receive_tunings[c.tuning];
  const std::uint32_t index = host.receive_tunings.allocate();
  if (index == no_index) return nullptr;
  receive_tuning& t = host.receive_tunings[index];
  t = receive_tuning();
  t.owner = c.index;
  t.rcv_ssthresh = rcv_ssthresh_of(host, c);
  t.space = first_space(host, c);
  t.space_begin = copied_seq(c);
  t.space_begin_us = host.now_us();
  t.hole = c.rcv_.nxt;
  c.tuning = index;
  wake_tuning(host, t, host.fine_now() + ticks_of_ms(quiet_ms));
  return &t;
}

void give_back_tuning(core& host, connection& c) noexcept {
  if (c.tuning == no_index) return;
  host.fine_wheel.cancel(host.receive_tunings, c.tuning);
  host.receive_tunings.release(c.tuning);
  c.tuning = no_index;
}

void tune_on_arrival(core& host, connection& c, const segment& seg, std::uint32_t length,
                     std::uint32_t truesize) noexcept {
  const std::uint32_t piece =
      seg.gso_size != 0 ? std::min<std::uint32_t>(length, seg.gso_size) : length;
  const bool full = piece >= c.ack.rcv_mss;
  const bool streams = full && (c.ack.full || length > piece);
  c.ack.full = full;
  if (c.tuning == no_index && (!streams || c.discards)) return;
  receive_tuning* t = tuning_of(host, c);
  if (t == nullptr) return;
  measure_by_window(host, c, *t);
  measure_by_echo(host, c, *t, seg, length);
  if (length >= least_opening_bytes) open_window(host, c, *t, length, truesize);
}

void tune_out_of_order(core& host, connection& c, std::uint32_t length,
                       std::uint32_t truesize) noexcept {
  // Without SACK a window that opens would make a duplicate acknowledgement something else.
  if (!c.sack_permitted || c.discards) return;
  receive_tuning* t = tuning_of(host, c);
  if (t == nullptr) return;
  open_window(host, c, *t, length, truesize);
  grow_buffer(host, c, *t, t->space);
}

void tune_on_read(core& host, connection& c) noexcept {
  if (c.tuning == no_index) return;
  receive_tuning& t = host.receive_tunings[c.tuning];
  if (!t.node.armed()) wake_tuning(host, t, host.fine_now() + ticks_of_ms(quiet_ms));
  if (t.rtt_eighths == 0 || host.now_us() - t.space_begin_us < t.rtt_us()) return;
  const sequence copied = copied_seq(c);
  const std::uint32_t read = distance(t.space_begin, copied);
  // What waits to be read came faster than it is read.
  const std::uint32_t waits = c.rx.size();
  if (read > waits && read - waits > t.space) grow_buffer(host, c, t, read - waits);
  t.space_begin = copied;
  t.space_begin_us = host.now_us();
}

void clamp_window(core& host, connection& c) noexcept {
  c.ack.quick = 0;
  const std::size_t used = host.pool.used_bytes();
  const bool plenty = !under_pressure(host) && used < host.pool.limit_bytes() / 2;
  const std::uint32_t held = c.held_bytes();
  const std::uint32_t text = c.rx.size() + c.out_of_order.size();
  // Text that the windows have let in, in segments that hold more memory than was reckoned with;
  // but nobody makes us hold memory that is hardly used, or text that no window was opened for.
  const bool honest = text <= c.receive_buffer / 2 && text >= held / 8;
  if (c.tuned && plenty && honest && c.receive_buffer < host.policy.rmem_max) {
    // What it holds, and one segment more.
    c.receive_buffer = std::max(c.receive_buffer, std::min(held + 1, host.policy.rmem_max));
  }
  if (held < c.receive_buffer || c.tuning == no_index) return;
  receive_tuning& t = host.receive_tunings[c.tuning];
  t.rcv_ssthresh = std::min<std::uint32_t>(t.rcv_ssthresh, 2U * c.rcv_mss_offered);
}

void wake_tuning(core& host, receive_tuning& t, std::uint64_t tick) noexcept {
  const std::uint32_t index = host.connections[t.owner].tuning;
  const std::uint64_t now = host.fine_now();
  host.fine_wheel.skip_to(now);
  if (t.node.armed() && static_cast<std::int32_t>(t.node.expiry - tick) <= 0) return;
  host.fine_wheel.arm(host.receive_tunings, index, tick);
}

void expire_tunings(core& host) {
  host.fine_wheel.advance(host.receive_tunings, host.fine_now(),
                          [&](std::uint32_t index) { on_tuning_timer(host, index); });
}

std::uint64_t next_tuning_ns(const core& host) noexcept {
  if (host.receive_tunings.size() == 0) return UINT64_MAX;
  const std::uint64_t tick = host.fine_wheel.next();
  return tick == UINT64_MAX ? tick : tick * fine_tick_ns;
}

}  // namespace runnel::tcp::detail
