#include "inspect_format.hpp"

#include <array>
#include <charconv>

namespace runnel::tcp::detail {

namespace {

/// Three digits, with zeros in front.
std::string thousandths(std::uint64_t value) {
  std::string digits = std::to_string(value);
  return std::string(3 - std::min<std::size_t>(digits.size(), 3), '0') + digits;
}

}  // namespace

void append_number(std::string& out, std::uint64_t value) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

void append_left(std::string& out, std::string_view text, std::size_t width) {
  out.append(text);
  if (text.size() < width) out.append(width - text.size(), ' ');
}

void append_right(std::string& out, std::string_view text, std::size_t width) {
  if (text.size() < width) out.append(width - text.size(), ' ');
  out.append(text);
}

std::string timer_text(std::chrono::milliseconds time) {
  const auto total = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 0));
  const std::uint64_t minutes = total / 60'000;
  const std::uint64_t seconds = total / 1000 % 60;
  const std::uint64_t rest = total % 1000;
  // The larger the time, the less of it is told.
  if (minutes > 9) return std::to_string(minutes) + "min";
  if (minutes > 0) {
    return std::to_string(minutes) + "min" + (seconds > 0 ? std::to_string(seconds) + "sec" : "");
  }
  if (seconds > 9 || (seconds > 0 && rest == 0)) return std::to_string(seconds) + "sec";
  if (seconds > 0) return std::to_string(seconds) + "." + thousandths(rest) + "ms";
  return rest > 0 ? thousandths(rest) + "ms" : "0ms";
}

std::string milliseconds_text(std::chrono::microseconds time) {
  const auto total = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 0));
  std::string out = std::to_string(total / 1000);
  if (total % 1000 != 0) {
    out.append(1, '.').append(thousandths(total % 1000));
    while (out.back() == '0') out.pop_back();
  }
  return out;
}

std::string span_text(duration span) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(span).count();
  if (ms < 1000) return std::to_string(std::max<std::int64_t>(ms, 0)) + " ms";
  if (ms < 120'000) return std::to_string(ms / 1000) + " s";
  if (ms < 7'200'000) return std::to_string(ms / 60'000) + " min";
  return std::to_string(ms / 3'600'000) + " h";
}

std::string count_text(std::uint64_t count, std::string_view of_one, std::string_view of_many) {
  return std::to_string(count) + " " + std::string(count == 1 ? of_one : of_many);
}

std::chrono::milliseconds elapsed(time_point from, time_point to) noexcept {
  if (to <= from) return std::chrono::milliseconds(0);
  return std::chrono::duration_cast<std::chrono::milliseconds>(to - from);
}

void json_writer::begin(std::string_view name) {
  if (!first_) out_ += ',';
  first_ = false;
  if (name.empty()) return;
  quoted(name);
  out_ += ':';
}

void json_writer::quoted(std::string_view value) {
  constexpr std::string_view hex = "0123456789abcdef";
  out_ += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += c;
    } else if (byte < 0x20) {
      out_.append("\\u00").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
    } else {
      out_ += c;
    }
  }
  out_ += '"';
}

json_writer& json_writer::open(char bracket, std::string_view name) {
  begin(name);
  out_ += bracket;
  first_ = true;
  return *this;
}

json_writer& json_writer::close(char bracket) {
  out_ += bracket;
  first_ = false;
  return *this;
}

json_writer& json_writer::text(std::string_view name, std::string_view value) {
  begin(name);
  quoted(value);
  return *this;
}

json_writer& json_writer::number(std::string_view name, std::uint64_t value) {
  begin(name);
  append_number(out_, value);
  return *this;
}

json_writer& json_writer::boolean(std::string_view name, bool value) {
  begin(name);
  out_ += value ? "true" : "false";
  return *this;
}

json_writer& json_writer::endpoint(std::string_view name, const net::endpoint& value) {
  open('{', name);
  const bool none = value.address.family() == net::family::unspecified;
  text("address", none ? std::string("*") : value.address.to_string());
  number("port", value.port);
  return close('}');
}

}  // namespace runnel::tcp::detail
