#include <algorithm>
#include <array>
#include <optional>

#include "half_open.hpp"
#include "ingress.hpp"
#include "runnel/wire/icmp.hpp"

// ICMP errors about our segments (RFC 1122 §4.2.3.9), with Linux's answers. Anyone can send one, so
// one is believed only when it quotes a segment that is in flight (RFC 5927 §4.1), and nothing is
// ever sent back.

namespace runnel::tcp::detail {

namespace {

/// RFC 1191 §7.1: what routers that name no MTU may have meant.
constexpr std::array<std::uint16_t, 9> plateaus = {65'535, 32'000, 17'914, 8166, 4352,
                                                   2002,   1492,   1006,   508};

std::uint32_t plateau_below(std::uint32_t total_length) noexcept {
  for (const std::uint16_t each : plateaus) {
    if (each < total_length) return each;
  }
  return 0;
}

/// Linux's icmp_err_convert, for codes from 0 on. What has no errno of its own on every system
/// (source host isolated, network or host unknown) is told as the network or host that cannot be
/// reached.
constexpr std::array<error, 16> unreachable_errors = {
    error::network_unreachable,
    error::host_unreachable,
    error::protocol_not_available,
    error::connection_refused,
    error::none,
    error::not_supported,
    error::network_unreachable,
    error::host_unreachable,
    error::network_unreachable,
    error::network_unreachable,
    error::host_unreachable,
    error::network_unreachable,
    error::host_unreachable,
    error::host_unreachable,
    error::host_unreachable,
    error::host_unreachable,
};

/// Linux's icmpv6_err_convert, the same of ICMPv6's codes.
constexpr std::array<error, 7> unreachable_errors_v6 = {
    error::network_unreachable, error::permission_denied,  error::host_unreachable,
    error::host_unreachable,    error::connection_refused, error::permission_denied,
    error::permission_denied,
};

/// An ICMP error and the family that its codes are of.
struct icmp_report {
  net::family family;
  const wire::icmp_message& message;

