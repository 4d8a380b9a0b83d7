#pragma once

#include <liburing.h>

#include <string>

namespace runnel::detail {

/// A ring and what the kernel granted for it.
struct ring_setup {
  io_uring ring{};
  unsigned entries = 0;
  bool fd_registered = false;
  bool single_issuer = false;
  std::string flags;  ///< Names of the flags granted, for the log line.
  std::string refused;
};

/// Opens a ring with the best flags that the kernel takes, dropping them one by one, then with
/// fewer entries where locked memory is short. Throws startup_error with a sentence that says how
/// to mend it. With `sqpoll_idle_ms` above zero a thread of the kernel takes submissions.
void open_ring(ring_setup& out, unsigned entries, unsigned sqpoll_idle_ms);

}  // namespace runnel::detail
