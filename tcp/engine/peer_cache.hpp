#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runnel/wire/address.hpp"

namespace runnel::tcp::detail {

/// What is remembered of each of the peers that were heard last: a fixed number of places, four for
/// each hash, of which the one that was quiet longest is given up. The memory is taken when
/// something is first remembered.
template <class Value>
class peer_cache {
 public:
  struct entry {
    net::address peer;
    /// When it was last written, in ms modulo 2^32.
    std::uint32_t at_ms = 0;
    Value value{};
  };

  /// Whether nothing was ever remembered.
  bool empty() const noexcept { return places_.empty(); }
  entry* find(const net::address& peer, std::uint64_t hash) noexcept {
    if (places_.empty()) return nullptr;
    entry* const set = &places_[hash % sets * ways];
    for (std::size_t i = 0; i < ways; ++i) {
      if (set[i].peer == peer) return &set[i];
    }
    return nullptr;
  }
  /// The peer's place, or the one that becomes its, with a fresh value; null without memory.
  entry* make(const net::address& peer, std::uint64_t hash, std::uint32_t now_ms) noexcept {
    if (places_.empty() && !allocate()) return nullptr;
    if (entry* const known = find(peer, hash)) return known;
    entry* const set = &places_[hash % sets * ways];
    entry* quietest = set;
    for (std::size_t i = 0; i < ways; ++i) {
      if (set[i].peer.family() == net::family::unspecified) {
        quietest = &set[i];
        break;
      }
      if (now_ms - set[i].at_ms > now_ms - quietest->at_ms) quietest = &set[i];
    }
    *quietest = {peer, now_ms, {}};
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
