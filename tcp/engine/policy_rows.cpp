#include "policy_rows.hpp"

#include <algorithm>
#include <vector>

#include "policy_table_connection.hpp"
#include "policy_table_listener.hpp"
#include "policy_table_stack.hpp"
#include "secret.hpp"

namespace runnel::tcp::detail {

namespace {

struct key_row {
  policy_field what;
  std::optional<secret_key> policy_keys::*current;
  std::optional<secret_key> policy_keys::*previous;
};

constexpr std::array key_table = {
    key_row{
        {.name = "cookie_key",
         .kind = policy_kind::key,
         .meaning = "the secret of SYN cookies, to be shared by machines; random when not given"},
        &policy_keys::cookie_key,
        &policy_keys::cookie_key_previous},
    key_row{{.name = "fastopen_key",
             .kind = policy_kind::key,
             .sysctl = {.text = "net.ipv4.tcp_fastopen_key"},
             .meaning = "the same of Fast Open cookies (RFC 7413)"},
            &policy_keys::fastopen_key,
            &policy_keys::fastopen_key_previous},
};
static_assert(2 * key_table.size() == count_fields<policy_keys>(),
              "every two fields of policy_keys need a row here");

constexpr std::size_t first_key = stack_table.size();
constexpr std::size_t first_of_listener = first_key + key_table.size();
constexpr std::size_t first_of_connection = first_of_listener + listener_table.size();
constexpr std::size_t field_count = first_of_connection + connection_table.size();

constexpr std::array<policy_field, field_count> all_fields = [] {
  std::array<policy_field, field_count> out{};
  std::size_t at = 0;
  for (const auto& each : stack_table) out[at++] = each.what;
  for (const auto& each : key_table) out[at++] = each.what;
  for (const auto& each : listener_table) out[at++] = each.what;
  for (const auto& each : connection_table) out[at++] = each.what;
  return out;
}();

constexpr bool names_differ() {
  for (std::size_t i = 0; i < field_count; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (all_fields[i].name == all_fields[j].name) return false;
    }
  }
  return true;
}
static_assert(names_differ(), "a field is found by its name alone, at whatever level it is");

/// How many letters must be added, taken or exchanged to make one of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t exchanged = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({exchanged, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// The nearest of the names that the view reaches; empty when none is near.
std::string_view nearest_name(const const_policy_view& in, std::string_view name) {
  std::string_view nearest;
  std::size_t best = name.size() / 3 + 1;
  const auto consider = [&](std::string_view compared, std::string_view candidate) {
    if (candidate.empty()) return;
    const std::size_t far = distance(name, compared);
    if (far >= best) return;
    best = far;
    nearest = candidate;
  };
  for (const policy_field& each : all_fields) {
    if (!in.reaches(each.level)) continue;
    const std::string_view linux_has = in.is_socket() ? each.option.text : each.sysctl.text;
    consider(each.name, each.name);
    consider(linux_has, linux_has);
    // "tcp_fin_timeout" without what stands before it, and "KEEPIDLE".
    consider(linux_has.substr(linux_has.rfind('.') + 1), linux_has);
    consider(linux_has.substr(linux_has.find('_') + 1), linux_has);
  }
  return nearest;
}

std::string quoted(std::string_view name) {
  return "'" + std::string(name.substr(0, 60)) + "'";
}

const char* described(policy_level level) {
  switch (level) {
    case policy_level::stack:
      return "a whole stack";
    case policy_level::listener:
      return "a listener";
    case policy_level::connection:
      break;
  }
  return "a connection";
}

}  // namespace

std::optional<std::int64_t> read_field(const const_policy_view& from, std::size_t place) noexcept {
  if (place >= first_of_connection) {
    return connection_table[place - first_of_connection].read(*from.connection);
  }
  if (place >= first_of_listener) {
    return listener_table[place - first_of_listener].read(*from.listener);
  }
  if (place < first_key) return stack_table[place].read(*from.stack);
  const key_row& row = key_table[place - first_key];
  if (!(from.keys->*row.current) && !(from.keys->*row.previous)) return {};
  return 1;
}

void write_field(const policy_view& to, std::size_t place,
                 std::optional<std::int64_t> value) noexcept {
  if (place >= first_of_connection) {
    connection_table[place - first_of_connection].write(*to.connection, value);
  } else if (place >= first_of_listener) {
    listener_table[place - first_of_listener].write(*to.listener, value);
  } else if (place < first_key) {
    stack_table[place].write(*to.stack, value);
  } else if (!value) {
    const key_place keys = keys_at(*to.keys, place);
    wipe(keys.current);
    wipe(keys.previous);
  }
}

key_place keys_at(policy_keys& keys, std::size_t place) noexcept {
  const key_row& row = key_table[place - first_key];
  return {keys.*row.current, keys.*row.previous};
}

std::string unknown_name(const const_policy_view& in, std::string_view name) {
  if (const policy_field* known = find_policy_field(name)) {
    std::string out = quoted(name);
    if (!in.reaches(known->level)) {
      return out + " belongs to " + described(known->level) + ", not to " + described(in.level());
    }
    const std::string_view linux_has = in.is_socket() ? known->option.text : known->sysctl.text;
    out += in.is_socket() ? " holds for a whole stack; for " : " is for one socket; for ";
    out.append(described(in.level())).append(" it is ").append(known->name);
    if (!linux_has.empty()) out.append(" or ").append(linux_has);
    return out;
  }
  std::string out = "there is no policy called " + quoted(name);
  const std::string_view nearest = name.size() > 100 ? std::string_view() : nearest_name(in, name);
  if (!nearest.empty()) out.append("; did you mean ").append(nearest).append("?");
  return out;
}

}  // namespace runnel::tcp::detail

namespace runnel::tcp {

std::span<const policy_field> policy_fields() noexcept {
  return detail::all_fields;
}

const policy_field* find_policy_field(std::string_view name) noexcept {
  if (name.empty()) return nullptr;
  for (const policy_field& each : detail::all_fields) {
    if (each.name == name || each.sysctl.text == name || each.option.text == name) return &each;
  }
  return nullptr;
}

}  // namespace runnel::tcp
