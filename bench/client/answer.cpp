#include "answer.hpp"

#include <strings.h>

#include <charconv>
#include <cstdint>
#include <optional>

namespace bench {

namespace {

constexpr std::string_view line_end = "\r\n";
constexpr std::string_view length_name = "content-length:";

/// The value of Content-Length among these lines.
std::optional<std::size_t> content_length(std::string_view head) {
  while (!head.empty()) {
    const std::size_t end = head.find(line_end);
    std::string_view line = head.substr(0, end);
    head = end == head.npos ? std::string_view() : head.substr(end + line_end.size());
    if (line.size() < length_name.size() ||
        ::strncasecmp(line.data(), length_name.data(), length_name.size()) != 0) {
      continue;
    }
    line.remove_prefix(length_name.size());
    while (line.starts_with(' ')) line.remove_prefix(1);
    std::size_t value = 0;
    const auto read = std::from_chars(line.data(), line.data() + line.size(), value);
    if (read.ec != std::errc{} || value > SIZE_MAX / 2) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

}  // namespace

answer_state answer_reader::parse(std::string_view bytes) {
  if (!bytes.starts_with(status.substr(0, bytes.size()))) return answer_state::wrong;
  const std::size_t head = bytes.find("\r\n\r\n");
  if (head == bytes.npos) return answer_state::partial;
  const auto length = content_length(bytes.substr(0, head));
  if (!length) return answer_state::wrong;
  const std::size_t size = head + 4 + *length;
  if (bytes.size() < size) return answer_state::partial;
  if (bytes.size() > size) return answer_state::wrong;
  known_size_ = size;
  known_end_ = bytes.substr(head);
  return answer_state::whole;
}

}  // namespace bench
