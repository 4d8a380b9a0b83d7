#include "policy_value.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace runnel::tcp::detail {

namespace {

constexpr std::int64_t page_bytes = 4096;
constexpr std::string_view all_ones_text = "4294967295";

/// What ip_no_pmtu_disc makes of IP_MTU_DISCOVER.
constexpr std::array<std::int64_t, 3> discovery_of = {1, 0, 4};

struct unit {
  std::string_view text;
  std::int64_t factor;
};
constexpr std::array time_units = {unit{"", 1},          unit{"ms", 1},
                                   unit{"s", 1000},      unit{"min", 60'000},
                                   unit{"h", 3'600'000}, unit{"d", 86'400'000}};
constexpr std::array byte_units = {unit{"", 1},          unit{"k", 1 << 10},  unit{"K", 1 << 10},
                                   unit{"KiB", 1 << 10}, unit{"M", 1 << 20},  unit{"MiB", 1 << 20},
                                   unit{"G", 1 << 30},   unit{"GiB", 1 << 30}};
constexpr std::array flag_words = {policy_word{"true", 1}, policy_word{"false", 0},
                                   policy_word{"on", 1},   policy_word{"off", 0},
                                   policy_word{"yes", 1},  policy_word{"no", 0}};

std::string_view take_part(std::string_view& text, std::string_view separators) noexcept {
  const std::size_t start = text.find_first_not_of(separators);
  text = start == std::string_view::npos ? std::string_view() : text.substr(start);
  const std::size_t end = std::min(text.find_first_of(separators), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end);
  return part;
}

bool parse_with_unit(std::string_view text, std::span<const unit> units,
                     std::int64_t& out) noexcept {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789-"), text.size());
  std::int64_t number = 0;
  if (!parse_number(text.substr(0, digits), number)) return parse_number(text, out);
  const std::string_view suffix = trimmed(text.substr(digits));
  for (const unit& each : units) {
    if (each.text != suffix) continue;
    return !__builtin_mul_overflow(number, each.factor, &out);
  }
  return parse_number(text, out);
}

bool parse_word(std::string_view text, std::span<const policy_word> words,
                std::int64_t& out) noexcept {
  for (const policy_word& each : words) {
    if (each.text != text) continue;
    out = each.value;
    return true;
  }
  return parse_number(text, out);
}

bool parse_bits(std::string_view text, std::span<const policy_word> words,
                std::int64_t& out) noexcept {
  out = 0;
  if (text == "none") return true;
  while (!text.empty()) {
    std::int64_t bit = 0;
    const std::string_view part = take_part(text, "|+, ");
    if (part.empty()) break;
    if (!parse_word(part, words, bit)) return false;
    out |= bit;
  }
  return true;
}

bool parse_any(const policy_field& field, std::string_view text, bool units,
               std::int64_t& out) noexcept {
  if (text.empty()) return false;
  switch (field.kind) {
    case policy_kind::flag:
      return parse_word(text, flag_words, out);
    case policy_kind::choice:
      return parse_word(text, field.words, out);
    case policy_kind::bits:
      return parse_bits(text, field.words, out);
    case policy_kind::time:
      return units ? parse_with_unit(text, time_units, out) : parse_number(text, out);
    case policy_kind::bytes:
      return units ? parse_with_unit(text, byte_units, out) : parse_number(text, out);
    case policy_kind::count:
      return parse_number(text, out);
    case policy_kind::key:
      break;
  }
  return false;
}

std::string hexadecimal(std::int64_t value) {
  std::array<char, 20> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  return "0x" + std::string(digits.data(), end);
}

std::string join_words(const policy_field& field) {
  std::string out;
  for (std::size_t i = 0; i < field.words.size(); ++i) {
    const policy_word& word = field.words[i];
    if (i > 0) out += i + 1 == field.words.size() ? " or " : ", ";
    out += word.text;
    out +=
        " (" +
        (field.kind == policy_kind::bits ? hexadecimal(word.value) : std::to_string(word.value)) +
        ")";
  }
  return out;
}

std::string bounds(const policy_field& field, std::string lowest, const std::string& highest) {
  lowest += " to " + highest;
  return field.zero ? "0 or " + lowest : lowest;
}

std::string time_text(std::int64_t ms) {
  if (ms % 1000 == 0) return std::to_string(ms / 1000) + "s";
  return std::to_string(ms) + "ms";
}

/// The bounds of a plain number of Linux's, in its unit.
std::int64_t lowest_of(const policy_field& field, const linux_name& name) noexcept {
  if (name.form == linux_form::zero_is_unset) return -1;
  if (name.form == linux_form::zero_is_eight || name.form == linux_form::zero_is_default) return 0;
  if (name.form == linux_form::zero_is_none || name.form == linux_form::thousandths) return 1;
  return (field.lowest + name.unit - 1) / name.unit;
}
std::int64_t highest_of(const policy_field& field, const linux_name& name) noexcept {
  if (name.highest > 0) return name.highest;
  if (name.form == linux_form::thousandths) return field.highest * 1000;
  return field.highest / (name.form == linux_form::doubled ? 2 : name.unit);
}

/// The last of three numbers that do not fall.
bool parse_last_of_three(std::string_view text, std::int64_t& out) noexcept {
  std::array<std::int64_t, 3> numbers{};
  if (!parse_three(text, numbers)) return false;
  out = numbers.back();
  return true;
}

/// What Linux takes for no bound, as 32 or 64 bits, with or without a sign.
bool is_all_ones(std::string_view text) noexcept {
  return text == "-1" || text == all_ones_text || text == "18446744073709551615";
}

}  // namespace

bool parse_three(std::string_view text, std::array<std::int64_t, 3>& out) noexcept {
  std::int64_t last = 0;
  for (std::int64_t& each : out) {
    if (!parse_number(take_part(text, " \t"), each) || each < last) return false;
    last = each;
  }
  return trimmed(text).empty();
}

std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

bool parse_number(std::string_view text, std::int64_t& out) noexcept {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, out, hex ? 16 : 10);
  return !text.empty() && result.ec == std::errc() && result.ptr == end;
}

