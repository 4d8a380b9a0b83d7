#include "host_pair.hpp"
#include "raw_peer.hpp"

// What the engine makes of packets that a link has joined from many segments, or cuts into them.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t peer_mss = 1000;

void believe(host_options& options) {
  options.checksum_offload_rx = true;
  options.connection.receive_buffer = 1U << 20;
}

/// A super-segment of the peer as a TUN device gives it: without a checksum.
void send_joined(raw_peer& peer, const std::string& text, std::uint32_t offset = 0) {
  static net::packet_pool pool;
  wire::tcp_header tcp;
  tcp.seq = peer.peer_next + offset;
  tcp.ack = peer.host_next;
  tcp.flags = wire::tcp_flag::ack;
  tcp.window = 65'535;
  net::packet packet = make_packet(pool, {peer.peer_address(), peer.peer_port},
                                   {peer.host_address(), 80}, tcp, bytes_of(text));
  packet.bytes()[36 + longer_header()] ^= std::byte{1};
  packet->offload = {net::checksum_state::partial, peer_mss,
                     static_cast<std::uint16_t>(20 + longer_header()), 16};
  peer.engine().on_packet(std::move(packet), peer.now());
  peer.flush();
}

}  // namespace

TEST_CASE("tcp offload: a received super-segment counts as its segments, and is acknowledged") {
  raw_peer peer(believe);
  peer.establish();
  // Quick acknowledgements are used up.
  for (int i = 0; i < 20; ++i) {
    peer.send({text("x")});
    peer.run_for(50ms);
  }
  const snapshot before = peer.look();
  peer.forget();
  const std::string text = numbered_text(2500);
  send_joined(peer, text);
  peer.expect({});
  peer.expect_nothing();
  const snapshot after = peer.look();
  CHECK(after.rcv_mss == peer_mss);
  CHECK(after.traffic.segs_in - before.traffic.segs_in == 3);
  CHECK(after.traffic.data_segs_in - before.traffic.data_segs_in == 3);
  CHECK(after.traffic.bytes_received - before.traffic.bytes_received == text.size());
}

TEST_CASE("tcp offload: the longest super-segment is delivered, in order and around a hole") {
  raw_peer peer(believe);
  peer.establish();
  const std::string text = numbered_text(65'495 - longer_header());
  send_joined(peer, text);
  CHECK(peer.read() == text);
  peer.peer_next += static_cast<std::uint32_t>(text.size());

  peer.forget();
  send_joined(peer, text.substr(10'000), 10'000);
  // One duplicate, as one packet came (RFC 5681 §4.2; Linux does the same behind GRO).
  peer.expect({});
  peer.expect_nothing();
  CHECK(peer.read().empty());
  send_joined(peer, text.substr(0, 30'000));
  CHECK(peer.read() == text);
}

TEST_CASE("tcp offload: facts of packets are nothing to a host whose link vouches for nothing") {
  raw_peer peer;
  peer.establish();
  send_joined(peer, numbered_text(2500));
  CHECK(peer.count().in_csum_errors == 1);
  CHECK(peer.read().empty());
}

TEST_CASE("tcp offload: TcpOutSegs counts what the link cuts a super-segment into, as in Linux") {
  std::uint64_t sent[2];
  std::size_t packets[2];
  for (const int gso : {0, 1}) {
    connected_pair pair(
        1, {}, [&](int, host_options& options) { options.gso_max_bytes = gso != 0 ? 60'000 : 0; });
    pair.establish();
    const std::uint64_t before = pair[0].counters().out_segs;
    const std::size_t seen = pair.trace.size();
    REQUIRE(pair.send(0, numbered_text(10'000)) == 10'000);
    pair.drive_for(1s);
    CHECK(pair.receive(1).size() == 10'000);
    sent[gso] = pair[0].counters().out_segs - before;
    packets[gso] = pair.trace.size() - seen;
  }
  CHECK(sent[0] == 7);
  CHECK(sent[1] == 7);
  CHECK(packets[1] < packets[0]);
}
