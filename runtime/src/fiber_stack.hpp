#pragma once

#include <cstddef>
#include <vector>

namespace runnel::detail {

/// A stack with a guard below it: pages that cannot be touched.
struct fiber_stack {
  std::byte* bottom = nullptr;  ///< Lowest usable byte.
  std::size_t size = 0;
};

/// The guard takes address space but no memory. It is larger than a page so that a function whose
/// frame is large does not step over it.
inline constexpr std::size_t fiber_guard_bytes = 64 * 1024;

/// Keeps stacks of one size for reuse: mapping one costs two system calls and page faults,
/// unmapping one makes every core of the process flush its TLB.
class fiber_stack_pool {
 public:
  /// How many idle stacks are kept.
  static constexpr std::size_t kept = 64;

  fiber_stack_pool() = default;
  fiber_stack_pool(const fiber_stack_pool&) = delete;
  fiber_stack_pool& operator=(const fiber_stack_pool&) = delete;
  ~fiber_stack_pool();

  /// Throws std::bad_alloc where the kernel gives no memory.
  fiber_stack take(std::size_t size);
  void give_back(fiber_stack stack) noexcept;

 private:
  std::vector<fiber_stack> idle_;
};

}  // namespace runnel::detail
