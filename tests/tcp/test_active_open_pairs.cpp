#include "host_pair.hpp"
#include "raw_peer.hpp"

// More of opening from here: the longest waits, options of a simultaneous open, local addresses.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("tcp S48 SYN-SENT: waits double from 1 s up to 120 s") {
  raw_peer peer([](host_options& options) {
    options.policy.syn_linear_timeouts = 0;
    options.connection.syn_retries = std::uint8_t{10};
  });
  peer.mark();
  peer.connect();
  CHECK(peer.run_until_over(1000s) == 127s + 4 * 120s);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1'000, 3'000, 7'000, 15'000, 31'000, 63'000,
                                                  127'000, 247'000, 367'000, 487'000});
}

TEST_CASE("tcp S46 SYN-SENT: with SYN-ACK lost both sides send again, and it opens") {
  connected_pair pair;
  int synacks = 0;
  pair.filter = [&](const seen_packet& seen) { return seen.flags() != "SA" || ++synacks > 2; };
  pair.listen();
  pair.connect();
  pair.drive_for(5s);
  pair.accept();
  CHECK(pair.client_state() == state::established);
  CHECK(pair.server_state() == state::established);
}

TEST_CASE("tcp S77 simultaneous open: timestamps and window scaling are agreed on") {
  raw_peer peer;
  peer.connect();
  peer.forget();
  peer.send_syn({mss(1000), stamp(77), scale(3)});
  peer.expect({flags("SA"), seq(0), ack(1), has_stamp(true), echo(77), scale(10)});
  // Its window is scaled from now on.
  peer.send({seq(1), ack(1), window(100), stamp(78, 0)});
  CHECK(peer.look().state == state::established);
  CHECK(peer.look().timestamps);
  CHECK(peer.look().snd_wscale == 3);
  CHECK(peer.look().snd_wnd_bytes == 800);
  CHECK(peer.look().snd_mss == 988);
}

TEST_CASE("tcp S77 simultaneous open: without options from the peer there are none") {
  raw_peer peer;
  peer.connect();
  peer.forget();
  peer.send_syn({});
  peer.expect({flags("SA"), seq(0), ack(1), has_stamp(false)});
  peer.send({seq(1), ack(1)});
  CHECK(!peer.look().timestamps);
  CHECK(peer.look().snd_wscale == 0);
  CHECK(peer.look().snd_mss == (speaks_v6() ? 1220 : 536));
}

TEST_CASE("tcp S15 S77 simultaneous open: text on the peer's SYN waits for its next segment") {
  raw_peer peer;
  peer.connect();
  peer.forget();
  peer.send_syn({text("early")});
  peer.expect({flags("SA"), ack(1)});
  peer.send({seq(1), ack(1), text("early and late")});
  CHECK(peer.look().state == state::established);
  CHECK(peer.read() == "early and late");
}

TEST_CASE(
    "tcp S50 ISN: a thousand steps in 4 ms, not one; round after 4.8 hours, not half a year") {
  const auto isn_at = [](duration after) {
    raw_peer peer({}, time_point(1000s) + after);
    peer.connect();
    return peer.host_iss;
  };
  const std::uint32_t first = isn_at(0s);
  CHECK(isn_at(4ms) - first == 1000);
  // Linux's clock, of 64 ns, comes round after 275 s; this one has not.
  CHECK(isn_at(274'877'907us) - first == 68'719'476);
  CHECK(isn_at(std::chrono::microseconds(std::int64_t{4} << 32)) == first);
}

TEST_CASE("tcp S07 connect: without an address it is the first of the family; each has its ports") {
  host_options options;
  options.addresses = {test_address(10, 0, 0, 2), test_address(10, 0, 0, 3)};
  options.keys = keys_from(1);
  options.policy.local_port_first = 5000;
  options.policy.local_port_last = 5099;
  host engine(std::move(options));
  const time_point now(1000s);
  const net::endpoint to{test_address(10, 0, 0, 1), 80};
  for (std::size_t which : {0U, 1U}) {
    const net::address from = engine.addresses()[which];
    for (int i = 0; i < 100; ++i) {
      connect_options chosen;
      if (which == 1) chosen.local.address = from;
      const auto made = engine.connect(to, chosen, 1, now);
      REQUIRE(made);
      CHECK(engine.snapshot(made.value).value.local.address == from);
    }
    connect_options chosen;
    chosen.local.address = from;
    CHECK(engine.connect(to, chosen, 1, now).error == error::address_not_available);
  }
  CHECK(engine.counters().local_ports_exhausted == 2);
}
