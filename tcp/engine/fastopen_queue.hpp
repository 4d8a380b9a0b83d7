#pragma once

#include <array>
#include <cstdint>

namespace runnel::tcp::detail {

/// How many children of a listener have taken text before their handshake was done. A child that is
/// reset before it is done counts for a minute more, so that who sends SYNs in another's name is
/// slowed down by the resets that he causes (RFC 7413 §5.1).
class fastopen_queue {
 public:
  /// How many there are at `now_s`, those that were reset within the last minute included.
  std::uint32_t size(std::uint64_t now_s) noexcept {
    forget(now_s);
    return pending_ + reset_count_;
  }
  std::uint32_t pending() const noexcept { return pending_; }
  void enter() noexcept { ++pending_; }
  void leave(bool reset, std::uint64_t now_s) noexcept {
    --pending_;
    if (!reset) return;
    forget(now_s);
    ++resets_[now_s % seconds];
    ++reset_count_;
  }

 private:
  static constexpr std::uint64_t seconds = 61;

  void forget(std::uint64_t now_s) noexcept {
    for (std::uint64_t i = 0; last_s_ < now_s && i < seconds; ++i) {
      std::uint32_t& oldest = resets_[++last_s_ % seconds];
      reset_count_ -= oldest;
      oldest = 0;
    }
    last_s_ = now_s;
  }

  std::uint32_t pending_ = 0;
  std::uint32_t reset_count_ = 0;
  std::uint64_t last_s_ = 0;
  /// By the second in which they came.
  std::array<std::uint32_t, seconds> resets_{};
};

}  // namespace runnel::tcp::detail
