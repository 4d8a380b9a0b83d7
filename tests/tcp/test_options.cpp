#include "host_pair.hpp"
#include "raw_peer.hpp"

// MSS, window scale and timestamps: what is offered, what is believed, and PAWS (RFC 7323).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// With timestamps; the peer's clock stands at `value`.
void establish_with_stamps(raw_peer& peer, std::uint32_t value = 1000) {
  peer.establish({}, {mss(1460), stamp(value)}, {stamp(value)});
  CHECK(peer.look().timestamps);
}

std::uint16_t snd_mss_with(std::initializer_list<field> syn, std::uint32_t mtu = 1500,
                           std::uint16_t max_segment = 0) {
  raw_peer peer([&](host_options& options) { options.mtu = test_mtu(mtu); });
  listener_policy policy;
  policy.connection.max_segment = max_segment;
  peer.establish(policy, syn);
  return peer.look().snd_mss;
}

}  // namespace

TEST_CASE("tcp MSS: the smaller of the peer's and our own, at least 48, 536 without the option") {
  CHECK(snd_mss_with({mss(1460)}) == 1460);
  CHECK(snd_mss_with({mss(1000)}) == 1000);
  CHECK(snd_mss_with({mss(9000)}) == 1460);
  CHECK(snd_mss_with({mss(65535)}) == 1460);
  // RFC 9293 §3.7.1.
  const std::uint16_t unsaid = speaks_v6() ? 1220 : 536;
  CHECK(snd_mss_with({}) == unsaid);
  CHECK(snd_mss_with({mss(0)}) == unsaid);
  CHECK(snd_mss_with({mss(1)}) == 48);
  CHECK(snd_mss_with({mss(48)}) == 48);
  CHECK(snd_mss_with({mss(65535)}, 9000) == 8960);
  CHECK(snd_mss_with({mss(65535)}, 65535) == 65495 - longer_header());
  if (!speaks_v6()) CHECK(snd_mss_with({mss(1460)}, 576) == 536);
  CHECK(snd_mss_with({mss(1460)}, 1500, 500) == 500);
}

TEST_CASE("tcp MSS: timestamps take twelve bytes of it (RFC 6691)") {
  raw_peer peer;
  peer.establish({}, {mss(1000), stamp(1)}, {stamp(1)});
  CHECK(peer.look().snd_mss == 988);
  peer.write(numbered_text(2 * 988));
  peer.expect({length(988), has_stamp(true)});
  CHECK(peer.said().back().ip.total_length == 20 + longer_header() + 20 + 12 + 988);
}

TEST_CASE("tcp MSS: the smallest one still moves text") {
  raw_peer peer;
  peer.establish({}, {mss(1), stamp(1)}, {stamp(1)});
  CHECK(peer.look().snd_mss == 36);
  const std::string text = numbered_text(1000);
  peer.write(text);
  std::string got;
  while (!peer.said().empty()) {
    got += peer.said().front().text;
    CHECK(peer.said().front().length <= 36);
    peer.said().pop_front();
    if (peer.said().empty()) peer.send({stamp(2)});
  }
  CHECK(got == text);
}

TEST_CASE("tcp MSS: SYN and SYN-ACK offer what the link or the policy allows") {
  for (const std::uint32_t mtu : {small_mtu(576), 1500U, 9000U, 65535U}) {
    raw_peer peer([&](host_options& options) { options.mtu = mtu; });
    peer.listen();
    peer.send_syn();
    peer.expect({flags("SA"), mss(mtu - 40 - longer_header())});
  }
  raw_peer peer;
  connection_policy policy;
  policy.max_segment = 700;
  peer.connect(policy);
  peer.expect({flags("S"), mss(700)});
}

