#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/tcp/detail/inspect_filter.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/tcp/engine/state.hpp"

namespace runnel::tcp {

/// A set of connection states, as `ss state NAME` chooses them.
class state_set {
 public:
  /// No state.
  constexpr state_set() noexcept = default;
  /// These states.
  constexpr state_set(std::initializer_list<state> states) noexcept {
    for (const state each : states) add(each);
  }
  /// Every state.
  static constexpr state_set all() noexcept {
    state_set out;
    out.bits_ = (1U << (static_cast<unsigned>(state::closed) + 1)) - 1;
    return out;
  }
  /// Adds what `name` stands for: a state as `ss` writes it on its command line ("established",
  /// "syn-sent", "listening", ...), or "all", "connected", "synchronized", "bucket", "big". False
  /// when it stands for nothing.
  bool add(std::string_view name) noexcept;
  /// Takes away what `name` stands for, as `ss exclude NAME`.
  bool remove(std::string_view name) noexcept;
  /// Adds one state.
  constexpr void add(state which) noexcept { bits_ |= 1U << static_cast<unsigned>(which); }
  /// Whether it holds this state.
  constexpr bool contains(state which) const noexcept {
    return (bits_ >> static_cast<unsigned>(which) & 1) != 0;
  }
  /// Whether it holds none.
  constexpr bool empty() const noexcept { return bits_ == 0; }
  /// Whether it holds one state only.
  constexpr bool single() const noexcept { return bits_ != 0 && (bits_ & (bits_ - 1)) == 0; }

  friend constexpr bool operator==(state_set, state_set) noexcept = default;

 private:
  unsigned bits_ = 0;
};

/// What `inspection` can show.
enum class inspect_view : std::uint8_t {
  /// A line for each listener and connection (`ss -ta`).
  sockets,
  /// How many there are of each kind (`ss -s`).
  summary,
  /// The counters by Linux's names (`nstat`).
  counters,
  /// What the numbers mean, in words; see `diagnose`.
  diagnosis,
};

/// What somebody wants to see of a host.
struct inspect_request {
  /// What is to be shown.
  inspect_view view = inspect_view::sockets;
  /// The default is `ss`'s: connections beyond SYN-RECEIVED that are not in TIME-WAIT.
  state_set states{state::syn_sent,   state::established, state::fin_wait_1, state::fin_wait_2,
                   state::close_wait, state::closing,     state::last_ack};
  /// Addresses and ports; by default every one.
  detail::inspect_filter filter{};
  /// Timers (`-o`), what TCP_INFO tells (`-i`), buffers (`-m`).
  bool timers = false;
  /// Show what TCP_INFO tells (`-i`).
  bool info = false;
  /// Show buffers (`-m`).
  bool memory = false;
  /// No line of column names (`-H`); everything of a connection on one line (`-O`).
  bool no_header = false;
  /// Everything of a connection on one line (`-O`).
  bool one_line = false;
  /// One JSON document in place of text (`-j`).
  bool json = false;
  /// Counters that are zero, too (`nstat -z`).
  bool zeros = false;
  /// Which counters, as patterns with `*` and `?`; all when empty.
  std::vector<std::string> patterns{};
};

/// Reads a request from the words of a command line:
///
///     [ss] [-t] [-a] [-l] [-n] [-o] [-i] [-m] [-s] [-H] [-O] [-j] [-4] [-6] [-p] [-e]
///          [-r] [FILTER]
///     nstat [-a] [-z] [-j] [PATTERN...]
///     diagnose [-j]
///
/// Short flags may stand together, and have `ss`'s long names; -p, -e and -r add nothing. FILTER is
/// `ss`'s, too: `state NAME` and `exclude NAME`, then conditions joined by `and`, `or`, `not` and
/// parentheses, with `and` where nothing stands between two: `sport = :80`, `dport != :443` (also
/// `<`, `>`, `<=`, `>=`, and `*` for any port), `src 10.0.0.1`, `dst 10.0.0.0/24`,
/// `dst 10.0.0.1:80`. Flags for kinds of sockets that are not here, and unknown words, are errors.
///
/// Gives one sentence that says what is wrong, or nothing; then `into` holds the request.
std::string parse_inspect_request(std::span<const std::string_view> words, inspect_request& into);
/// The same for words with white space between them.
std::string parse_inspect_request(std::string_view line, inspect_request& into);

/// The answer to a request, in parts, so that a million connections neither stand still a loop nor
/// make a text of hundreds of megabytes. Connections that come or go between two parts may be
/// missing or stand in it twice.
///
///     inspection answer(host, request);
///     for (bool more = true; more;) {
///       std::string part;
///       more = answer.next(part, now);
///       write(part);
///     }
class inspection {
 public:
  /// `engine` must outlive it.
  inspection(const host& engine, inspect_request request);
  inspection(inspection&&) noexcept;
  inspection& operator=(inspection&&) noexcept;
  ~inspection();

  /// The most places of the engine's tables that one call looks at, and the size that it lets a
  /// part grow to before it stops; a part is at most some rows larger.
  static constexpr std::uint32_t places_per_part = 1024;
  /// The size that a part grows to before it stops; it is some rows larger at most.
  static constexpr std::size_t part_bytes = 16 * 1024;

  /// Appends the next part to `out`, which may be nothing; false when it was the last one. `now` is
  /// what timers and ages count from.
  bool next(std::string& out, time_point now);

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// The whole answer at once: for small hosts and for tests.
std::string inspect(const host& engine, const inspect_request& request, time_point now);

}  // namespace runnel::tcp
