#include <random>

#include "host_pair.hpp"
#include "loss_peer.hpp"
#include "router.hpp"

// Packetization layer path MTU discovery (RFC 4821), as Linux's net.ipv4.tcp_mtu_probing has it.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// Two hosts of which both probe, over a path that swallows what is longer than it carries.
struct black_hole : connected_pair {
  explicit black_hole(std::uint32_t carries, mtu_probing how,
                      const std::function<void(host_options&)>& adjust = {}, std::uint64_t seed = 5)
      : connected_pair(seed, {.latency = 10ms}, [&](int, host_options& options) {
          options.policy.mtu_probing = how;
          if (adjust) adjust(options);
        }) {
    keep_trace = false;
    filter = [this, carries](const seen_packet& seen) {
      longest = std::max(longest, seen.ip.total_length);
      if (seen.ip.total_length <= carries) return true;
      ++swallowed;
      return false;
    };
  }

  /// Moves so many bytes from the client to the server; whether all came in time, and as they were.
  bool moves(std::size_t bytes, duration limit) {
    const std::string what = numbered_text(bytes);
    std::string got;
    std::size_t given = 0;
    const time_point until = now() + limit;
    while (got.size() < bytes && now() < until) {
      if (given < bytes) given += send(client, std::string_view(what).substr(given));
      if (!step(until)) break;
      got += receive(server);
      least_cwnd = std::min(least_cwnd, look(client).snd_cwnd_bytes);
    }
    return got == what;
  }

  int swallowed = 0;
  std::uint32_t longest = 0;
  std::uint32_t least_cwnd = UINT32_MAX;
};

/// A sender that probes, with a search that begins at 1024 and may end at 1460.
std::function<void(host_options&)> probes(const std::function<void(host_options&)>& adjust = {}) {
  return [adjust](host_options& options) {
    options.policy.mtu_probing = mtu_probing::always;
    options.policy.tail_loss_probe = false;
    if (adjust) adjust(options);
  };
}

/// In the middle of 1064 and 1500: the first probe's text.
constexpr std::uint32_t first_probe = 1242;

/// Everything that has been said is acknowledged, until the host is allowed to probe: it has said a
/// probe then, which is the last thing looked at. Gives where it begins.
std::uint32_t run_to_probe(raw_peer& peer) {
  for (int round = 0; round < 20; ++round) {
    auto said = std::exchange(peer.said(), {});
    for (const seen_packet& each : said) {
      if (each.length == first_probe) {
        // What left behind it is to be looked at.
        auto at = std::ranges::find_if(said, [](const auto& e) { return e.length == first_probe; });
        peer.said().assign(std::next(at), said.end());
        return each.tcp.seq - peer.host_iss;
      }
    }
    peer.run_for(20ms);
    peer.send({});
  }
  FAIL("no probe was sent");
  return 0;
}

/// A probe, and the segments behind it that tell of its loss.
constexpr std::uint32_t needed = first_probe + 4 * 1024;

/// The window becomes more than 11 segments, by text that is too little for a probe.
void grow_window(raw_peer& peer) {
  for (int round = 0; round < 3; ++round) {
    peer.write(numbered_text(needed - 1));
    peer.run_for(20ms);
    peer.send({});
  }
  CHECK(peer.look().snd_cwnd_bytes > 11 * 1024);
  peer.forget();
}

