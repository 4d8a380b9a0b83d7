#include "raw_peer.hpp"
#include "runnel/wire/icmp.hpp"

// What the counters of data transfer, IP and ICMP count, with Linux's meaning.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("S113 DelayedACKs: acknowledgements that the timer sent") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 16; ++i) peer.send({text("x")});
  CHECK(peer.count().delayed_acks == 0);
  peer.send({text("x")});
  peer.run_for(100ms);
  CHECK(peer.count().delayed_acks == 1);
}

TEST_CASE("S113 TCPFastRetrans: losses that three duplicates told") {
  raw_peer peer;
  peer.establish();
  peer.write(numbered_text(8 * 1460));
  for (int i = 0; i < 3; ++i) peer.send({ack(1)});
  CHECK(peer.count().fast_retrans == 1);
  CHECK(peer.count().timeouts == 0);
}

TEST_CASE("S113 TCPOFOQueue: segments that arrived ahead of a hole") {
  raw_peer peer;
  peer.establish();
  peer.send({seq(5), text("e")});
  CHECK(peer.count().ofo_queue == 1);
  peer.send({seq(1), text("abcd")});
  CHECK(peer.count().ofo_queue == 1);
}

TEST_CASE("S113 TCPToZeroWindowAdv: windows that closed; TCPZeroWindowDrop: text that came then") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.receive_buffer = 8192;
  peer.establish(policy);
  const std::string piece(1000, 'x');
  for (int i = 0; i < 12 && peer.count().zero_window_adv == 0; ++i) {
    peer.send({text(piece)});
    peer.run_for(50ms);
  }
  CHECK(peer.count().zero_window_adv == 1);
  CHECK(peer.count().zero_window_drop == 0);
  peer.peer_next = peer.said().back().tcp.ack;
  peer.send({text(piece)});
  CHECK(peer.count().zero_window_drop == 1);
}

TEST_CASE("S113 TCPWinProbe: probes of a window that is closed") {
  raw_peer peer;
  peer.establish();
  peer.send({window(0)});
  peer.write("waits");
  CHECK(peer.count().win_probe == 0);
  peer.run_for(500ms);
  CHECK(peer.count().win_probe == 1);
}

TEST_CASE("S113 RunnelRejectLimited: answers to strangers beyond the limit") {
  raw_peer peer([](host_options& options) { options.policy.reject_limit = 3; });
  for (int i = 0; i < 5; ++i) peer.send({from_port(static_cast<std::uint16_t>(1000 + i))});
  CHECK(peer.count().out_rsts == 3);
  CHECK(peer.count().reject_limited == 2);
}

namespace {

/// An IP packet with this payload for the host.
net::packet datagram(net::packet_pool& pool, wire::ip_header ip,
                     std::span<const std::byte> payload) {
  const std::size_t header = wire::ip_header_bytes(ip);
  ip.total_length = static_cast<std::uint32_t>(header + payload.size());
  net::packet out = pool.allocate(ip.total_length);
  out.resize(ip.total_length);
  wire::emit_ip(out.bytes(), ip);
  std::ranges::copy(payload, out.bytes().subspan(header).begin());
  return out;
}

wire::ip_header to_host(wire::ip_protocol protocol) {
  wire::ip_header ip;
  ip.source = raw_peer::peer_address();
  ip.destination = raw_peer::host_address();
  ip.protocol = static_cast<std::uint8_t>(protocol);
  return ip;
}

void drain(raw_peer& peer) {
  while (peer.engine().poll_transmit(peer.now()) != nullptr) {
  }
}

}  // namespace

TEST_CASE("S113 IpInReceives, IpInHdrErrors, IpInAddrErrors: packets, damaged ones, strangers'" *
          doctest::skip(speaks_v6())) {
  raw_peer peer;
  net::packet_pool pool;
  const std::array<std::byte, 8> nothing{};
  auto ip = to_host(wire::ip_protocol::udp);
  net::packet damaged = datagram(pool, ip, nothing);
  damaged.bytes()[10] ^= std::byte{1};
  peer.engine().on_packet(std::move(damaged), peer.now());
  CHECK(peer.count().ip_in_receives == 1);
  CHECK(peer.count().ip_in_hdr_errors == 1);
  ip.destination = test_address(10, 0, 0, 9);
  peer.engine().on_packet(datagram(pool, ip, nothing), peer.now());
  CHECK(peer.count().ip_in_receives == 2);
  CHECK(peer.count().ip_in_addr_errors == 1);
}

