#include <set>

#include "host_pair.hpp"
#include "raw_peer.hpp"
#include "tcp/engine/sack_report.hpp"

// What a receiver says of text ahead of a hole: RFC 2018.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

void establish_with_sack(raw_peer& peer) {
  peer.establish({}, {mss(1460), sack_permitted()});
}

}  // namespace

TEST_CASE("tcp SACK: SYN and SYN-ACK permit it, the SYN-ACK only when the SYN did") {
  for (const bool asked : {true, false}) {
    raw_peer peer;
    peer.listen();
    peer.send_syn({mss(1460), sack_permitted(asked)});
    peer.expect({flags("SA"), sack_permitted(asked)});
  }
  raw_peer active;
  active.connect();
  active.expect({flags("S"), sack_permitted()});
}

TEST_CASE("tcp SACK: switched off it is neither offered nor accepted") {
  raw_peer peer([](host_options& options) { options.policy.sack = false; });
  peer.listen();
  peer.send_syn({mss(1460), sack_permitted()});
  peer.expect({flags("SA"), sack_permitted(false)});
}

TEST_CASE("tcp RFC 2018 4 SACK: the block that changed last comes first") {
  raw_peer peer;
  establish_with_sack(peer);
  peer.send({seq(11), text("k")});
  peer.expect({flags("A"), ack(1), sack(11, 12)});
  peer.send({seq(21), text("u")});
  peer.expect({ack(1), sack(21, 22), sack(11, 12)});
  CHECK(peer.said().empty());
  peer.send({seq(12), text("l")});
  const seen_packet seen = peer.said().front();
  peer.expect({ack(1), sack(11, 13), sack(21, 22)});
  CHECK(seen.tcp.options.sack_count == 2);
  CHECK(seen.tcp.options.sack[0].right - seen.tcp.options.sack[0].left == 2);
}

TEST_CASE("tcp RFC 2018 4 SACK: at most four blocks, three beside timestamps, the latest ones") {
  for (const bool stamped : {false, true}) {
    raw_peer peer;
    if (stamped) {
      peer.establish({}, {mss(1460), sack_permitted(), stamp(5)}, {stamp(5)});
    } else {
      establish_with_sack(peer);
    }
    for (std::uint32_t i = 1; i <= 6; ++i) {
      peer.forget();
      if (stamped) {
        peer.send({seq(1 + 10 * i), text("x"), stamp(5)});
      } else {
        peer.send({seq(1 + 10 * i), text("x")});
      }
    }
    CHECK(peer.said().back().tcp.options.sack_count == (stamped ? 3 : 4));
    peer.expect({sack(61, 62), sack(51, 52), sack(41, 42)});
  }
}

TEST_CASE("tcp SACK: what fills the hole ends the report") {
  raw_peer peer;
  establish_with_sack(peer);
  peer.send({seq(3), text("cd")});
  peer.send({seq(9), text("i")});
  peer.forget();
  peer.send({seq(1), text("ab")});
  peer.expect({ack(5), sack(9, 10)});
  peer.send({seq(5), text("efgh")});
  peer.expect({ack(10), no_sack()});
  CHECK(peer.read() == "abcdefghi");
}

TEST_CASE("tcp SACK: a peer that did not permit it gets none") {
  raw_peer peer;
  peer.establish();
  peer.send({seq(11), text("k")});
  peer.expect({flags("A"), ack(1), no_sack()});
}

TEST_CASE("tcp SACK: text never grows beyond the MTU by the report") {
  raw_peer peer;
  establish_with_sack(peer);
  peer.send({seq(11), text("k")});
  peer.forget();
  peer.write(numbered_text(3 * 1460));
  for (const seen_packet& seen : peer.said()) CHECK(seen.ip.total_length <= test_mtu(1500));
  peer.forget();
  peer.send({});
  peer.engine().set_nodelay(peer.socket, true);
  peer.write("short");
  peer.expect({text("short"), sack(11, 12)});
}

