#include "inspect_tables.hpp"

// The pages that are no list of sockets: nstat, ss -s, diagnose.

namespace runnel::tcp::detail {

namespace {

/// Whether a name fits a pattern of `*`, `?` and letters, as fnmatch(3) says. No name is as long as
/// the longest pattern that is looked at.
bool fits(std::string_view name, std::string_view pattern) noexcept {
  constexpr std::size_t longest_pattern = 128;
  if (pattern.size() > longest_pattern) return false;
  std::size_t n = 0;
  std::size_t p = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++n;
      ++p;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool is_wanted(const inspect_request& request, std::string_view name, std::uint64_t value) {
  if (value == 0 && !request.zeros) return false;
  if (request.patterns.empty()) return true;
  for (const std::string& pattern : request.patterns) {
    if (fits(name, pattern)) return true;
  }
  return false;
}

constexpr state shown_states[] = {
    state::listen,     state::syn_sent,   state::syn_received, state::established,
    state::fin_wait_1, state::fin_wait_2, state::close_wait,   state::closing,
    state::last_ack,   state::time_wait,
};

/// A paragraph in lines of a terminal's width.
void append_paragraph(std::string& out, std::string_view text, std::string_view indent) {
  constexpr std::size_t width = 96;
  while (!text.empty()) {
    std::size_t end = text.size();
    if (end > width) {
      end = text.rfind(' ', width);
      if (end == std::string_view::npos) end = std::min(text.find(' '), text.size());
    }
    out.append(indent).append(text.substr(0, end)) += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

/// As nstat prints them: the value, and a rate that nobody keeps.
void append_counters(std::string& out, const counters& count, const inspect_request& request) {
  out += "#runnel\n";
  count.for_each([&](std::string_view name, std::uint64_t value) {
    if (!is_wanted(request, name, value)) return;
    append_left(out, name, 32);
    append_left(out, std::to_string(value), 16);
    out += "   0.0\n";
  });
}

void append_counters_json(json_writer json, const counters& count, const inspect_request& request) {
  json.open('{').open('{', "runnel");
  count.for_each([&](std::string_view name, std::uint64_t value) {
    if (is_wanted(request, name, value)) json.number(name, value);
  });
  json.close('}').close('}');
}

void append_summary(std::string& out, const summary& sums, const shards_view& all) {
  const memory_table& memory = all.memory;
  const std::uint64_t waits = sums.of(state::time_wait);
  out += "Total: " + std::to_string(sums.rows) + "\n";
  out += "TCP:   " + std::to_string(sums.rows) + " (estab " +
         std::to_string(all.counters.curr_estab) + ", closed " + std::to_string(waits) +
         ", orphaned " + std::to_string(sums.orphans) + ", timewait " + std::to_string(waits) +
         ")\n\n";
  out += "Transport Total     IP        IPv6\n";
  const std::uint64_t live = sums.rows - waits;
  out += "TCP\t  ";
  append_left(out, std::to_string(live), 10);
  append_left(out, std::to_string(live - sums.v6), 10);
  out += std::to_string(sums.v6) + "\n\n";
  for (const state each : shown_states) {
    if (sums.of(each) == 0) continue;
    append_left(out, ss_name(each), 11);
    out += std::to_string(sums.of(each)) + "\n";
  }
  out += "\nMemory: " + std::to_string(memory.held_bytes >> 10) + " KiB of tables (" +
         std::to_string(memory.connection_bytes) + " B a connection, " +
         std::to_string(memory.half_open_bytes) + " B half-open, " +
         std::to_string(memory.time_wait_bytes) + " B in TIME-WAIT), " +
         std::to_string(memory.buffer_bytes >> 10) + " KiB of buffers\n";
}

void append_summary_json(json_writer json, const summary& sums, const shards_view& all) {
  const memory_table& memory = all.memory;
  json.open('{').number("total", sums.rows);
  json.number("estab", all.counters.curr_estab).number("orphaned", sums.orphans);
  json.open('{', "states");
  for (const state each : shown_states) json.number(ss_name(each), sums.of(each));
  json.close('}').open('{', "memory");
  json.number("tables", memory.held_bytes).number("buffers", memory.buffer_bytes);
  json.number("connection", memory.connection_bytes);
  json.number("half_open", memory.half_open_bytes).number("time_wait", memory.time_wait_bytes);
  json.close('}').close('}');
}

void append_findings(std::string& out, const std::vector<finding>& all) {
  if (all.empty()) out += "Nothing to say: no queue has overflowed and no state piles up.\n";
  bool first = true;
  for (const finding& each : all) {
    if (!first) out += '\n';
    first = false;
    out.append(each.id) += ":\n";
    append_paragraph(out, each.what, "  ");
    append_paragraph(out, each.cure, "  > ");
  }
}

void append_findings_json(json_writer json, const std::vector<finding>& all) {
  json.open('{').open('[', "findings");
  for (const finding& each : all) {
    json.open('{').text("id", each.id).text("what", each.what).text("cure", each.cure).close('}');
  }
  json.close(']').close('}');
}

}  // namespace runnel::tcp::detail
