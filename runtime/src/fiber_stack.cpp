#include "fiber_stack.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "runnel/fiber.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define RUNNEL_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RUNNEL_ASAN
#endif
#endif
#ifdef RUNNEL_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace runnel::detail {
namespace {

std::size_t page_size() noexcept {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

fiber_stack map_stack(std::size_t size) {
  constexpr std::size_t guard = fiber_guard_bytes;
  void* memory = ::mmap(nullptr, size + guard, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  if (::mprotect(memory, guard, PROT_NONE) != 0) {
    ::munmap(memory, size + guard);
    throw std::bad_alloc();
  }
  return {static_cast<std::byte*>(memory) + guard, size};
}

void unmap_stack(fiber_stack stack) noexcept {
#ifdef RUNNEL_ASAN
  // Frames that a fiber never returned from are still poisoned, and whoever gets these addresses
  // next without AddressSanitizer knowing, such as liburing, would be blamed for it.
  __asan_unpoison_memory_region(stack.bottom, stack.size);
#endif
  ::munmap(stack.bottom - fiber_guard_bytes, stack.size + fiber_guard_bytes);
}

}  // namespace

fiber_stack_pool::~fiber_stack_pool() {
  for (fiber_stack stack : idle_) {
    unmap_stack(stack);
  }
}

fiber_stack fiber_stack_pool::take(std::size_t size) {
  constexpr std::size_t smallest = 16 * 1024;
  const std::size_t page = page_size();
  size = (std::max(size, smallest) + page - 1) / page * page;
  if (idle_.capacity() == 0) idle_.reserve(kept);
  if (!idle_.empty() && idle_.back().size == size) {
    fiber_stack stack = idle_.back();
    idle_.pop_back();
    return stack;
  }
  return map_stack(size);
}

void fiber_stack_pool::give_back(fiber_stack stack) noexcept {
  if (stack.size == fiber_options{}.stack_size && idle_.size() < kept) {
    idle_.push_back(stack);
  } else {
    unmap_stack(stack);
  }
}

}  // namespace runnel::detail

namespace runnel {

const std::shared_ptr<detail::fiber_stack_pool>& loop::fiber_stacks() {
  if (!fiber_stacks_) fiber_stacks_ = std::make_shared<detail::fiber_stack_pool>();
  return fiber_stacks_;
}

}  // namespace runnel
