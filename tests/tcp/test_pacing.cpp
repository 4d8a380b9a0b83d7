#include "host_pair.hpp"
#include "loss_peer.hpp"

// Pacing as a policy, for CUBIC and Reno too: SO_MAX_PACING_RATE, net.ipv4.tcp_pacing_ss_ratio and
// tcp_pacing_ca_ratio (Linux's tcp_update_pacing_rate and tcp_update_skb_after_send).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// A connection that has sent its first ten segments, which go at once, and in whose window there
/// are twenty now.
void open_paced(loss_peer& peer) {
  peer.open({});
  peer.grow_window(20);
}

/// When each of so many segments left, in ms after the first.
std::vector<std::int64_t> leave(loss_peer& peer, std::uint32_t segments, duration span) {
  peer.mark();
  peer.write_segments(segments);
  peer.run_for(span);
  return peer.times();
}

double seconds_of(connected_pair& pair, std::size_t bytes) {
  const std::string text = numbered_text(64 << 10);
  const time_point start = pair.now();
  std::size_t got = 0;
  pair.send(0, text);
  while (got < bytes) {
    REQUIRE(pair.step());
    pair.send(0, text);
    got += pair.receive(1).size();
  }
  return std::chrono::duration<double>(pair.now() - start).count();
}

}  // namespace

TEST_CASE(
    "tcp pacing: without it a window leaves at once, with it over half a round trip in slow "
    "start") {
  for (const bool paced : {false, true}) {
    CAPTURE(paced);
    loss_peer peer([paced](host_options& options) { options.connection.pacing = paced; });
    open_paced(peer);
    // 20 segments in 40 ms, twice as fast: one in a millisecond.
    const std::vector<std::int64_t> at = leave(peer, 20, 39ms);
    REQUIRE(at.size() == 20);
    CHECK(at.front() == 0);
    CHECK(at.back() >= (paced ? 17 : 0));
    CHECK(at.back() <= (paced ? 20 : 0));
    for (std::size_t i = 1; paced && i < at.size(); ++i) CHECK(at[i] - at[i - 1] <= 2);
    peer.send({});
  }
}

TEST_CASE("tcp_pacing_ss_ratio, tcp_pacing_ca_ratio: percent of the window a round trip, live") {
  const auto span = [](const char* name, const char* percent, bool avoidance) {
    loss_peer peer([](host_options& options) {
      options.connection.pacing = true;
      options.policy.tail_loss_probe = false;
    });
    CHECK(peer.engine().set(name, percent) == "");
    open_paced(peer);
    if (avoidance) {
      // A loss halves the window, and slow start is over.
      peer.write_segments(20);
      peer.run_for(peer.rtt);
      peer.send({peer.upto(peer.base), peer.block(peer.base + 1, peer.base + 20)});
      peer.run_for(peer.rtt);
      peer.send({peer.upto(peer.base + 20)});
      peer.run_for(5ms);
      peer.forget();
      CHECK(peer.window_segments() == 10);
    }
    const std::uint32_t window = peer.window_segments();
    const std::vector<std::int64_t> at = leave(peer, window, 300ms);
    REQUIRE(at.size() >= window);
    peer.send({});
    return at[window - 1] - at[0];
  };
  CHECK(span("net.ipv4.tcp_pacing_ss_ratio", "100", false) >= 36);
  CHECK(span("net.ipv4.tcp_pacing_ss_ratio", "400", false) <= 11);
  CHECK(span("net.ipv4.tcp_pacing_ca_ratio", "100", true) >= 33);
  CHECK(span("net.ipv4.tcp_pacing_ca_ratio", "400", true) <= 13);
}