TEST_CASE("tcp MSS: transfers over links of every MTU arrive whole, however they are written") {
  for (const std::uint32_t mtu : {small_mtu(576), 1500U, 9000U, 65535U}) {
    for (const std::size_t slice : {std::size_t{100}, std::size_t{511}, std::size_t{60'000}}) {
      for (const std::uint32_t gso : {0U, 65'000U}) {
        CAPTURE(mtu);
        CAPTURE(slice);
        CAPTURE(gso);
        connected_pair pair(1, {}, [&](int, host_options& options) {
          options.mtu = mtu;
          options.gso_max_bytes = gso;
        });
        pair.establish();
        const std::string text = numbered_text(400'000);
        std::string got;
        std::size_t written = 0;
        for (int i = 0; i < 1000 && got.size() < text.size(); ++i) {
          while (written < text.size()) {
            const std::size_t taken = pair.send(0, std::string_view(text).substr(written, slice));
            if (taken == 0) break;
            written += taken;
          }
          pair.drive_for(50ms);
          got += pair.receive(1);
        }
        CHECK(got == text);
        CHECK(pair[0].counters().retrans_segs == 0);
        for (const seen_packet& each : pair.trace) {
          if (gso == 0) CHECK(each.ip.total_length <= mtu);
        }
      }
    }
  }
}

TEST_CASE("tcp MSS: a super-segment with its headers fits an IP packet, whatever the link allows") {
  for (const std::uint32_t gso : {65'000U, 65'535U, 1'000'000U}) {
    CAPTURE(gso);
    connected_pair pair(1, {}, [&](int, host_options& options) {
      options.gso_max_bytes = gso;
      options.connection.receive_buffer = 1U << 20;
    });
    pair.establish();
    const std::string text = numbered_text(600'000);
    std::string got;
    std::uint32_t longest = 0;
    std::size_t written = 0;
    while (got.size() < text.size()) {
      written += pair.send(0, std::string_view(text).substr(written));
      const std::size_t before = got.size();
      pair.drive_for(100ms);
      got += pair.receive(1);
      REQUIRE(got.size() > before);
    }
    for (const seen_packet& each : pair.trace) longest = std::max(longest, each.length);
    CHECK(got == text);
    CHECK(longest > 60'000);
    CHECK(longest <= gso);
  }
}

TEST_CASE("tcp window scale: more than 14 counts as 14, and one side alone has none") {
  raw_peer peer;
  SUBCASE("too much") {
    peer.establish({}, {mss(1460), scale(200), window(5)}, {window(1)});
    CHECK(peer.look().snd_wscale == 14);
    CHECK(peer.look().snd_wnd_bytes == 1U << 14);
  }
  SUBCASE("not offered") {
    peer.establish({}, {mss(1460)});
    CHECK(peer.look().snd_wscale == 0);
    CHECK(peer.look().rcv_wscale == 0);
    CHECK(peer.look().rcv_wnd_bytes <= 65535);
  }
  SUBCASE("not answered") {
    peer.connect();
    peer.forget();
    peer.send({seq(0), ack(1), flags("SA"), mss(1460), window(1000)});
    CHECK(peer.look().snd_wnd_bytes == 1000);
    CHECK(peer.look().rcv_wscale == 0);
  }
}

TEST_CASE("tcp window scale: follows the receive buffer") {
  struct expected {
    std::uint32_t buffer;
    std::uint32_t shift;
  };
  for (const expected& each :
       {expected{4096, 0}, {131'070, 0}, {131'072, 1}, {1U << 20, 4}, {1U << 30, 14}}) {
    raw_peer peer;
    listener_policy policy;
    policy.connection.receive_buffer = each.buffer;
    peer.listen(policy);
    peer.send_syn({mss(1460), scale(0)});
    peer.expect({scale(each.shift)});
  }
}

TEST_CASE("tcp options: the host's policy switches them off") {
  raw_peer peer([](host_options& options) {
    options.policy.timestamps = false;
    options.policy.window_scaling = false;
  });
  SUBCASE("as the one who listens") {
    peer.establish({}, {mss(1460), scale(7), stamp(5)});
    CHECK(!peer.look().timestamps);
    CHECK(peer.look().snd_wscale == 0);
    CHECK(peer.look().snd_mss == 1460);
  }
  SUBCASE("as the one who connects") {
    peer.connect();
    CHECK(!peer.said().front().tcp.options.timestamp);
    CHECK(!peer.said().front().tcp.options.window_scale);
    peer.forget();
    peer.send({seq(0), ack(1), flags("SA"), scale(7), stamp(5)});
    CHECK(!peer.look().timestamps);
    CHECK(peer.look().snd_wscale == 0);
  }
}

TEST_CASE("tcp S93 timestamps: every segment has them, the clock ticks a millisecond") {
  raw_peer peer;
  establish_with_stamps(peer);
  peer.write("a");
  const std::uint32_t first = peer.said().back().tcp.options.timestamp->value;
  peer.expect({echo(1000)});
  peer.run_for(100ms);
  peer.send({stamp(1100, first)});
  peer.write("b");
  peer.expect({stamp(first + 100, 1100)});
}

TEST_CASE("tcp timestamps: connections count from their own offsets") {
  std::uint32_t seen[2];
  for (std::uint16_t port : {std::uint16_t{1}, std::uint16_t{2}}) {
    raw_peer peer;
    peer.peer_port = port;
    peer.listen();
    peer.send_syn({stamp(1)});
    seen[port - 1] = peer.said().back().tcp.options.timestamp->value;
  }
  CHECK(seen[0] != seen[1]);
}

TEST_CASE("tcp RFC 7323 4.3 timestamps: the echo is of the segment that is acknowledged") {
  raw_peer peer;
  establish_with_stamps(peer);
  peer.send({text("a"), stamp(1001)});
  peer.expect({ack(2), echo(1001)});
  // Ahead of a hole: the echo stays with what fills the left edge.
  peer.send({seq(5), text("later"), stamp(1005)});
  peer.expect({ack(2), echo(1001)});
  peer.send({seq(2), text("abc"), stamp(1003)});
  peer.expect({ack(10), echo(1003)});
}

TEST_CASE("tcp PAWS: text with an older timestamp is dropped and acknowledged") {
  raw_peer peer;
  establish_with_stamps(peer, 5000);
  peer.send({text("new"), stamp(5010)});
  peer.forget();
  peer.send({text("old"), stamp(5009)});
  peer.expect({flags("A"), ack(4), echo(5010)});
  CHECK(peer.read() == "new");
  CHECK(peer.count().paws_estab == 1);
  peer.peer_next = peer.peer_iss + 4;
  peer.send({text("same"), stamp(5010)});
  CHECK(peer.read() == "same");
}

TEST_CASE("tcp PAWS: RST is believed whatever its timestamp") {
  raw_peer peer;
  establish_with_stamps(peer, 5000);
  peer.send({flags("R"), stamp(1)});
  CHECK(peer.look().ended == end_reason::reset);
}

TEST_CASE("tcp PAWS: timestamps wrap") {
  raw_peer peer;
  establish_with_stamps(peer, 0xffff'fff0U);
  peer.send({text("a"), stamp(0xffff'ffffU)});
  peer.send({text("b"), stamp(0)});
  peer.send({text("c"), stamp(7)});
  CHECK(peer.read() == "abc");
  peer.send({text("d"), stamp(0xffff'ffffU)});
  CHECK(peer.read() == "");
}

TEST_CASE("tcp PAWS: an acknowledgement that was overtaken is dropped without an answer") {
  raw_peer peer;
  establish_with_stamps(peer, 5000);
  peer.write("hello");
  peer.forget();
  peer.send({ack(6), stamp(5002)});
  peer.send({ack(1), stamp(5001)});
  peer.expect_nothing();
  CHECK(peer.count().paws_estab == 0);
  CHECK(peer.count().paws_old_ack == 1);
}

TEST_CASE("tcp RFC 7323 5.5 PAWS: after 24 days of silence the last timestamp proves nothing") {
  raw_peer peer;
  establish_with_stamps(peer, 5000);
  peer.run_for(25 * 24h);
  // The peer's clock has gone more than half way round.
  peer.send({text("still here"), stamp(5000U + 25U * 24 * 3600 * 1000)});
  CHECK(peer.read() == "still here");
}

TEST_CASE("tcp timestamps: segments without them are taken, as Linux does") {
  raw_peer peer;
  establish_with_stamps(peer);
  peer.send({text("bare")});
  CHECK(peer.read() == "bare");
}

TEST_CASE("tcp timestamps: on a connection without them they are ignored") {
  raw_peer peer;
  peer.establish();
  peer.send({text("a"), stamp(9)});
  peer.send({text("b"), stamp(3)});
  CHECK(peer.read() == "ab");
  CHECK(!peer.said().back().tcp.options.timestamp);
}
