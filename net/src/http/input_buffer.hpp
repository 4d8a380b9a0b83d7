#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace runnel::http::detail {

/// Bytes that were received and not used yet, in a block of fixed size.
class input_buffer {
 public:
  explicit input_buffer(std::size_t capacity)
      : data_(std::make_unique_for_overwrite<char[]>(capacity)), capacity_(capacity) {}

  bool empty() const noexcept { return begin_ == end_; }
  std::size_t size() const noexcept { return end_ - begin_; }
  std::string_view text() const noexcept { return {data_.get() + begin_, size()}; }
  void consume(std::size_t bytes) noexcept {
    begin_ += bytes;
    if (begin_ == end_) clear();
  }
  void clear() noexcept { begin_ = end_ = 0; }

  /// The room behind the bytes. They are moved to the front when it is less than half of the block,
  /// so a message of up to `capacity` bytes always fits. Empty when the block is full.
  std::span<std::byte> room() noexcept {
    if (begin_ > 0 && capacity_ - end_ < capacity_ / 2) {
      std::memmove(data_.get(), data_.get() + begin_, size());
      end_ = size();
      begin_ = 0;
    }
    return std::as_writable_bytes(std::span{data_.get() + end_, capacity_ - end_});
  }
  void commit(std::size_t bytes) noexcept { end_ += bytes; }

 private:
  std::unique_ptr<char[]> data_;
  std::size_t capacity_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace runnel::http::detail