bool allowed(const policy_field& field, std::int64_t value) noexcept {
  if (field.kind == policy_kind::bits) {
    std::int64_t mask = 0;
    for (const policy_word& each : field.words) mask |= each.value;
    return value >= 0 && (value & ~mask) == 0;
  }
  if (field.kind == policy_kind::choice) {
    for (const policy_word& each : field.words) {
      if (each.value == value) return true;
    }
    return false;
  }
  if (value == 0 && field.zero) return true;
  return value >= field.lowest && value <= field.highest && value % field.step == 0;
}

std::string range_text(const policy_field& field) {
  switch (field.kind) {
    case policy_kind::flag:
      return "true or false";
    case policy_kind::choice:
      return join_words(field);
    case policy_kind::bits:
      return "none or a sum of " + join_words(field);
    case policy_kind::time:
      return bounds(field, time_text(field.lowest), time_text(field.highest)) +
             (field.step > 1 ? " in whole seconds" : "");
    case policy_kind::bytes:
      return bounds(field, std::to_string(field.lowest), std::to_string(field.highest)) + " bytes";
    case policy_kind::count:
      return bounds(field, std::to_string(field.lowest), std::to_string(field.highest));
    case policy_kind::key:
      break;
  }
  return "32 hexadecimal digits, in groups of 8 with '-' between them if you like, or two such "
         "keys, the current one and the one before, with ',' between them";
}

std::string range_text(const policy_field& field, const linux_name& name) {
  const std::string highest = std::to_string(field.highest);
  switch (name.form) {
    case linux_form::three_pages:
      return "three numbers of pages, low, pressure and high, the last " +
             std::to_string(field.lowest / page_bytes) + " to " +
             std::to_string(field.highest / page_bytes);
    case linux_form::three_fields:
      return "three numbers that do not fall, " + range_text(field);
    case linux_form::three_is_on:
      return "0 to 4";
    case linux_form::range:
      return "two ports, the first and the last, " + std::to_string(field.lowest) + " to " +
             highest;
    case linux_form::linger:
      return "off or 0 to 86400 s";
    case linux_form::no_pmtu_disc:
      return "0 to 2";
    default:
      break;
  }
  switch (field.kind) {
    case policy_kind::flag:
      return "0 or 1";
    case policy_kind::choice:
    case policy_kind::bits:
    case policy_kind::key:
      return range_text(field);
    default:
      break;
  }
  if (name.form == linux_form::zero_is_all_ones) {
    return std::to_string(field.lowest) + " to " + highest + " bytes, or " +
           std::string(all_ones_text) + " for no bound";
  }
  std::string out = bounds(field, std::to_string(lowest_of(field, name)),
                           std::to_string(highest_of(field, name)));
  if (name.form == linux_form::thousandths) return out + " microseconds";
  if (name.form == linux_form::zero_is_none) return out + ", for none at all is not to be had";
  if (field.kind == policy_kind::time) out += name.unit == 1000 ? " s" : " ms";
  if (field.kind == policy_kind::bytes) out += " bytes";
  return out;
}

