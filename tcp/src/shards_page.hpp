#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/tcp/inspect.hpp"
#include "runnel/tcp/stack.hpp"

namespace runnel::tcp::detail {

class inspect_page;
struct shard_visit;

/// The answer to a request about a stack and, where it is a shard, about all of its host, in parts.
/// Each shard makes its own on its own thread, which costs that one what a part costs.
class shards_page {
 public:
  /// `from` must outlive it.
  shards_page(const stack& from, inspect_request request);
  shards_page(const shards_page&) = delete;
  shards_page& operator=(const shards_page&) = delete;
  ~shards_page();

  /// Appends the next part to `out`. After an error it is over.
  task<result<void>> next(std::string& out);
  /// That was the last one.
  bool done() const noexcept { return done_; }

 private:
  task<result<void>> look(std::string& out);

  const stack_core* core_;
  std::shared_ptr<shard_visit> visit_;
  std::uint32_t at_ = 0;
  bool done_ = false;
};

}  // namespace runnel::tcp::detail
