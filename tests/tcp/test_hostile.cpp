#include "crowd.hpp"
#include "raw_peer.hpp"
#include "runnel/wire/icmp.hpp"

// Packets that nobody honest sends: where they say they come from and go to, pieces of packets,
// options, and how much one can make us answer.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

namespace flag = wire::tcp_flag;

net::address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  return net::address::v4(a, b, c, d);
}

/// A host with a listener on port 80, and packets of any kind for it.
struct target {
  explicit target(const std::function<void(host_options&)>& adjust = {}) : engine(make(adjust)) {
    listener = engine.listen({{}, 80}, {}, 1).value;
  }
  static host_options make(const std::function<void(host_options&)>& adjust) {
    host_options options;
    options.addresses = {v4(10, 0, 0, 2), v4(10, 0, 0, 3)};
    options.keys = keys_from(3);
    if (adjust) adjust(options);
    return options;
  }
  void segment(const net::endpoint& from, const net::endpoint& to, std::uint8_t flags,
               std::string_view text = {}) {
    wire::tcp_header tcp;
    tcp.flags = flags;
    tcp.seq = 7;
    tcp.ack = 9;
    engine.on_packet(make_packet(pool, from, to, tcp, bytes_of(text)), now);
  }
  void datagram(const wire::ip_header& of, std::span<const std::byte> payload) {
    wire::ip_header ip = of;
    ip.total_length = static_cast<std::uint32_t>(20 + payload.size());
    net::packet packet = pool.allocate(ip.total_length);
    packet.resize(ip.total_length);
    wire::emit_ip(packet.bytes(), ip);
    std::copy(payload.begin(), payload.end(), packet.bytes().begin() + 20);
    engine.on_packet(std::move(packet), now);
  }
  /// One of each kind that draws an answer from an honest address.
  void everything(const net::address& from, const net::address& to) {
    segment({from, 1000}, {to, 80}, flag::syn);
    segment({from, 1000}, {to, 81}, flag::syn);
    segment({from, 1000}, {to, 80}, flag::ack, "text");
    wire::ip_header ip;
    ip.source = from;
    ip.destination = to;
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::udp);
    datagram(ip, std::vector<std::byte>(40));
    wire::icmp_message echo;
    echo.kind = wire::icmp_kind::echo_request;
    std::vector<std::byte> bytes(wire::icmp_bytes(echo));
    wire::emit_icmp(bytes, from, to, echo);
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp);
    datagram(ip, bytes);
  }
  std::size_t answers() {
    std::size_t count = 0;
    while (engine.poll_transmit(now) != nullptr) ++count;
    return count;
  }
  bool holds_nothing() const {
    const memory_table held = engine.memory();
    return held.connections == 0 && held.half_open == 0 && held.buffer_bytes == 0 &&
           pool.used_bytes() == 0;
  }

  net::packet_pool pool;
  time_point now = time_point(1000s);
  host engine;
  socket_id listener;
};

/// A fragment of a TCP segment: `bytes` of it from `offset` on.
void give_fragment(target& to, std::uint16_t offset, std::size_t bytes, bool more,
                   std::uint32_t id = 1) {
  wire::tcp_header tcp;
  tcp.source_port = 1000;
  tcp.destination_port = 80;
  tcp.flags = flag::syn;
  std::vector<std::byte> whole(std::max<std::size_t>(20, bytes));
  wire::emit_tcp(whole, tcp);
  wire::ip_header ip;
  ip.source = v4(10, 0, 0, 1);
  ip.destination = v4(10, 0, 0, 2);
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
  ip.fragment_offset = offset;
  ip.more_fragments = more;
  ip.id = id;
  to.datagram(ip, std::span(whole).first(bytes));
}

}  // namespace

TEST_CASE("tcp hostile: LAND and self-addressed SYN, whatever port and address of ours it names") {
  target local;
  for (const auto& from : {v4(10, 0, 0, 2), v4(10, 0, 0, 3)}) {
    for (const auto& to : {v4(10, 0, 0, 2), v4(10, 0, 0, 3)}) {
      local.segment({from, 80}, {to, 80}, flag::syn);
      local.segment({from, 1000}, {to, 80}, flag::syn);
      local.everything(from, to);
    }
  }
  CHECK(local.answers() == 0);
  CHECK(local.engine.counters().ip_in_addr_errors == 4 * 7);
  CHECK(local.holds_nothing());
}

