#include "send_room.hpp"

#include <algorithm>
#include <bit>

// How much a connection takes from its application: the send buffer, which follows the window, and
// what may wait to be sent.

namespace runnel::tcp::detail {

namespace {

/// What a segment may cost at worst: Linux's sk_buff, and a block with MAX_TCP_HEADER and
/// skb_shared_info beside the text, of a size that is a power of two.
std::uint32_t segment_cost(const connection& c) noexcept {
  constexpr std::uint32_t beside_text = 320 + 320;
  constexpr std::uint32_t sk_buff_bytes = 256;
  return std::bit_ceil(c.snd_mss + beside_text) + sk_buff_bytes;
}

/// How many windows the buffer is to hold. What recovery has in flight beyond the window, and what
/// the application may be late by, is in them.
std::uint32_t windows_wanted(const core& host, const connection& c) noexcept {
  constexpr std::uint32_t of_all = 2;
  constexpr std::uint32_t of_bbr = 3;
  const auto algorithm = c.flight == no_index
                             ? setting(host, c, &connection_policy::congestion_control)
                             : host.flights[c.flight].control.algorithm();
  return algorithm == congestion_control::bbr ? of_bbr : of_all;
}

/// Linux's tcp_sndbuf_expand.
void expand(const core& host, connection& c) noexcept {
  const std::uint32_t segments =
      std::max({initial_window_segments, c.flow.cwnd / c.snd_mss, std::uint32_t{c.reordering} + 1});
  const std::uint64_t wanted = std::uint64_t{windows_wanted(host, c)} * segments * segment_cost(c);
  if (c.send_buffer >= wanted) return;
  c.send_buffer = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, host.policy.wmem_max));
}

bool is_fixed(const core& host, const connection& c) noexcept {
  return setting(host, c, &connection_policy::send_buffer) != 0;
}

std::uint32_t unsent_bytes(const connection& c) noexcept {
  return c.may_send() ? c.unsent() : c.tx.size();
}

/// What the windows let out beside what is on its way.
std::uint32_t room_in_windows(const connection& c) noexcept {
  if (!c.may_send()) return 0;
  const std::uint32_t window = std::min(c.snd_.wnd, c.flow.cwnd);
  return window > c.in_flight() ? window - c.in_flight() : 0;
}

/// The same, at once.
std::uint32_t room_now(const core& host, const connection& c) noexcept {
  return is_paced(host, c) ? 0 : room_in_windows(c);
}

/// What is queued fills the congestion window: a larger buffer would not be used.
bool fills_window(const core& host, const connection& c) noexcept {
  const std::uint32_t window = c.snd_.wnd > c.in_flight() ? c.snd_.wnd - c.in_flight() : 0;
  const std::uint32_t ready = std::min(unsent_bytes(c), window);
  return std::uint64_t{pipe_of(host, c)} + ready + c.snd_mss > c.flow.cwnd;
}

/// Linux's tcp_should_expand_sndbuf.
bool should_expand(core& host, const connection& c) noexcept {
  // tcp_mem's first number: from there on nobody is to have more.
  const bool plenty = host.pool.used_bytes() < host.pool.limit_bytes() / 2;
  return plenty && !under_pressure(host) && !is_fixed(host, c) && !fills_window(host, c);
}

}  // namespace

std::uint32_t send_buffer_of(const core& host, const connection& c) noexcept {
  const std::uint32_t fixed = setting(host, c, &connection_policy::send_buffer);
  return fixed != 0 ? fixed : c.send_buffer;
}

std::uint32_t send_limit(core& host, const connection& c) noexcept {
  return std::min(send_buffer_of(host, c), std::max(memory_share(host), host.policy.wmem_min));
}

void begin_send_buffer(core& host, connection& c) noexcept {
  if (!is_fixed(host, c)) expand(host, c);
}

std::size_t bytes_wanted(const core& host, const connection& c) noexcept {
  const std::uint32_t lowat = setting(host, c, &connection_policy::notsent_lowat);
  if (lowat == UINT32_MAX) return SIZE_MAX;
  const std::uint32_t unsent = unsent_bytes(c);
  const std::uint32_t room = room_now(host, c);
  const std::uint32_t waiting = unsent > room ? unsent - room : 0;
  if (waiting >= lowat) return 0;
  const std::size_t left = lowat - waiting;
  const std::size_t whole = (left + c.snd_mss - 1) / c.snd_mss * c.snd_mss;
  return whole + (room > unsent ? room - unsent : 0);
}

bool has_send_room(core& host, const connection& c) noexcept {
  const std::uint32_t limit = send_limit(host, c);
  const std::uint32_t held = c.tx.held_bytes();
  if (held >= limit || limit - held < held / 2) return false;
  const std::uint32_t lowat = setting(host, c, &connection_policy::notsent_lowat);
  if (lowat == UINT32_MAX) return true;
  const std::uint32_t unsent = unsent_bytes(c);
  const std::uint32_t room = room_now(host, c);
  return unsent <= room || std::uint64_t{unsent - room} * 2 < lowat;
}

void tell_room(core& host, connection& c) noexcept {
  if (!c.wants_room) return;
  if (should_expand(host, c)) expand(host, c);
  if (!has_send_room(host, c)) return;
  c.wants_room = false;
  report(host, c, events::writable);
}

}  // namespace runnel::tcp::detail