  bool v6() const noexcept { return family == net::family::v6; }
};

error meaning_of_unreachable(const icmp_report& report) noexcept {
  const std::span<const error> known =
      report.v6() ? std::span<const error>(unreachable_errors_v6) : unreachable_errors;
  if (report.message.code < known.size()) return known[report.message.code];
  return report.v6() ? error::protocol_error : error::none;
}

error meaning(const icmp_report& report) noexcept {
  switch (report.message.kind) {
    case wire::icmp_kind::unreachable:
      return meaning_of_unreachable(report);
    case wire::icmp_kind::time_exceeded:
      return error::host_unreachable;
    case wire::icmp_kind::parameter_problem:
      return error::protocol_error;
    default:
      return error::none;
  }
}

/// Linux's tcp_req_err: whether a connection request ends for it.
bool ends_request(const icmp_report& report) noexcept {
  const wire::icmp_message& message = report.message;
  const bool unreachable = message.kind == wire::icmp_kind::unreachable;
  if (report.v6()) {
    if (message.kind == wire::icmp_kind::parameter_problem) return true;
    const error told = meaning(report);
    return unreachable && told != error::network_unreachable && told != error::host_unreachable;
  }
  if (!unreachable) return meaning(report) != error::none;
  return message.code == wire::unreachable_code::net ||
         message.code == wire::unreachable_code::host;
}

void on_half_open_error(core& host, std::uint32_t index, const icmp_report& report, sequence seq) {
  if (seq != host.half_opens[index].iss) {
    ++host.count.out_of_window_icmps;
    return;
  }
  if (!ends_request(report)) return;
  ++host.count.listen_drops;
  drop_half_open(host, index);
}

struct path_report {
  std::uint32_t mtu = 0;
  /// The path carries less than we go down to.
  bool fragments = false;
};

/// What the message says of the path that is news, or that confirms what is known.
std::optional<path_report> reported_mtu(const core& host, const connection& c,
                                        const wire::icmp_message& message,
                                        const wire::ip_header& quoted) noexcept {
  const std::uint32_t known = path_mtu_of(host, c);
  if (c.key.remote.is_v6()) {
    // RFC 8201 §4: no link carries less, so the message is a mistake or a lie.
    if (message.mtu < wire::min_mtu_v6 || message.mtu > known) return {};
    if (message.mtu == known && c.path_mtu == 0) return {};
    return path_report{message.mtu, false};
  }
  const std::uint32_t named = message.mtu != 0 ? message.mtu : plateau_below(quoted.total_length);
  // Linux's __ip_rt_update_pmtu: what is below goes out without DF.
  const bool below = named < host.policy.min_pmtu;
  const std::uint32_t mtu = below ? std::min<std::uint32_t>(known, host.policy.min_pmtu) : named;
  const bool too_long = mtu < 40U + host.policy.min_snd_mss;
  if (mtu > known || (mtu == known && c.path_mtu == 0 && !below)) return {};
  const bool was_below = mtu == known && c.path != no_index && host.paths[c.path].fragments;
  return path_report{mtu, below || too_long || was_below};
}

/// Linux's tcp_v4_mtu_reduced, and tcp_v6_mtu_reduced.
void on_packet_too_big(core& host, connection& c, const icmp_report& report,
                       const wire::ip_header& quoted) {
  const mtu_discover how = setting(host, c, &connection_policy::mtu_discover);
  if (how == mtu_discover::probe || how == mtu_discover::interface) return;
  const auto reported = reported_mtu(host, c, report.message, quoted);
  if (!reported) return;
  const std::uint16_t mss = c.snd_mss;
  learn_path_mtu(host, c, reported->mtu, reported->fragments);
  if (c.state == state::syn_sent && c.syn_data) {
    // A SYN that carries text; it goes again without.
    c.syn_due = true;
    return want_transmit(host, c);
  }
  // What may be fragmented has arrived in pieces; of IPv6 nothing may.
  const bool arrived = how == mtu_discover::dont && c.key.remote.is_v4();
  if (!c.may_send() || c.in_flight() == 0 || arrived) return;
  if (c.snd_mss < mss) {
    resend_for_path(host, c, c.snd_.una, c.snd_.nxt);
  } else if (c.path != no_index && host.paths[c.path].probe_size > reported->mtu) {
    fail_mtu_probe(host, c);
  } else {
    return;
  }
  arm_retransmit(host, c);
  want_transmit(host, c);
}

void on_connection_error(core& host, connection& c, const icmp_report& report,
                         const wire::quoted_packet& quoted) {
  const sequence seq(quoted.seq);
  // At SND.NXT it is about an acknowledgement, as Linux allows; none of these is too big.
  const bool too_big = report.message.kind == wire::icmp_kind::packet_too_big;
  const sequence oldest = c.fastopen_child ? c.snd_.iss : c.snd_.una;
  if (before(seq, oldest) || after(seq, c.snd_.nxt) || (too_big && seq == c.snd_.nxt)) {
    ++host.count.out_of_window_icmps;
    return;
  }
  if (too_big) return on_packet_too_big(host, c, report, quoted.ip);
  const error told = meaning(report);
  if (told == error::none) return;
  // A child of Fast Open is open to its owner already.
  if (!c.may_send()) {
    ++host.count.attempt_fails;
    return end_connection(host, c, end_reason::refused, told);
  }
  c.soft_error = told;
}

void count_kind_v6(core& host, wire::icmp_kind kind) noexcept {
  switch (kind) {
    case wire::icmp_kind::unreachable:
      ++host.count.icmp6_in_dest_unreachs;
      break;
    case wire::icmp_kind::packet_too_big:
      ++host.count.icmp6_in_pkt_too_bigs;
      break;
    case wire::icmp_kind::time_exceeded:
      ++host.count.icmp6_in_time_excds;
      break;
    case wire::icmp_kind::parameter_problem:
      ++host.count.icmp6_in_parm_problems;
      break;
    default:
      break;
  }
}

void count_kind(core& host, wire::icmp_kind kind) noexcept {
  switch (kind) {
    case wire::icmp_kind::unreachable:
    case wire::icmp_kind::packet_too_big:
      ++host.count.icmp_in_dest_unreachs;
      break;
    case wire::icmp_kind::time_exceeded:
      ++host.count.icmp_in_time_excds;
      break;
    case wire::icmp_kind::parameter_problem:
      ++host.count.icmp_in_parm_probs;
      break;
    default:
      break;
  }
}

std::optional<flow_key> flow_of_quote(const core& host, net::family family,
                                      const wire::quoted_packet& quoted) noexcept {
  const bool of_family = quoted.ip.source.family() == family;
  const int local = of_family ? host.local_index(quoted.ip.source) : -1;
  if (local < 0 || !quoted.has_transport || !quoted.ip.carries(wire::ip_protocol::tcp)) return {};
  return flow_key{quoted.ip.destination, quoted.destination_port, quoted.source_port,
                  static_cast<std::uint16_t>(local)};
}

}  // namespace

std::optional<flow_key> flow_of_error(const core& host, net::family family,
                                      const wire::icmp_message& message) noexcept {
  const auto quoted = wire::parse_quote(message.body);
  return quoted ? flow_of_quote(host, family, *quoted) : std::nullopt;
}

void on_icmp_error(core& host, net::family family, const wire::icmp_message& message) {
  const icmp_report report{family, message};
  std::uint64_t& errors = report.v6() ? host.count.icmp6_in_errors : host.count.icmp_in_errors;
  if (report.v6()) {
    count_kind_v6(host, message.kind);
  } else {
    count_kind(host, message.kind);
  }
  const auto quoted = wire::parse_quote(message.body);
  const auto key = quoted ? flow_of_quote(host, family, *quoted) : std::nullopt;
  const entry_ref entry = key ? host.find(*key) : entry_ref();
  if (!entry) {
    ++errors;
    return;
  }
  switch (entry.kind()) {
    case entry_kind::connection:
      return on_connection_error(host, host.connections[entry.index()], report, *quoted);
    case entry_kind::half_open:
      return on_half_open_error(host, entry.index(), report, sequence(quoted->seq));
    case entry_kind::time_wait:
      return;
  }
}

}  // namespace runnel::tcp::detail
