#pragma once

#include <cstdint>
#include <vector>

#include "runnel/wire/address.hpp"

namespace runnel::tcp::detail {

/// The newest timestamp of each of the hosts that were heard last: a fixed number of places, four
/// for each hash, of which the one that was quiet longest is given up.
class host_timestamps {
 public:
  struct entry {
    net::address host;
    std::uint32_t tsval = 0;
    /// When it was written, in ms modulo 2^32.
    std::uint32_t at_ms = 0;
  };

  const entry* find(const net::address& host, std::uint64_t hash) const noexcept {
    if (places_.empty()) return nullptr;
    const entry* const set = &places_[hash % sets * ways];
    for (std::size_t i = 0; i < ways; ++i) {
      if (set[i].host == host) return &set[i];
    }
    return nullptr;
  }
  /// The host's place, or the one that becomes its; null without memory.
  entry* make(const net::address& host, std::uint64_t hash, std::uint32_t now_ms) noexcept {
    if (places_.empty() && !allocate()) return nullptr;
    entry* const set = &places_[hash % sets * ways];
    entry* quietest = set;
    for (std::size_t i = 0; i < ways; ++i) {
      if (set[i].host == host) return &set[i];
      const bool unused = set[i].host.family() == net::family::unspecified;
      if (unused || now_ms - set[i].at_ms > now_ms - quietest->at_ms) quietest = &set[i];
      if (unused) break;
    }
    *quietest = {host, 0, 0};
    return quietest;
  }

 private:
  static constexpr std::size_t ways = 4;
  static constexpr std::size_t sets = 1024;

  bool allocate() noexcept {
    try {
      places_.resize(sets * ways);
      return true;
    } catch (...) {
      return false;
    }
  }

  std::vector<entry> places_;
};

}  // namespace runnel::tcp::detail
