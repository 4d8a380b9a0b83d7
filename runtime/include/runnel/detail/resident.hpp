#pragma once

#include <cstddef>

#include "runnel/detail/list.hpp"

namespace runnel {
class loop;
}

namespace runnel::detail {

/// What goes on in a loop without a task and without an owner. It is made by `new`, deletes itself
/// when it is done, and is deleted by the loop's destructor otherwise, or by one that comes later
/// when there are too many.
class resident : private list_hook {
 public:
  resident(const resident&) = delete;
  resident& operator=(const resident&) = delete;
  virtual ~resident();

 protected:
  /// Not from inside the destructor of another one.
  explicit resident(loop& owner) noexcept;

 private:
  friend class list<resident>;

  loop* owner_;
};

/// The residents of a loop, the oldest first.
struct resident_list {
  static constexpr std::size_t most = 4096;

  void clear() noexcept {
    while (!all.empty()) delete &all.front();
  }

  list<resident> all;
  std::size_t count = 0;
};

}  // namespace runnel::detail
