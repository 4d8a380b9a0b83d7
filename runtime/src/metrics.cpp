#include "runnel/metrics.hpp"

#include <iomanip>
#include <ostream>
#include <string>
#include <string_view>

#include "runnel/detail/text.hpp"

namespace runnel {
namespace {

class table {
 public:
  explicit table(std::ostream& out) noexcept : out_(&out) {}

  template <class Number>
  void row(std::string_view name, Number value, std::string_view remark = {}) {
    row(name, std::to_string(value), remark);
  }
  void row(std::string_view name, const std::string& value, std::string_view remark = {}) {
    constexpr int name_width = 26;
    constexpr int value_width = 14;
    *out_ << std::left << std::setw(name_width) << name << std::right << std::setw(value_width)
          << value;
    if (!remark.empty()) *out_ << "  " << remark;
    *out_ << '\n';
  }

 private:
  std::ostream* out_;
};

std::string one_decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

}  // namespace

double loop_metrics::completions_per_enter() const noexcept {
  return enters == 0 ? 0 : static_cast<double>(completions) / static_cast<double>(enters);
}

void print_metrics(loop& owner, std::ostream& out) {
  const loop_metrics& so_far = owner.metrics();
  const loop_gauges now = gauges_of(owner);
  table rows(out);
  rows.row("turns", so_far.turns);
  rows.row("busy turns", so_far.busy_turns, "did not sleep only because of busy_poll");
  rows.row("enters", so_far.enters, "of the kernel");
  rows.row("waits", so_far.waits, "enters that were allowed to sleep");
  rows.row("operations", so_far.operations, "of the kernel, started");
  rows.row("completions", so_far.completions);
  rows.row("completions per enter", one_decimal(so_far.completions_per_enter()));
  rows.row("resumed", so_far.resumed, "times that a task ran");
  rows.row("most resumed in a turn", so_far.resumed_most,
           "at most " + std::to_string(loop::ready_per_turn));
  rows.row("timers fired", so_far.timers_fired);
  if (so_far.longest_callback > duration::zero()) {
    rows.row("stalls", so_far.stalls);
    rows.row("longest callback", detail::text_of(so_far.longest_callback));
  }
  rows.row("waiting now", now.waiting, "tasks");
  rows.row("ready now", now.ready, "tasks");
  rows.row("timers now", now.timers, "armed");
  rows.row("operations now", now.operations, "in flight");
  rows.row("buffers now", now.buffers, "of 64 KiB, for files");
  rows.row("frames now", now.frames, "coroutines of this thread");
  rows.row("frame bytes now", now.frame_bytes);
  rows.row("pooled bytes now", now.pooled_bytes, "of frames that ended");
}

}  // namespace runnel
