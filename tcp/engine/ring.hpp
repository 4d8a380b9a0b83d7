#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace runnel::tcp::detail {

/// A first-in first-out queue with a bound, in one block that doubles up to it.
template <class T>
class ring {
 public:
  explicit ring(std::size_t limit) : items_(16), limit_(limit) {}

  bool empty() const noexcept { return count_ == 0; }
  std::size_t size() const noexcept { return count_; }
  /// How many more it may take, memory permitting.
  std::size_t room() const noexcept { return limit_ - count_; }

  /// False when the bound is reached or there is no memory; the item is dropped then.
  bool push(T item) noexcept {
    if (count_ == items_.size() && !grow()) return false;
    items_[(first_ + count_++) & (items_.size() - 1)] = std::move(item);
    return true;
  }
  T pop() noexcept {
    T item = std::move(items_[first_]);
    first_ = (first_ + 1) & (items_.size() - 1);
    --count_;
    return item;
  }

 private:
  bool grow() noexcept {
    if (items_.size() * 2 > limit_) return false;
    try {
      std::vector<T> larger(items_.size() * 2);
      for (std::size_t i = 0; i < count_; ++i) {
        larger[i] = std::move(items_[(first_ + i) & (items_.size() - 1)]);
      }
      items_ = std::move(larger);
      first_ = 0;
      return true;
    } catch (...) {
      return false;
    }
  }

  std::vector<T> items_;
  std::size_t limit_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace runnel::tcp::detail
