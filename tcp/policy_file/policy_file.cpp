#include "runnel/tcp/policy_file.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "runnel/tcp/engine/policy_text.hpp"

namespace runnel::tcp {

namespace {

/// A mistake in the file: thrown inside, text outside.
struct mistake {
  toml::source_position at;
  std::string what;
};

/// A value as `set` takes it. What has no such form is refused there as it is written.
std::string text_of(const toml::node& value) {
  if (const auto text = value.value_exact<std::string>()) return *text;
  if (const auto number = value.value_exact<std::int64_t>()) return std::to_string(*number);
  std::ostringstream out;
  if (const toml::array* list = value.as_array()) {
    for (const toml::node& each : *list) out << (out.tellp() > 0 ? " " : "") << text_of(each);
  } else if (const toml::table* table = value.as_table()) {
    out << *table;
  } else {
    value.visit([&](const auto& each) { out << each; });
  }
  return out.str();
}

class policy_reader {
 public:
  explicit policy_reader(const policy_set& base) : all_(base) {}

  policy_set read(const toml::table& file) {
    take_preset(file);
    for (const auto& [key, value] : file) {
      const std::string name(key.str());
      if (name == "preset") continue;
      if (name == "stack" || name == "listener" || name == "connection") {
        take_section(key, value);
      } else if (name == "linux") {
        take_linux_table("", key, value);
      } else {
        take_linux(name, key, value);
      }
    }
    check_together();
    return all_;
  }

 private:
  void take_preset(const toml::table& file) {
    const toml::node* preset = file.get("preset");
    if (preset == nullptr) return;
    const std::string name = text_of(*preset);
    if (name != "linux" && name != "default") {
      throw mistake{preset->source().begin,
                    "preset must be \"default\" or \"linux\"; it is '" + name.substr(0, 60) + "'"};
    }
    const policy_keys keys = all_.keys;
    all_ = name == "linux" ? linux_policy() : default_policy();
    all_.keys = keys;
  }

  void take_section(const toml::key& section, const toml::node& content) {
    const std::string level(section.str());
    const toml::table* table = content.as_table();
    if (table == nullptr) throw mistake{section.source().begin, level + " must be a section"};
    for (const auto& [key, value] : *table) {
      const policy_field* field = find_policy_field(key.str());
      if (field != nullptr && field->name == key.str() && to_string(field->level) != level) {
        throw mistake{key.source().begin, std::string(key.str()) + " belongs into [" +
                                              std::string(to_string(field->level)) + "]"};
      }
      if (field != nullptr && field->name != key.str()) {
        throw mistake{
            key.source().begin,
            std::string(key.str()) + " is a name of Linux; here it is " + std::string(field->name)};
      }
      take_value(std::string(key.str()), key, value);
    }
  }

  void take_linux_table(const std::string& prefix, const toml::key& section,
                        const toml::node& content) {
    const toml::table* table = content.as_table();
    if (table == nullptr) {
      throw mistake{section.source().begin, std::string(section.str()) + " must be a section"};
    }
    for (const auto& [key, value] : *table) {
      take_linux(prefix + std::string(key.str()), key, value);
    }
  }

  /// A sysctl by its name, quoted or in parts that TOML has made tables of.
  void take_linux(const std::string& name, const toml::key& key, const toml::node& value) {
    const policy_field* field = find_policy_field(name);
    if (value.is_table() && field == nullptr) {
      const bool may_lead_on = name == "net" || name.starts_with("net.");
      if (!may_lead_on) {
        throw mistake{key.source().begin,
                      "there is no section [" + name.substr(0, 60) +
                          "]; there are [stack], [listener], [connection] and [linux]"};
      }
      take_linux_table(name + ".", key, value);
      return;
    }
    if (field != nullptr && field->name == name) {
      throw mistake{key.source().begin,
                    name + " belongs into [" + std::string(to_string(field->level)) + "]"};
    }
    take_value(name, key, value);
  }

  void take_value(const std::string& name, const toml::key& key, const toml::node& value) {
    const std::string complaint = set(all_, name, text_of(value));
    const policy_field* field = find_policy_field(name);
    if (!complaint.empty()) {
      throw mistake{field == nullptr ? key.source().begin : value.source().begin, complaint};
    }
    remember(*field, key);
    if (field->sysctl.text != name) return;
    const bool three = field->sysctl.form == linux_form::three_fields;
    if (three || field->sysctl.form == linux_form::range) remember(*(field + 1), key);
    if (three) remember(*(field + 2), key);
  }

  void remember(const policy_field& field, const toml::key& key) {
    const auto [before, fresh] = seen_.try_emplace(field.name, key.source().begin);
    if (fresh) return;
    const toml::source_position first = std::min(before->second, key.source().begin);
    throw mistake{
        std::max(before->second, key.source().begin),
        std::string(field.name) + " is set already in line " + std::to_string(first.line)};
  }

  /// What only shows when all values are known. The complaint begins with the field.
  void check_together() const {
    const std::string complaint = check(all_);
    if (complaint.empty()) return;
    const auto found = seen_.find(std::string_view(complaint).substr(0, complaint.find(' ')));
    throw mistake{found == seen_.end() ? toml::source_position{} : found->second, complaint};
  }

  policy_set all_;
  /// Where each field was set.
  std::map<std::string_view, toml::source_position> seen_;
};

std::string located(std::string_view file, const toml::source_position& at, std::string_view what) {
  std::string out(file);
  if (at) out += ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
  return out.append(": ").append(what);
}

/// What the parser says. It quotes a number that it cannot hold, which is what a key without quotes
/// around it is.
std::string without_keys(std::string_view description) {
  std::string out;
  while (!description.empty()) {
    const std::size_t digits =
        std::min(description.find_first_not_of("0123456789abcdefABCDEF"), description.size());
    if (digits < 8) {
      out.append(description.substr(0, digits + 1));
    } else {
      out.append("...").append(description.substr(digits, 1));
    }
    description.remove_prefix(std::min(digits + 1, description.size()));
  }
  return out;
}

}  // namespace

std::string parse_policy(policy_set& into, std::string_view text, std::string_view name) {
  try {
    into = policy_reader(into).read(toml::parse(text));
    return {};
  } catch (const mistake& found) {
    return located(name, found.at, found.what);
  } catch (const toml::parse_error& error) {
    return located(name, error.source().begin, without_keys(error.description()));
  }
}

std::string load_policy(policy_set& into, const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 4096> piece{};
  while (file.read(piece.data(), piece.size()) || file.gcount() > 0) {
    text.append(piece.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) {
    return "cannot read the policy file " + path + ": " + std::strerror(errno);
  }
  return parse_policy(into, text, path);
}

}  // namespace runnel::tcp