TEST_CASE("tcp hostile: martian, loopback, broadcast and multicast sources draw nothing") {
  target local;
  const std::vector<net::address> sources{
      v4(0, 0, 0, 0),   v4(0, 1, 2, 3),         v4(127, 0, 0, 1),      v4(127, 255, 255, 254),
      v4(224, 0, 0, 1), v4(239, 255, 255, 255), v4(255, 255, 255, 255)};
  for (const net::address& from : sources) {
    CAPTURE(from.to_string());
    local.everything(from, v4(10, 0, 0, 2));
    CHECK(local.answers() == 0);
  }
  CHECK(local.engine.counters().ip_in_addr_errors == 5 * sources.size());
  CHECK(local.holds_nothing());
  // The same from an honest one: SYN-ACK, two resets, and two ICMP messages.
  local.everything(v4(10, 0, 0, 1), v4(10, 0, 0, 2));
  CHECK(local.answers() == 5);
}

TEST_CASE("tcp hostile: packets that are not for us draw nothing") {
  target local;
  const std::vector<net::address> others{
      v4(10, 0, 0, 4),   v4(0, 0, 0, 0),         v4(127, 0, 0, 1),    v4(224, 0, 0, 1),
      v4(10, 0, 0, 255), v4(255, 255, 255, 255), v4(203, 0, 113, 200)};
  for (const net::address& to : others) {
    CAPTURE(to.to_string());
    local.everything(v4(10, 0, 0, 1), to);
    CHECK(local.answers() == 0);
  }
  CHECK(local.engine.counters().ip_in_addr_errors == 5 * others.size());
  CHECK(local.holds_nothing());
}

