#include <array>
#include <cctype>

#include "runnel/tcp/inspect.hpp"

// Requests as text: the flags of ss and nstat.

namespace runnel::tcp {

namespace {

struct named_states {
  std::string_view name;
  state_set states;
};

constexpr state_set mini_sockets{state::syn_received, state::time_wait};

state_set all_but(state_set of) {
  state_set out;
  for (unsigned i = 0; i <= static_cast<unsigned>(state::closed); ++i) {
    if (!of.contains(static_cast<state>(i))) out.add(static_cast<state>(i));
  }
  return out;
}

const std::array<named_states, 19>& state_names() {
  static const std::array<named_states, 19> names{{
      {"listening", {state::listen}},
      {"listen", {state::listen}},
      {"syn-sent", {state::syn_sent}},
      {"syn-recv", {state::syn_received}},
      {"established", {state::established}},
      {"fin-wait-1", {state::fin_wait_1}},
      {"fin-wait-2", {state::fin_wait_2}},
      {"close-wait", {state::close_wait}},
      {"closing", {state::closing}},
      {"last-ack", {state::last_ack}},
      {"time-wait", {state::time_wait}},
      {"closed", {state::closed}},
      {"unconnected", {state::closed}},
      {"all", state_set::all()},
      {"connected", all_but({state::listen, state::closed})},
      {"synchronized", all_but({state::listen, state::closed, state::syn_sent})},
      {"bucket", mini_sockets},
      {"big", all_but(mini_sockets)},
      {"syn-rcv", {state::syn_received}},
  }};
  return names;
}

/// "ESTABLISHED" and "time_wait" are meant, too.
std::string plain(std::string_view name) {
  std::string out;
  for (const char c : name) {
    out += c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

struct long_flag {
  std::string_view name;
  char letter;
};

constexpr long_flag ss_flags[] = {
    {"--tcp", 't'},     {"--all", 'a'},       {"--listening", 'l'}, {"--numeric", 'n'},
    {"--options", 'o'}, {"--info", 'i'},      {"--memory", 'm'},    {"--summary", 's'},
    {"--ipv4", '4'},    {"--ipv6", '6'},      {"--no-header", 'H'}, {"--oneline", 'O'},
    {"--json", 'j'},    {"--processes", 'p'}, {"--extended", 'e'},  {"--resolve", 'r'},
};
constexpr long_flag nstat_flags[] = {{"--zeros", 'z'}, {"--json", 'j'}, {"--noupdate", 's'}};

/// Calls `apply(letter)` for each flag of a word; a sentence when one is unknown.
template <class Apply>
std::string read_flags(std::string_view word, std::span<const long_flag> known, Apply apply) {
  const auto unknown = [&](std::string_view flag) {
    return "There is no flag " + std::string(flag) + " here.";
  };
  if (word.starts_with("--")) {
    for (const long_flag& each : known) {
      if (each.name == word) return apply(each.letter) ? std::string() : unknown(word);
    }
    return unknown(word);
  }
  for (const char letter : word.substr(1)) {
    if (!apply(letter)) return unknown(std::string("-") + letter);
  }
  return {};
}

bool apply_ss_flag(char letter, inspect_request& into) {
  switch (letter) {
    case 't':
    case 'n':
    // One process, no inodes, and names are for nobody: what ss would add is not there.
    case 'p':
    case 'e':
    case 'r':
      return true;
    case 'a':
      into.states = state_set::all();
      return true;
    case 'l':
      into.states = {state::listen, state::closed};
      return true;
    case 'o':
      return into.timers = true;
    case 'i':
      return into.info = true;
    case 'm':
      return into.memory = true;
    case 's':
      into.view = inspect_view::summary;
      return true;
    case 'H':
      return into.no_header = true;
    case 'O':
      return into.one_line = true;
    case 'j':
      return into.json = true;
    case '4':
      into.filter.only(net::family::v4);
      return true;
    case '6':
      into.filter.only(net::family::v6);
      return true;
    default:
      return false;
  }
}

/// `state NAME` and `exclude NAME`, as many as there are, at the front of `words`.
std::string read_states(std::span<const std::string_view>& words, inspect_request& into) {
  bool first = true;
  while (!words.empty() && (words[0] == "state" || words[0] == "exclude")) {
    const bool adds = words[0] == "state";
    const std::string name = words.size() > 1 ? plain(words[1]) : std::string();
    if (first) into.states = adds ? state_set() : state_set::all();
    first = false;
    const bool known = adds ? into.states.add(name) : into.states.remove(name);
    if (!known) {
      return "\"" + name +
             "\" is no state; ss knows established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, "
             "time-wait, closed, close-wait, last-ack, listening, closing, all, connected, "
             "synchronized, bucket and big.";
    }
    words = words.subspan(2);
  }
  return {};
}

std::string read_ss(std::span<const std::string_view> words, inspect_request& into) {
  while (!words.empty() && words[0].starts_with('-') && words[0].size() > 1) {
    std::string error =
        read_flags(words[0], ss_flags, [&](char letter) { return apply_ss_flag(letter, into); });
    if (!error.empty()) return error;
    words = words.subspan(1);
  }
  if (std::string error = read_states(words, into); !error.empty()) return error;
  return into.filter.parse(words);
}

std::string read_nstat(std::span<const std::string_view> words, inspect_request& into) {
  into.view = inspect_view::counters;
  for (const std::string_view word : words) {
    if (!word.starts_with('-')) {
      into.patterns.emplace_back(word);
      continue;
    }
    std::string error = read_flags(word, nstat_flags, [&](char letter) {
      if (letter == 'z') into.zeros = true;
      if (letter == 'j') into.json = true;
      // Counters are always told as they stand, and nobody's history is kept.
      return letter == 'z' || letter == 'j' || letter == 'a' || letter == 's';
    });
    if (!error.empty()) return error;
  }
  return {};
}

std::string read_diagnose(std::span<const std::string_view> words, inspect_request& into) {
  into.view = inspect_view::diagnosis;
  for (const std::string_view word : words) {
    if (word != "-j" && word != "--json") {
      return "diagnose takes no \"" + std::string(word) + "\", only -j.";
    }
    into.json = true;
  }
  return {};
}

}  // namespace

bool state_set::add(std::string_view name) noexcept {
  for (const named_states& each : state_names()) {
    if (each.name != name) continue;
    bits_ |= each.states.bits_;
    return true;
  }
  return false;
}

bool state_set::remove(std::string_view name) noexcept {
  for (const named_states& each : state_names()) {
    if (each.name != name) continue;
    bits_ &= ~each.states.bits_;
    return true;
  }
  return false;
}

std::string parse_inspect_request(std::span<const std::string_view> words, inspect_request& into) {
  inspect_request made;
  std::string error;
  if (!words.empty() && words[0] == "nstat") {
    error = read_nstat(words.subspan(1), made);
  } else if (!words.empty() && words[0] == "diagnose") {
    error = read_diagnose(words.subspan(1), made);
  } else {
    const bool named = !words.empty() && words[0] == "ss";
    error = read_ss(words.subspan(named ? 1 : 0), made);
  }
  if (error.empty()) into = std::move(made);
  return error;
}

std::string parse_inspect_request(std::string_view line, inspect_request& into) {
  std::vector<std::string_view> words;
  constexpr std::string_view spaces = " \t\r\n";
  for (std::size_t at = line.find_first_not_of(spaces); at != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(spaces, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(spaces, end);
  }
  return parse_inspect_request(words, into);
}

}  // namespace runnel::tcp
