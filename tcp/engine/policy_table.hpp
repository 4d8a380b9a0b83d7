#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <type_traits>

#include "runnel/tcp/engine/policy_field.hpp"
#include "runnel/tcp/engine/policy_set.hpp"

// One table for each policy: the checks, the names, the texts and the documents all come from it.

namespace runnel::tcp::detail {

/// A field of `Policy` as a number: see `policy_kind`.
template <class Policy>
struct field_of {
  policy_field what;
  /// Nothing where it is left unset.
  std::optional<std::int64_t> (*read)(const Policy&) noexcept;
  /// Nothing takes the value back: unset where there is such a state, else built-in.
  void (*write)(Policy&, std::optional<std::int64_t>) noexcept;
};

template <class T>
struct member_type;
template <class Policy, class T>
struct member_type<T Policy::*> {
  using policy = Policy;
  using value = T;
  static constexpr bool optional = false;
};
template <class Policy, class T>
struct member_type<std::optional<T> Policy::*> {
  using policy = Policy;
  using value = T;
  static constexpr bool optional = true;
};

template <class T>
concept time_span = requires(T value) {
  value.count();
};

template <class T>
constexpr std::int64_t to_number(T value) noexcept {
  if constexpr (time_span<T>) {
    return std::chrono::milliseconds(value).count();
  } else {
    return static_cast<std::int64_t>(value);
  }
}

template <class T>
constexpr T from_number(std::int64_t value) noexcept {
  if constexpr (time_span<T>) {
    return std::chrono::duration_cast<T>(std::chrono::milliseconds(value));
  } else {
    return static_cast<T>(value);
  }
}

template <auto Member>
std::optional<std::int64_t> read_member(
    const typename member_type<decltype(Member)>::policy& policy) noexcept {
  if constexpr (member_type<decltype(Member)>::optional) {
    if (!(policy.*Member)) return {};
    return to_number(*(policy.*Member));
  } else {
    return to_number(policy.*Member);
  }
}

template <auto Member>
void write_member(typename member_type<decltype(Member)>::policy& policy,
                  std::optional<std::int64_t> value) noexcept {
  using type = member_type<decltype(Member)>;
  if (value) {
    policy.*Member = from_number<typename type::value>(*value);
  } else {
    policy.*Member = typename type::policy().*Member;
  }
}

/// A row of a table. What the member's type says is filled in; what it cannot hold stops the build.
template <auto Member>
consteval auto row(policy_field what) {
  using type = member_type<decltype(Member)>;
  using value = typename type::value;
  if constexpr (std::is_same_v<typename type::policy, stack_policy>) {
    what.level = policy_level::stack;
  } else if constexpr (std::is_same_v<typename type::policy, listener_policy>) {
    what.level = policy_level::listener;
  } else {
    what.level = policy_level::connection;
  }
  if constexpr (std::is_same_v<value, bool>) {
    what.kind = policy_kind::flag;
    what.highest = 1;
  } else if constexpr (std::is_enum_v<value>) {
    what.kind = policy_kind::choice;
    if (what.words.empty()) throw std::logic_error("a choice has words");
  } else if constexpr (time_span<value>) {
    what.kind = policy_kind::time;
    what.step = to_number(value(1));
  } else {
    using limits = std::numeric_limits<value>;
    if (what.highest > 0 && static_cast<std::uint64_t>(what.highest) > limits::max()) {
      throw std::logic_error("the range is wider than the field");
    }
  }
  return field_of<typename type::policy>{what, &read_member<Member>, &write_member<Member>};
}

/// Stands for a value of any type, to find out how many fields a struct has.
struct any_value {
  template <class T>
  operator T() const;
};
/// The same for an optional one, of which `any_value` could become the content as well.
struct any_optional {
  template <class T>
  operator std::optional<T>() const;
};

/// The number of fields of an aggregate: how many values it can be made of.
template <class Policy, class... Found>
consteval std::size_t count_fields() {
  if constexpr (requires { Policy{Found()..., any_value()}; }) {
    return count_fields<Policy, Found..., any_value>();
  } else if constexpr (requires { Policy{Found()..., any_optional()}; }) {
    return count_fields<Policy, Found..., any_optional>();
  } else {
    return sizeof...(Found);
  }
}

/// Timers reach 2^31 ms; no policy asks for more than a day, but for keepalive's 32767 s.
inline constexpr std::int64_t day_ms = 24 * 60 * 60 * 1000;
inline constexpr std::int64_t seconds = 1000;

/// Takes from `defaults` whatever `own` leaves unset.
template <class Policy, std::size_t Count>
void complete(Policy& own, const Policy& defaults,
              const std::array<field_of<Policy>, Count>& table) noexcept {
  for (const auto& each : table) {
    if (!each.read(own)) each.write(own, each.read(defaults));
  }
}

}  // namespace runnel::tcp::detail
