#include "policy_rows.hpp"
#include "policy_value.hpp"

// A whole policy as a table, as JSON and as TOML. Keys never get here: `read_field` gives 1 for
// one.

namespace runnel::tcp {

namespace {

using detail::read_field;
using detail::value_text;
using detail::view_of;

/// A field of the policy that is printed, with what it would be by default.
struct printed_field {
  const policy_field* field;
  /// What is in force; nothing for a key that is not given.
  std::optional<std::int64_t> value;
  std::optional<std::int64_t> standard;
  /// The policy says it itself.
  bool set;

  bool changed() const noexcept { return value != standard; }
};

template <class Visit>
void for_each_field(const policy_set& policy, Visit visit) {
  const policy_set standard = default_policy();
  const std::span<const policy_field> all = policy_fields();
  for (std::size_t place = 0; place < all.size(); ++place) {
    const std::optional<std::int64_t> own = read_field(view_of(policy), place);
    const std::optional<std::int64_t> built_in = read_field(view_of(standard), place);
    visit(printed_field{&all[place], own ? own : built_in, built_in, own.has_value()});
  }
}

/// A time without its unit, which `unit_of` gives; else the field's own notation.
std::string plain_value(const policy_field& field, std::optional<std::int64_t> value) {
  if (field.secret()) return value ? "(set)" : "random";
  if (field.kind != policy_kind::time) return value_text(field, *value);
  return std::to_string(*value % 1000 == 0 ? *value / 1000 : *value);
}

std::string_view unit_of(const policy_field& field, std::optional<std::int64_t> value) {
  if (field.kind == policy_kind::bytes) return "bytes";
  if (field.kind != policy_kind::time) return "";
  return *value % 1000 == 0 ? "s" : "ms";
}

std::string linux_names(const policy_field& field, std::string_view quote) {
  std::string out;
  for (const std::string_view name : {field.sysctl.text, field.option.text}) {
    if (name.empty()) continue;
    if (!out.empty()) out += ", ";
    out.append(quote).append(name).append(quote);
  }
  return out;
}

void add_column(std::string& line, std::string_view text, std::size_t width) {
  line.append(text);
  line.append(text.size() < width ? width - text.size() : 1, ' ');
}

std::string table_line(std::string_view field, std::string_view value, std::string_view unit,
                       std::string_view linux_has, std::string_view mark) {
  std::string line;
  add_column(line, field, 28);
  add_column(line, value, 14);
  add_column(line, unit, 7);
  add_column(line, linux_has, 52);
  line.append(mark);
  line.erase(line.find_last_not_of(' ') + 1);
  return line += '\n';
}

std::string json_value(const policy_field& field, std::optional<std::int64_t> value) {
  if (field.secret()) return value ? "\"(set)\"" : "null";
  switch (field.kind) {
    case policy_kind::flag:
      return value_text(field, *value);
    case policy_kind::choice:
    case policy_kind::bits:
      return "\"" + value_text(field, *value) + "\"";
    default:
      return std::to_string(*value);
  }
}

std::string_view json_unit(const policy_field& field) {
  if (field.kind == policy_kind::time) return "ms";
  return field.kind == policy_kind::bytes ? "bytes" : "";
}

std::string toml_value(const policy_field& field, std::int64_t value) {
  switch (field.kind) {
    case policy_kind::time:
    case policy_kind::choice:
    case policy_kind::bits:
      return "\"" + value_text(field, value) + "\"";
    default:
      return value_text(field, value);
  }
}

/// Calls `section(level)` where one begins and `line(field)` for each field in it.
template <class Section, class Line>
void print_sections(const policy_set& policy, Section section, Line line) {
  const policy_field* before = nullptr;
  for_each_field(policy, [&](const printed_field& each) {
    if (before == nullptr || before->level != each.field->level) {
      section(to_string(each.field->level));
    }
    before = each.field;
    line(each);
  });
}

}  // namespace

std::string to_table(const policy_set& policy) {
  std::string out = table_line("FIELD", "VALUE", "UNIT", "LINUX", "DEFAULT");
  print_sections(
      policy, [&](std::string_view level) { out.append("\n[").append(level).append("]\n"); },
      [&](const printed_field& each) {
        const policy_field& field = *each.field;
        std::string mark = "yes";
        if (each.changed()) {
          mark = "no: " + plain_value(field, each.standard);
          if (!field.secret()) mark.append(" ").append(unit_of(field, each.standard));
        }
        out += table_line(field.name, plain_value(field, each.value), unit_of(field, each.value),
                          linux_names(field, ""), mark);
      });
  return out;
}

std::string to_json(const policy_set& policy) {
  std::string out = "{";
  std::string_view end;
  std::string_view comma;
  print_sections(
      policy,
      [&](std::string_view level) {
        out.append(end).append("\"").append(level).append("\":{");
        end = "},";
        comma = "";
      },
      [&](const printed_field& each) {
        const policy_field& field = *each.field;
        out.append(comma).append("\"").append(field.name).append("\":{\"value\":");
        out.append(json_value(field, each.value)).append(",\"unit\":\"").append(json_unit(field));
        out.append("\",\"default\":").append(json_value(field, each.standard));
        out.append(",\"changed\":").append(each.changed() ? "true" : "false");
        out.append(",\"linux\":[").append(linux_names(field, "\"")).append("]}");
        comma = ",";
      });
  return out += "}}";
}

std::string to_toml(const policy_set& policy) {
  std::string out;
  print_sections(
      policy,
      [&](std::string_view level) {
        if (!out.empty()) out += '\n';
        out.append("[").append(level).append("]\n");
      },
      [&](const printed_field& each) {
        if (!each.set) return;
        if (each.field->secret()) {
          out.append("# ").append(each.field->name).append(" is set and not shown\n");
          return;
        }
        out.append(each.field->name).append(" = ").append(toml_value(*each.field, *each.value));
        out += '\n';
      });
  return out;
}

}  // namespace runnel::tcp
