#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "slab.hpp"

namespace runnel::tcp::detail {

/// Two slabs under one space of indices: `Entry` for IPv4, and `Tailed`, an `Entry` with more
/// behind it, for IPv6. An index says which of them it is of.
template <class Entry, class Tailed, std::uint32_t ChunkObjects>
class family_slab {
  static_assert(std::is_base_of_v<Entry, Tailed>);

 public:
  /// Set in the indices of IPv6. What refers to an entry has room for one bit more than this.
  static constexpr std::uint32_t v6_bit = 1U << 26;

  Entry& operator[](std::uint32_t index) noexcept {
    if ((index & v6_bit) != 0) [[unlikely]]
      return v6_[index & ~v6_bit];
    return v4_[index];
  }
  const Entry& operator[](std::uint32_t index) const noexcept {
    return const_cast<family_slab&>(*this)[index];
  }

  /// The index of a copy of the entry, in as many bytes as its family needs; `no_index` without
  /// memory.
  std::uint32_t insert(const Tailed& entry) noexcept {
    if (entry.v6) return insert(v6_, entry, v6_bit);
    return insert(v4_, static_cast<const Entry&>(entry), 0);
  }
  void release(std::uint32_t index) noexcept {
    if ((index & v6_bit) != 0) {
      v6_.release(index & ~v6_bit);
    } else {
      v4_.release(index);
    }
  }

  std::size_t size() const noexcept { return v4_.size() + v6_.size(); }
  std::size_t v6_size() const noexcept { return v6_.size(); }
  std::size_t held_bytes() const noexcept { return v4_.held_bytes() + v6_.held_bytes(); }

  /// The indices of the places of one family that have been handed out at some time: `count` of
  /// them from `first` on.
  struct range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  range v4_places() const noexcept { return {0, v4_.size() == 0 ? 0 : v4_.extent()}; }
  range v6_places() const noexcept { return {v6_bit, v6_.size() == 0 ? 0 : v6_.extent()}; }

 private:
  template <class Slab, class Value>
  static std::uint32_t insert(Slab& into, const Value& entry, std::uint32_t bit) noexcept {
    const std::uint32_t index = into.allocate();
    if (index == no_index) return no_index;
    if (index >= v6_bit) {
      into.release(index);
      return no_index;
    }
    into[index] = entry;
    return index | bit;
  }

  slab<Entry, ChunkObjects> v4_;
  slab<Tailed, ChunkObjects> v6_;
};

}  // namespace runnel::tcp::detail
