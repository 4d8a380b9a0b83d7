#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::http {

namespace detail {
struct head_access;
}

/// One field line: its name as it was spelt, and its value without the white space around it.
struct field {
  /// As it was spelt; compare it by `equal_ignoring_case`.
  std::string_view name;
  /// Without the white space around it; may be empty.
  std::string_view value;

  friend bool operator==(const field&, const field&) noexcept = default;
};

/// Whether two field names, or two tokens, are the same but for ASCII case.
bool equal_ignoring_case(std::string_view left, std::string_view right) noexcept;

/// Whether the comma-separated list `value` has the member `token`, but for ASCII case.
bool list_contains(std::string_view value, std::string_view token) noexcept;

/// The fields of a message that was received: read-only, in the order in which they came.
///
/// The head of the message lies in one buffer, and a field is four offsets in it, so that reading a
/// message allocates nothing once the two buffers have grown to the usual size; they are kept from
/// message to message. Views into it are valid until the message object is used for the next one or
/// destroyed.
class headers {
 public:
  /// Walks over the fields; what it points to is made on the way, so it gives values.
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = field;
    using difference_type = std::ptrdiff_t;
    using pointer = const field*;
    using reference = field;

    /// Points nowhere: it may be assigned to and compared.
    iterator() noexcept = default;
    field operator*() const noexcept { return (*from_)[index_]; }
    iterator& operator++() noexcept {
      ++index_;
      return *this;
    }
    iterator operator++(int) noexcept {
      iterator before = *this;
      ++index_;
      return before;
    }
    friend bool operator==(const iterator&, const iterator&) noexcept = default;

   private:
    friend class headers;
    iterator(const headers* from, std::size_t index) noexcept : from_(from), index_(index) {}
    const headers* from_ = nullptr;
    std::size_t index_ = 0;
  };

  /// The number of field lines.
  std::size_t size() const noexcept { return entries_.size(); }
  /// Whether there is no field line.
  bool empty() const noexcept { return entries_.empty(); }
  /// The first field line.
  iterator begin() const noexcept { return {this, 0}; }
  /// Behind the last one.
  iterator end() const noexcept { return {this, size()}; }
  /// The field line number `index`, which must be below `size()`.
  field operator[](std::size_t index) const noexcept {
    const entry& at = entries_[index];
    return {std::string_view{bytes_}.substr(at.name_begin, at.name_size),
            std::string_view{bytes_}.substr(at.value_begin, at.value_size)};
  }

  /// The value of the first field of that name, whatever its case. O(number of fields).
  std::optional<std::string_view> find(std::string_view name) const noexcept;
  /// The same, or `otherwise` where there is none.
  std::string_view get(std::string_view name, std::string_view otherwise = {}) const noexcept {
    return find(name).value_or(otherwise);
  }
  /// Whether there is such a field.
  bool contains(std::string_view name) const noexcept { return find(name).has_value(); }
  /// Whether a field of that name has the list member `token`, in any of its lines:
  /// `has_token("Connection", "close")`.
  bool has_token(std::string_view name, std::string_view token) const noexcept;

 private:
  friend struct detail::head_access;

  struct entry {
    std::uint16_t name_begin;
    std::uint16_t name_size;
    std::uint16_t value_begin;
    std::uint16_t value_size;
  };

  std::string bytes_;
  std::vector<entry> entries_;
};

}  // namespace runnel::http