void open_and_write(raw_peer& peer,
                    std::initializer_list<field> syn = {mss(1460), sack_permitted()}) {
  peer.establish({}, syn);
  CHECK(peer.look().snd_mss == 1024);
  peer.write(numbered_text(400'000));
}

}  // namespace

TEST_CASE("tcp tcp_mtu_probing=0: a path that swallows full packets lets nothing through") {
  black_hole pair(1400, mtu_probing::off);
  pair.establish();
  CHECK(!pair.moves(50'000, 60s));
  CHECK(pair.look(0).traffic.bytes_acked == 0);
  pair[0].close(pair.client_socket, close_mode::abort, pair.now());
}

TEST_CASE("tcp tcp_mtu_probing=1: a black hole is found by tcp_retries1 and left by tcp_base_mss") {
  black_hole pair(1400, mtu_probing::on_black_hole);
  pair.establish();
  CHECK(pair.look(0).snd_mss == 1448);
  CHECK(pair.look(0).mtu_search_high == 0);
  const time_point begin = pair.now();
  pair.send(0, numbered_text(50'000));
  while (pair.look(0).snd_mss == 1448) REQUIRE(pair.step());
  // Linux counts from the first retransmission for 3 s.
  CHECK(pair.now() - begin >= 3s);
  CHECK(pair.now() - begin < 4s);
  CHECK(pair.look(0).snd_mss == 1024);
  pair.drive_for(5s);
  CHECK(pair.receive(1) == numbered_text(50'000));
  // From there the search goes up.
  CHECK(pair.moves(3'000'000, 60s));
  CHECK(pair.look(0).mtu_search_low > 1400 - 16);
  CHECK(pair.look(0).mtu_search_high <= 1407);
  CHECK(pair.look(0).snd_mss == pair.look(0).mtu_search_low - 52);
  CHECK(pair[0].counters().mtup_success > 0);
  CHECK(pair[0].counters().mtup_fail > 0);
}

TEST_CASE("tcp tcp_mtu_probing=1: without a black hole nothing is probed") {
  black_hole pair(1500, mtu_probing::on_black_hole);
  pair.establish();
  CHECK(pair.moves(1'000'000, 60s));
  CHECK(pair.look(0).snd_mss == 1448);
  CHECK(pair[0].counters().mtup_success == 0);
  CHECK(pair[0].counters().mtup_fail == 0);
}

TEST_CASE("tcp RFC 4821 7.7: while nothing gets through the MSS halves, down to the floor") {
  for (const auto& [carries, floor, found] :
       {std::tuple{600U, 48, 512U}, std::tuple{200U, 48, 128U}, std::tuple{101U, 48, 48U},
        std::tuple{400U, 300, 300U}}) {
    CAPTURE(carries);
    CAPTURE(floor);
    black_hole pair(carries, mtu_probing::on_black_hole, [&, least = floor](host_options& options) {
      options.policy.mtu_probe_floor = static_cast<std::uint16_t>(least);
      options.connection.rto_max = 2s;
    });
    pair.establish();
    CHECK(pair.moves(2000, 120s));
    CHECK(pair.look(0).snd_mss == found);
  }
}

TEST_CASE("tcp RFC 4821 7.7: nothing is made smaller than the policy's floors") {
  black_hole pair(100, mtu_probing::on_black_hole, [](host_options& options) {
    options.policy.min_snd_mss = 200;
    options.connection.rto_max = 2s;
  });
  pair.establish();
  CHECK(!pair.moves(2000, 60s));
  CHECK(pair.look(0).snd_mss == 200);
  pair[0].close(pair.client_socket, close_mode::abort, pair.now());
}

TEST_CASE("tcp tcp_mtu_probing=2: a connection begins with tcp_base_mss and finds the link's MTU") {
  for (const std::uint32_t gso : {0U, 60'000U}) {
    CAPTURE(gso);
    connected_pair pair(9, {.latency = 10ms}, [&](int, host_options& options) {
      options.policy.mtu_probing = mtu_probing::always;
      options.mtu = 9000;
      options.gso_max_bytes = gso;
    });
    pair.keep_trace = false;
    pair.establish();
    CHECK(pair.look(0).snd_mss == 1024);
    CHECK(pair.look(0).mtu_search_low == 1076);
    CHECK(pair.look(0).mtu_search_high == 9000);
    CHECK(pair.look(0).snd_cwnd_bytes == 10 * 1024);
    const std::string what = numbered_text(4'000'000);
    std::string got;
    std::size_t given = 0;
    while (got.size() < what.size()) {
      if (given < what.size()) given += pair.send(0, std::string_view(what).substr(given));
      REQUIRE(pair.step());
      got += pair.receive(1);
    }
    CHECK(got == what);
    CHECK(pair.look(0).snd_mss > 8948 - 16);
    CHECK(pair.look(0).snd_mss <= 8948);
    CHECK(pair[0].counters().mtup_success > 5);
    CHECK(pair[0].counters().mtup_fail == 0);
    CHECK(pair[0].counters().retrans_segs == 0);
    // tcpi_pmtu is not what probes have found.
    CHECK(pair.look(0).path_mtu == 9000);
  }
}

TEST_CASE("tcp RFC 4821 7.6.2: the search ends by the path's MTU, and its losses cost no window") {
  for (const bool sack : {true, false}) {
    for (const bool stamps : {true, false}) {
      for (const std::uint32_t carries : {1290U, 1400U, 1499U}) {
        CAPTURE(sack);
        CAPTURE(stamps);
        CAPTURE(carries);
        black_hole pair(carries, mtu_probing::always, [&](host_options& options) {
          options.policy.sack = sack;
          options.policy.timestamps = stamps;
          options.connection.receive_buffer = 200'000;
        });
        pair.establish();
        const std::uint32_t begin = pair.look(0).snd_cwnd_bytes;
        CHECK(pair.moves(2'000'000, 60s));
        CHECK(pair.look(0).mtu_search_low <= carries);
        CHECK(pair.look(0).mtu_search_low > carries - 8);
        const tcp::counters& count = pair[0].counters();
        CHECK(count.mtup_fail == static_cast<std::uint64_t>(pair.swallowed));
        CHECK(count.mtup_success > 0);
        CHECK(count.timeouts == 0);
        CHECK(count.sack_recovery + count.reno_recovery == 0);
        CHECK(pair.least_cwnd >= begin);
      }
    }
  }
}

TEST_CASE("tcp tcp_mtu_probe: the probe is one packet of new text, which nobody may cut") {
  raw_peer peer(probes([](host_options& options) {
    options.gso_max_bytes = 60'000;
    options.checksum_offload_tx = true;
    options.connection.mtu_discover = mtu_discover::dont;
  }));
  peer.establish({}, {mss(1460), sack_permitted()});
  // By hand: only the packet itself tells that nobody is to cut it.
  REQUIRE(peer.engine().send(peer.socket, bytes_of(numbered_text(400'000)), peer.now()));
  bool seen = false;
  for (int round = 0; round < 5 && !seen; ++round) {
    while (const net::tx_packet* out = peer.engine().poll_transmit(peer.now())) {
      if (out->size != 20 + 20 + first_probe) {
        CHECK((out->size <= 1064 || out->offload.gso_size == 1024));
        peer.host_next += out->size - 40;
        continue;
      }
      seen = true;
      CHECK(out->offload.gso_size == 0);
      CHECK((std::to_integer<unsigned>(out->pieces[0][6]) & 0x40) != 0);
      CHECK(peer.look().mtu_probe == 20 + 20 + first_probe);
      peer.host_next += first_probe;
    }
    peer.run_for(20ms);
    peer.send_unanswered({});
  }
  CHECK(seen);
  peer.forget();
  peer.send({});
}

TEST_CASE(
    "S113 TCPMTUPSuccess tcp_mtu_probe: success makes the probe's size the MSS, and the next one "
    "is larger") {
  raw_peer peer(probes());
  open_and_write(peer);
  const std::uint32_t at = run_to_probe(peer);
  CHECK(peer.look().mtu_probe == first_probe + 40);
  CHECK(peer.look().snd_mss == 1024);
  // Others follow as before.
  peer.expect({seq(at + first_probe), length(1024)});
  peer.send({ack(at)});
  CHECK(peer.look().snd_mss == 1024);
  peer.send({ack(at + first_probe)});
  CHECK(peer.look().snd_mss == first_probe);
  CHECK(peer.look().mtu_search_low == first_probe + 40);
  CHECK(peer.count().mtup_success == 1);
}

TEST_CASE(
    "S113 TCPMTUPFail RFC 4821 7.6.2: a lost probe is sent again in segments, and the window "
    "stays") {
  raw_peer peer(probes());
  open_and_write(peer);
  const std::uint32_t at = run_to_probe(peer);
  peer.send({ack(at)});
  peer.forget();
  const std::uint32_t behind = at + first_probe;
  const std::uint32_t cwnd = peer.look().snd_cwnd_bytes;
  for (std::uint32_t i = 1; i <= 3; ++i) {
    peer.send({ack(at), sack(behind, behind + i * 1024)});
  }
  CHECK(peer.count().mtup_fail == 1);
  CHECK(peer.look().mtu_search_high == first_probe + 39);
  CHECK(peer.look().mtu_probe == 0);
  CHECK(peer.look().snd_cwnd_bytes >= cwnd);
  CHECK(peer.count().sack_recovery == 0);
  std::vector<std::uint32_t> again;
  for (const seen_packet& each : peer.said()) {
    if (before(sequence(each.tcp.seq), sequence(peer.host_iss + behind)))
      again.push_back(each.length);
  }
  CHECK(again == std::vector<std::uint32_t>{1024, first_probe - 1024});
  CHECK(peer.look().snd_mss == 1024);
}

TEST_CASE("tcp RFC 4821: what left in smaller segments is told apart in these when the MSS grew") {
  raw_peer peer(probes());
  open_and_write(peer);
  const std::uint32_t behind = run_to_probe(peer) + first_probe;
  REQUIRE(peer.said().size() >= 5);
  peer.send({ack(behind)});
  CHECK(peer.look().snd_mss == first_probe);
  peer.forget();
  for (std::uint32_t i = 2; i <= 4; ++i) {
    peer.send({ack(behind), sack(behind + 1024, behind + i * 1024)});
  }
  CHECK(peer.count().sack_recovery == 1);
  std::vector<std::uint32_t> again;
  for (const seen_packet& each : peer.said()) {
    if (each.tcp.seq - peer.host_iss < behind + 4 * 1024) again.push_back(each.length);
  }
  CHECK(again == std::vector<std::uint32_t>{1024});
}

TEST_CASE("tcp RFC 4821: SACK blocks of our own make no packet longer than what is known to pass") {
  raw_peer peer(probes());
  peer.establish({}, {mss(1460), sack_permitted()});
  peer.send({seq(101), text("ahead")});
  peer.forget();
  peer.write(numbered_text(100'000));
  CHECK(!peer.said().empty());
  for (const seen_packet& each : peer.said()) CHECK(each.ip.total_length <= 1064);
}

TEST_CASE("tcp RFC 4821 7.6.4: a probe lost among others tells of congestion, not of its size") {
  raw_peer peer(probes());
  open_and_write(peer);
  const std::uint32_t at = run_to_probe(peer);
  peer.send({ack(at)});
  const std::uint32_t behind = at + first_probe + 2 * 1024;
  const std::uint32_t high = peer.look().mtu_search_high;
  for (std::uint32_t i = 1; i <= 4; ++i) {
    peer.send({ack(at), sack(behind, behind + i * 1024)});
  }
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.count().mtup_fail == 0);
  CHECK(peer.look().mtu_search_high == high);
  CHECK(peer.look().mtu_probe == 0);
}

TEST_CASE("tcp tcp_mtu_probe: not with a window below 11 segments, nor with too little to send") {
  raw_peer peer(probes());
  peer.establish({}, {mss(1460), sack_permitted()});
  SUBCASE("window") {
    peer.write(numbered_text(400'000));
    CHECK(peer.look().snd_cwnd_bytes == 10 * 1024);
    CHECK(peer.look().mtu_probe == 0);
  }
  SUBCASE("text") {
    grow_window(peer);
    peer.write(numbered_text(needed - 1));
    for (const seen_packet& each : peer.said()) CHECK(each.length <= 1024);
    peer.run_for(20ms);
    peer.send({});
    peer.forget();
    peer.write(numbered_text(needed));
    peer.expect({length(first_probe)});
  }
  SUBCASE("peer's window") {
    grow_window(peer);
    peer.send({window(needed - 1)});
    peer.forget();
    peer.write(numbered_text(30'000));
    for (const seen_packet& each : peer.said()) CHECK(each.length <= 1024);
  }
}

TEST_CASE("tcp tcp_probe_threshold, tcp_probe_interval: a search ends, and begins anew") {
  black_hole pair(1300, mtu_probing::always, [](host_options& options) {
    options.policy.probe_threshold = 64;
    options.policy.probe_interval = 60s;
  });
  pair.establish();
  CHECK(pair.moves(2'000'000, 30s));
  const std::uint32_t low = pair.look(0).mtu_search_low;
  CHECK(pair.look(0).mtu_search_high - low < 64);
  const auto tried = [&] { return pair[0].counters().mtup_success + pair[0].counters().mtup_fail; };
  const std::uint64_t before = tried();
  CHECK(pair.moves(2'000'000, 20s));
  CHECK(tried() == before);
  // The path is another one by now.
  pair.filter = nullptr;
  pair.drive_for(60s);
  CHECK(pair.moves(2'000'000, 30s));
  CHECK(tried() > before);
  CHECK(pair.look(0).mtu_search_low > 1500 - 64);
}

TEST_CASE("tcp RFC 4821 and RFC 1191: an ICMP error bounds the search and ends a probe at once") {
  raw_peer peer(probes());
  open_and_write(peer);
  const std::uint32_t at = run_to_probe(peer);
  peer.forget();
  const std::uint32_t cwnd = peer.look().snd_cwnd_bytes;
  complain(peer, too_big(1200), peer.host_iss + at, first_probe + 40);
  CHECK(peer.look().path_mtu == 1200);
  CHECK(peer.look().mtu_search_high == 1200);
  CHECK(peer.look().mtu_probe == 0);
  CHECK(peer.look().snd_mss == 1024);
  CHECK(peer.look().snd_cwnd_bytes == cwnd);
  CHECK(peer.count().mtup_fail == 1);
  peer.expect({seq(at), length(1024)});
  peer.expect({seq(at + 1024), length(first_probe - 1024)});
  // Below what was known to get through.
  peer.forget();
  complain(peer, too_big(900), peer.host_iss + at);
  CHECK(peer.look().mtu_search_high == 900);
  CHECK(peer.look().mtu_search_low == 900);
  CHECK(peer.look().snd_mss == 860);
  for (const seen_packet& each : peer.said()) CHECK(each.ip.total_length <= 900);
}

TEST_CASE("tcp IP_PMTUDISC_PROBE: errors are not believed, probes are") {
  black_hole pair(1300, mtu_probing::always, [](host_options& options) {
    options.connection.mtu_discover = mtu_discover::probe;
  });
  pair.establish();
  CHECK(pair.moves(1'000'000, 30s));
  CHECK(pair.look(0).mtu_search_low > 1290);
  CHECK(pair.look(0).mtu_search_low <= 1300);
}

TEST_CASE("tcp tcp_mtu_probing: with what the peer takes below tcp_base_mss nothing is searched") {
  raw_peer peer(probes());
  peer.establish({}, {mss(536)});
  CHECK(peer.look().snd_mss == 536);
  CHECK(peer.look().mtu_search_low == 576);
  CHECK(peer.look().mtu_search_high == 576);
}

TEST_CASE("tcp RFC 4821: whatever a path loses and swallows, the stream arrives as it was sent") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t bound) { return random() % bound; };
    const auto carries = static_cast<std::uint32_t>(600 + below(900));
    const auto how = below(2) == 0 ? mtu_probing::always : mtu_probing::on_black_hole;
    const bool stamps = below(2) == 0;
    const bool sack = below(3) != 0;
    const auto control = below(2) == 0 ? congestion_control::cubic : congestion_control::bbr;
    black_hole pair(
        carries, how,
        [&](host_options& options) {
          options.policy.timestamps = stamps;
          options.policy.sack = sack;
          options.policy.base_mss = 512;
          options.policy.probe_interval = 1s;
          options.connection.congestion_control = control;
          options.connection.rto_max = 2s;
        },
        seed);
    pair.establish();
    pair.faults.loss = static_cast<double>(below(3)) * 0.02;
    pair.faults.reorder = static_cast<double>(below(2)) * 0.1;
    pair.faults.duplicate = static_cast<double>(below(2)) * 0.05;
    CHECK(pair.moves(400'000, 600s));
    CHECK(pair.longest <= 1500);
    CHECK(pair.look(0).mtu_search_low <= carries);
  }
}
