#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace runnel::http::detail {

/// Bytes on their way out: appended at the end, taken from the front, memory kept.
class output_buffer {
 public:
  bool empty() const noexcept { return begin_ == end_; }
  std::size_t size() const noexcept { return end_ - begin_; }
  std::span<const std::byte> bytes() const noexcept {
    return std::as_bytes(std::span{data_.get() + begin_, size()});
  }
  std::string_view text() const noexcept { return {data_.get() + begin_, size()}; }

  /// At least `bytes` of room, to be written and then committed.
  char* reserve(std::size_t bytes) {
    if (capacity_ - end_ < bytes) make_room(bytes);
    return data_.get() + end_;
  }
  void commit(std::size_t bytes) noexcept { end_ += bytes; }
  void append(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(reserve(text.size()), text.data(), text.size());
    commit(text.size());
  }
  void consume(std::size_t bytes) noexcept {
    begin_ += bytes;
    if (begin_ == end_) clear();
  }
  void clear() noexcept { begin_ = end_ = 0; }

 private:
  static constexpr std::size_t first_capacity = 2048;

  void make_room(std::size_t bytes) {
    const std::size_t wanted =
        std::max({size() + bytes, std::size_t{2} * capacity_, first_capacity});
    auto grown = std::make_unique_for_overwrite<char[]>(wanted);
    if (!empty()) std::memcpy(grown.get(), data_.get() + begin_, size());
    data_ = std::move(grown);
    end_ = size();
    begin_ = 0;
    capacity_ = wanted;
  }

  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace runnel::http::detail