TEST_CASE("S113 Ip6InDiscards: what the kernel says of routers and neighbours is no error") {
  raw_peer peer;
  net::packet_pool pool;
  wire::ip_header ip;
  ip.source = *net::address::parse("fe80::1");
  ip.destination = *net::address::parse("ff02::2");
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp_v6);
  constexpr std::array<std::byte, 8> solicitation{std::byte{133}};
  const std::uint64_t before = peer.count().ip_in_receives;
  peer.engine().on_packet(datagram(pool, ip, solicitation), peer.now());
  CHECK(peer.count().ip6_in_receives == 1);
  CHECK(peer.count().ip6_in_discards == 1);
  CHECK(peer.count().ip6_in_hdr_errors == 0);
  CHECK(peer.count().ip_in_receives == before);
  peer.flush();
  peer.expect_nothing();
}

TEST_CASE(
    "S113 IpReasmReqds, IpReasmOKs, IpReasmFails, IpReasmTimeout, IpExtReasmOverlaps, "
    "IcmpOutTimeExcds: packets in pieces" *
    doctest::skip(speaks_v6())) {
  raw_peer peer;
  net::packet_pool pool;
  auto ip = to_host(wire::ip_protocol::udp);
  const auto give = [&](std::uint16_t offset, bool more, std::size_t bytes) {
    ip.fragment_offset = offset;
    ip.more_fragments = more;
    peer.engine().on_packet(datagram(pool, ip, std::vector<std::byte>(bytes)), peer.now());
  };
  ip.id = 1;
  give(8, false, 8);
  give(0, true, 8);
  CHECK(peer.count().reasm_reqds == 2);
  CHECK(peer.count().reasm_oks == 1);
  // A piece that overlaps another takes the whole packet with it (RFC 5722).
  ip.id = 2;
  give(0, true, 16);
  give(8, false, 16);
  CHECK(peer.count().reasm_overlaps == 1);
  CHECK(peer.count().reasm_fails == 1);
  ip.id = 3;
  give(0, true, 8);
  peer.run_for(std::chrono::seconds(31));
  CHECK(peer.count().reasm_timeout == 1);
  CHECK(peer.count().reasm_fails == 2);
  CHECK(peer.count().icmp_out_time_excds == 1);
}

TEST_CASE("S113 IcmpInEchos, IcmpOutEchoReps: pings, and their answers" *
          doctest::skip(speaks_v6())) {
  raw_peer peer;
  net::packet_pool pool;
  wire::icmp_message ping;
  ping.kind = wire::icmp_kind::echo_request;
  std::array<std::byte, 64> bytes{};
  const auto ip = to_host(wire::ip_protocol::icmp);
  const std::size_t size = wire::emit_icmp(bytes, ip.source, ip.destination, ping);
  peer.engine().on_packet(datagram(pool, ip, std::span(bytes).first(size)), peer.now());
  drain(peer);
  CHECK(peer.count().icmp_in_echos == 1);
  CHECK(peer.count().icmp_out_echo_reps == 1);
}

TEST_CASE("S113 IpInDiscards: a packet that there was no memory for") {
  raw_peer peer;
  peer.engine().on_packet(net::packet(), peer.now());
  CHECK(peer.count().ip_in_discards == 1);
}

TEST_CASE("S113 IcmpOutDestUnreachs: datagrams for a port that nobody serves" *
          doctest::skip(speaks_v6())) {
  raw_peer peer;
  net::packet_pool pool;
  peer.engine().on_packet(
      datagram(pool, to_host(wire::ip_protocol::udp), std::array<std::byte, 8>{}), peer.now());
  drain(peer);
  CHECK(peer.count().icmp_out_dest_unreachs == 1);
}
