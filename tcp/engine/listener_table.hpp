#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "slab.hpp"

namespace runnel::tcp::detail {

/// Which listener serves a port on one of the host's addresses, on all of them, or on all of a
/// family: a hash table with chains, at least as many buckets as listeners. Looking up never
/// allocates.
///
/// Its keys are the program's own listeners, so a peer cannot make chains long and the hash needs
/// no secret.
class listener_table {
 public:
  /// The places of listeners for every address, and for every one of a family.
  static constexpr std::uint32_t every_address = 0xffff;
  static constexpr std::uint32_t every_v4 = 0xfffe;
  static constexpr std::uint32_t every_v6 = 0xfffd;
  /// Those below are for addresses.
  static constexpr std::uint32_t most_places = every_v6;

  listener_table() : heads_(16, no_index) {}

  /// The listener of this port at this place among the host's addresses; `no_index` when none is.
  std::uint32_t find(std::uint16_t port, std::uint32_t place) const noexcept {
    const std::uint32_t key = key_of(port, place);
    std::uint32_t at = heads_[bucket_of(key)];
    while (at != no_index && entries_[at].key != key) at = entries_[at].next;
    return at;
  }

  /// Adds listener `index`; what it has must not be in the table. Throws `std::bad_alloc`, and then
  /// nothing has changed.
  void insert(std::uint32_t index, std::uint16_t port, std::uint32_t place) {
    if (index >= entries_.size()) entries_.resize(std::size_t{index} + 1);
    if (size_ >= heads_.size()) grow();
    entries_[index].key = key_of(port, place);
    entries_[index].used = true;
    link(index);
    ++size_;
  }

  /// Removes listener `index`, which is in the table.
  void remove(std::uint32_t index) noexcept {
    std::uint32_t* at = &heads_[bucket_of(entries_[index].key)];
    while (*at != index) at = &entries_[*at].next;
    *at = entries_[index].next;
    entries_[index].used = false;
    --size_;
  }

  std::size_t size() const noexcept { return size_; }

 private:
  struct entry {
    std::uint32_t key = 0;
    std::uint32_t next = no_index;
    bool used = false;
  };

  static std::uint32_t key_of(std::uint16_t port, std::uint32_t place) noexcept {
    return place << 16 | port;
  }
  /// Fibonacci hashing: ports in a row, and addresses in a row, spread.
  std::size_t bucket_of(std::uint32_t key) const noexcept {
    return (key * 0x9e3779b97f4a7c15U >> 32) & (heads_.size() - 1);
  }
  void link(std::uint32_t index) noexcept {
    std::uint32_t& head = heads_[bucket_of(entries_[index].key)];
    entries_[index].next = head;
    head = index;
  }
  void grow() {
    std::vector<std::uint32_t> wider(heads_.size() * 2, no_index);
    heads_.swap(wider);
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].used) link(i);
    }
  }

  std::vector<std::uint32_t> heads_;
  std::vector<entry> entries_;
  std::size_t size_ = 0;
};

}  // namespace runnel::tcp::detail
