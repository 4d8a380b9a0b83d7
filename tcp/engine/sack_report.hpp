#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "runnel/tcp/engine/sequence.hpp"
#include "runnel/wire/tcp.hpp"

namespace runnel::tcp::detail {

/// What a receiver tells of the text that it holds ahead of a hole: at most four ranges, the one
/// that the last segment belongs to first (RFC 2018 §4). Ranges that fall off the end are held all
/// the same. Plain data.
class sack_report {
 public:
  bool empty() const noexcept { return count_ == 0; }
  std::span<const wire::sack_block> blocks() const noexcept {
    return std::span(blocks_).first(count_);
  }

  /// How many ranges stand before the one that text from `left` up to `right` belongs to; all of
  /// them when it is a new one.
  std::size_t place_of(sequence left, sequence right) const noexcept {
    const std::size_t first = duplicate_ ? 1 : 0;
    for (std::size_t i = first; i < count_; ++i) {
      const wire::sack_block& each = blocks_[i];
      if (!after(left, sequence(each.right)) && !before(right, sequence(each.left)))
        return i - first;
    }
    return count_ - first;
  }
  /// Text from `left` up to `right` is held now.
  void add(sequence left, sequence right) noexcept {
    forget_duplicate();
    std::uint8_t kept = 0;
    for (std::uint8_t i = 0; i < count_; ++i) {
      const wire::sack_block each = blocks_[i];
      if (after(left, sequence(each.right)) || before(right, sequence(each.left))) {
        blocks_[kept++] = each;
        continue;
      }
      if (before(sequence(each.left), left)) left = sequence(each.left);
      right = later(right, sequence(each.right));
    }
    count_ = static_cast<std::uint8_t>(std::min<std::size_t>(kept + 1U, blocks_.size()));
    for (std::size_t i = count_; i-- > 1;) blocks_[i] = blocks_[i - 1];
    blocks_[0] = {left.value(), right.value()};
  }
  /// RCV.NXT has moved: what lies before it is acknowledged the ordinary way.
  void advance(sequence rcv_nxt) noexcept {
    std::uint8_t kept = duplicate_ ? 1 : 0;
    for (std::uint8_t i = kept; i < count_; ++i) {
      if (after(sequence(blocks_[i].right), rcv_nxt)) blocks_[kept++] = blocks_[i];
    }
    count_ = kept;
  }
  void clear() noexcept {
    count_ = 0;
    duplicate_ = false;
  }

  /// This text had arrived before: the next report, and only that, begins with it (RFC 2883).
  void add_duplicate(sequence left, sequence right) noexcept {
    forget_duplicate();
    count_ = static_cast<std::uint8_t>(std::min<std::size_t>(count_ + 1U, blocks_.size()));
    for (std::size_t i = count_; i-- > 1;) blocks_[i] = blocks_[i - 1];
    blocks_[0] = {left.value(), right.value()};
    duplicate_ = true;
  }
  /// A segment has carried the report.
  void forget_duplicate() noexcept {
    if (!duplicate_) return;
    duplicate_ = false;
    --count_;
    for (std::size_t i = 0; i < count_; ++i) blocks_[i] = blocks_[i + 1];
  }

 private:
  std::array<wire::sack_block, wire::tcp_options::max_sack_blocks> blocks_{};
  std::uint8_t count_ = 0;
  /// The first block is about a duplicate.
  bool duplicate_ = false;
};

}  // namespace runnel::tcp::detail
