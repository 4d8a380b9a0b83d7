#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include "runnel/testing/fail.hpp"

// Include this in exactly one source file of a test program that uses fail_everywhere: it replaces
// the global allocator by one that can be told to fail. It works under sanitizers, too.

namespace runnel::testing::internal {

inline void* allocate_or_fail(std::size_t size, std::size_t alignment) noexcept {
  if (allocation_faults.next_fails()) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size == 0 ? 1 : size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

inline void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  if (void* memory = allocate_or_fail(size, alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace runnel::testing::internal

void* operator new(std::size_t size) {
  return runnel::testing::internal::allocate_or_throw(size, 1);
}
void* operator new[](std::size_t size) {
  return runnel::testing::internal::allocate_or_throw(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return runnel::testing::internal::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return runnel::testing::internal::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return runnel::testing::internal::allocate_or_fail(size, 1);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return runnel::testing::internal::allocate_or_fail(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return runnel::testing::internal::allocate_or_fail(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return runnel::testing::internal::allocate_or_fail(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}
