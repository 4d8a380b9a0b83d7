#pragma once

// Counts every allocation of the program, the ones that engines make by calloc(3) included, where
// replacing operator new would miss them. For one source of a program, with glibc only.

#include <cstddef>
#include <cstdint>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
}

namespace runnel::bench {
/// Calls so far.
inline std::uint64_t allocations = 0;
}  // namespace runnel::bench

extern "C" void* malloc(std::size_t size) noexcept {
  ++runnel::bench::allocations;
  return __libc_malloc(size);
}
extern "C" void* calloc(std::size_t count, std::size_t size) noexcept {
  ++runnel::bench::allocations;
  return __libc_calloc(count, size);
}
extern "C" void* realloc(void* memory, std::size_t size) noexcept {
  ++runnel::bench::allocations;
  return __libc_realloc(memory, size);
}
