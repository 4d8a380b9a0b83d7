#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runnel/tcp/engine/policy_field.hpp"
#include "runnel/tcp/engine/policy_set.hpp"

// All tables as one, a field being its place in `policy_fields()`.

namespace runnel::tcp::detail {

/// The policies that a name may reach, from the wider to the narrower; null where one is not
/// meant. A whole stack has sysctls, one socket has options.
template <class Stack, class Keys, class Listener, class Connection>
struct basic_view {
  Stack* stack = nullptr;
  Keys* keys = nullptr;
  Listener* listener = nullptr;
  Connection* connection = nullptr;

  bool is_socket() const noexcept { return stack == nullptr; }
  /// The narrowest of them.
  policy_level level() const noexcept {
    if (stack != nullptr) return policy_level::stack;
    return listener != nullptr ? policy_level::listener : policy_level::connection;
  }
  bool reaches(policy_level wanted) const noexcept {
    switch (wanted) {
      case policy_level::stack:
        return stack != nullptr;
      case policy_level::listener:
        return listener != nullptr;
      case policy_level::connection:
        break;
    }
    return connection != nullptr;
  }
};
using policy_view = basic_view<stack_policy, policy_keys, listener_policy, connection_policy>;
using const_policy_view = basic_view<const stack_policy, const policy_keys, const listener_policy,
                                     const connection_policy>;

inline const_policy_view view_of(const policy_set& all) noexcept {
  return {&all.stack, &all.keys, &all.listener, &all.connection};
}
inline policy_view view_of(policy_set& all) noexcept {
  return {&all.stack, &all.keys, &all.listener, &all.connection};
}

/// The value of a field that the view reaches; nothing where it is unset. Of a key it is 1 when it
/// is set, or the one before it: their values leave by no text.
std::optional<std::int64_t> read_field(const const_policy_view& from, std::size_t place) noexcept;
/// Sets a field that is no key, or takes its value back.
void write_field(const policy_view& to, std::size_t place,
                 std::optional<std::int64_t> value) noexcept;
/// The keys behind the place, which is one of keys.
struct key_place {
  std::optional<secret_key>& current;
  std::optional<secret_key>& previous;
};
key_place keys_at(policy_keys& keys, std::size_t place) noexcept;

/// Which of a field's names was used.
enum class spelling : std::uint8_t { own, sysctl, option };

/// A field as it was named.
struct named_field {
  std::size_t place = 0;
  spelling by = spelling::own;

  const policy_field& field() const noexcept { return policy_fields()[place]; }
  /// Linux's name, when it was that.
  const linux_name& of_linux() const noexcept {
    return by == spelling::sysctl ? field().sysctl : field().option;
  }
};

/// The field that the view reaches under this name: a listener's before a connection's.
template <class View>
std::optional<named_field> find_named(const View& in, std::string_view name) noexcept {
  const std::span<const policy_field> all = policy_fields();
  const spelling linux_has = in.is_socket() ? spelling::option : spelling::sysctl;
  for (std::size_t place = 0; place < all.size(); ++place) {
    if (!in.reaches(all[place].level)) continue;
    if (all[place].name == name) return named_field{place, spelling::own};
    const named_field by_linux{place, linux_has};
    const std::string_view text = by_linux.of_linux().text;
    if (!text.empty() && text == name) return by_linux;
  }
  return {};
}

/// Why the view reaches nothing under this name, with the nearest name that it does reach.
std::string unknown_name(const const_policy_view& in, std::string_view name);

}  // namespace runnel::tcp::detail
