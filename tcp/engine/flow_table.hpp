#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace runnel::tcp::detail {

/// What a reference in the flow table points at.
enum class entry_kind : std::uint8_t { connection, half_open, time_wait };

/// A reference to a slab object of one of the kinds.
class entry_ref {
 public:
  static constexpr unsigned index_bits = 27;

  /// None.
  constexpr entry_ref() noexcept = default;
  constexpr entry_ref(entry_kind kind, std::uint32_t index) noexcept
      : value_((static_cast<std::uint32_t>(kind) + 1) << kind_shift | index) {}

  constexpr explicit operator bool() const noexcept { return value_ != 0; }
  constexpr entry_kind kind() const noexcept {
    return static_cast<entry_kind>((value_ >> kind_shift) - 1);
  }
  constexpr std::uint32_t index() const noexcept { return value_ & ((1U << index_bits) - 1); }
  friend constexpr auto operator<=>(entry_ref, entry_ref) noexcept = default;

 private:
  friend class chain_link;
  static constexpr unsigned kind_shift = 30;
  std::uint32_t value_ = 0;
};

/// What a chain holds in front of an entry, in four bytes: the reference, two bits of the entry's
/// hash, and whether it is the chain's last. A last entry that a look-up does not want is so
/// touched in one case of four only: each is a line that no cache holds.
class chain_link {
 public:
  constexpr chain_link() noexcept = default;
  constexpr explicit chain_link(std::uint32_t value) noexcept : value_(value) {}
  constexpr chain_link(entry_ref entry, std::uint64_t hash, bool last) noexcept
      : value_(entry.value_ | (last ? last_bit : 0U) | tag_of(hash)) {}

  constexpr explicit operator bool() const noexcept { return value_ != 0; }
  constexpr std::uint32_t value() const noexcept { return value_; }
  constexpr entry_ref entry() const noexcept {
    entry_ref ref;
    ref.value_ = value_ & ~(last_bit | tag_mask);
    return ref;
  }
  constexpr bool may_have(std::uint64_t hash) const noexcept {
    return (value_ & tag_mask) == tag_of(hash);
  }
  /// Then the entry's own link counts for nothing.
  constexpr bool is_last() const noexcept { return (value_ & last_bit) != 0; }
  constexpr chain_link with_last(bool last) const noexcept {
    return chain_link((value_ & ~last_bit) | (last ? last_bit : 0U));
  }
  /// The same place and hash, another entry.
  constexpr chain_link with_entry(entry_ref entry) const noexcept {
    return chain_link(entry.value_ | (value_ & (last_bit | tag_mask)));
  }

 private:
  static constexpr std::uint32_t last_bit = 1U << 29;
  static constexpr std::uint32_t tag_mask = 3U << entry_ref::index_bits;
  /// Bits that choose no bucket.
  static constexpr std::uint32_t tag_of(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash >> 62) << entry_ref::index_bits;
  }

  std::uint32_t value_ = 0;
};

/// The one look-up table of a host: chains of slab objects under heads of four bytes.
///
/// It grows by splitting one bucket for each insertion beyond five entries for four buckets (linear
/// hashing), so that no insertion pays for all the others and the table never stands still. `Links`
/// gives `std::uint32_t& next(entry_ref)` and `std::uint64_t hash(entry_ref)`.
class flow_table {
 public:
  flow_table() { segments_.push_back(std::make_unique<segment>()); }

  /// The first entry of the chain that the hash belongs to, and where the walk over it ends when
  /// none `is_last`.
  chain_link first(std::uint64_t hash) const noexcept {
    return chain_link(const_cast<flow_table*>(this)->head(bucket_of(hash)));
  }

  /// Asks the processor for the head that `first` will read.
  void prefetch(std::uint64_t hash) const noexcept {
    __builtin_prefetch(&const_cast<flow_table*>(this)->head(bucket_of(hash)));
  }

  template <class Links>
  void insert(Links&& links, entry_ref entry, std::uint64_t hash) noexcept {
    if (size_ * 4 >= buckets_ * 5) split(links);
    std::uint32_t& at = head(bucket_of(hash));
    links.next(entry) = at;
    at = chain_link(entry, hash, at == 0).value();
    ++size_;
  }

  template <class Links>
  void remove(Links&& links, entry_ref entry, std::uint64_t hash) noexcept {
    std::uint32_t* before = nullptr;
    std::uint32_t* at = &head(bucket_of(hash));
    while (chain_link(*at).entry() != entry) {
      if (*at == 0 || chain_link(*at).is_last()) return;
      before = at;
      at = &links.next(chain_link(*at).entry());
    }
    --size_;
    if (!chain_link(*at).is_last()) {
      *at = links.next(entry);
    } else {
      *at = 0;
      if (before != nullptr) *before = chain_link(*before).with_last(true).value();
    }
  }

  /// Puts `fresh` in the place of `old`, which has the same key.
  template <class Links>
  void replace(Links&& links, entry_ref old, entry_ref fresh, std::uint64_t hash) noexcept {
    std::uint32_t* at = &head(bucket_of(hash));
    while (chain_link(*at).entry() != old) at = &links.next(chain_link(*at).entry());
    *at = chain_link(*at).with_entry(fresh).value();
    links.next(fresh) = links.next(old);
  }

  std::size_t size() const noexcept { return size_; }
  std::size_t held_bytes() const noexcept { return segments_.size() * sizeof(segment); }

 private:
  static constexpr std::size_t segment_buckets = 4096;
  using segment = std::array<std::uint32_t, segment_buckets>;

  std::uint32_t& head(std::size_t bucket) noexcept {
    return (*segments_[bucket / segment_buckets])[bucket % segment_buckets];
  }
  std::size_t bucket_of(std::uint64_t hash) const noexcept {
    const std::size_t wide = hash & (2 * base_ - 1);
    return wide < buckets_ ? wide : hash & (base_ - 1);
  }

  /// Where a chain that is being made ends.
  class chain {
   public:
    explicit chain(std::uint32_t& head) noexcept : end_(&head) {}
    /// `next` is the entry's own link.
    void append(chain_link link, std::uint32_t& next) noexcept {
      if (last_ != nullptr) *last_ = chain_link(*last_).with_last(false).value();
      *end_ = link.with_last(true).value();
      last_ = end_;
      end_ = &next;
    }

   private:
    std::uint32_t* end_;
    std::uint32_t* last_ = nullptr;
  };

  /// Adds the bucket after the last and moves to it what belongs there now. Without memory the
  /// chains just grow longer.
  template <class Links>
  void split(Links& links) noexcept {
    const std::size_t fresh = buckets_;
    if (fresh / segment_buckets == segments_.size()) {
      try {
        segments_.push_back(std::make_unique<segment>());
      } catch (...) {
        return;
      }
    }
    chain keep(head(fresh - base_));
    chain move(head(fresh));
    chain_link at(head(fresh - base_));
    head(fresh - base_) = 0;
    while (at) {
      const entry_ref entry = at.entry();
      std::uint32_t& next = links.next(entry);
      const chain_link after(at.is_last() ? 0 : next);
      const bool moves = (links.hash(entry) & (2 * base_ - 1)) == fresh;
      (moves ? move : keep).append(at, next);
      at = after;
    }
    if (++buckets_ == 2 * base_) base_ = buckets_;
  }

  std::vector<std::unique_ptr<segment>> segments_;
  std::size_t buckets_ = segment_buckets;
  /// The power of two at or below `buckets_`.
  std::size_t base_ = segment_buckets;
  std::size_t size_ = 0;
};

}  // namespace runnel::tcp::detail