TEST_CASE("tcp SACK: a report never names what is not held, whatever arrives") {
  // Against a model: the set of bytes ahead of the hole.
  std::mt19937 engine(20181018);
  const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
  for (int round = 0; round < 50; ++round) {
    const sequence base(random());
    detail::sack_report report;
    std::set<std::uint32_t> held;
    std::uint32_t next = 0;
    for (int step = 0; step < 100; ++step) {
      if (random() % 8 == 0) {
        next += random() % 20;
        while (held.contains(next)) ++next;
        held.erase(held.begin(), held.lower_bound(next));
        report.advance(base + next);
      } else {
        const std::uint32_t left = next + 1 + random() % 60;
        const std::uint32_t right = left + 1 + random() % 10;
        for (std::uint32_t i = left; i < right; ++i) held.insert(i);
        report.add(base + left, base + right);
        const wire::sack_block first = report.blocks().front();
        REQUIRE(sequence(first.left).value() - base.value() <= left);
        REQUIRE(sequence(first.right).value() - base.value() >= right);
      }
      for (const wire::sack_block& each : report.blocks()) {
        const std::uint32_t from = each.left - base.value();
        const std::uint32_t to = each.right - base.value();
        REQUIRE(from < to);
        for (std::uint32_t i = from; i < to; ++i) REQUIRE((held.contains(i) || i < next));
      }
    }
  }
}

TEST_CASE(
    "tcp RFC 2018 3 SACK: FIN ahead of a hole is reported, with the text before it or alone") {
  raw_peer peer;
  establish_with_sack(peer);
  SUBCASE("with text") {
    peer.send({seq(11), text("k"), flags("FA")});
    peer.expect({flags("A"), ack(1), sack(11, 13)});
  }
  SUBCASE("alone") {
    peer.send({seq(11), text("k")});
    peer.expect({flags("A"), ack(1), sack(11, 12)});
    peer.send({seq(12), flags("FA")});
    peer.expect({flags("A"), ack(1), sack(11, 13)});
  }
  peer.send({seq(1), text("abcdefghij")});
  peer.expect({flags("A"), ack(13), no_sack()});
  CHECK(peer.current() == state::close_wait);
}

TEST_CASE("S113 TCPDSACKOldSent RFC 2883: text that came twice is told once, ahead of the rest") {
  raw_peer peer;
  peer.establish({}, {mss(1460), sack_permitted()});
  peer.send({text("abcd")});
  peer.forget();
  peer.send({seq(1), text("abcd")});
  peer.expect({flags("A"), ack(5), sack(1, 5)});
  peer.expect_nothing();
  peer.send({text("e")});
  peer.expect({flags("A"), ack(6), no_sack()});
  // A part of it is new.
  peer.send({seq(4), text("defg")});
  peer.expect({flags("A"), ack(8), sack(4, 6)});
  CHECK(peer.count().dsack_old_sent == 2);
}

TEST_CASE("S113 TCPDSACKOfoSent RFC 2883: so is what is held ahead of a hole, before its block") {
  raw_peer peer;
  peer.establish({}, {mss(1460), sack_permitted()});
  peer.send({seq(11), text("abcd")});
  peer.forget();
  peer.send({seq(13), text("cd")});
  REQUIRE(peer.said().size() == 1);
  const auto blocks = peer.said().front().tcp.options.sacks();
  REQUIRE(blocks.size() == 2);
  CHECK(blocks[0] == wire::sack_block{peer.peer_iss + 13, peer.peer_iss + 15});
  CHECK(blocks[1] == wire::sack_block{peer.peer_iss + 11, peer.peer_iss + 15});
  CHECK(peer.count().dsack_ofo_sent == 1);
}

TEST_CASE("RFC 2883: a host whose policy says so tells nothing of duplicates") {
  raw_peer peer([](host_options& options) { options.policy.dsack = false; });
  peer.establish({}, {mss(1460), sack_permitted()});
  peer.send({text("abcd")});
  peer.forget();
  peer.send({seq(1), text("abcd")});
  peer.expect({flags("A"), ack(5), no_sack()});
}
