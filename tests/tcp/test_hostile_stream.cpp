#include "crowd.hpp"
#include "host_pair.hpp"
#include "raw_peer.hpp"
#include "runnel/wire/icmp.hpp"

// Connections with a peer, or with somebody who pretends to be one, that means harm: segments that
// cost much, answers to answers, blind guesses, and waiting without end.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// Gives the host this segment every millisecond; how many packets it answered with.
template <class Make>
std::size_t answers_in(std::chrono::milliseconds span, raw_peer& peer, Make&& make) {
  std::size_t answers = 0;
  for (std::int64_t i = 0; i < span.count(); ++i) {
    make();
    peer.run_for(1ms);
    answers += peer.said().size();
    peer.forget();
  }
  return answers;
}

/// Acknowledges what is said until all of `text` is there.
void take_all(raw_peer& peer, std::size_t bytes) {
  for (int i = 0; i < 20'000 && peer.host_next - peer.host_iss < bytes + 1; ++i) {
    peer.forget();
    peer.send({ack(peer.host_next - peer.host_iss)});
    if (peer.said().empty()) peer.run_for(100ms);
  }
  peer.send({ack(peer.host_next - peer.host_iss)});
  CHECK(peer.host_next - peer.host_iss == bytes + 1);
  CHECK(peer.look().unacked_bytes == 0);
  peer.forget();
}

/// An ICMP error from a router about a segment of the host with this number.
void report_icmp(raw_peer& peer, net::packet_pool& pool, wire::icmp_message error,
                 std::uint32_t quoted_seq) {
  wire::tcp_header tcp;
  tcp.seq = quoted_seq;
  tcp.flags = wire::tcp_flag::ack;
  const net::packet quoted = make_packet(pool, {peer.host_address(), peer.host_port},
                                         {peer.peer_address(), peer.peer_port}, tcp);
  error.body = quoted.bytes().first(28);
  const net::address router = test_address(10, 0, 0, 77);
  wire::ip_header ip;
  ip.source = router;
  ip.destination = peer.host_address();
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp);
  ip.total_length = static_cast<std::uint32_t>(20 + wire::icmp_bytes(error));
  net::packet packet = pool.allocate(ip.total_length);
  packet.resize(ip.total_length);
  wire::emit_ip(packet.bytes(), ip);
  wire::emit_icmp(packet.bytes().subspan(20), router, peer.host_address(), error);
  peer.engine().on_packet(std::move(packet), peer.now());
  peer.flush();
}

}  // namespace

TEST_CASE("tcp hostile: tiny MSS, nothing below 48 is believed") {
  for (const std::uint32_t offered : {1U, 8U, 47U, 48U}) {
    CAPTURE(offered);
    raw_peer peer;
    peer.establish({}, {mss(offered)});
    CHECK(peer.look().snd_mss == 48);
    peer.write(numbered_text(4800));
    take_all(peer, 4800);
    CHECK(peer.count().out_segs <= 4800 / 48 + 60);
  }
  raw_peer none;
  none.establish({}, {mss(0)});
  CHECK(none.look().snd_mss == (speaks_v6() ? 1220 : 536));
  // Timestamps come out of it.
  raw_peer stamped;
  stamped.establish({}, {mss(1), stamp(1)}, {stamp(1)});
  CHECK(stamped.look().snd_mss == 36);
}

