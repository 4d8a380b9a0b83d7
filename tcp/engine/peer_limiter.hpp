#pragma once

#include <array>
#include <cstdint>

namespace runnel::tcp::detail {

/// How many answers each peer has drawn in the current second, in a table of fixed size by a keyed
/// hash of its address: a flood from one peer spends its own allowance, and nobody can choose whose
/// place he shares.
class peer_limiter {
 public:
  /// What two peers of one place do to each other.
  enum class crowding : std::uint8_t {
    /// They share an allowance: output stays bounded, whoever is lied to be the sender.
    share,
    /// The later one begins anew: none can measure what another has spent (CVE-2016-5696).
    replace,
  };

  /// Whether one more of `limit` answers may go to the peer with this hash; 0 is no limit.
  bool take(std::uint64_t hash, std::uint32_t second, std::uint32_t limit, crowding how) noexcept {
    if (limit == 0) return true;
    place& at = places_[hash % places];
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    if (at.second != second || (at.tag != tag && how == crowding::replace)) at = {tag, second, 0};
    if (at.used >= limit) return false;
    ++at.used;
    return true;
  }

 private:
  static constexpr std::size_t places = 1024;

  struct place {
    std::uint32_t tag = 0;
    std::uint32_t second = UINT32_MAX;
    std::uint32_t used = 0;
  };
  std::array<place, places> places_{};
};

}  // namespace runnel::tcp::detail
