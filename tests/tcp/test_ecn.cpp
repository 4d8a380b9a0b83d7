#include "host_pair.hpp"
#include "raw_peer.hpp"

// Explicit congestion notification: RFC 3168, with Linux's defaults.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t not_ect = 0;
constexpr std::uint32_t ect_0 = 2;
constexpr std::uint32_t congestion = 3;

void establish_with_ecn(raw_peer& peer) {
  peer.establish({}, {flags("SEC"), mss(1460)});
}

}  // namespace

TEST_CASE("tcp RFC 3168 6.1.1 ECN: accepted when the SYN asks with both flags and is not marked") {
  struct asked {
    const char* syn;
    std::uint32_t mark;
    const char* answer;
  };
  for (const asked& each : {asked{"SEC", 0, "SAE"}, asked{"SE", 0, "SA"}, asked{"S", 0, "SA"},
                            asked{"SEC", ect_0, "SA"}}) {
    CAPTURE(each.syn);
    raw_peer peer;
    peer.listen();
    peer.send_syn({flags(each.syn), mss(1460), ip_ecn(each.mark)});
    peer.expect({flags(each.answer), ip_ecn(not_ect)});
  }
}

TEST_CASE("tcp ECN: the default accepts it and does not ask; off does neither") {
  raw_peer quiet;
  quiet.connect();
  quiet.expect({flags("S")});
  raw_peer off([](host_options& options) { options.policy.ecn = ecn::off; });
  off.listen();
  off.send_syn({flags("SEC"), mss(1460)});
  off.expect({flags("SA")});
}

TEST_CASE("tcp RFC 3168 6.1.1.1 ECN: asked for once; a SYN that is sent again does not ask") {
  raw_peer peer([](host_options& options) { options.policy.ecn = ecn::request; });
  peer.connect();
  peer.expect({flags("SEC"), ip_ecn(not_ect)});
  peer.run_for(1s);
  peer.expect({flags("S")});
}

TEST_CASE("tcp ECN: two hosts agree, and only new text is marked") {
  raw_peer peer;
  establish_with_ecn(peer);
  peer.write("text");
  peer.expect({flags("PA"), ip_ecn(ect_0)});
  peer.run_for(1s);
  REQUIRE(!peer.said().empty());
  // Sent again it is not (RFC 3168 6.1.5), and neither are bare acknowledgements (6.1.4).
  peer.expect({text("text"), ip_ecn(not_ect)});
  peer.forget();
  peer.send({seq(3), text("x"), ack(5)});
  peer.expect({flags("A"), ip_ecn(not_ect)});
}

TEST_CASE("tcp RFC 3168 6.1.3 ECN: CE is echoed on every acknowledgement until CWR comes") {
  raw_peer peer;
  establish_with_ecn(peer);
  peer.send({text("a"), ip_ecn(congestion)});
  peer.expect({flags("AE"), ack(2)});
  peer.send({text("b"), ip_ecn(ect_0)});
  peer.expect({flags("AE"), ack(3)});
  peer.send({flags("PAC"), text("c"), ip_ecn(ect_0)});
  peer.expect({flags("A"), ack(4)});
  // CWR and CE in one packet: it slowed down, and the next queue was full too.
  peer.send({text("d"), ip_ecn(congestion)});
  peer.forget();
  peer.send({flags("PAC"), text("e"), ip_ecn(congestion)});
  peer.expect({flags("AE"), ack(6)});
}

TEST_CASE("tcp ECN: without agreement CE and ECE mean nothing") {
  raw_peer peer;
  peer.establish();
  peer.send({text("a"), ip_ecn(congestion)});
  peer.expect({flags("A"), ack(2)});
  const auto before = peer.look().snd_cwnd_bytes;
  peer.write("x");
  peer.forget();
  peer.send({flags("AE")});
  CHECK(peer.look().snd_cwnd_bytes == before);
}

TEST_CASE("tcp RFC 3168 6.1.2 ECN: ECE reduces the window once a window, and CWR says so") {
  raw_peer peer;
  establish_with_ecn(peer);
  const std::string bulk = numbered_text(20 * 1460);
  peer.write(bulk);
  peer.forget();
  const std::uint32_t before = peer.look().snd_cwnd_bytes;
  peer.send({flags("AE"), ack(1 + 1460)});
  // RFC 9438: to 0.7 of it, in proportion to what arrives (RFC 6937).
  const std::uint32_t target = peer.look().snd_ssthresh_bytes;
  CHECK(target == before * 717 / 1024);
  peer.expect({flags("AC"), length(1460), ip_ecn(ect_0)});
  peer.expect_nothing();
  // The rest of the same window says it too, and is believed once.
  for (std::uint32_t i = 2; i <= 9; ++i) {
    peer.send({flags("AE"), ack(1 + i * 1460)});
    CHECK(peer.look().snd_ssthresh_bytes == target);
  }
  CHECK(peer.look().snd_cwnd_bytes <= target + 1460);
  for (const seen_packet& each : peer.said()) CHECK(each.flags().find('C') == std::string::npos);
}

TEST_CASE("tcp ECN: a simultaneous open agrees when both asked") {
  raw_peer peer([](host_options& options) { options.policy.ecn = ecn::request; });
  peer.connect();
  peer.forget();
  peer.send({flags("SEC"), mss(1460), seq(0)});
  peer.expect({flags("SAE")});
}

TEST_CASE("tcp RFC 3168 6.1.2 ECN: ECE with nothing on its way reduces nothing") {
  raw_peer peer;
  establish_with_ecn(peer);
  peer.write("request");
  peer.send({});
  const std::uint32_t before = peer.look().snd_cwnd_bytes;
  for (int i = 0; i < 10; ++i) peer.send({flags("AE"), text("answer")});
  CHECK(peer.look().snd_cwnd_bytes >= before);
  CHECK(peer.look().snd_ssthresh_bytes == UINT32_MAX);
}