std::string complaint_about(std::string_view name, std::string_view range, std::string_view text) {
  std::int64_t number = 0;
  std::string out(name);
  out.append(" must be ").append(range).append("; it is ");
  if (parse_number(text, number)) return out.append(text);
  // A text of the user's may be of any length.
  return out.append("'").append(text.substr(0, 60)).append("'");
}

parsed_value parse_value(const policy_field& field, std::string_view text) {
  parsed_value out;
  if (parse_any(field, text, true, out.value) && allowed(field, out.value)) return out;
  return {0, complaint_about(field.name, range_text(field), text)};
}

std::string value_text(const policy_field& field, std::int64_t value) {
  switch (field.kind) {
    case policy_kind::flag:
      return value != 0 ? "true" : "false";
    case policy_kind::time:
      return time_text(value);
    case policy_kind::choice:
      for (const policy_word& each : field.words) {
        if (each.value == value) return std::string(each.text);
      }
      break;
    case policy_kind::bits: {
      std::string out;
      for (const policy_word& each : field.words) {
        if ((value & each.value) == 0) continue;
        if (!out.empty()) out += '|';
        out += each.text;
      }
      return out.empty() ? "none" : out;
    }
    default:
      break;
  }
  return std::to_string(value);
}

parsed_value parse_value(const policy_field& field, const linux_name& name, std::string_view text) {
  parsed_value out;
  bool good = false;
  switch (name.form) {
    case linux_form::three_pages:
      good = parse_last_of_three(text, out.value) &&
             !__builtin_mul_overflow(out.value, page_bytes, &out.value);
      break;
    case linux_form::no_pmtu_disc:
      good = parse_number(text, out.value) && out.value >= 0 && out.value <= 2;
      if (good) out.value = discovery_of[static_cast<std::size_t>(out.value)];
      break;
    case linux_form::three_is_on:
      good = parse_number(text, out.value) && out.value >= 0 && out.value <= 4;
      out.value = out.value >= 3 ? 1 : 0;
      break;
    case linux_form::zero_is_all_ones:
      good = is_all_ones(text) || (parse_number(text, out.value) && out.value != 0);
      break;
    default:
      good = parse_any(field, text, false, out.value);
      if (good && field.kind != policy_kind::choice && field.kind != policy_kind::bits) {
        good = (out.value >= lowest_of(field, name) && out.value <= highest_of(field, name)) ||
               (out.value == 0 && field.zero);
        if (good) out.value *= name.form == linux_form::doubled ? 2 : name.unit;
      }
      if (name.form == linux_form::thousandths) {
        out.value = std::max((out.value + 999) / 1000, field.lowest);
      }
      if (name.form == linux_form::zero_is_eight && out.value == 0) out.value = 8;
      break;
  }
  const bool may_unset =
      name.form == linux_form::zero_is_unset || name.form == linux_form::zero_is_default;
  if (good && (allowed(field, out.value) || may_unset)) return out;
  return {0, complaint_about(name.text, range_text(field, name), text)};
}

std::string value_text(const linux_name& name, std::int64_t value) {
  switch (name.form) {
    case linux_form::three_pages: {
      // Pressure begins at two thirds and ends at half.
      const std::int64_t pages = value / page_bytes;
      return std::to_string(pages / 2) + " " + std::to_string(pages * 2 / 3) + " " +
             std::to_string(pages);
    }
    case linux_form::zero_is_unset:
      if (value == 0) return "-1";
      return std::to_string(value / name.unit + (value % name.unit != 0 ? 1 : 0));
    case linux_form::no_pmtu_disc:
      return std::to_string(value == discovery_of[1] ? 1 : value == discovery_of[2] ? 2 : 0);
    case linux_form::thousandths:
      return std::to_string(value * 1000);
    case linux_form::zero_is_none:
      return std::to_string(value == 0 ? INT32_MAX : value);
    case linux_form::three_is_on:
      return value != 0 ? "3" : "0";
    case linux_form::zero_is_all_ones:
      return value == 0 ? std::string(all_ones_text) : std::to_string(value);
    default:
      return std::to_string(value / name.unit + (value % name.unit != 0 ? 1 : 0));
  }
}

}  // namespace runnel::tcp::detail
