#include "loop_probe.hpp"

#include <cstdlib>
#include <typeinfo>

#include "runnel/loop.hpp"
#include "runnel/waiter.hpp"

namespace runnel::detail {
namespace {

std::string_view name_of(op_kind kind) noexcept {
  switch (kind) {
    case op_kind::poll:
      return "poll";
    case op_kind::read:
      return "read";
    case op_kind::write:
      return "write";
    case op_kind::open:
      return "open";
    case op_kind::size:
      return "size";
    case op_kind::close:
      return "close";
    default:
      return "other";
  }
}

}  // namespace

loop_probe::loop_probe(const loop& owner, const loop_options& options)
    : owner_(&owner), trace_(options.trace), fail_(options.fail_operation) {}

void loop_probe::tell(trace_entry::kind what, std::string_view name, std::int64_t number) {
  if (trace_) trace_({what, owner_->now(), name, number});
}

void loop_probe::resumed(const waiter& next, list<waiter>& ready) {
  std::int64_t place = 0;
  for (waiter* at = &ready.front(); at != &next; at = ready.after(*at)) ++place;
  tell(trace_entry::kind::resumed, typeid(next).name(), place);
}

void loop_probe::timers(std::size_t count) {
  if (count != 0) tell(trace_entry::kind::timers, {}, static_cast<std::int64_t>(count));
}

void loop_probe::finished(const operation& op, int result) {
  tell(trace_entry::kind::finished, name_of(op.request.kind), result);
}

int loop_probe::started(const operation& op) {
  const std::string_view name = name_of(op.request.kind);
  tell(trace_entry::kind::started, name, static_cast<std::int64_t>(operations_));
  const std::uint64_t number = operations_++;
  return fail_ ? -std::abs(fail_(name, number)) : 0;
}

}  // namespace runnel::detail
