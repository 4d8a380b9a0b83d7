#include <algorithm>
#include <bit>

#include "core.hpp"

// The window that is offered: as large as the buffer and the memory of the host let it be, opening
// no faster than what arrives, and never taken back. Half of the room is offered; the other half is
// what the packets' bookkeeping may take (Linux's TCP_DEFAULT_SCALING_RATIO).

namespace runnel::tcp::detail {

namespace {

/// The window of a connection that has its buffer alone, before text opens it: one segment less
/// than there is room for, as in Linux's tcp_init_buffer_space.
std::uint32_t first_threshold(const connection& c) noexcept {
  const std::uint32_t full = c.receive_buffer / 2;
  const std::uint32_t mss = c.rcv_mss_offered;
  if (full <= 2 * mss) return full;
  return std::max(2 * mss, std::min(full - mss, full / mss * mss));
}

/// What a closed queue may still promise (Linux's __tcp_select_window): who has less than a segment
/// of room, or a sixteenth of all of it, offers nothing, so that the window opens by a good step.
std::uint32_t worth_offering(core& host, connection& c, std::uint32_t room, std::uint32_t full,
                             std::uint32_t mss) noexcept {
  // Linux's rule: when memory is short, only who reads everything is offered much.
  if (host.memory_pressure && room < c.receive_buffer / 4) {
    room = std::min<std::uint32_t>(room, 4U * c.rcv_mss_offered);
  }
  if (room >= full / 2) return room;
  c.ack.quick = 0;
  room = room >> c.rcv_wscale << c.rcv_wscale;
  return room < full / 16 || room < mss ? 0 : room;
}

/// Without a scale the window is whole segments and stays as it is while that is good enough.
std::uint32_t in_segments(const connection& c, std::uint32_t room, std::uint32_t full,
                          std::uint32_t mss) noexcept {
  const std::uint32_t window = c.rcv_.wnd;
  if (window + mss <= room || window > room) return room / mss * mss;
  return mss == full && room > window + full / 2 ? room : window;
}

}  // namespace

std::uint32_t first_receive_buffer(const core& host, std::uint32_t policy_value) noexcept {
  return policy_value != 0 ? policy_value : host.policy.rmem_default;
}

std::uint8_t window_scale_for(const core& host, std::uint32_t policy_value) noexcept {
  const std::uint32_t largest = policy_value != 0
                                    ? policy_value / 2
                                    : std::max(host.policy.rmem_max, host.policy.rmem_default / 2);
  const int digits = static_cast<int>(std::bit_width(largest));
  return static_cast<std::uint8_t>(std::clamp(digits - 16, 0, 14));
}

std::uint16_t first_window(std::uint32_t receive_buffer, std::uint32_t mss) noexcept {
  const std::uint32_t full = receive_buffer / 2;
  const std::uint32_t whole = full > mss ? full / mss * mss : full;
  return static_cast<std::uint16_t>(std::min<std::uint32_t>(whole, 65535));
}

std::uint32_t rcv_ssthresh_of(const core& host, const connection& c) noexcept {
  if (c.tuning != no_index) return host.receive_tunings[c.tuning].rcv_ssthresh;
  const std::uint32_t first = first_threshold(c);
  // How far it was open when the block went shows in what was offered.
  const bool opened = c.rcv_.wnd > first + 2U * c.rcv_mss_offered;
  return opened ? std::min(c.rcv_.wnd, c.receive_buffer / 2) : first;
}

std::uint32_t first_space(const core& host, const connection& c) noexcept {
  const std::uint32_t space =
      std::min({rcv_ssthresh_of(host, c), c.rcv_.wnd, initial_window_segments * c.rcv_mss_offered});
  // The buffer grows to twelve times what is read, where that doubles from one round trip to the
  // next; so much was read at least where it has grown before.
  const bool grown = c.tuned && c.receive_buffer > host.policy.rmem_default;
  return std::max(space, grown ? c.receive_buffer / 12 : 1);
}

std::uint32_t select_window(core& host, connection& c) noexcept {
  const std::uint32_t held = c.held_bytes();
  const std::uint32_t limit = std::min(c.receive_buffer, memory_share(host));
  const std::uint32_t full = limit / 2;
  const std::uint32_t mss = std::clamp<std::uint32_t>(c.ack.rcv_mss, 1, std::max(full, 1U));
  std::uint32_t room = held >= limit ? 0 : (limit - held) / 2;
  room = std::min(worth_offering(host, c, room, full, mss), rcv_ssthresh_of(host, c));
  const std::uint32_t step = std::uint32_t{1} << c.rcv_wscale;
  const std::uint32_t largest = std::uint32_t{65535} << c.rcv_wscale;
  std::uint32_t window = step == 1 ? in_segments(c, room, full, mss) : room;
  // Scaling cuts low bits off; cut upwards, or the edge would move left (§3.8.6: a window that was
  // offered is never taken back).
  const sequence edge = c.rcv_.wup + c.rcv_.wnd;
  if (after(edge, c.rcv_.nxt)) window = std::max(window, distance(c.rcv_.nxt, edge));
  return std::min((window + step - 1) >> c.rcv_wscale << c.rcv_wscale, largest);
}

void note_advertised(core& host, connection& c, std::uint32_t window) noexcept {
  if (window == 0 && c.rcv_.wnd != 0) ++host.count.zero_window_adv;
  c.rcv_.wup = c.rcv_.nxt;
  c.rcv_.wnd = window;
}

}  // namespace runnel::tcp::detail