TEST_CASE("tcp pacing: the first ten segments of a connection are not held back") {
  loss_peer peer([](host_options& options) { options.connection.max_pacing_rate = 10'000; });
  peer.open({});
  peer.write_segments(10);
  CHECK(peer.said().size() == 10);
  peer.forget();
  peer.run_for(peer.rtt);
  peer.send({});
  // Each takes 146 ms now, and the tenth was the first that did.
  peer.mark();
  peer.write_segments(4);
  std::vector<std::int64_t> at;
  while (at.size() < 4) {
    REQUIRE(peer.since_mark() < 2s);
    peer.run_for(1ms);
    for (const std::int64_t each : peer.times()) {
      at.push_back(each);
      peer.send({});
    }
  }
  CHECK(at[0] >= 100);
  CHECK(at[0] <= 146);
  for (std::size_t i = 1; i < at.size(); ++i) {
    CHECK(at[i] - at[i - 1] >= 144);
    CHECK(at[i] - at[i - 1] <= 148);
  }
}

TEST_CASE("SO_MAX_PACING_RATE: the pace holds even where everything is acknowledged in between") {
  loss_peer peer([](host_options& options) { options.connection.max_pacing_rate = 14'600; });
  peer.open({});
  peer.send_full(10);
  peer.run_for(peer.rtt);
  peer.send({});
  peer.run_for(200ms);
  peer.mark();
  std::vector<std::int64_t> at;
  for (int i = 0; i < 6; ++i) {
    peer.write_segments(1);
    while (peer.said().empty()) peer.run_for(1ms);
    at.push_back(peer.since_mark().count());
    peer.forget();
    peer.run_for(10ms);
    peer.send({});
    CHECK(peer.look().unacked_bytes == 0);
  }
  // A segment in 100 ms.
  CHECK(at.back() - at.front() >= 490);
  CHECK(at.back() - at.front() <= 520);
}

TEST_CASE("SO_MAX_PACING_RATE: no algorithm is faster, and each comes near") {
  for (const congestion_control control :
       {congestion_control::cubic, congestion_control::reno, congestion_control::bbr}) {
    CAPTURE(static_cast<int>(control));
    connected_pair pair(1, {.latency = 5ms}, [&](int, host_options& options) {
      options.connection.congestion_control = control;
      options.connection.max_pacing_rate = 500'000;
    });
    pair.establish();
    const double seconds = seconds_of(pair, 2'000'000);
    // But for the first ten segments.
    CHECK(seconds >= (2'000'000 - 70'000) / 500'000.0);
    CHECK(seconds <= 2'000'000 / 500'000.0 * 1.15);
  }
}

TEST_CASE("SO_MAX_PACING_RATE: it is live, and no bound reads as Linux has it") {
  connected_pair pair(1, {.latency = 5ms});
  pair.establish();
  CHECK(pair[0].get(pair.client_socket, "SO_MAX_PACING_RATE") == "4294967295");
  CHECK(pair[0].set(pair.client_socket, "SO_MAX_PACING_RATE", "200000") == "");
  CHECK(pair[0].get(pair.client_socket, "SO_MAX_PACING_RATE") == "200000");
  CHECK(seconds_of(pair, 400'000) >= 1.6);
  for (const char* none : {"-1", "4294967295", "18446744073709551615"}) {
    CHECK(pair[0].set(pair.client_socket, "SO_MAX_PACING_RATE", none) == "");
    CHECK(pair[0].connection_settings(pair.client_socket).value.max_pacing_rate == 0);
  }
  CHECK(seconds_of(pair, 400'000) <= 0.8);
  CHECK(pair[0].set(pair.client_socket, "SO_MAX_PACING_RATE", "0") != "");
}

TEST_CASE("tcp pacing: everything arrives over a path that loses, and nothing stays behind") {
  for (const congestion_control control : {congestion_control::cubic, congestion_control::reno}) {
    connected_pair pair(3, {.latency = 10ms, .loss = 0.03, .reorder = 0.05},
                        [&](int, host_options& options) {
                          options.connection.congestion_control = control;
                          options.connection.pacing = true;
                        });
    pair.establish();
    CHECK(seconds_of(pair, 1'000'000) < 60);
  }
}
