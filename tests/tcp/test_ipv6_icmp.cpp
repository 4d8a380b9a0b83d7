#include "dual_host.hpp"
#include "runnel/wire/reassembly.hpp"

// ICMPv6 as a host speaks and hears it (RFC 4443, RFC 8201), refused headers (RFC 8200), and
// packets in pieces of both families.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const auto us = address_of("fd00::2");
const auto them = address_of("fd00::1");
const auto router = address_of("fd00:0:0:9::1");

struct icmp_answer {
  wire::ip_header ip;
  wire::icmp_message message;
  std::vector<std::byte> bytes;
};

icmp_answer next_icmp(dual_host& local) {
  icmp_answer out;
  out.bytes = local.next();
  REQUIRE(!out.bytes.empty());
  const auto ip = wire::parse_ip(out.bytes);
  REQUIRE(ip);
  const auto message = wire::parse_icmp(*ip, ip->payload(out.bytes));
  REQUIRE(message);
  out.ip = *ip;
  out.message = *message;
  return out;
}

wire::icmp_message echo(std::span<const std::byte> body) {
  wire::icmp_message out;
  out.kind = wire::icmp_kind::echo_request;
  out.identifier = 5;
  out.sequence = 6;
  out.body = body;
  return out;
}

wire::icmp_message report(wire::icmp_kind kind, std::uint8_t code = 0, std::uint32_t mtu = 0) {
  wire::icmp_message out;
  out.kind = kind;
  out.code = code;
  out.mtu = mtu;
  return out;
}

/// A host that connects from `us` to `them`, and what its SYN looked like.
struct connecting : dual_host {
  connecting() {
    socket = engine.connect({them, 80}, {}, 1, now).value;
    const std::vector<std::byte> packet = next();
    seen = look_at(packet, now, 0, false);
    last = packet;
  }
  void complain(wire::icmp_message message) {
    message.body = last;
    give_icmp(router, us, message);
  }
  tcp::snapshot look() { return engine.snapshot(socket).value; }
  /// The peer's answer, and it is open.
  void establish() {
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::syn | wire::tcp_flag::ack;
    tcp.seq = 1;
    tcp.ack = seen.tcp.seq + 1;
    tcp.window = 65'535;
    tcp.options.mss = 1440;
    give_segment({them, 80}, {us, seen.tcp.source_port}, tcp);
    answers();
  }
  void write(std::size_t size) {
    const std::string text = numbered_text(size);
    REQUIRE(engine.send(socket, bytes_of(text), now));
    last = next();
  }

  socket_id socket;
  seen_packet seen;
  std::vector<std::byte> last;
};

/// A packet cut into pieces of `size` bytes of payload.
void give_in_pieces(dual_host& local, const wire::ip_header& of, std::span<const std::byte> payload,
                    std::size_t size, std::uint32_t id) {
  for (std::size_t at = 0; at < payload.size(); at += size) {
    wire::ip_header ip = of;
    ip.id = id;
    ip.fragment_offset = static_cast<std::uint16_t>(at);
    ip.more_fragments = at + size < payload.size();
    local.give(ip, payload.subspan(at, std::min(size, payload.size() - at)));
  }
}

}  // namespace

TEST_CASE("RFC 4443 §4.2: an echo request is answered with the same bytes") {
  dual_host local;
  local.give_icmp(them, us, echo(bytes_of("are you there")));
  const icmp_answer answer = next_icmp(local);
  CHECK(answer.ip.source == us);
  CHECK(answer.ip.destination == them);
  CHECK(answer.message.kind == wire::icmp_kind::echo_reply);
  CHECK(answer.message.identifier == 5);
  CHECK(answer.message.sequence == 6);
  CHECK(std::ranges::equal(answer.message.body, bytes_of("are you there")));
  CHECK(local.answers() == 0);
  CHECK(local.count().icmp6_in_msgs == 1);
  CHECK(local.count().icmp6_in_echos == 1);
  CHECK(local.count().icmp6_out_echo_replies == 1);
  CHECK(local.count().icmp_in_msgs == 0);
}

