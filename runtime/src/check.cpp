#include "runnel/detail/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace runnel::detail {

void fail(const char* sentence) noexcept {
  std::fputs(sentence, stderr);
  std::fputc('\n', stderr);
  std::abort();
}

}  // namespace runnel::detail
