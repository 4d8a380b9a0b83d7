#include <cstdlib>
#include <typeinfo>

#include "operation_pool.hpp"
#include "runnel/loop.hpp"
#include "runnel/trace.hpp"
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
    case op_kind::receive:
      return "receive";
    case op_kind::accept:
      return "accept";
    case op_kind::send:
      return "send";
  }
  return "unknown";
}

}  // namespace

int operation_user::tell_started() noexcept {
  const std::string_view name = name_of(operation_->request.kind);
  const std::uint64_t number = owner_->metrics_.operations;
  loop_observer& observer = *owner_->observer_;
  observer.on_entry(
      {trace_entry::kind::started, owner_->now(), name, static_cast<std::int64_t>(number)});
  return -std::abs(observer.on_operation(name, number));
}

void operation_pool::tell_finished(const operation& op, int result) noexcept {
  observed_->observer_->on_entry(
      {trace_entry::kind::finished, observed_->now(), name_of(op.request.kind), result});
}

}  // namespace runnel::detail

namespace runnel {

void loop::tell_resumed(const waiter& next) noexcept {
  std::int64_t place = 0;
  for (waiter* at = &ready_.front(); at != &next; at = ready_.after(*at)) ++place;
  observer_->on_entry({trace_entry::kind::resumed, now_, typeid(next).name(), place});
}

}  // namespace runnel
