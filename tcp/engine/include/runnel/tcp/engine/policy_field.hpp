#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace runnel::tcp {

/// What a field of a policy holds for.
enum class policy_level : std::uint8_t { stack, listener, connection };

/// What a field is. As numbers, times are milliseconds, flags 0 and 1, choices and bits their
/// values.
enum class policy_kind : std::uint8_t { count, bytes, flag, time, choice, bits, key };

/// For whom a change of a field holds.
enum class policy_change : std::uint8_t {
  /// For whoever uses the value next, so for connections and listeners that exist, too.
  at_once,
  /// For handshakes that begin later.
  new_connections,
  /// It is fixed when the host is made.
  new_host,
};

/// A word that a value may be written with.
struct policy_word {
  /// The word.
  std::string_view text;
  /// The number it stands for.
  std::int64_t value = 0;
};

/// How Linux writes what stands behind one of its names.
enum class linux_form : std::uint8_t {
  /// One number.
  plain,
  /// "low pressure high" in pages of 4096 bytes, of which the last is the field (tcp_mem).
  three_pages,
  /// Twice what is set, and once what is read (SO_RCVBUF).
  doubled,
  /// One number; 0 stands for 8 (tcp_orphan_retries).
  zero_is_eight,
  /// One number; 0 takes the value of the level above, -1 stands for 0 (TCP_LINGER2).
  zero_is_unset,
  /// One number, in thousandths of the field's unit; rounded up (tcp_rto_min_us).
  thousandths,
  /// One number; 0 would allow nothing, which no value of the field does, and is refused. What is 0
  /// here, without a bound, is INT32_MAX there (tcp_challenge_ack_limit).
  zero_is_none,
  /// 0, 1 and 2, of which `mtu_discover` has the meanings (ip_no_pmtu_disc).
  no_pmtu_disc,
  /// The word itself (tcp_congestion_control).
  word,
  /// One number; 0 takes the value of the level above (TCP_NOTSENT_LOWAT).
  zero_is_default,
  /// One number of bytes, of which 0 is refused. What is 0 here, without a bound, is the largest
  /// number of 32 or 64 bits there, or -1, and reads 4294967295 (SO_MAX_PACING_RATE).
  zero_is_all_ones,
  /// 0 to 4, of which 3 and 4 are on; reads 3 when it is (tcp_early_retrans).
  three_is_on,
  /// Three numbers that do not fall: this field and the next two (tcp_wmem).
  three_fields,
  /// Two numbers: this field and the next one (ip_local_port_range).
  range,
  /// "off", or seconds, of which 0 is an abort: this field and the next one (SO_LINGER).
  linger,
};

/// A name of Linux for a field; empty when it has none.
struct linux_name {
  /// The name: "net.ipv4.tcp_fin_timeout", "TCP_LINGER2".
  std::string_view text{};
  /// How many of the field's units make one of Linux's: 1000 for a time that Linux has in seconds.
  std::int64_t unit = 1;
  /// How its value is written.
  linux_form form = linux_form::plain;
  /// The most that may be given by this name, in Linux's unit; 0 is the field's own bound.
  std::int64_t highest = 0;
};

/// What is known of one field of `stack_policy`, `listener_policy` or `connection_policy`.
struct policy_field {
  /// As in the struct; no two fields share one.
  std::string_view name{};
  /// Whose it is: the struct it is in.
  policy_level level = policy_level::stack;
  /// What its value is.
  policy_kind kind = policy_kind::count;
  /// For whom a change of it holds.
  policy_change change = policy_change::at_once;
  /// The values it may have; of `choice` and `bits`, `words` has them.
  std::int64_t lowest = 0;
  /// The largest value it may have.
  std::int64_t highest = 0;
  /// 0 is allowed besides.
  bool zero = false;
  /// Values are multiples of it.
  std::int64_t step = 1;
  /// The sysctl, which is the default of a whole stack, and the option of one socket.
  linux_name sysctl{};
  /// The socket option.
  linux_name option{};
  /// The words that a `choice` or `bits` is written with; else none.
  std::span<const policy_word> words{};
  /// One line on what it does.
  std::string_view meaning{};

  /// Whether its value is never shown.
  constexpr bool secret() const noexcept { return kind == policy_kind::key; }
};

/// Every field there is: those of the stack, of listeners, of connections, in the order of the
/// structs.
std::span<const policy_field> policy_fields() noexcept;

/// The field with this name, which may be Linux's; null when there is none. Of a name that stands
/// for two fields it is the first.
const policy_field* find_policy_field(std::string_view name) noexcept;

/// Its name: "stack", "listener", "connection".
constexpr std::string_view to_string(policy_level of) noexcept {
  switch (of) {
    case policy_level::stack:
      return "stack";
    case policy_level::listener:
      return "listener";
    case policy_level::connection:
      return "connection";
  }
  return "?";
}

}  // namespace runnel::tcp
