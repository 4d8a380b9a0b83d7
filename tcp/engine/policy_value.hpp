#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "runnel/tcp/engine/policy_field.hpp"

// The values of fields as text.

namespace runnel::tcp::detail {

/// A number, or the sentence that says why there is none.
struct parsed_value {
  std::int64_t value = 0;
  std::string complaint{};

  bool good() const noexcept { return complaint.empty(); }
};

/// Without spaces and line ends around it.
std::string_view trimmed(std::string_view text) noexcept;
/// Decimal, or hexadecimal after 0x, all of the text; false when it is no number that fits.
bool parse_number(std::string_view text, std::int64_t& out) noexcept;
/// Three of them with spaces between, of which none is less than the one before.
bool parse_three(std::string_view text, std::array<std::int64_t, 3>& out) noexcept;

/// Whether a field may have this value.
bool allowed(const policy_field& field, std::int64_t value) noexcept;
/// What a field may be, in the words of its own notation: "1ms to 32767s".
std::string range_text(const policy_field& field);
/// The same in the notation of Linux's name.
std::string range_text(const policy_field& field, const linux_name& name);
/// "NAME must be RANGE; it is TEXT".
std::string complaint_about(std::string_view name, std::string_view range, std::string_view text);

/// A value in a field's own notation, under the name that complaints are to say.
parsed_value parse_value(const policy_field& field, std::string_view text);
std::string value_text(const policy_field& field, std::int64_t value);
/// A value in the notation of Linux's name; not of one for several fields. With `zero_is_unset` 0
/// and less are Linux's, with `zero_is_default` 0 is.
parsed_value parse_value(const policy_field& field, const linux_name& name, std::string_view text);
std::string value_text(const linux_name& name, std::int64_t value);

}  // namespace runnel::tcp::detail
