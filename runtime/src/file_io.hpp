#pragma once

#include "runnel/detail/operation.hpp"

namespace runnel::detail {

/// The system calls of an operation, for backends whose kernel does not take it as a whole. Both
/// give what the ring would: a count, a descriptor or zero, or a negative errno.

/// Any operation but a poll. May block.
int perform_blocking(operation& op) noexcept;

/// A read or write of a descriptor that epoll says is ready. Does not block; -EAGAIN when it was
/// not ready after all.
int perform_ready(operation& op) noexcept;

}  // namespace runnel::detail