TEST_CASE(
    "RFC 791 RFC 8200: an echo longer than the link is put together, and answered in pieces") {
  for (const auto& [from, to] :
       {std::pair(them, us), std::pair(address_of("10.0.0.1"), address_of("10.0.0.2"))}) {
    CAPTURE(from.to_string());
    dual_host local;
    dual_host other([&](host_options& options) { options.addresses = {from}; });
    const std::string text = numbered_text(5000);
    const wire::icmp_message message = echo(bytes_of(text));
    std::vector<std::byte> bytes(wire::icmp_bytes(message));
    wire::emit_icmp(bytes, from, to, message);
    give_in_pieces(local, dual_host::header(from, to, wire::icmp_protocol(from.family())), bytes,
                   1232, 77);
    std::size_t pieces = 0;
    wire::reassembler whole;
    net::packet answer;
    for (auto each = local.next(); !each.empty(); each = local.next()) {
      CHECK(each.size() <= 1500);
      const auto ip = wire::parse_ip(each);
      REQUIRE(ip);
      auto result = whole.on_fragment(local.pool.copy_of(each), *ip, local.now);
      if (result.verdict == wire::reassembly_verdict::complete) answer = std::move(result.packet);
      ++pieces;
    }
    CHECK(pieces == 4);
    REQUIRE(static_cast<bool>(answer));
    const auto ip = wire::parse_ip(answer.bytes());
    REQUIRE(ip);
    const auto reply = wire::parse_icmp(*ip, ip->payload(answer.bytes()));
    REQUIRE(reply);
    CHECK(reply->kind == wire::icmp_kind::echo_reply);
    CHECK(std::ranges::equal(reply->body, bytes_of(text)));
  }
}

TEST_CASE(
    "RFC 8200 §4: an unknown next header is told where it stands, a UDP port that it is none") {
  dual_host local;
  local.give(dual_host::header(them, us, wire::ip_protocol{200}), bytes_of("12345678"));
  icmp_answer answer = next_icmp(local);
  CHECK(answer.message.kind == wire::icmp_kind::parameter_problem);
  CHECK(answer.message.code == wire::parameter_code::next_header);
  CHECK(answer.message.pointer == 6);
  CHECK(answer.message.body.size() == 48);
  local.give(dual_host::header(them, us, wire::ip_protocol::udp), bytes_of("12345678"));
  answer = next_icmp(local);
  CHECK(answer.message.kind == wire::icmp_kind::unreachable);
  CHECK(answer.message.code == wire::unreachable_code_v6::port);
  local.give(dual_host::header(them, us, wire::ip_protocol::no_next_header), {});
  CHECK(local.answers() == 0);
  CHECK(local.count().icmp6_out_parm_problems == 1);
  CHECK(local.count().icmp6_out_dest_unreachs == 1);
}

TEST_CASE("RFC 8200 §4.2: an option that must be understood is told; what is not for us is not") {
  dual_host local;
  std::vector<std::byte> packet(48 + 8);
  wire::ip_header ip = dual_host::header(them, us, wire::ip_protocol{60});
  ip.total_length = 56;
  wire::emit_ip(packet, ip);
  // Destination options of eight bytes, one of them of type 0x80: discard and tell.
  packet[40] = std::byte{59};
  packet[42] = std::byte{0x80};
  packet[43] = std::byte{4};
  local.give_raw(packet);
  const icmp_answer answer = next_icmp(local);
  CHECK(answer.message.kind == wire::icmp_kind::parameter_problem);
  CHECK(answer.message.code == wire::parameter_code::option);
  CHECK(answer.message.pointer == 42);
  CHECK(local.count().ip6_in_hdr_errors == 1);
  ip.destination = address_of("fd00::3");
  wire::emit_ip(packet, ip);
  local.give_raw(packet);
  ip.destination = us;
  ip.source = address_of("::1");
  wire::emit_ip(packet, ip);
  local.give_raw(packet);
  CHECK(local.answers() == 0);
}

TEST_CASE(
    "ipv6 hostile: senders that are none, our own address, and others' packets draw nothing") {
  dual_host local;
  const auto give = [&](const net::address& from, const net::address& to) {
    local.give_icmp(from, to, echo({}));
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::syn;
    local.give_segment({from, 1}, {to, 80}, tcp);
    local.give(dual_host::header(from, to, wire::ip_protocol::udp), bytes_of("12345678"));
  };
  for (const char* from : {"::", "::1", "ff02::1", "::ffff:10.0.0.1", "fd00::2"}) {
    give(address_of(from), us);
  }
  for (const char* to : {"::1", "fd00::3", "::ffff:10.0.0.2"}) give(them, address_of(to));
  CHECK(local.answers() == 0);
  CHECK(local.count().ip6_in_addr_errors == 8 * 3);
  give(them, address_of("ff02::1"));
  CHECK(local.answers() == 0);
  CHECK(local.count().ip6_in_discards == 3);
  give(them, us);
  CHECK(local.answers() == 3);
}

