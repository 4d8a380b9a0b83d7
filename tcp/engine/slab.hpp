#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

namespace runnel::tcp::detail {

/// No object: the end of every list of indices.
inline constexpr std::uint32_t no_index = UINT32_MAX;

/// Objects of one type at stable addresses, named by a 32-bit index. Memory comes in chunks and is
/// kept for the next object; it is zero when an index is handed out for the first time.
///
/// `T::next` links free objects; while the object is in use its owner links it as he likes.
template <class T, std::uint32_t ChunkObjects>
class slab {
  static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>);
  static_assert((ChunkObjects & (ChunkObjects - 1)) == 0, "indexing is a shift and a mask");

 public:
  T& operator[](std::uint32_t index) noexcept {
    return chunks_[index / ChunkObjects].get()[index % ChunkObjects];
  }
  const T& operator[](std::uint32_t index) const noexcept {
    return chunks_[index / ChunkObjects].get()[index % ChunkObjects];
  }

  /// An index whose object holds what its last user left; `no_index` without memory.
  std::uint32_t allocate() noexcept {
    if (free_ == no_index && !grow()) return no_index;
    const std::uint32_t index = free_;
    T& object = (*this)[index];
    free_ = following(index, object.next);
    ++size_;
    return index;
  }
  void release(std::uint32_t index) noexcept {
    (*this)[index].next = free_ == no_index ? no_link : free_ + 1;
    free_ = index;
    --size_;
  }

  /// Makes the object what a new one is, in place: assigned, it would be made elsewhere and copied.
  static T& renew(T& object) noexcept { return *::new (static_cast<void*>(&object)) T; }

  std::size_t size() const noexcept { return size_; }
  /// Indices below this one have been handed out at some time.
  std::uint32_t extent() const noexcept {
    return static_cast<std::uint32_t>(chunks_.size()) * ChunkObjects;
  }
  std::size_t held_bytes() const noexcept { return chunks_.size() * ChunkObjects * sizeof(T); }

 private:
  static constexpr std::uint32_t no_link = UINT32_MAX;
  /// What refers to one has bits for no more.
  static constexpr std::uint32_t most_objects = 1U << 27;

  /// A free object's link is the next free index plus one. A fresh chunk is linked lazily: its
  /// zeros mean "the index after this one".
  static std::uint32_t following(std::uint32_t index, std::uint32_t link) noexcept {
    if (link == no_link) return no_index;
    if (link != 0) return link - 1;
    return (index + 1) % ChunkObjects == 0 ? no_index : index + 1;
  }
  bool grow() noexcept {
    if (extent() >= most_objects) return false;
    auto* memory = static_cast<T*>(std::calloc(ChunkObjects, sizeof(T)));
    if (memory == nullptr) return false;
    try {
      chunks_.emplace_back(memory);
    } catch (...) {
      std::free(memory);
      return false;
    }
    free_ = static_cast<std::uint32_t>(chunks_.size() - 1) * ChunkObjects;
    return true;
  }

  struct free_memory {
    void operator()(T* memory) const noexcept { std::free(memory); }
  };
  std::vector<std::unique_ptr<T[], free_memory>> chunks_;
  std::uint32_t free_ = no_index;
  std::size_t size_ = 0;
};

}  // namespace runnel::tcp::detail
