#pragma once

namespace runnel::detail {

/// Installs the handler, once per process, and an alternate stack for this thread, which
/// `release_alternate_stack` gives back. Throws std::system_error where the kernel refuses and
/// std::bad_alloc where there is no memory.
void report_fiber_overflow();

/// As often as `report_fiber_overflow` was called, on the same thread.
void release_alternate_stack() noexcept;

}  // namespace runnel::detail
