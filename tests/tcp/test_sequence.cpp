#include "host_pair.hpp"
#include "raw_peer.hpp"

// Initial sequence numbers (RFC 6528), numbers that wrap, and clocks that start and wrap anywhere.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

std::uint32_t iss_of_connect(time_point at, std::uint16_t port = 80, std::uint64_t seed = 42) {
  raw_peer peer([&](host_options& options) { options.keys = keys_from(seed); }, at);
  peer.host_port = port;
  peer.connect();
  return peer.host_iss;
}

std::uint32_t iss_of_accept(time_point at, std::uint16_t port = 80) {
  raw_peer peer({}, at);
  peer.host_port = port;
  peer.listen();
  peer.send_syn();
  return peer.host_iss;
}

/// A transfer both ways, with loss, over hosts whose clocks start at `start`; the client's and the
/// server's first numbers.
std::pair<std::uint32_t, std::uint32_t> transfer_at(time_point start, std::size_t size) {
  const wire_faults faults{.latency = 1ms, .loss = 0.01, .duplicate = 0.01, .reorder = 0.1};
  connected_pair pair(5, faults, {}, start);
  connect_options options;
  options.local.port = 5000;
  options.policy.receive_buffer = 200'000;
  pair.listen();
  pair.connect(options);
  pair.drive_for(5s);
  pair.accept();
  const std::string text = numbered_text(size);
  std::string got[2];
  std::size_t written[2] = {0, 0};
  for (int i = 0; i < 2000 && (got[0].size() < size || got[1].size() < size); ++i) {
    for (const int side : {0, 1}) {
      written[side] += pair.send(side, std::string_view(text).substr(written[side]));
      got[side] += pair.receive(side);
    }
    pair.drive_for(20ms);
  }
  CHECK(got[0] == text);
  CHECK(got[1] == text);
  pair.close(0);
  pair.close(1);
  pair.drive_for(10s);
  CHECK(pair.look(0).ended == end_reason::clean);
  CHECK(pair.look(1).ended == end_reason::clean);
  std::uint32_t iss[2] = {0, 0};
  for (const seen_packet& each : pair.trace) {
    if ((each.tcp.flags & wire::tcp_flag::syn) != 0) iss[each.from] = each.tcp.seq;
  }
  return {iss[0], iss[1]};
}

/// When a clock must start so that a number that was `seen` at 1000 s is `wanted`.
time_point start_for(std::uint32_t seen, std::uint32_t wanted) {
  return time_point(1000s) + std::chrono::microseconds(4) * (wanted - seen);
}

}  // namespace

TEST_CASE("tcp S51 ISN: of one 4-tuple it grows by one every 4 microseconds (RFC 6528)") {
  const std::uint32_t first = iss_of_connect(time_point(1000s));
  CHECK(iss_of_connect(time_point(1000s)) == first);
  for (const duration later : {duration(4us), duration(1ms), duration(1s), duration(60s)}) {
    CHECK(iss_of_connect(time_point(1000s + later)) - first == later / 4us);
    CHECK(iss_of_accept(time_point(1000s + later)) - iss_of_accept(time_point(1000s)) ==
          later / 4us);
  }
}

TEST_CASE("tcp S52 ISN: of other ports, other peers and other secrets it is unrelated") {
  std::vector<std::uint32_t> seen;
  for (std::uint16_t port = 1; port <= 200; ++port) {
    seen.push_back(iss_of_connect(time_point(1000s), port));
  }
  seen.push_back(iss_of_connect(time_point(1000s), 1, 43));
  std::sort(seen.begin(), seen.end());
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  // Spread over the whole circle.
  CHECK(seen.front() < 1U << 28);
  CHECK(seen.back() > 15U << 28);
}

