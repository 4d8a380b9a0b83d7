#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "runnel/net/http/headers.hpp"

namespace runnel::http {

/// The fields of a message that is being made. They are kept as they go on the wire, so that
/// sending them is one copy, and the first 200 bytes or so lie inside the object: a usual response
/// allocates nothing.
///
/// A name must be a token and a value must hold no CR, LF, NUL or other control character, so that
/// text from elsewhere cannot end the field and begin another one: `std::invalid_argument`
/// otherwise. The fields that say where a message ends belong to whoever sends it: Connection,
/// Content-Length, Transfer-Encoding and Date are refused in the same way.
class header_block {
 public:
  /// No fields.
  header_block() noexcept = default;
  /// The same fields; allocates where they do not lie inside the object.
  header_block(const header_block& other);
  header_block(header_block&& other) noexcept;
  header_block& operator=(const header_block& other);
  header_block& operator=(header_block&& other) noexcept;
  ~header_block() = default;

  /// Appends a field line, also when there is one of that name already.
  header_block& add(std::string_view name, std::string_view value);
  /// Replaces all field lines of that name by this one.
  header_block& set(std::string_view name, std::string_view value);
  /// Takes away all field lines of that name; how many there were.
  std::size_t remove(std::string_view name) noexcept;
  /// The value of the first field of that name, whatever its case. The view is valid until the next
  /// change. O(bytes).
  std::optional<std::string_view> find(std::string_view name) const noexcept;
  /// Whether there is such a field.
  bool contains(std::string_view name) const noexcept { return find(name).has_value(); }

  /// The lines as they go on the wire, each with its CRLF, without the empty line.
  std::string_view wire() const noexcept { return {data(), size_}; }
  /// Whether there is no field.
  bool empty() const noexcept { return size_ == 0; }
  /// Takes all fields away and keeps the memory.
  void clear() noexcept { size_ = 0; }

 private:
  friend class response;
  static constexpr std::size_t inline_bytes = 208;

  char* data() noexcept { return heap_ ? heap_.get() : inline_.data(); }
  const char* data() const noexcept { return heap_ ? heap_.get() : inline_.data(); }
  /// `add` for a name that is known to be good.
  header_block& append(std::string_view name, std::string_view value);
  void reserve(std::size_t bytes);
  void copy_from(const header_block& other);

  std::unique_ptr<char[]> heap_;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = inline_bytes;
  std::array<char, inline_bytes> inline_;
};

}  // namespace runnel::http
