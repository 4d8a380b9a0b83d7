#pragma once

#include <unistd.h>

#include <cstddef>
#include <span>
#include <vector>

#include "runnel/file.hpp"
#include "runnel/task.hpp"

namespace example {

/// Writes what can be read of `from`, a stream or a body, to standard output, to its end.
template <class Source>
runnel::task<runnel::result<void>> print_all(Source& from) {
  std::vector<std::byte> buffer(64 * 1024);
  for (;;) {
    const auto got = co_await from.read(buffer);
    if (!got) co_return got.error();
    if (*got == 0) co_return runnel::result<void>();
    std::span<const std::byte> rest = std::span<const std::byte>(buffer).first(*got);
    while (!rest.empty()) {
      const auto written = co_await runnel::write_at(STDOUT_FILENO, rest, runnel::current_position);
      if (!written) co_return written.error();
      rest = rest.subspan(*written);
    }
  }
}

}  // namespace example