TEST_CASE("tcp S08 numbers: transfers across 2^31 and 2^32 are as any other") {
  const auto at_1000 = transfer_at(time_point(1000s), 1000);
  for (const std::uint32_t boundary : {0U, 0x8000'0000U}) {
    for (const std::uint32_t ahead : {0U, 1U, 2U, 1000U, 150'000U}) {
      CAPTURE(boundary);
      CAPTURE(ahead);
      const std::uint32_t wanted = boundary - ahead;
      CHECK(transfer_at(start_for(at_1000.first, wanted), 300'000).first == wanted);
      CHECK(transfer_at(start_for(at_1000.second, wanted), 300'000).second == wanted);
    }
  }
}

TEST_CASE("tcp numbers: every step of a connection works when the peer's numbers wrap there") {
  for (std::uint32_t before_wrap = 0; before_wrap < 12; ++before_wrap) {
    CAPTURE(before_wrap);
    raw_peer peer;
    peer.peer_iss = peer.peer_next = 0U - before_wrap;
    peer.establish();
    peer.send({seq(4), text("def")});
    peer.expect({ack(1)});
    peer.send({seq(1), text("abc")});
    peer.expect({ack(7)});
    peer.send({seq(1), text("abc")});
    peer.expect({ack(7)});
    CHECK(peer.read() == "abcdef");
    peer.peer_next = peer.peer_iss + 7;
    peer.send({seq(9), flags("R")});
    peer.expect({flags("A"), ack(7)});
    peer.send({flags("FA")});
    peer.run_for(40ms);
    peer.expect({flags("A"), ack(8)});
    peer.close();
    peer.expect({flags("FA"), ack(8)});
    peer.send({});
    CHECK(peer.look().ended == end_reason::clean);
  }
}

TEST_CASE("tcp numbers: TIME-WAIT compares across the wrap") {
  raw_peer peer;
  peer.peer_iss = peer.peer_next = 0U - 2;
  bring_to(peer, state::time_wait);
  CHECK(peer.peer_next == 0);
  peer.send({seq(5), flags("S")});
  peer.expect({flags("SA"), ack(6)});
}

TEST_CASE("tcp clock: a connection lives its whole life wherever the clock starts") {
  constexpr std::int64_t wrap_ms = std::int64_t{1} << 32;
  std::vector<time_point> starts = {
      time_point(0ns),     time_point(1ns),         time_point(999'999ns),         time_point(1ms),
      time_point(1'500us), time_point(1000s + 1ns), time_point(1000s + 999'999ns),
  };
  for (const std::int64_t boundary : {wrap_ms / 2, wrap_ms, 3 * wrap_ms}) {
    for (const std::int64_t ahead : {0, 1, 50, 300, 1500, 30'000, 61'000}) {
      starts.push_back(time_point(std::chrono::milliseconds(boundary - ahead)));
    }
  }
  for (const time_point start : starts) {
    CAPTURE(start.time_since_epoch());
    connected_pair pair(1, {.latency = 10ms}, {}, start);
    int seen = 0;
    // The SYN, the SYN-ACK of its second try, and some text are lost.
    pair.filter = [&](const seen_packet&) {
      const int at = seen++;
      return at != 0 && at != 2 && at != 8;
    };
    pair.listen();
    pair.connect();
    pair.drive_for(4s);
    REQUIRE(pair.client_state() == state::established);
    pair.accept();
    for (int i = 0; i < 20; ++i) {
      pair.send(0, "ping");
      pair.drive_for(300ms);
      pair.send(1, "pong");
      pair.drive_for(100ms);
    }
    CHECK(pair.receive(0).size() == 80);
    CHECK(pair.receive(1).size() == 80);
    pair.close(0);
    pair.close(1);
    pair.drive_for(100ms);
    CHECK(pair[0].memory().time_wait == 1);
    pair.drive_for(59s);
    CHECK(pair[0].memory().time_wait == 1);
    pair.drive_for(2s);
    CHECK(pair[0].memory().time_wait == 0);
  }
}

TEST_CASE("tcp clock: schedules are the same wherever the clock starts") {
  constexpr std::int64_t wrap_ms = std::int64_t{1} << 32;
  for (const std::int64_t ahead : {0, 1, 700, 5000, 50'000, 90'000}) {
    for (const std::int64_t boundary : {std::int64_t{90'000}, wrap_ms / 2, wrap_ms}) {
      const time_point start(std::chrono::milliseconds(boundary - ahead));
      CAPTURE(boundary);
      CAPTURE(ahead);
      raw_peer peer({}, start);
      peer.establish();
      peer.mark();
      peer.close();
      CHECK(peer.run_until_over(200s) == 102'711ms);
      CHECK(peer.times() ==
            std::vector<std::int64_t>{0, 201, 603, 1407, 3015, 6231, 12663, 25527, 51255});
      peer.peer_port = 7;
      peer.mark();
      peer.send_syn({from_port(7)});
      peer.run_for(63s);
      CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 3000, 7000, 15000, 31000});
      CHECK(peer.engine().memory().half_open == 0);
    }
  }
}

TEST_CASE("tcp clock: no timer fires early when time is between two ticks") {
  for (const duration offset : {1ns, 500'000ns, 999'999ns}) {
    raw_peer peer({}, time_point(1000s + offset));
    peer.establish();
    const time_point begin = peer.now();
    peer.write("x");
    peer.forget();
    while (peer.said().empty()) {
      REQUIRE(peer.engine().poll_timeout() >= peer.now());
      peer.run_for(peer.engine().poll_timeout() - peer.now());
    }
    CHECK(peer.now() - begin >= 201ms);
    CHECK(peer.now() - begin <= 202ms);
  }
}

TEST_CASE("tcp clock: poll_timeout wakes at most once early for each level of the wheel") {
  raw_peer peer;
  peer.establish();
  peer.close();
  peer.send({});
  peer.forget();
  // FIN-WAIT-2: one timer, 60 s away.
  int wakes = 0;
  while (peer.current() != state::closed) {
    const time_point next = peer.engine().poll_timeout();
    REQUIRE(next > peer.now());
    peer.run_for(next - peer.now());
    ++wakes;
  }
  CHECK(wakes <= 5);
}

TEST_CASE("tcp clock: time that does not move, and late calls, do no harm") {
  raw_peer peer;
  peer.establish();
  peer.write("x");
  peer.forget();
  for (int i = 0; i < 10; ++i) peer.engine().on_timeout(peer.now());
  peer.flush();
  peer.expect_nothing();
  // An hour late: one retransmission, not many.
  peer.engine().on_timeout(peer.now() + 900s);
  CHECK(peer.engine().poll_transmit(peer.now() + 900s) != nullptr);
  CHECK(peer.engine().poll_transmit(peer.now() + 900s) == nullptr);
}
