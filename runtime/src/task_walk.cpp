#include "task_walk.hpp"

#include <utility>

#include "operation_pool.hpp"
#include "runnel/detail/frame_pool.hpp"

namespace runnel {
namespace detail {
namespace {

template <class T>
T* first(list<T>& of) noexcept {
  return of.empty() ? nullptr : &of.front();
}

void push_all(list<cancel_scope>& from, std::vector<cancel_scope*>& open) {
  for (cancel_scope* scope = first(from); scope != nullptr; scope = from.after(*scope)) {
    open.push_back(scope);
  }
}

}  // namespace

template <class Visit>
void task_walk::for_each(Visit visit) {
  for (waiter* w = first(owner_->ready_); w != nullptr; w = owner_->ready_.after(*w)) {
    visit(*w);
  }
  std::vector<cancel_scope*> open;
  push_all(owner_->scopes_, open);
  while (!open.empty()) {
    cancel_scope& scope = *open.back();
    open.pop_back();
    for (waiter* w = first(scope.waiting_); w != nullptr; w = scope.waiting_.after(*w)) {
      visit(*w);
    }
    push_all(scope.children_, open);
  }
}

std::vector<task_record> task_walk::records() {
  for_each([this](const waiter& w) { add(w); });
  find_parents();
  return std::move(records_);
}

loop_gauges task_walk::gauges() {
  loop_gauges now;
  for_each([&now](const waiter& w) { ++(w.waiting() ? now.waiting : now.ready); });
  now.timers = owner_->timers_.count();
  now.operations = owner_->operations_->in_flight();
  now.buffers = owner_->operations_->buffers();
  const frame_counts frames = count_frames();
  now.frames = frames.alive;
  now.frame_bytes = frames.alive_bytes;
  now.pooled_bytes = frames.pooled_bytes;
  return now;
}

void task_walk::add(const waiter& w) {
  task_record record;
  record.ready = !w.waiting();
  if (record.ready) {
    // What a leaf waited for may be gone by now, so it is not asked.
    record.what = "its turn";
  } else {
    wait_description description = w.describe();
    record.what = description.what;
    record.detail = std::move(description.detail);
    record.cancelled = w.scope_->cancelled();
    const std::uint32_t now = waiter::now_of<promise_base>(*w.scope_);
    record.waited = duration{static_cast<std::int64_t>(now - w.since_) << waiter::since_shift};
  }
  groups_.push_back(follow(w.promise(), record));
  index_.emplace(&w, records_.size());
  records_.push_back(std::move(record));
}

// Goes up to the task that nobody awaits; gives where the group that it belongs to, if any, keeps
// who joins it.
waiter* const* task_walk::follow(const promise_base* at, task_record& record) {
  record.fiber = at != nullptr && at->is_fiber();
  for (bool skip = false; at != nullptr; at = at->parent()) {
    if (waiter* const* group = at->group()) {
      record.spawned = at->where();
      return group;
    }
    if (!skip && !at->is_glue() && at->where().line() != 0) {
      if (record.chain.size() < task_record::chain_limit) {
        record.chain.push_back(at->where());
      } else {
        ++record.deeper;
      }
    }
    skip = at->is_fiber();
  }
  return nullptr;
}

void task_walk::find_parents() {
  for (std::size_t i = 0; i < records_.size(); ++i) {
    if (groups_[i] == nullptr || *groups_[i] == nullptr) continue;
    const auto joiner = index_.find(*groups_[i]);
    if (joiner != index_.end()) records_[i].parent = joiner->second;
  }
}

}  // namespace detail

std::vector<task_record> list_tasks(loop& owner) {
  return detail::task_walk(owner).records();
}

loop_gauges gauges_of(loop& owner) {
  return detail::task_walk(owner).gauges();
}

}  // namespace runnel