TEST_CASE(
    "tcp hostile: SACK panic, a tiny MSS and blocks of garbage cost a bounded number of "
    "packets") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    raw_peer peer([](host_options& options) { options.connection.send_buffer = 1 << 20; });
    peer.establish({}, {mss(1), sack_permitted()}, {});
    peer.write(numbered_text(60'000));
    std::size_t said = peer.said().size();
    peer.forget();
    for (int i = 0; i < 3000; ++i) {
      const auto number = [&] {
        switch (random() % 4) {
          case 0:
            return static_cast<std::uint32_t>(random());
          case 1:
            return static_cast<std::uint32_t>(random() % 2000);
          case 2:
            return 0U - static_cast<std::uint32_t>(random() % 2000);
          default:
            return peer.host_next - peer.host_iss + static_cast<std::uint32_t>(random() % 100);
        }
      };
      peer.send(
          {ack(1), sack(number(), number()), sack(number(), number()), sack(number(), number())});
      // What is said to have arrived makes room, but for no more than the window of ten segments.
      REQUIRE(peer.said().size() <= 20);
      said += peer.said().size();
      peer.forget();
    }
    // Each segment once, and the time-outs' share.
    CHECK(said <= 2 * (60'000 / 48));
    take_all(peer, 60'000);
  }
}

TEST_CASE("tcp hostile: SegmentSmack, every other byte in any order stays within the buffer") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    crowd all;
    crowd::peer& p = all.join(1);
    std::vector<std::uint32_t> places;
    for (std::uint32_t at = 2; at < 20'000; at += 2) places.push_back(at);
    std::shuffle(places.begin(), places.end(), random);
    const std::size_t before = all.sent;
    for (const std::uint32_t at : places) {
      all.send(p, at, 1);
      REQUIRE(all.engine.snapshot(p.socket).value.held_bytes <= (1U << 20) + 4096);
    }
    // Each owes one duplicate acknowledgement and nothing else.
    CHECK(all.sent - before <= places.size());
    CHECK(all.engine.counters().ofo_drop + all.engine.counters().ofo_pruned > 0);
    // What was kept counts, and the rest comes again.
    for (std::uint32_t at = 1; at < 20'000; at += 500) all.send(p, at, 500);
    CHECK(all.read(p) == 20'000);
    CHECK(all.engine.memory().buffer_bytes == 0);
  }
}

TEST_CASE("tcp hostile: ACK storms, two hosts that disagree answer each other twice a second") {
  connected_pair pair;
  pair.establish();
  pair.send(0, "a");
  pair.send(1, "b");
  pair.drive_for(1s);
  // Somebody who hears them puts text into both directions.
  seen_packet last[2];
  for (const seen_packet& each : pair.trace) last[each.from] = each;
  for (int side = 0; side < 2; ++side) {
    wire::tcp_header forged;
    forged.seq = last[side].tcp.seq + last[side].seq_len();
    forged.ack = last[1 - side].tcp.seq + last[1 - side].seq_len();
    forged.flags = wire::tcp_flag::ack | wire::tcp_flag::psh;
    forged.window = last[side].tcp.window;
    forged.options = last[side].tcp.options;
    pair.inject(1 - side, {pair.address(side), last[side].tcp.source_port},
                {pair.address(1 - side), last[side].tcp.destination_port}, forged,
                bytes_of("forged text"));
  }
  pair.clear();
  pair.drive_for(60s);
  CHECK(pair.trace.size() <= 2 * 2 * 60 + 20);
  pair.clear();
  // Text of their own makes it no worse than its retransmissions.
  pair.send(0, "c");
  pair.send(1, "d");
  pair.drive_for(60s);
  CHECK(pair.trace.size() <= 2 * 2 * 60 + 60);
}

TEST_CASE("tcp hostile: a peer that answers every packet wrongly is answered twice a second") {
  for (const state in : {state::established, state::fin_wait_2, state::close_wait}) {
    for (int kind = 0; kind < 4; ++kind) {
      CAPTURE(in);
      CAPTURE(kind);
      raw_peer peer;
      bring_to(peer, in);
      const std::uint32_t next = peer.peer_next - peer.peer_iss;
      const std::size_t answers = answers_in(20s, peer, [&] {
        switch (kind) {
          case 0:
            return peer.send({ack(100'000)});
          case 1:
            return peer.send({seq(next - 2)});
          case 2:
            return peer.send({seq(next), flags("S")});
          default:
            return peer.send({seq(next + 1), flags("R")});
        }
      });
      CHECK(answers >= 30);
      CHECK(answers <= 45);
      CHECK(peer.current() == in);
    }
  }
}

TEST_CASE("tcp hostile: TIME-WAIT against TIME-WAIT, neither keeps the other busy") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  // The other one's numbers differ, and it answers every acknowledgement with one.
  const std::uint32_t next = peer.peer_next - peer.peer_iss;
  CHECK(answers_in(20s, peer, [&] { peer.send({seq(next + 9), ack(77)}); }) <= 45);
  CHECK(peer.count().ack_skipped_time_wait > 19'000);
}

TEST_CASE("tcp hostile: blind RST, SYN and text guess in vain (RFC 5961)") {
  std::mt19937_64 random(5);
  raw_peer peer;
  bring_to(peer, state::established);
  std::size_t answers = 0;
  for (int i = 0; i < 30'000; ++i) {
    const auto guess = static_cast<std::uint32_t>(random());
    const std::uint32_t exact = peer.peer_next - peer.peer_iss;
    if (guess == exact) continue;
    const std::uint32_t keep = peer.peer_next;
    switch (i % 4) {
      case 0:
        peer.send({seq(guess), flags("R")});
        break;
      case 1:
        peer.send({seq(guess), flags("S")});
        break;
      case 2:
        // Text at the right place, with an acknowledgement from nowhere: outside of what was sent
        // and of the largest window.
        peer.send({ack(65'537 + guess % 0x7fff'0000), text("blind")});
        break;
      default:
        peer.send({ack(0U - 65'537 - guess % 0x7fff'0000), text("blind")});
        break;
    }
    peer.peer_next = keep;
    answers += peer.said().size();
    peer.forget();
  }
  CHECK(peer.current() == state::established);
  CHECK(peer.read() == "");
  // Text is acknowledged each time, as what was lost must be; the rest once in 500 ms.
  CHECK(answers <= 15'000 + 2);
  peer.send({text("honest")});
  CHECK(peer.read() == "honest");
}

TEST_CASE(
    "tcp hostile: a blind segment does not choose the timestamp that others are held against") {
  raw_peer peer;
  peer.establish({}, {mss(1460), stamp(100)}, {stamp(101)});
  peer.write("ours");
  peer.send({stamp(102)});
  peer.forget();
  for (const std::uint32_t guess : {9U, 100'000U, 0x7000'0000U, 0U - 65'537U, 0x9000'0000U}) {
    CAPTURE(guess);
    const std::uint32_t keep = peer.peer_next;
    peer.send({ack(5 + guess), stamp(0x7000'0000)});
    peer.send({ack(5 + guess), stamp(0x7000'0000), text("blind")});
    peer.peer_next = keep;
  }
  peer.forget();
  peer.send({text("honest"), stamp(103)});
  CHECK(peer.count().paws_estab == 0);
  CHECK(peer.read() == "honest");
  peer.write("more");
  REQUIRE(!peer.said().empty());
  CHECK(peer.said().back().tcp.options.timestamp->echo == 103);
  // An acknowledgement that others have overtaken says nothing new of the time either, as in Linux.
  peer.send({ack(1), text("late"), stamp(104)});
  CHECK(peer.read() == "late");
  peer.run_for(1s);
  peer.forget();
  peer.send({stamp(105)});
  peer.write("end");
  peer.expect({text("end"), echo(105)});
}

TEST_CASE("tcp hostile: blind RST, exact, in the window and outside of it") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    const std::uint32_t next = peer.peer_next - peer.peer_iss;
    peer.send({seq(next - 1), flags("R")});
    peer.send({seq(next + 70'000), flags("R")});
    peer.expect_nothing();
    CHECK(peer.current() == in);
    peer.send({seq(next + 1), flags("R")});
    peer.expect({flags("A")});
    CHECK(peer.current() == in);
    peer.send({seq(next), flags("R")});
    peer.expect_nothing();
    CHECK(peer.current() == state::closed);
  }
}

TEST_CASE("tcp hostile: slow readers cost a bounded buffer, and an orphan a bounded time") {
  raw_peer peer;
  peer.establish();
  peer.send({window(0)});
  const std::string much(4U << 20, 'x');
  const std::size_t taken = peer.write(much);
  CHECK(taken <= (1U << 20) + 65'536);
  CHECK(peer.engine().memory().buffer_bytes <= (1U << 20) + 70'000);
  peer.forget();
  // Every probe is answered, and the window stays shut.
  const auto answer_probes = [&](duration span) {
    std::size_t probes = 0;
    const time_point until = peer.now() + span;
    while (peer.now() < until && peer.current() != state::closed) {
      peer.run_for(100ms);
      if (peer.said().empty()) continue;
      probes += peer.said().size();
      peer.forget();
      peer.send({window(0)});
    }
    return probes;
  };
  CHECK(answer_probes(3600s) <= 60);
  CHECK(peer.current() == state::established);
  peer.engine().release(peer.socket, peer.now());
  peer.mark();
  answer_probes(3600s);
  CHECK(peer.current() == state::closed);
  CHECK(peer.since_mark() <= 600s);
  CHECK(peer.engine().memory().buffer_bytes == 0);
}

TEST_CASE("tcp hostile: slow senders cost next to nothing, and half a handshake a bounded time") {
  crowd all;
  std::vector<crowd::peer*> slow;
  for (std::uint32_t i = 0; i < 1000; ++i) slow.push_back(&all.join(i));
  for (std::uint32_t round = 0; round < 20; ++round) {
    for (crowd::peer* p : slow) all.send(*p, 1 + round, 1);
    all.run_for(10s);
  }
  // One small block each.
  CHECK(all.engine.memory().buffer_bytes <= 1000 * 640);
  for (crowd::peer* p : slow) CHECK(all.read(*p) == 20);
  CHECK(all.engine.memory().buffer_bytes == 0);
  for (std::uint32_t i = 5000; i < 6000; ++i) all.start(i);
  CHECK(all.engine.memory().half_open == 1000);
  CHECK(all.engine.memory().buffer_bytes == 0);
  all.run_for(64s);
  CHECK(all.engine.memory().half_open == 0);
}

TEST_CASE("tcp hostile: an overtaken segment's window counts from its own number, not from ours") {
  raw_peer peer;
  peer.establish();
  peer.send({window(3000)});
  peer.write(numbered_text(20'000));
  peer.forget();
  // The later one first: half is acknowledged, and the edge stays where it was.
  const std::uint32_t began = peer.peer_next - peer.peer_iss;
  peer.send({seq(began), ack(1501), window(1500)});
  peer.expect_nothing();
  peer.send({seq(began + 10), ack(1), window(3000), text("overtaken")});
  for (const seen_packet& each : peer.said()) CHECK(each.length == 0);
  CHECK(peer.look().snd_wnd_bytes == 1500);
}

TEST_CASE("tcp hostile: ICMP injection, no error ends an open connection (RFC 5927)") {
  constexpr wire::icmp_kind kinds[] = {
      wire::icmp_kind::unreachable, wire::icmp_kind::packet_too_big, wire::icmp_kind::time_exceeded,
      wire::icmp_kind::parameter_problem};
  for (const wire::icmp_kind kind : kinds) {
    for (std::uint8_t code = 0; code < 16; ++code) {
      CAPTURE(static_cast<int>(kind));
      CAPTURE(static_cast<int>(code));
      net::packet_pool pool;
      raw_peer peer;
      bring_to(peer, state::established);
      peer.write(numbered_text(1000));
      peer.forget();
      wire::icmp_message message;
      message.kind = kind;
      message.code = code;
      // As small as it can be claimed.
      message.mtu = kind == wire::icmp_kind::packet_too_big ? 68 : 0;
      // About nothing that is on its way: nobody who hears the connection says so.
      const std::uint32_t una = peer.host_next - 1000;
      for (const std::uint32_t number : {una - 1, peer.host_next, una + 100'000, una - 100'000}) {
        report_icmp(peer, pool, message, number);
        CHECK(peer.look().snd_mss == 1460);
        CHECK(peer.said().empty());
      }
      CHECK(peer.engine().pending_error(peer.socket) == tcp::error::none);
      // About something that is: at most a hint, and a path that narrow is not believed.
      report_icmp(peer, pool, message, una);
      CHECK(peer.current() == state::established);
      CHECK(peer.look().snd_mss >= 552 - 40);
      peer.run_for(1s);
      CHECK(peer.current() == state::established);
      peer.forget();
      peer.send({ack(1001), text("still here")});
      CHECK(peer.read() == "still here");
    }
  }
}
