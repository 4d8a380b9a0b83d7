#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace runnel::tcp::detail {

/// What a reference in the flow table points at.
enum class entry_kind : std::uint8_t { connection, half_open, time_wait };

/// A reference to a slab object of one of the kinds; 0 is none.
class entry_ref {
 public:
  constexpr entry_ref() noexcept = default;
  constexpr entry_ref(entry_kind kind, std::uint32_t index) noexcept
      : value_((static_cast<std::uint32_t>(kind) << index_bits | index) + 1) {}
  static constexpr entry_ref from(std::uint32_t value) noexcept {
    entry_ref ref;
    ref.value_ = value;
    return ref;
  }

  constexpr explicit operator bool() const noexcept { return value_ != 0; }
  constexpr entry_kind kind() const noexcept {
    return static_cast<entry_kind>((value_ - 1) >> index_bits);
  }
  constexpr std::uint32_t index() const noexcept { return (value_ - 1) & ((1U << index_bits) - 1); }
  constexpr std::uint32_t value() const noexcept { return value_; }
  friend constexpr bool operator==(entry_ref, entry_ref) noexcept = default;

 private:
  static constexpr unsigned index_bits = 29;
  std::uint32_t value_ = 0;
};

/// The one look-up table of a host: chains of slab objects under heads of four bytes.
///
/// It grows by splitting one bucket for each insertion beyond one entry a bucket (linear hashing),
/// so that no insertion pays for all the others and the table never stands still. `Links` gives
/// `std::uint32_t& next(entry_ref)` and `std::uint64_t hash(entry_ref)`.
class flow_table {
 public:
  flow_table() { segments_.push_back(std::make_unique<segment>()); }

  /// The first entry of the chain that the hash belongs to.
  entry_ref first(std::uint64_t hash) const noexcept {
    return entry_ref::from(const_cast<flow_table*>(this)->head(bucket_of(hash)));
  }

  template <class Links>
  void insert(Links&& links, entry_ref entry, std::uint64_t hash) noexcept {
    if (size_ >= buckets_) split(links);
    std::uint32_t& at = head(bucket_of(hash));
    links.next(entry) = at;
    at = entry.value();
    ++size_;
  }

  template <class Links>
  void remove(Links&& links, entry_ref entry, std::uint64_t hash) noexcept {
    std::uint32_t* at = &head(bucket_of(hash));
    while (*at != entry.value()) {
      if (*at == 0) return;
      at = &links.next(entry_ref::from(*at));
    }
    *at = links.next(entry);
    --size_;
  }

  /// Puts `fresh` in the place of `old`, which has the same key.
  template <class Links>
  void replace(Links&& links, entry_ref old, entry_ref fresh, std::uint64_t hash) noexcept {
    std::uint32_t* at = &head(bucket_of(hash));
    while (*at != old.value()) at = &links.next(entry_ref::from(*at));
    *at = fresh.value();
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
    std::uint32_t* keep = &head(fresh - base_);
    std::uint32_t* move = &head(fresh);
    std::uint32_t at = *keep;
    while (at != 0) {
      const entry_ref entry = entry_ref::from(at);
      std::uint32_t& next = links.next(entry);
      const bool moves = (links.hash(entry) & (2 * base_ - 1)) == fresh;
      std::uint32_t*& place = moves ? move : keep;
      *place = at;
      place = &next;
      at = next;
    }
    *keep = 0;
    *move = 0;
    if (++buckets_ == 2 * base_) base_ = buckets_;
  }

  std::vector<std::unique_ptr<segment>> segments_;
  std::size_t buckets_ = segment_buckets;
  /// The power of two at or below `buckets_`.
  std::size_t base_ = segment_buckets;
  std::size_t size_ = 0;
};

}  // namespace runnel::tcp::detail
