#include "host_pair.hpp"
#include "raw_peer.hpp"
#include "runnel/wire/icmp.hpp"

// What is no segment for a connection: echo, other protocols, packets that are not for us or not
// whole, and the limits on answering them.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr auto us = net::address::v4(10, 0, 0, 2);
constexpr auto them = net::address::v4(10, 0, 0, 1);

struct plain_host {
  explicit plain_host(const std::function<void(host_options&)>& adjust = {})
      : engine(make(adjust)) {}
  static host_options make(const std::function<void(host_options&)>& adjust) {
    host_options options;
    options.addresses = {us};
    options.keys = keys_from(1);
    if (adjust) adjust(options);
    return options;
  }
  void give(const wire::ip_header& header, std::span<const std::byte> payload) {
    wire::ip_header ip = header;
    ip.total_length = static_cast<std::uint32_t>(20 + payload.size());
    net::packet packet = pool.allocate(ip.total_length);
    packet.resize(ip.total_length);
    wire::emit_ip(packet.bytes(), ip);
    std::copy(payload.begin(), payload.end(), packet.bytes().begin() + 20);
    engine.on_packet(std::move(packet), now);
  }
  void give_raw(std::span<const std::byte> bytes) { engine.on_packet(pool.copy_of(bytes), now); }
  void ping(const net::address& from, const net::address& to, std::string_view what) {
    wire::icmp_message message;
    message.kind = wire::icmp_kind::echo_request;
    message.body = bytes_of(what);
    std::vector<std::byte> bytes(wire::icmp_bytes(message));
    wire::emit_icmp(bytes, from, to, message);
    wire::ip_header ip;
    ip.source = from;
    ip.destination = to;
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp);
    give(ip, bytes);
  }
  /// The next packet out; empty when there is none.
  std::vector<std::byte> next() {
    const net::tx_packet* out = engine.poll_transmit(now);
    if (out == nullptr) return {};
    const net::packet flat = flatten(pool, *out);
    return {flat.bytes().begin(), flat.bytes().end()};
  }
  std::size_t answers() {
    std::size_t count = 0;
    while (!next().empty()) ++count;
    return count;
  }

  net::packet_pool pool;
  time_point now = time_point(1000s);
  host engine;
};

wire::ip_header header_of(std::uint8_t protocol) {
  wire::ip_header ip;
  ip.source = them;
  ip.destination = us;
  ip.protocol = protocol;
  return ip;
}

}  // namespace

TEST_CASE("tcp host: echo is answered with the same bytes") {
  plain_host local;
  local.ping(them, us, "are you there");
  const auto out = local.next();
  const auto ip = wire::parse_ip(out);
  REQUIRE(ip);
  CHECK(ip->source == us);
  CHECK(ip->destination == them);
  const auto answer = wire::parse_icmp(*ip, ip->payload(out));
  REQUIRE(answer);
  CHECK(answer->kind == wire::icmp_kind::echo_reply);
  CHECK(std::ranges::equal(answer->body, bytes_of("are you there")));
  CHECK(local.next().empty());
  CHECK(local.engine.counters().icmp_in_echos == 1);
  CHECK(local.engine.counters().icmp_out_echo_reps == 1);
  CHECK(local.engine.memory().buffer_bytes == 0);
}

TEST_CASE("tcp host: echo that nobody may be answered for is dropped") {
  plain_host local;
  local.ping(them, net::address::v4(10, 0, 0, 77), "x");
  local.ping(us, us, "x");
  local.ping(net::address::v4(0, 0, 0, 0), us, "x");
  local.ping(net::address::v4(127, 0, 0, 1), us, "x");
  local.ping(net::address::v4(224, 0, 0, 1), us, "x");
  local.ping(net::address::v4(255, 255, 255, 255), us, "x");
  CHECK(local.answers() == 0);
  CHECK(local.engine.counters().ip_in_addr_errors == 6);
}

TEST_CASE("tcp host: UDP draws port unreachable, other protocols protocol unreachable") {
  plain_host local;
  const std::vector<std::byte> payload(40);
  for (const std::uint8_t protocol : std::initializer_list<std::uint8_t>{17, 47, 132}) {
    local.give(header_of(protocol), payload);
    const auto out = local.next();
    const auto ip = wire::parse_ip(out);
    REQUIRE(ip);
    const auto answer = wire::parse_icmp(*ip, ip->payload(out));
    REQUIRE(answer);
    CHECK(answer->kind == wire::icmp_kind::unreachable);
    CHECK(answer->code ==
          (protocol == 17 ? wire::unreachable_code::port : wire::unreachable_code::protocol));
  }
  CHECK(local.engine.counters().icmp_out_dest_unreachs == 3);
}

