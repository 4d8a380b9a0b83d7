#pragma once

// Replaces the global allocator of a program by one that counts, so it is for one source of it.
// Sanitised builds bring an allocator of their own, and there RUNNEL_COUNT_ALLOCATIONS is 0.

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNNEL_COUNT_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RUNNEL_COUNT_ALLOCATIONS 0
#endif
#endif
#if !defined(RUNNEL_COUNT_ALLOCATIONS)
#define RUNNEL_COUNT_ALLOCATIONS 1
#endif

#if RUNNEL_COUNT_ALLOCATIONS

namespace {
std::size_t allocations = 0;
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

#endif
