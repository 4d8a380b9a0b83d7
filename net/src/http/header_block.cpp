#include "runnel/net/http/header_block.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "text.hpp"

namespace runnel::http {
namespace {

bool belongs_to_the_sender(std::string_view name) noexcept {
  switch (name.size()) {
    case 4:
      return equal_ignoring_case(name, "Date");
    case 10:
      return equal_ignoring_case(name, "Connection");
    case 14:
      return equal_ignoring_case(name, "Content-Length");
    case 17:
      return equal_ignoring_case(name, "Transfer-Encoding");
    default:
      return false;
  }
}

void check_name(std::string_view name) {
  if (!detail::is_token(name)) {
    throw std::invalid_argument("http: a field name must be a token of RFC 9110.");
  }
  if (belongs_to_the_sender(name)) {
    throw std::invalid_argument("http: the field " + std::string{name} +
                                " is written by whoever sends the message; leave it out.");
  }
}

void check_value(std::string_view name, std::string_view value) {
  if (!detail::is_field_value(value)) {
    throw std::invalid_argument("http: the value of the field " + std::string{name} +
                                " holds a control character; encode or reject it.");
  }
}

/// The first line of `wire`, with its CRLF, and its two parts.
struct line {
  std::size_t size;
  std::string_view name;
  std::string_view value;
};

line first_line(std::string_view wire) noexcept {
  const std::size_t end = wire.find('\r');
  const std::size_t colon = wire.find(':');
  return {end + 2, wire.substr(0, colon), wire.substr(colon + 2, end - colon - 2)};
}

}  // namespace

header_block::header_block(const header_block& other) {
  copy_from(other);
}

header_block::header_block(header_block&& other) noexcept {
  *this = std::move(other);
}

header_block& header_block::operator=(const header_block& other) {
  if (this != &other) copy_from(other);
  return *this;
}

header_block& header_block::operator=(header_block&& other) noexcept {
  if (this == &other) return *this;
  heap_ = std::move(other.heap_);
  size_ = other.size_;
  capacity_ = other.capacity_;
  if (!heap_) std::memcpy(inline_.data(), other.inline_.data(), size_);
  other.size_ = 0;
  other.capacity_ = inline_bytes;
  return *this;
}

void header_block::copy_from(const header_block& other) {
  size_ = 0;
  reserve(other.size_);
  std::memcpy(data(), other.data(), other.size_);
  size_ = other.size_;
}

void header_block::reserve(std::size_t bytes) {
  if (bytes <= capacity_) return;
  const std::size_t grown = std::max<std::size_t>(bytes, std::size_t{2} * capacity_);
  auto larger = std::make_unique_for_overwrite<char[]>(grown);
  std::memcpy(larger.get(), data(), size_);
  heap_ = std::move(larger);
  capacity_ = static_cast<std::uint32_t>(grown);
}

header_block& header_block::add(std::string_view name, std::string_view value) {
  check_name(name);
  return append(name, value);
}

header_block& header_block::append(std::string_view name, std::string_view value) {
  value = detail::trimmed(value);
  check_value(name, value);
  const std::size_t bytes = name.size() + 2 + value.size() + 2;
  if (bytes > UINT32_MAX / 4 - size_) {
    throw std::length_error("http: the fields of one message exceed 1 GiB.");
  }
  reserve(size_ + bytes);
  char* at = data() + size_;
  at = detail::put(detail::put(at, name), ": ");
  detail::put(detail::put(at, value), "\r\n");
  size_ += static_cast<std::uint32_t>(bytes);
  return *this;
}

header_block& header_block::set(std::string_view name, std::string_view value) {
  check_name(name);
  check_value(name, detail::trimmed(value));
  remove(name);
  return append(name, value);
}

std::size_t header_block::remove(std::string_view name) noexcept {
  std::size_t removed = 0;
  for (std::size_t at = 0; at < size_;) {
    const line current = first_line(wire().substr(at));
    if (!equal_ignoring_case(current.name, name)) {
      at += current.size;
      continue;
    }
    std::memmove(data() + at, data() + at + current.size, size_ - at - current.size);
    size_ -= static_cast<std::uint32_t>(current.size);
    ++removed;
  }
  return removed;
}

std::optional<std::string_view> header_block::find(std::string_view name) const noexcept {
  for (std::string_view rest = wire(); !rest.empty();) {
    const line current = first_line(rest);
    if (equal_ignoring_case(current.name, name)) return current.value;
    rest.remove_prefix(current.size);
  }
  return std::nullopt;
}

}  // namespace runnel::http
