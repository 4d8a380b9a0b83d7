#pragma once

#include <string>

#include "diagnosis_evidence.hpp"
#include "inspect_format.hpp"
#include "inspect_tables.hpp"
#include "runnel/tcp/inspect.hpp"

namespace runnel::tcp::detail {

/// The answer to a request about one host or the shards of one, in parts: `look` at the first of
/// them until it says false, then at the next one, and `finish` behind the last.
class inspect_page {
 public:
  explicit inspect_page(inspect_request wanted);

  /// Appends the next part of what this one has; false when it was its last.
  bool look(std::string& out, const host& engine, time_point now);
  /// Appends the end.
  void finish(std::string& out);

 private:
  json_writer json(std::string& out) noexcept { return {out, json_first_}; }
  void begin(std::string& out);
  bool look_at_sockets(std::string& out, const host& engine, time_point now);
  bool look_for_summary(const host& engine);
  bool look_for_diagnosis(const host& engine, time_point now);
  void add_row(std::string& out, const snapshot& row, time_point now);
  void add_row(std::string& out, const host& engine, const listener_snapshot& of);

  inspect_request request_;
  row_format format_;
  bool begun_ = false;
  bool json_first_ = true;
  /// Where the walk over the one at hand is.
  bool fresh_ = true;
  bool listeners_left_ = true;
  walk_position listener_at_;
  walk_position at_;
  summary sums_;
  shards_view all_;
  evidence seen_;
};

}  // namespace runnel::tcp::detail