TEST_CASE("S120 ICMPv6 in SYN-SENT: each code fails connect with Linux's errno") {
  using kind = wire::icmp_kind;
  const std::pair<wire::icmp_message, error> all[] = {
      {report(kind::unreachable, 0), error::network_unreachable},
      {report(kind::unreachable, 1), error::permission_denied},
      {report(kind::unreachable, 2), error::host_unreachable},
      {report(kind::unreachable, 3), error::host_unreachable},
      {report(kind::unreachable, 4), error::connection_refused},
      {report(kind::unreachable, 5), error::permission_denied},
      {report(kind::unreachable, 6), error::permission_denied},
      {report(kind::unreachable, 7), error::protocol_error},
      {report(kind::time_exceeded, 0), error::host_unreachable},
      {report(kind::parameter_problem, 1), error::protocol_error},
  };
  for (const auto& [message, told] : all) {
    CAPTURE(static_cast<int>(message.kind));
    CAPTURE(static_cast<int>(message.code));
    connecting local;
    local.complain(message);
    CHECK(local.look().state == state::closed);
    std::byte buffer[1];
    CHECK(local.engine.receive(local.socket, buffer, local.now).error == told);
  }
  connecting local;
  local.complain(report(kind::other));
  CHECK(local.look().state == state::syn_sent);
}

TEST_CASE("S121 ICMPv6 in ESTABLISHED: an error is soft") {
  connecting local;
  local.establish();
  local.write(100);
  local.complain(report(wire::icmp_kind::unreachable, 1));
  CHECK(local.look().state == state::established);
  CHECK(local.look().soft_error == error::permission_denied);
}

TEST_CASE(
    "RFC 5927: an ICMPv6 error about what is not in flight, or of the other family, is nothing") {
  connecting local;
  local.last[40 + 4] ^= std::byte{1};
  local.complain(report(wire::icmp_kind::unreachable, 4));
  CHECK(local.look().state == state::syn_sent);
  CHECK(local.count().out_of_window_icmps == 1);
  local.last[40 + 4] ^= std::byte{1};
  wire::icmp_message message = report(wire::icmp_kind::unreachable, 3);
  message.body = local.last;
  local.give_icmp(address_of("10.0.0.1"), address_of("10.0.0.2"), message);
  CHECK(local.look().state == state::syn_sent);
  CHECK(local.count().icmp_in_errors == 1);
}

TEST_CASE(
    "ipv6 hostile RFC 8201 §4 path-MTU floor: too big lowers the MSS, never below what 1280 "
    "leaves") {
  connecting local;
  local.establish();
  CHECK(local.look().snd_mss == 1440);
  local.write(1440);
  local.complain(report(wire::icmp_kind::packet_too_big, 0, 1279));
  local.complain(report(wire::icmp_kind::packet_too_big, 0, 0));
  CHECK(local.look().snd_mss == 1440);
  CHECK(local.answers() == 0);
  local.complain(report(wire::icmp_kind::packet_too_big, 0, 1400));
  CHECK(local.look().snd_mss == 1340);
  CHECK(local.look().path_mtu == 1400);
  CHECK(local.next_segment().ip.total_length == 1400);
  CHECK(local.next_segment().length == 100);
  local.complain(report(wire::icmp_kind::packet_too_big, 0, 1280));
  CHECK(local.look().snd_mss == 1220);
  CHECK(local.count().icmp6_in_pkt_too_bigs == 4);
}

TEST_CASE("S120 ICMPv6: a request ends for port, header and closed ways; not for net and host") {
  using kind = wire::icmp_kind;
  for (const auto& [message, ends] : {std::pair(report(kind::unreachable, 0), false),
                                      {report(kind::unreachable, 1), true},
                                      {report(kind::unreachable, 3), false},
                                      {report(kind::unreachable, 4), true},
                                      {report(kind::time_exceeded), false},
                                      {report(kind::parameter_problem), true}}) {
    CAPTURE(static_cast<int>(message.kind));
    CAPTURE(static_cast<int>(message.code));
    dual_host local;
    REQUIRE(local.engine.listen({{}, 80}, {}, 1));
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::syn;
    local.give_segment({them, 1000}, {us, 80}, tcp);
    const auto answer = local.next();
    wire::icmp_message told = message;
    told.body = answer;
    local.give_icmp(router, us, told);
    CHECK(local.engine.memory().half_open == (ends ? 0 : 1));
  }
}

