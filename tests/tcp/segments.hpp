#pragma once

#include <initializer_list>
#include <optional>
#include <sstream>

#include "packets.hpp"

namespace runnel::tcp::test {

/// One thing that a test says of a segment, either to make it so or to check it. Numbers are
/// relative to the initial sequence number of whoever they count for, so SYN is 0 and the first
/// byte is 1.
struct field {
  enum class kind : std::uint8_t {
    seq,
    ack,
    flags,
    window,
    window_at_least,
    length,
    text,
    mss,
    scale,
    stamp,
    echo,
    has_stamp,
    from_port,
    sack_permitted,
    sack,
    no_sack,
    ip_ecn,
    fast_open,
    no_fast_open,
  };
  kind what;
  std::uint32_t number = 0;
  std::string_view letters{};
  std::uint32_t second = 0;
};

inline field seq(std::uint32_t number) {
  return {field::kind::seq, number};
}
inline field ack(std::uint32_t number) {
  return {field::kind::ack, number};
}
/// "S", "SA", "A", "FPA", "R", ... in the order FSRPAUEC. PSH is compared only when `letters` has
/// it.
inline field flags(std::string_view letters) {
  return {field::kind::flags, 0, letters};
}
/// As it stands in the header.
inline field window(std::uint32_t number) {
  return {field::kind::window, number};
}
inline field window_at_least(std::uint32_t number) {
  return {field::kind::window_at_least, number};
}
inline field length(std::uint32_t number) {
  return {field::kind::length, number};
}
/// The text must outlive the statement it is used in.
inline field text(std::string_view what) {
  return {field::kind::text, 0, what};
}
inline field mss(std::uint32_t number) {
  return {field::kind::mss, number};
}
inline field scale(std::uint32_t number) {
  return {field::kind::scale, number};
}
/// The timestamps option: value and echo.
inline field stamp(std::uint32_t value, std::uint32_t echo = 0) {
  return {field::kind::stamp, value, {}, echo};
}
/// Of the timestamps option, the echo alone.
inline field echo(std::uint32_t value) {
  return {field::kind::echo, value};
}
inline field has_stamp(bool wanted) {
  return {field::kind::has_stamp, wanted ? 1U : 0U};
}
inline field from_port(std::uint16_t port) {
  return {field::kind::from_port, port};
}

inline field sack_permitted(bool wanted = true) {
  return {field::kind::sack_permitted, wanted ? 1U : 0U};
}
/// One block more, or: the segment has this block.
inline field sack(std::uint32_t left, std::uint32_t right) {
  return {field::kind::sack, left, {}, right};
}
inline field no_sack() {
  return {field::kind::no_sack};
}
/// The ECN bits of the IP header.
inline field ip_ecn(std::uint32_t bits) {
  return {field::kind::ip_ecn, bits};
}

/// The Fast Open option with this cookie; empty asks for one. The cookie must outlive the
/// statement.
inline field fast_open(std::string_view cookie) {
  return {field::kind::fast_open, 0, cookie};
}
inline field no_fast_open() {
  return {field::kind::no_fast_open};
}

/// What relative numbers count from.
struct sequence_bases {
  std::uint32_t sender = 0;
  std::uint32_t receiver = 0;
};

/// A segment about to be made.
struct segment_plan {
  wire::tcp_header tcp;
  std::string text;
  std::optional<std::uint16_t> from_port;
  std::uint8_t tos = 0;
};

inline void apply(segment_plan& plan, const field& f, const sequence_bases& bases) {
  switch (f.what) {
    case field::kind::seq:
      plan.tcp.seq = bases.sender + f.number;
      break;
    case field::kind::ack:
      plan.tcp.ack = bases.receiver + f.number;
      break;
    case field::kind::flags:
      plan.tcp.flags = flags_from(f.letters);
      break;
    case field::kind::window:
    case field::kind::window_at_least:
      plan.tcp.window = static_cast<std::uint16_t>(f.number);
      break;
    case field::kind::length:
      plan.text.assign(f.number, 'x');
      break;
    case field::kind::text:
      plan.text = std::string(f.letters);
      break;
    case field::kind::mss:
      plan.tcp.options.mss = static_cast<std::uint16_t>(f.number);
      break;
    case field::kind::scale:
      plan.tcp.options.window_scale = static_cast<std::uint8_t>(f.number);
      break;
    case field::kind::stamp:
      plan.tcp.options.timestamp = wire::tcp_timestamp{f.number, f.second};
      break;
    case field::kind::echo:
    case field::kind::has_stamp:
      break;
    case field::kind::from_port:
      plan.from_port = static_cast<std::uint16_t>(f.number);
      break;
    case field::kind::sack_permitted:
      plan.tcp.options.sack_permitted = f.number != 0;
      break;
    case field::kind::sack:
      plan.tcp.options.add_sack({bases.receiver + f.number, bases.receiver + f.second});
      break;
    case field::kind::no_sack:
      break;
    case field::kind::ip_ecn:
      plan.tos = static_cast<std::uint8_t>(f.number);
      break;
    case field::kind::fast_open:
      plan.tcp.options.fast_open = bytes_of(f.letters);
      break;
    case field::kind::no_fast_open:
      break;
  }
}

inline bool holds(const seen_packet& seen, const field& f, const sequence_bases& bases) {
  const wire::tcp_options& options = seen.tcp.options;
  switch (f.what) {
    case field::kind::seq:
      return seen.tcp.seq == bases.sender + f.number;
    case field::kind::ack:
      return seen.tcp.ack == bases.receiver + f.number;
    case field::kind::flags: {
      const std::uint8_t wanted = flags_from(f.letters);
      const bool push = (wanted & wire::tcp_flag::psh) != 0;
      const auto mask = static_cast<std::uint8_t>(push ? 0xff : ~wire::tcp_flag::psh);
      return (seen.tcp.flags & mask) == wanted;
    }
    case field::kind::window:
      return seen.tcp.window == f.number;
    case field::kind::window_at_least:
      return seen.tcp.window >= f.number;
    case field::kind::length:
      return seen.length == f.number;
    case field::kind::text:
      return seen.text == f.letters;
    case field::kind::mss:
      return options.mss == f.number;
    case field::kind::scale:
      return options.window_scale == f.number;
    case field::kind::stamp:
      return options.timestamp == wire::tcp_timestamp{f.number, f.second};
    case field::kind::echo:
      return options.timestamp && options.timestamp->echo == f.number;
    case field::kind::has_stamp:
      return options.timestamp.has_value() == (f.number != 0);
    case field::kind::from_port:
      return seen.tcp.source_port == f.number;
    case field::kind::sack_permitted:
      return options.sack_permitted == (f.number != 0);
    case field::kind::sack: {
      const wire::sack_block wanted{bases.receiver + f.number, bases.receiver + f.second};
      return std::ranges::count(options.sacks(), wanted) == 1;
    }
    case field::kind::no_sack:
      return options.sack_count == 0;
    case field::kind::ip_ecn:
      return (seen.ip.tos & 3) == f.number;
    case field::kind::fast_open:
      return seen.fast_open == f.letters;
    case field::kind::no_fast_open:
      return !seen.fast_open;
  }
  return false;
}

inline std::string to_text(const seen_packet& seen, const sequence_bases& bases) {
  std::ostringstream out;
  out << "flags(" << seen.flags() << ") seq(" << seen.tcp.seq - bases.sender << ") ack("
      << seen.tcp.ack - bases.receiver << ") window(" << seen.tcp.window << ") length("
      << seen.length << ")";
  if (const auto& at = seen.tcp.options.timestamp) {
    out << " stamp(" << at->value << ", " << at->echo << ")";
  }
  for (const wire::sack_block& each : seen.tcp.options.sacks()) {
    out << " sack(" << each.left - bases.receiver << ", " << each.right - bases.receiver << ")";
  }
  if (seen.fast_open) out << " fast_open(" << seen.fast_open->size() << " bytes)";
  if (seen.tcp.options.mss) out << " mss(" << *seen.tcp.options.mss << ")";
  return out.str();
}

inline std::string to_text(std::initializer_list<field> fields) {
  constexpr std::string_view names[] = {
      "seq",  "ack",     "flags",  "window",    "window_at_least", "len",       "text",
      "mss",  "scale",   "stamp",  "echo",      "has_stamp",       "from_port", "sack_permitted",
      "sack", "no_sack", "ip_ecn", "fast_open", "no_fast_open"};
  std::ostringstream out;
  for (const field& f : fields) {
    out << names[static_cast<std::size_t>(f.what)] << "(";
    if (f.letters.data() != nullptr) {
      out << f.letters.substr(0, 40);
    } else {
      out << f.number;
    }
    if (f.what == field::kind::stamp || f.what == field::kind::sack) out << ", " << f.second;
    out << ") ";
  }
  return out.str();
}

}  // namespace runnel::tcp::test
