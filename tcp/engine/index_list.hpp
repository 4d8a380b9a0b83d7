#pragma once

#include <cstdint>

#include "slab.hpp"

namespace runnel::tcp::detail {

/// The place of an object in one doubly linked list of indices.
struct list_links {
  std::uint32_t prev = no_index;
  std::uint32_t next = no_index;
};

/// A first-in first-out list of slab objects, linked through `list_links T::*Links`: any object can
/// leave it in O(1).
template <class Slab, auto Links>
class index_list {
 public:
  bool empty() const noexcept { return head_ == no_index; }
  std::uint32_t front() const noexcept { return head_; }

  void push_back(Slab& objects, std::uint32_t index) noexcept {
    auto& links = objects[index].*Links;
    links.prev = tail_;
    links.next = no_index;
    if (tail_ == no_index) {
      head_ = index;
    } else {
      (objects[tail_].*Links).next = index;
    }
    tail_ = index;
  }

  /// Puts an object right behind one that is in the list.
  void insert_behind(Slab& objects, std::uint32_t before, std::uint32_t index) noexcept {
    auto& links = objects[index].*Links;
    links.prev = before;
    links.next = (objects[before].*Links).next;
    (objects[before].*Links).next = index;
    if (links.next == no_index) {
      tail_ = index;
    } else {
      (objects[links.next].*Links).prev = index;
    }
  }

  void remove(Slab& objects, std::uint32_t index) noexcept {
    auto& links = objects[index].*Links;
    if (links.prev == no_index) {
      head_ = links.next;
    } else {
      (objects[links.prev].*Links).next = links.next;
    }
    if (links.next == no_index) {
      tail_ = links.prev;
    } else {
      (objects[links.next].*Links).prev = links.prev;
    }
    links = {};
  }

  std::uint32_t pop_front(Slab& objects) noexcept {
    const std::uint32_t index = head_;
    if (index != no_index) remove(objects, index);
    return index;
  }

 private:
  std::uint32_t head_ = no_index;
  std::uint32_t tail_ = no_index;
};

}  // namespace runnel::tcp::detail