TEST_CASE("RFC 8200 §4.5: a segment in pieces is heard once they are all here, in any order") {
  for (const auto& [from, to] : {std::pair(net::endpoint{them, 1000}, net::endpoint{us, 80}),
                                 std::pair(net::endpoint{address_of("10.0.0.1"), 1000},
                                           net::endpoint{address_of("10.0.0.2"), 80})}) {
    CAPTURE(from.to_string());
    dual_host local;
    const auto listener = local.engine.listen({{}, 80}, {}, 1);
    local.open(from, to);
    const auto socket = local.engine.accept(listener.value, 1).value;
    const std::string text = numbered_text(4000);
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::ack;
    tcp.seq = 1001;
    tcp.window = 1000;
    tcp.ack = 0;
    // The acknowledgement of our SYN, again, is in the packet that is cut.
    REQUIRE(local.engine.send(socket, bytes_of("x"), local.now));
    tcp.ack = local.next_segment().tcp.seq;
    const net::packet whole = make_packet(local.pool, from, to, tcp, bytes_of(text));
    const auto ip = wire::parse_ip(whole.bytes());
    REQUIRE(ip);
    const auto payload = ip->payload(whole.bytes());
    const auto give = [&](std::size_t at, std::size_t size) {
      wire::ip_header piece = dual_host::header(from.address, to.address, wire::ip_protocol::tcp);
      piece.id = 4;
      piece.fragment_offset = static_cast<std::uint16_t>(at);
      piece.more_fragments = at + size < payload.size();
      local.give(piece, payload.subspan(at, std::min(size, payload.size() - at)));
    };
    for (const std::size_t at : {3200U, 0U, 2400U, 800U}) give(at, 800);
    give(4000, 800);
    CHECK(receive_all(local.engine, socket, local.now).empty());
    give(1600, 800);
    CHECK(receive_all(local.engine, socket, local.now) == text);
    const bool v6 = from.address.is_v6();
    CHECK((v6 ? local.count().reasm6_oks : local.count().reasm_oks) == 1);
  }
}

TEST_CASE(
    "RFC 8200 §4.5: after ip6frag_time the first piece is told to be too late, and held no more") {
  dual_host local;
  wire::ip_header ip = dual_host::header(them, us, wire::ip_protocol::udp);
  ip.more_fragments = true;
  ip.id = 9;
  local.give(ip, std::vector<std::byte>(16));
  CHECK(local.engine.poll_timeout() == local.now + 60s);
  local.now += 60s;
  local.engine.on_timeout(local.now);
  const icmp_answer answer = next_icmp(local);
  CHECK(answer.message.kind == wire::icmp_kind::time_exceeded);
  CHECK(answer.message.code == wire::time_exceeded_code::in_reassembly);
  CHECK(answer.ip.destination == them);
  CHECK(local.count().reasm6_timeout == 1);
  CHECK(local.count().icmp6_out_time_excds == 1);
  CHECK(local.answers() == 0);
  CHECK(local.pool.used_bytes() == 0);
  CHECK(local.engine.poll_timeout() == time_point::max());
}

TEST_CASE("reassembly: net.ipv4.ipfrag_high_thresh bounds what waits, live; 0 takes no pieces") {
  dual_host local;
  wire::ip_header ip = dual_host::header(them, us, wire::ip_protocol::udp);
  ip.more_fragments = true;
  for (std::uint32_t id = 0; id < 100; ++id) {
    ip.id = id;
    local.give(ip, std::vector<std::byte>(1000));
  }
  CHECK(local.pool.used_bytes() > 100'000);
  CHECK(local.engine.set("net.ipv4.ipfrag_high_thresh", "10000").empty());
  CHECK(local.pool.used_bytes() <= 10'000);
  CHECK(local.engine.set("ipfrag_high_thresh", "0").empty());
  CHECK(local.pool.used_bytes() == 0);
  ip.id = 1000;
  local.give(ip, std::vector<std::byte>(1000));
  CHECK(local.pool.used_bytes() == 0);
  CHECK(local.count().reasm6_reqds == 101);
}
