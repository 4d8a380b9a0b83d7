#pragma once

#include <cstddef>
#include <unordered_map>
#include <vector>

#include "runnel/dump.hpp"
#include "runnel/metrics.hpp"

namespace runnel::detail {

/// Finds every waiter of a loop. Each is in the list of its scope or, once woken, in the ready
/// queue, and scopes form trees whose roots the loop knows, so running code keeps no list for this.
class task_walk {
 public:
  explicit task_walk(loop& owner) noexcept : owner_(&owner) {}

  std::vector<task_record> records();
  loop_gauges gauges();

 private:
  template <class Visit>
  void for_each(Visit visit);
  void add(const waiter& w);
  static waiter* const* follow(const promise_base* at, task_record& record);
  void find_parents();

  loop* owner_;
  std::vector<task_record> records_;
  /// Per record: where its group keeps who joins it.
  std::vector<waiter* const*> groups_;
  std::unordered_map<const waiter*, std::size_t> index_;
};

}  // namespace runnel::detail
