#include "dual_host.hpp"

// What the counters of IPv6 and ICMPv6 count, with Linux's meaning.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const auto us = address_of("fd00::2");
const auto them = address_of("fd00::1");

wire::icmp_message message_of(wire::icmp_kind kind, std::span<const std::byte> body = {}) {
  wire::icmp_message out;
  out.kind = kind;
  out.body = body;
  return out;
}

}  // namespace

TEST_CASE("S113 Ip6InReceives, Ip6InHdrErrors, Ip6InAddrErrors: packets, bad ones, strangers'") {
  dual_host local;
  wire::ip_header ip = dual_host::header(them, us, wire::ip_protocol::no_next_header);
  local.give(ip, {});
  CHECK(local.count().ip6_in_receives == 1);
  CHECK(local.count().ip6_in_hdr_errors == 0);
  // Destination options, one of them unknown and not to be passed over.
  const std::array<std::byte, 8> options{std::byte{59}, std::byte{0}, std::byte{0x80},
                                         std::byte{4}};
  local.give(dual_host::header(them, us, wire::ip_protocol{60}), options);
  CHECK(local.count().ip6_in_receives == 2);
  CHECK(local.count().ip6_in_hdr_errors == 1);
  ip.destination = address_of("fd00::9");
  local.give(ip, {});
  CHECK(local.count().ip6_in_receives == 3);
  CHECK(local.count().ip6_in_addr_errors == 1);
  CHECK(local.count().ip_in_receives == 0);
}

TEST_CASE(
    "S113 Ip6ReasmReqds, Ip6ReasmOKs, Ip6ReasmFails, Ip6ReasmTimeout, Icmp6OutTimeExcds: packets "
    "in pieces") {
  dual_host local;
  wire::ip_header ip = dual_host::header(them, us, wire::ip_protocol::udp);
  const auto give = [&](std::uint16_t offset, bool more, std::size_t bytes) {
    ip.fragment_offset = offset;
    ip.more_fragments = more;
    local.give(ip, std::vector<std::byte>(bytes));
  };
  ip.id = 1;
  give(8, false, 8);
  give(0, true, 8);
  CHECK(local.count().reasm6_reqds == 2);
  CHECK(local.count().reasm6_oks == 1);
  CHECK(local.count().reasm6_fails == 0);
  // A piece that overlaps another takes the whole packet with it (RFC 5722).
  ip.id = 2;
  give(0, true, 16);
  give(8, false, 16);
  CHECK(local.count().reasm6_fails == 1);
  ip.id = 3;
  give(0, true, 8);
  CHECK(local.count().reasm6_reqds == 5);
  local.pass(61s);
  CHECK(local.count().reasm6_timeout == 1);
  CHECK(local.count().reasm6_fails == 2);
  CHECK(local.count().icmp6_out_time_excds == 1);
  CHECK(local.count().reasm_reqds == 0);
}

TEST_CASE("S113 Icmp6InEchos, Icmp6OutEchoReplies: pings, and their answers") {
  dual_host local;
  local.give_icmp(them, us, message_of(wire::icmp_kind::echo_request));
  CHECK(local.answers() == 1);
  CHECK(local.count().icmp6_in_echos == 1);
  CHECK(local.count().icmp6_out_echo_replies == 1);
  CHECK(local.count().icmp_in_echos == 0);
}

TEST_CASE("S113 Icmp6InMsgs, Icmp6InErrors, Icmp6InCsumErrors: messages, and damaged ones") {
  dual_host local;
  const wire::icmp_message ping = message_of(wire::icmp_kind::echo_request);
  local.give_icmp(them, us, ping);
  CHECK(local.count().icmp6_in_msgs == 1);
  CHECK(local.count().icmp6_in_errors == 0);
  std::vector<std::byte> bytes(wire::icmp_bytes(ping));
  wire::emit_icmp(bytes, them, us, ping);
  bytes[4] ^= std::byte{1};
  const wire::ip_header ip = dual_host::header(them, us, wire::ip_protocol::icmp_v6);
  local.give(ip, bytes);
  CHECK(local.count().icmp6_in_msgs == 2);
  CHECK(local.count().icmp6_in_errors == 1);
  CHECK(local.count().icmp6_in_csum_errors == 1);
  local.give(ip, std::span(bytes).first(2));
  CHECK(local.count().icmp6_in_msgs == 3);
  CHECK(local.count().icmp6_in_errors == 2);
  CHECK(local.count().icmp6_in_csum_errors == 1);
}

TEST_CASE(
    "S113 Icmp6InDestUnreachs, Icmp6InPktTooBigs, Icmp6InTimeExcds, Icmp6InParmProblems: errors "
    "by kind") {
  dual_host local;
  const auto socket = local.engine.connect({them, 80}, {}, 1, local.now);
  REQUIRE(socket);
  const std::vector<std::byte> syn = local.next();
  const auto complain = [&](wire::icmp_kind kind, std::uint8_t code, std::uint32_t mtu) {
    wire::icmp_message message = message_of(kind, syn);
    message.code = code;
    message.mtu = mtu;
    local.give_icmp(address_of("fd00::99"), us, message);
  };
  complain(wire::icmp_kind::packet_too_big, 0, 1300);
  CHECK(local.count().icmp6_in_pkt_too_bigs == 1);
  CHECK(local.count().icmp6_in_dest_unreachs == 0);
  complain(wire::icmp_kind::time_exceeded, 0, 0);
  CHECK(local.count().icmp6_in_time_excds == 1);
  complain(wire::icmp_kind::parameter_problem, 0, 0);
  CHECK(local.count().icmp6_in_parm_problems == 1);
  // The connection is over by now, and messages count all the same.
  complain(wire::icmp_kind::unreachable, 3, 0);
  CHECK(local.count().icmp6_in_dest_unreachs == 1);
  CHECK(local.count().icmp6_in_msgs == 4);
  CHECK(local.count().icmp_in_dest_unreachs == 0);
  local.engine.release(socket.value, local.now);
}

TEST_CASE("S113 Icmp6OutDestUnreachs, Icmp6OutParmProblems: what nobody here knows or serves") {
  dual_host local;
  const std::array<std::byte, 8> payload{};
  local.give(dual_host::header(them, us, wire::ip_protocol::udp), payload);
  CHECK(local.answers() == 1);
  CHECK(local.count().icmp6_out_dest_unreachs == 1);
  CHECK(local.count().icmp6_out_parm_problems == 0);
  local.give(dual_host::header(them, us, wire::ip_protocol{200}), payload);
  CHECK(local.answers() == 1);
  CHECK(local.count().icmp6_out_dest_unreachs == 1);
  CHECK(local.count().icmp6_out_parm_problems == 1);
}
