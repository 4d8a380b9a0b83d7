#include "runnel/dump.hpp"

#include <algorithm>
#include <map>
#include <ostream>
#include <utility>

#include "runnel/detail/text.hpp"
#include "runnel/metrics.hpp"
#include "runnel/signal.hpp"

namespace runnel {
namespace {

constexpr std::size_t no_node = task_record::none;

// Tasks that look the same, and whose parents look the same.
struct node {
  const task_record* first = nullptr;
  std::size_t count = 0;
  duration shortest{duration::max()};
  duration longest{0};
  std::vector<std::size_t> children;
};

// What must be equal for two tasks to share a line. Places are compared by their text, as the same
// header in two sources gives two pointers.
std::string look_of(const task_record& record) {
  std::string look;
  const auto add = [&look](const std::source_location& where) {
    look.append(where.file_name()).append(":");
    look.append(std::to_string(where.line())).append(":");
    look.append(std::to_string(where.column())).append("\n");
  };
  for (const std::source_location& where : record.chain) {
    add(where);
  }
  add(record.spawned);
  look.append(record.what);
  look += record.ready ? 'r' : 'w';
  look += record.cancelled ? 'c' : '-';
  look += record.fiber ? 'f' : '-';
  return look.append(std::to_string(record.deeper));
}

class task_tree {
 public:
  explicit task_tree(const std::vector<task_record>& records)
      : records_(&records), node_of_(records.size(), no_node), climbed_(records.size(), false) {
    for (std::size_t i = 0; i < records.size(); ++i) {
      place(i);
    }
  }

  const std::vector<std::size_t>& roots() const noexcept { return roots_; }
  const node& at(std::size_t index) const noexcept { return nodes_[index]; }
  std::size_t size() const noexcept { return nodes_.size(); }

 private:
  // A parent gets its node before its children. A task that joins the group it belongs to, which is
  // a deadlock that a dump has to show, stands where the circle was entered.
  void place(std::size_t index) {
    std::vector<std::size_t> path;
    std::size_t above = no_node;
    for (std::size_t i = index; i != task_record::none; i = (*records_)[i].parent) {
      if (node_of_[i] != no_node) {
        above = node_of_[i];
        break;
      }
      if (climbed_[i]) break;
      climbed_[i] = true;
      path.push_back(i);
    }
    while (!path.empty()) {
      const std::size_t i = path.back();
      path.pop_back();
      above = node_of_[i] = node_for((*records_)[i], above);
    }
  }

  std::size_t node_for(const task_record& record, std::size_t above) {
    const auto [found, is_new] = known_.emplace(std::pair{above, look_of(record)}, nodes_.size());
    if (is_new) {
      nodes_.emplace_back();
      nodes_.back().first = &record;
      (above == no_node ? roots_ : nodes_[above].children).push_back(found->second);
    }
    node& entry = nodes_[found->second];
    ++entry.count;
    entry.shortest = std::min(entry.shortest, record.waited);
    entry.longest = std::max(entry.longest, record.waited);
    return found->second;
  }

  const std::vector<task_record>* records_;
  std::vector<std::size_t> node_of_;
  std::vector<bool> climbed_;
  std::vector<node> nodes_;
  std::vector<std::size_t> roots_;
  std::map<std::pair<std::size_t, std::string>, std::size_t> known_;
};

// Outermost first, as a call stack is told; the middle of a long one is left out.
std::string chain_text(const task_record& record) {
  constexpr std::size_t outer_shown = 3;
  constexpr std::size_t inner_shown = 5;
  const std::size_t kept = record.chain.size();
  if (kept == 0) return "a task that has not run yet";
  std::string text;
  for (std::size_t i = 0; i < kept; ++i) {
    const std::size_t position = kept - 1 - i;
    if (i > 0) text += " > ";
    if (i == outer_shown && position >= inner_shown) {
      text += "... > ";
      i = kept - inner_shown;
    }
    text += detail::text_of(record.chain[kept - 1 - i]);
  }
  if (record.deeper > 0) text.insert(0, std::to_string(record.deeper) + " more > ");
  return text;
}

// A wait is known to a millisecond, so no more than hundredths of a second are told.
std::string waited_text(duration waited) {
  constexpr duration step = std::chrono::milliseconds{10};
  const duration rounded = (waited + step / 2) / step * step;
  return rounded == duration::zero() ? "under 10 ms" : detail::text_of(rounded);
}

void print_node(const node& entry, std::size_t depth, std::ostream& out) {
  const task_record& record = *entry.first;
  out << std::string(std::min<std::size_t>(depth, 16) * 2, ' ');
  if (entry.count > 1) out << entry.count << " x ";
  out << chain_text(record) << ": " << record.what;
  if (entry.count == 1 && !record.detail.empty()) out << " (" << record.detail << ")";
  if (!record.ready) {
    const std::string shortest = waited_text(entry.shortest);
    const std::string longest = waited_text(entry.longest);
    out << ", for " << shortest;
    if (longest != shortest) out << " to " << longest;
  }
  if (record.fiber) out << ", on a fiber";
  if (record.cancelled) out << ", being cancelled";
  if (record.spawned.line() != 0) {
    out << ", spawned at " << detail::file_and_line(record.spawned);
  }
  out << '\n';
}

void print_tree(const task_tree& tree, std::size_t limit, std::ostream& out) {
  struct step {
    std::size_t index;
    std::size_t depth;
  };
  std::vector<step> open;
  const auto push = [&open](const std::vector<std::size_t>& from, std::size_t depth) {
    for (auto it = from.rbegin(); it != from.rend(); ++it) {
      open.push_back({*it, depth});
    }
  };
  push(tree.roots(), 0);
  std::size_t lines = 0;
  std::size_t left_lines = 0;
  std::size_t left_tasks = 0;
  while (!open.empty()) {
    const step next = open.back();
    open.pop_back();
    const node& entry = tree.at(next.index);
    push(entry.children, next.depth + 1);
    if (lines < limit) {
      ++lines;
      print_node(entry, next.depth, out);
    } else {
      ++left_lines;
      left_tasks += entry.count;
    }
  }
  if (left_lines > 0) {
    out << "and " << left_tasks << " more tasks, which take " << left_lines << " more lines\n";
  }
}

}  // namespace

void dump_tasks(loop& owner, std::ostream& out, dump_options options) {
  const std::vector<task_record> records = list_tasks(owner);
  const auto ready =
      std::count_if(records.begin(), records.end(), [](const auto& each) { return each.ready; });
  out << records.size() << (records.size() == 1 ? " task" : " tasks") << ", of which " << ready
      << " ready to run\n";
  print_tree(task_tree(records), options.lines, out);
}

task<> dump_on_signal(loop& owner, int number, std::ostream& out, dump_options options) {
  signal_set signals(owner, {number});
  for (;;) {
    const result<int> came = co_await signals.wait();
    if (!came) break;
    dump_tasks(owner, out, options);
    print_metrics(owner, out);
    out.flush();
  }
}

}  // namespace runnel
