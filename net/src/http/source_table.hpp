#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runnel/wire/address.hpp"

namespace runnel::http::detail {

/// How many connections each address has. One flat table with linear probing, which only ever holds
/// the addresses that have one, so that its size follows the number of connections. IPv6 addresses
/// count by their /64, which is what one customer gets.
class source_table {
 public:
  /// `seed` keeps strangers from choosing addresses that collide.
  explicit source_table(std::uint64_t seed) noexcept : seed_(seed) {}

  /// How many `source` has.
  std::uint32_t count(const net::address& source) const noexcept;
  /// One more. May throw `std::bad_alloc`, with no effect.
  void add(const net::address& source);
  /// One less; there must be one.
  void remove(const net::address& source) noexcept;
  /// How many addresses have one.
  std::size_t size() const noexcept { return used_; }

 private:
  struct key {
    std::uint64_t high;
    std::uint64_t low;
    friend bool operator==(const key&, const key&) noexcept = default;
  };
  struct slot {
    key of;
    std::uint32_t count;
  };

  static key key_of(const net::address& source) noexcept;
  std::size_t home(const key& of) const noexcept;
  std::size_t find(const key& of) const noexcept;
  void grow();

  std::uint64_t seed_;
  std::size_t used_ = 0;
  std::vector<slot> slots_;
};

}  // namespace runnel::http::detail
