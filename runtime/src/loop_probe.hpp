#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "runnel/detail/operation.hpp"
#include "runnel/trace.hpp"

namespace runnel {
class loop;
class waiter;
struct loop_options;
}  // namespace runnel

namespace runnel::detail {

/// Who listens to a loop and who makes its operations fail. There is none unless it was asked for.
class loop_probe {
 public:
  loop_probe(const loop& owner, const loop_options& options);

  void resumed(const waiter& next, list<waiter>& ready);
  void timers(std::size_t count);
  void finished(const operation& op, int result);
  /// Tells of the start; a negative errno when the operation is to fail with it instead.
  int started(const operation& op);

 private:
  void tell(trace_entry::kind what, std::string_view name, std::int64_t number);

  const loop* owner_;
  std::function<void(const trace_entry&)> trace_;
  std::function<int(std::string_view, std::uint64_t)> fail_;
  std::uint64_t operations_ = 0;
};

}  // namespace runnel::detail
