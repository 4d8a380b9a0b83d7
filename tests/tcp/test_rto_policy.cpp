#include "raw_peer.hpp"
#include "runnel/tcp/engine/policy_text.hpp"

// The bounds of the retransmission time-out are policy: rto_initial, rto_min and rto_max.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using times = std::vector<std::int64_t>;

/// An established connection of this policy, with a round trip of 1 ms, whose text nobody answers.
void write_into_silence(raw_peer& peer, const connection_policy& policy) {
  listener_policy on;
  on.connection = policy;
  peer.establish(on);
  peer.mark();
  peer.write("lost");
}

}  // namespace

TEST_CASE("S48: the shortest time-out is rto_min beyond the round-trip time") {
  raw_peer peer;
  write_into_silence(peer, {.rto_min = 20ms});
  peer.run_for(320ms);
  CHECK(peer.times() == times{0, 21, 63, 147, 315});
  CHECK(peer.look().srtt == 1ms);
}

TEST_CASE("S48: the doubling ends at rto_max") {
  raw_peer peer;
  write_into_silence(peer, {.rto_max = 1s});
  peer.run_for(4s);
  CHECK(peer.times() == times{0, 201, 603, 1407, 2407, 3407});
}

TEST_CASE("S48: SYN waits for rto_initial at first, and for rto_max at most") {
  raw_peer peer([](host_options& options) { options.policy.syn_linear_timeouts = 0; });
  peer.mark();
  peer.connect({.rto_initial = 300ms, .rto_max = 1s});
  peer.run_for(4s);
  CHECK(peer.times() == times{0, 300, 900, 1900, 2900, 3900});
}

TEST_CASE("S48: text that follows a SYN-ACK that was repeated waits for rto_initial") {
  raw_peer peer;
  listener_policy on;
  on.connection.rto_initial = 250ms;
  peer.listen(on);
  peer.send_syn();
  peer.run_for(1s);
  peer.send({seq(1), ack(1)});
  peer.accept();
  peer.forget();
  peer.mark();
  peer.write("lost");
  peer.run_for(800ms);
  CHECK(peer.times() == times{0, 250, 750});
}

TEST_CASE("S48: zero-window probes are rto_max apart at most") {
  raw_peer peer;
  listener_policy on;
  on.connection.rto_max = 1s;
  peer.establish(on, {mss(1460)}, {window(0)});
  peer.mark();
  peer.write("kept");
  for (int i = 0; i < 12; ++i) {
    peer.run_for(500ms);
    peer.send({window(0)});
  }
  const times probes = peer.times();
  REQUIRE(probes.size() >= 5);
  CHECK(probes[4] - probes[3] == 1000);
}

TEST_CASE("S48: a change holds for connections that exist, from the next time-out on") {
  raw_peer peer;
  write_into_silence(peer, {});
  connection_policy defaults = peer.engine().connection_defaults();
  defaults.rto_max = 1s;
  CHECK(peer.engine().set_connection_defaults(defaults) == error::none);
  peer.run_for(4s);
  CHECK(peer.times() == times{0, 201, 603, 1407, 2407, 3407});
}