TEST_CASE("tcp hostile: tiny and overlapping fragments are dropped and counted, and time is out") {
  target local;
  // The first eight bytes of a TCP header, which hide its flags (RFC 1858), and what follows.
  give_fragment(local, 0, 8, true);
  give_fragment(local, 8, 12, false);
  // A header that is written over by a later fragment (RFC 3128, RFC 5722).
  give_fragment(local, 0, 24, true, 2);
  give_fragment(local, 8, 16, false, 2);
  give_fragment(local, 0, 24, false, 2);
  // Beyond the longest packet there is.
  give_fragment(local, 65'528, 40, false, 3);
  // An endless row of first pieces.
  for (std::uint32_t id = 10; id < 1010; ++id) give_fragment(local, 0, 24, true, id);
  const tcp::counters& count = local.engine.counters();
  // The third of the overlapping ones was a whole packet.
  CHECK(count.reasm_reqds + count.ip_in_hdr_errors == 5 + 1000);
  CHECK(count.reasm_fails + count.ip_in_hdr_errors == 4);
  CHECK(count.reasm_oks == 0);
  CHECK(count.in_segs == 1);
  CHECK(local.answers() == 0);
  CHECK(local.engine.memory().buffer_bytes == 0);
  // What waits goes within 30 s, and its sender is told of some.
  CHECK(local.engine.poll_timeout() <= local.now + 30s);
  local.now += 30s;
  local.engine.on_timeout(local.now);
  CHECK(count.reasm_timeout == 1001);
  CHECK(local.pool.used_bytes() <= count.icmp_out_time_excds * 1024);
  const std::uint64_t told = count.icmp_out_time_excds;
  CHECK(told > 0);
  CHECK(told <= 1000);
}

TEST_CASE("tcp hostile: huge and garbled option lists do no harm") {
  std::mt19937_64 random(11);
  target local([](host_options& options) { options.policy.reject_limit = 0; });
  std::size_t asked = 0;
  for (int i = 0; i < 20'000; ++i) {
    wire::tcp_header tcp;
    tcp.source_port = static_cast<std::uint16_t>(1024 + random() % 50'000);
    tcp.destination_port = 80;
    tcp.seq = static_cast<std::uint32_t>(random());
    tcp.flags = flag::syn;
    std::vector<std::byte> segment(60);
    wire::emit_tcp(segment, tcp);
    segment[12] = std::byte{0xf0};
    for (std::size_t at = 20; at < 60; ++at) {
      // Mostly kinds that mean something, with lengths that mostly do not.
      segment[at] = static_cast<std::byte>(random() % 3 == 0 ? random() % 256 : random() % 36);
    }
    wire::checksum sum;
    const net::address from = v4(10, 0, 1, static_cast<std::uint8_t>(random() % 250 + 1));
    sum.add_pseudo_header(from, v4(10, 0, 0, 2), 6, 60);
    sum.add(segment);
    wire::put_tcp_checksum(segment, sum.value());
    wire::ip_header ip;
    ip.source = from;
    ip.destination = v4(10, 0, 0, 2);
    ip.protocol = 6;
    local.datagram(ip, segment);
    ++asked;
    const std::size_t answers = local.answers();
    REQUIRE(answers <= 1);
    if (i % 1000 == 999) {
      local.now += 200s;
      while (local.engine.poll_timeout() <= local.now) local.engine.on_timeout(local.now);
      local.answers();
    }
  }
  CHECK(local.engine.counters().in_segs == asked);
  CHECK(local.engine.counters().in_csum_errors == 0);
  CHECK(local.engine.memory().half_open <= 4097);
}

TEST_CASE("tcp hostile: RST and ICMP are bounded for the host and for each peer") {
  target local([](host_options& options) {
    options.policy.reject_limit = 100;
    options.policy.reject_limit_per_peer = 10;
  });
  const auto knock = [&](const net::address& from, int times) {
    for (int i = 0; i < times; ++i) {
      local.segment({from, 1000}, {v4(10, 0, 0, 2), 81}, flag::syn);
      local.everything(from, v4(10, 0, 0, 3));
    }
    return local.answers();
  };
  // SYN to the listener is answered with SYN-ACK, which this does not bound.
  const std::size_t synack = 1;
  CHECK(knock(v4(10, 0, 1, 1), 50) <= 10 + 50 * synack);
  CHECK(local.engine.counters().out_rsts <= 10);
  // Another peer has not spent anything.
  const std::uint64_t before = local.engine.counters().out_rsts;
  local.segment({v4(10, 0, 1, 2), 1000}, {v4(10, 0, 0, 2), 81}, flag::syn);
  CHECK(local.answers() == 1);
  CHECK(local.engine.counters().out_rsts == before + 1);
  // Forged sources spend what there is for all.
  std::size_t drawn = 0;
  for (std::uint32_t i = 0; i < 3000; ++i) {
    const auto from = v4(10, 9, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i));
    local.segment({from, 1000}, {v4(10, 0, 0, 2), 81}, flag::syn);
    drawn += local.answers();
  }
  CHECK(drawn <= 100);
  CHECK(local.engine.counters().reject_limited > 2900);
  local.now += 1s;
  local.segment({v4(10, 0, 1, 1), 1000}, {v4(10, 0, 0, 2), 81}, flag::syn);
  CHECK(local.answers() == 1);
}

TEST_CASE("tcp hostile: challenge ACKs are bounded for each peer, over all its connections") {
  crowd all([](host_options& options) { options.policy.challenge_ack_limit_per_peer = 5; });
  std::vector<crowd::peer*> peers;
  for (std::uint32_t i = 0; i < 250; ++i) peers.push_back(&all.join(i));
  // Peers 0 to 199 are ports of one address, the others of the next.
  for (crowd::peer* p : peers) all.give(*p, flag::rst, 2, 0);
  CHECK(all.engine.counters().challenge_ack == 10);
  CHECK(all.engine.memory().connections == 250);
  all.run_for(1s);
  for (crowd::peer* p : peers) all.give(*p, flag::rst, 2, 0);
  CHECK(all.engine.counters().challenge_ack == 20);
}

TEST_CASE(
    "tcp hostile: what one peer draws tells nothing of another's connection (CVE-2016-5696)") {
  crowd all;
  std::vector<crowd::peer*> peers;
  for (std::uint32_t i = 0; i < 8000; ++i) peers.push_back(&all.join(i));
  REQUIRE(all.engine.memory().connections == 8000);
  // Forty addresses with 200 connections each, all within one second: none is answered less for
  // what the others were.
  for (crowd::peer* p : peers) all.give(*p, flag::rst, 2, 0);
  CHECK(all.engine.counters().challenge_ack == 8000);
  CHECK(all.engine.memory().connections == 8000);
  // A connection alone is bounded.
  for (int i = 0; i < 100; ++i) all.give(*peers[0], flag::rst, 2, 0);
  CHECK(all.engine.counters().challenge_ack == 8000);
}
