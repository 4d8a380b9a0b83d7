#include "runnel/tcp/engine/policy_text.hpp"

#include <algorithm>

#include "policy_rows.hpp"
#include "policy_value.hpp"
#include "secret.hpp"

namespace runnel::tcp {

namespace {

using detail::allowed;
using detail::complaint_about;
using detail::const_policy_view;
using detail::key_place;
using detail::keys_at;
using detail::named_field;
using detail::parse_number;
using detail::parse_value;
using detail::parsed_value;
using detail::policy_view;
using detail::range_text;
using detail::spelling;
using detail::trimmed;
using detail::unknown_name;
using detail::value_text;
using detail::wipe;

constexpr auto keep = std::string_view("default");

/// 32 hexadecimal digits; a group of 8 is a number, the first one the lowest, as Linux has it.
bool parse_key(std::string_view text, secret_key& out) noexcept {
  std::size_t digits = 0;
  std::array<std::uint32_t, 4> groups{};
  for (const char c : text) {
    if (c == '-' && digits % 8 == 0 && digits > 0 && digits < 32) continue;
    const std::size_t value =
        std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
    if (value == std::string_view::npos || digits == 32 || c < '0') return false;
    groups[digits / 8] = groups[digits / 8] << 4 | static_cast<std::uint32_t>(value);
    ++digits;
  }
  out = {groups[0] | std::uint64_t{groups[1]} << 32, groups[2] | std::uint64_t{groups[3]} << 32};
  return digits == 32;
}

/// "KEY" or "CURRENT,PREVIOUS".
bool parse_keys(std::string_view text, const key_place& out) noexcept {
  const std::size_t comma = std::min(text.find(','), text.size());
  out.current.emplace();
  if (!parse_key(trimmed(text.substr(0, comma)), *out.current)) return false;
  if (comma == text.size()) return true;
  return parse_key(trimmed(text.substr(comma + 1)), out.previous.emplace());
}

std::string set_keys(const policy_view& to, const named_field& at, std::string_view name,
                     std::string_view text) {
  policy_keys read;
  const key_place fresh = keys_at(read, at.place);
  std::string complaint;
  if (parse_keys(text, fresh)) {
    const key_place keys = keys_at(*to.keys, at.place);
    write_field(to, at.place, {});
    keys.current = fresh.current;
    keys.previous = fresh.previous;
  } else {
    // What was given may be the secret with a slip of the pen in it.
    complaint =
        std::string(name) + " must be " + range_text(at.field()) + "; what was given is not";
  }
  wipe(fresh.current);
  wipe(fresh.previous);
  return complaint;
}

/// "32768 60999" into this field and the next one.
std::string set_range(const policy_view& to, const named_field& at, std::string_view text) {
  const std::size_t gap = std::min(text.find_first_of(" \t-"), text.size());
  std::int64_t first = 0;
  std::int64_t last = 0;
  const policy_field& field = at.field();
  if (!parse_number(text.substr(0, gap), first) ||
      !parse_number(trimmed(text.substr(std::min(gap + 1, text.size()))), last) ||
      !allowed(field, first) || !allowed(field, last) || first > last) {
    return complaint_about(at.of_linux().text, range_text(field, at.of_linux()), text);
  }
  write_field(to, at.place, first);
  write_field(to, at.place + 1, last);
  return {};
}

/// "4096 16384 4194304" into this field and the next two.
std::string set_three(const policy_view& to, const named_field& at, std::string_view text) {
  std::array<std::int64_t, 3> numbers{};
  bool good = detail::parse_three(text, numbers);
  for (const std::int64_t each : numbers) good = good && allowed(at.field(), each);
  if (!good) {
    return complaint_about(at.of_linux().text, range_text(at.field(), at.of_linux()), text);
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) write_field(to, at.place + i, numbers[i]);
  return {};
}

/// SO_LINGER into `close` and `close_time`.
std::string set_linger(const policy_view& to, const named_field& at, std::string_view text) {
  std::int64_t seconds = 0;
  if (text == "off") {
    write_field(to, at.place, static_cast<std::int64_t>(close_mode::graceful));
    write_field(to, at.place + 1, {});
    return {};
  }
  if (!parse_number(text, seconds) || seconds < 0 || seconds > 86'400) {
    return complaint_about(at.of_linux().text, range_text(at.field(), at.of_linux()), text);
  }
  const close_mode mode = seconds == 0 ? close_mode::abort : close_mode::linger;
  write_field(to, at.place, static_cast<std::int64_t>(mode));
  write_field(to, at.place + 1, seconds * 1000);
  return {};
}

/// Whether the value is written as the field itself writes it.
bool is_own(const named_field& at) noexcept {
  return at.by == spelling::own || at.of_linux().form == linux_form::word;
}

/// For how many fields, this one and the next ones, the name stands.
std::size_t fields_named(const named_field& at) noexcept {
  if (at.by == spelling::own) return 1;
  switch (at.of_linux().form) {
    case linux_form::three_fields:
      return 3;
    case linux_form::range:
    case linux_form::linger:
      return 2;
    default:
      return 1;
  }
}

std::string set_several(const policy_view& to, const named_field& at, std::string_view text) {
  switch (at.of_linux().form) {
    case linux_form::three_fields:
      return set_three(to, at, text);
    case linux_form::range:
      return set_range(to, at, text);
    default:
      return set_linger(to, at, text);
  }
}

std::string set_in(const policy_view& to, std::string_view name, std::string_view value) {
  const std::optional<named_field> at = find_named(to, name);
  if (!at) return unknown_name({to.stack, to.keys, to.listener, to.connection}, name);
  const std::string_view text = trimmed(value);
  const policy_field& field = at->field();
  if (text == keep) {
    for (std::size_t i = 0; i < fields_named(*at); ++i) write_field(to, at->place + i, {});
    return {};
  }
  if (field.secret()) return set_keys(to, *at, name, text);
  if (fields_named(*at) > 1) return set_several(to, *at, text);
  const parsed_value parsed =
      is_own(*at) ? parse_value(field, text) : parse_value(field, at->of_linux(), text);
  if (!parsed.good()) return parsed.complaint;
  std::optional<std::int64_t> wanted = parsed.value;
  if (at->by != spelling::own && at->of_linux().form == linux_form::zero_is_unset) {
    if (parsed.value == 0) wanted.reset();
    if (parsed.value < 0) wanted = 0;
  }
  if (at->by != spelling::own && at->of_linux().form == linux_form::zero_is_default &&
      parsed.value == 0) {
    wanted.reset();
  }
  write_field(to, at->place, wanted);
  return {};
}

std::string linger_text(std::int64_t mode, std::optional<std::int64_t> time_ms) {
  switch (static_cast<close_mode>(mode)) {
    case close_mode::graceful:
      return "off";
    case close_mode::abort:
      return "0";
    default:
      break;
  }
  // Linux knows no other way to close; they take their time as a linger does.
  return time_ms ? std::to_string((*time_ms + 999) / 1000) : std::string(keep);
}

std::optional<std::string> get_in(const const_policy_view& from, std::string_view name) {
  const std::optional<named_field> at = find_named(from, name);
  if (!at) return {};
  const policy_field& field = at->field();
  const std::optional<std::int64_t> value = read_field(from, at->place);
  if (!value) return std::string(keep);
  if (field.secret()) return "(set)";
  if (is_own(*at)) return value_text(field, *value);
  const std::size_t count = fields_named(*at);
  if (count == 1) return value_text(at->of_linux(), *value);
  if (at->of_linux().form == linux_form::linger) {
    return linger_text(*value, read_field(from, at->place + 1));
  }
  std::string out = std::to_string(*value);
  for (std::size_t i = 1; i < count; ++i) {
    out += " " + std::to_string(read_field(from, at->place + i).value_or(0));
  }
  return out;
}

}  // namespace

std::string set(policy_set& policy, std::string_view name, std::string_view value) {
  return set_in(detail::view_of(policy), name, value);
}
std::string set(listener_policy& policy, std::string_view name, std::string_view value) {
  return set_in({nullptr, nullptr, &policy, &policy.connection}, name, value);
}
std::string set(connection_policy& policy, std::string_view name, std::string_view value) {
  return set_in({nullptr, nullptr, nullptr, &policy}, name, value);
}

std::optional<std::string> get(const policy_set& policy, std::string_view name) {
  return get_in(detail::view_of(policy), name);
}
std::optional<std::string> get(const listener_policy& policy, std::string_view name) {
  return get_in({nullptr, nullptr, &policy, &policy.connection}, name);
}
std::optional<std::string> get(const connection_policy& policy, std::string_view name) {
  return get_in({nullptr, nullptr, nullptr, &policy}, name);
}

}  // namespace runnel::tcp