TEST_CASE("tcp retries2: the time to bear silence follows rto_max, and not rto_min, as in Linux") {
  raw_peer peer;
  SUBCASE("a smaller rto_max") {
    write_into_silence(peer, {.rto_max = 1s, .retries2 = std::uint8_t{15}});
    // 200, 600 and 1400 ms by doubling, and 13 s more.
    CHECK(peer.run_until_over(60s) >= 14'400ms);
    CHECK(peer.since_mark() <= 15'407ms);
  }
  SUBCASE("a smaller rto_min") {
    write_into_silence(peer, {.rto_min = 20ms, .retries2 = std::uint8_t{3}});
    CHECK(peer.run_until_over(60s) >= 3'000ms);
    CHECK(peer.since_mark() <= 6'000ms);
  }
  CHECK(peer.look().ended == end_reason::timed_out);
}

TEST_CASE("tcp retries2: with 0 what was lost is sent again once, as in Linux") {
  raw_peer peer;
  write_into_silence(peer, {.retries2 = std::uint8_t{0}});
  CHECK(peer.run_until_over(10s) == 603ms);
  CHECK(peer.times() == times{0, 201});
}

TEST_CASE("tcp synack_retries: 255 of them go on for as long, on a Fast Open child too") {
  raw_peer peer([](host_options& options) {
    options.policy.fastopen = fastopen_flag::server | fastopen_flag::server_no_cookie;
  });
  listener_policy on{.synack_retries = std::uint8_t{255}};
  SUBCASE("half-open") {
    peer.listen(on);
    peer.send_syn();
  }
  SUBCASE("Fast Open") {
    on.fastopen_queue = 1;
    peer.listen(on);
    peer.send_syn({mss(1460), text("GET")});
  }
  // 1 + 2 + ... + 64 s, and then 120 s each.
  peer.run_for(29'800s);
  CHECK(peer.current() == state::syn_received);
  peer.forget();
  peer.run_for(600s);
  CHECK(peer.current() == state::closed);
}

TEST_CASE("tcp policy: the bounds of the time-out by Linux's names and in its units") {
  policy_set all;
  CHECK(get(default_policy(), "net.ipv4.tcp_rto_min_us") == "200000");
  CHECK(get(default_policy(), "net.ipv4.tcp_rto_max_ms") == "120000");
  CHECK(get(default_policy(), "rto_initial") == "1s");
  CHECK(set(all, "net.ipv4.tcp_rto_min_us", "5000") == "");
  CHECK(all.connection.rto_min == 5ms);
  CHECK(set(all, "net.ipv4.tcp_rto_min_us", "1") == "");
  CHECK(all.connection.rto_min == 1ms);
  CHECK(set(all, "net.ipv4.tcp_rto_min_us", "1001") == "");
  CHECK(all.connection.rto_min == 2ms);
  CHECK(get(all, "net.ipv4.tcp_rto_min_us") == "2000");
  CHECK(set(all, "net.ipv4.tcp_rto_max_ms", "30000") == "");
  CHECK(all.connection.rto_max == 30s);
  CHECK(set(all, "net.ipv4.tcp_rto_min_us", "0") ==
        "net.ipv4.tcp_rto_min_us must be 1 to 120000000 microseconds; it is 0");
  CHECK(set(all, "net.ipv4.tcp_rto_max_ms", "999") ==
        "net.ipv4.tcp_rto_max_ms must be 1000 to 120000 ms; it is 999");
  connection_policy one;
  CHECK(set(one, "TCP_RTO_MIN_US", "40000") == "");
  CHECK(set(one, "TCP_RTO_MAX_MS", "5000") == "");
  CHECK(one.rto_min == 40ms);
  CHECK(one.rto_max == 5s);
}

TEST_CASE("tcp policy: what Linux allows is allowed") {
  policy_set all;
  CHECK(set(all, "net.ipv4.tcp_synack_retries", "255") == "");
  CHECK(set(all, "net.ipv4.tcp_retries2", "0") == "");
  CHECK(set(all, "net.ipv4.tcp_retries2", "255") == "");
  CHECK(set(all, "net.ipv4.tcp_orphan_retries", "255") == "");
  CHECK(set(all, "net.ipv4.tcp_syn_linear_timeouts", "127") == "");
  CHECK(check(all) == "");
  listener_policy on;
  CHECK(set(on, "TCP_SYNCNT", "127") == "");
  CHECK(set(on, "TCP_SYNCNT", "128") == "TCP_SYNCNT must be 0 to 127; it is 128");
}

TEST_CASE("tcp policy: tcp_challenge_ack_limit of 0, which is none in Linux, is refused") {
  policy_set all;
  CHECK(set(all, "net.ipv4.tcp_challenge_ack_limit", "0") ==
        "net.ipv4.tcp_challenge_ack_limit must be 1 to 4294967295, for none at all is not to be "
        "had; it is 0");
  CHECK(all == policy_set());
  CHECK(set(all, "challenge_ack_limit", "0") == "");
  CHECK(get(all, "net.ipv4.tcp_challenge_ack_limit") == "2147483647");
}