TEST_CASE("tcp host: ICMP errors are never answered") {
  plain_host local;
  wire::icmp_message message;
  message.kind = wire::icmp_kind::unreachable;
  const std::vector<std::byte> quote(28);
  message.body = quote;
  std::vector<std::byte> bytes(wire::icmp_bytes(message));
  wire::emit_icmp(bytes, them, us, message);
  local.give(header_of(1), bytes);
  CHECK(local.answers() == 0);
}

TEST_CASE("tcp host: answers to nobody's packets are bounded for each second") {
  plain_host local([](host_options& options) { options.policy.reject_limit = 5; });
  const std::vector<std::byte> payload(40);
  for (int i = 0; i < 20; ++i) local.give(header_of(17), payload);
  for (int i = 0; i < 20; ++i) local.ping(them, us, "x");
  CHECK(local.answers() == 5);
  CHECK(local.engine.counters().reject_limited == 35);
  local.now += 1s;
  for (int i = 0; i < 20; ++i) local.ping(them, us, "x");
  CHECK(local.answers() == 5);
}

TEST_CASE("tcp host: a flood that is not polled is bounded in memory") {
  plain_host local([](host_options& options) { options.policy.reject_limit = 0; });
  for (int i = 0; i < 20'000; ++i) local.ping(them, us, "x");
  CHECK(local.engine.memory().buffer_bytes < 1'000'000);
  CHECK(local.answers() <= 256);
  CHECK(local.engine.memory().buffer_bytes == 0);
}

TEST_CASE("tcp host: RST to nobody's segments is bounded for each second") {
  raw_peer peer([](host_options& options) { options.policy.reject_limit = 5; });
  for (int i = 0; i < 20; ++i) peer.send({seq(1), ack(1)});
  CHECK(peer.said().size() == 5);
  CHECK(peer.count().out_rsts == 5);
}

TEST_CASE("tcp host: what is not a whole packet is counted and dropped") {
  plain_host local;
  local.give_raw({});
  const std::vector<std::byte> zeros(60);
  local.give_raw(zeros);
  CHECK(local.engine.counters().ip_in_hdr_errors == 2);
  wire::ip_header fragment = header_of(6);
  fragment.more_fragments = true;
  local.give(fragment, zeros);
  fragment.more_fragments = false;
  fragment.fragment_offset = 8;
  local.give(fragment, zeros);
  CHECK(local.engine.counters().reasm_fails == 2);
  // A TCP header of zeros is too short by its own account.
  local.give(header_of(6), zeros);
  CHECK(local.engine.counters().in_errs == 1);
  CHECK(local.answers() == 0);
}

TEST_CASE("tcp host: a wrong checksum is counted and dropped, whatever the packet says of itself") {
  raw_peer peer;
  bring_to(peer, state::established);
  net::packet_pool pool;
  wire::tcp_header tcp;
  tcp.seq = peer.peer_next;
  tcp.ack = peer.host_next;
  tcp.flags = wire::tcp_flag::ack;
  net::packet packet = make_packet(pool, {peer.peer_address(), peer.peer_port},
                                   {peer.host_address(), 80}, tcp, bytes_of("hello"));
  packet.bytes().back() ^= std::byte{1};
  packet->offload.checksum = net::checksum_state::verified;
  peer.engine().on_packet(std::move(packet), peer.now());
  CHECK(peer.count().in_csum_errors == 1);
  CHECK(peer.read() == "");
}

TEST_CASE("tcp host: LAND, a SYN that claims to come from us, is dropped") {
  raw_peer peer;
  peer.listen();
  net::packet_pool pool;
  wire::tcp_header tcp;
  tcp.flags = wire::tcp_flag::syn;
  peer.engine().on_packet(
      make_packet(pool, {peer.host_address(), 80}, {peer.host_address(), 80}, tcp), peer.now());
  peer.flush();
  peer.expect_nothing();
  CHECK(peer.count().ip_in_addr_errors == 1);
}
