#include <doctest/doctest.h>

#include "bottleneck.hpp"

// Where slow start ends: Linux's HyStart and RFC 9406.

using namespace runnel::tcp;
using namespace runnel::tcp::detail;
using namespace runnel::tcp::test;

namespace {

/// HyStart by hand: acknowledgements of one segment, round after round.
struct slow_starter {
  congestion control;
  congestion_window window;
  ack_sample sample;

  explicit slow_starter(congestion_control algorithm, slow_start exit,
                        std::uint32_t segments = 64) {
    window.mss = 1000;
    control.start(algorithm, exit, window, segments * 1000, 0, 1);
    sample.cwnd_limited = true;
    sample.nxt = sequence(1);
  }
  void begin_round() {
    sample.una = sample.nxt + 1;
    sample.nxt = sample.una + 1'000'000;
  }
  void ack(std::uint32_t rtt_us, std::uint32_t gap_us) {
    sample.now_us += gap_us;
    sample.una += 1;
    sample.delivered_bytes = 1000;
    sample.rtt_us = sample.srtt_us = rtt_us;
    sample.min_rtt_us = sample.min_rtt_us == 0 ? rtt_us : std::min(sample.min_rtt_us, rtt_us);
    control.on_ack(window, sample, recovery_phase::open);
  }
  /// `count` acknowledgements too far apart to be a train. Returns the growth.
  std::uint32_t round(std::uint32_t rtt_us, int count = 20) {
    const std::uint32_t before = window.cwnd;
    begin_round();
    for (int i = 0; i < count; ++i) ack(rtt_us, 3000);
    return window.cwnd - before;
  }
};

struct outcome {
  std::uint32_t ssthresh = 0;
  std::uint64_t lost = 0;
  double delivered = 0;
};

outcome begin_on(const path& p, congestion_control algorithm, slow_start exit, bool paced) {
  bottleneck b(p);
  auto& f = b.add(algorithm, exit);
  f.classic_pacing = paced;
  outcome result;
  b.run_until(2e6, [&] {
    if (result.ssthresh == 0 && !f.window.in_slow_start()) result.ssthresh = f.window.ssthresh;
  });
  result.lost = f.lost;
  result.delivered = static_cast<double>(f.delivered);
  return result;
}

}  // namespace

TEST_CASE("tcp HyStart: the round trip's growth by an eighth ends slow start, and less does not") {
  // 4 to 16 ms, an eighth of the shortest round trip between.
  struct expectation {
    std::uint32_t base_us, threshold_us;
  };
  for (const auto& [base_us, threshold_us] :
       {expectation{10'000, 4000}, {64'000, 8000}, {400'000, 16'000}}) {
    for (const bool over : {false, true}) {
      slow_starter s(congestion_control::cubic, slow_start::hystart);
      s.round(base_us);
      s.round(base_us + threshold_us + (over ? 1 : 0));
      CHECK(s.window.in_slow_start() == !over);
    }
  }
}

TEST_CASE("tcp HyStart: eight round trips of a round are looked at before it is judged") {
  slow_starter s(congestion_control::cubic, slow_start::hystart);
  s.round(20'000);
  s.begin_round();
  for (int i = 0; i < 8; ++i) s.ack(40'000, 3000);
  CHECK(s.window.in_slow_start());
  s.ack(40'000, 3000);
  CHECK_FALSE(s.window.in_slow_start());
}

TEST_CASE("tcp HyStart: a train of acknowledgements for half the round trip ends slow start") {
  for (const bool train : {true, false}) {
    slow_starter s(congestion_control::cubic, slow_start::hystart);
    s.begin_round();
    s.ack(40'000, 1000);
    for (std::uint32_t i = 0; i < 25; ++i) s.ack(40'000, train ? 1000 : 2001);
    CHECK(s.window.in_slow_start() == !train);
  }
  // Pacing makes such trains by itself: then it takes the whole round trip.
  slow_starter s(congestion_control::cubic, slow_start::hystart);
  s.window.pacing_rate = 10'000'000;
  s.begin_round();
  for (std::uint32_t i = 0; i < 41; ++i) s.ack(40'000, 1000);
  CHECK(s.window.in_slow_start());
  s.ack(40'000, 1000);
  s.ack(40'000, 1000);
  CHECK_FALSE(s.window.in_slow_start());
}

TEST_CASE("tcp HyStart: a window below 16 segments is let grow") {
  slow_starter s(congestion_control::cubic, slow_start::hystart, 2);
  s.round(20'000, 3);
  s.round(60'000, 10);
  CHECK(s.window.cwnd == 15'000);
  CHECK(s.window.in_slow_start());
}

TEST_CASE("tcp RFC 9406 4.2 HyStart++: growth slows to a quarter, and ends after five rounds") {
  for (const auto algorithm : {congestion_control::cubic, congestion_control::reno}) {
    slow_starter s(algorithm, slow_start::hystart_plus_plus);
    CHECK(s.round(40'000) == 20'000);
    // Eight samples at the old pace, the rest conservatively.
    CHECK(s.round(45'000) == 7000 + 13 * 250);
    for (int i = 0; i < 4; ++i) {
      CHECK(s.round(45'000) == 5000);
      CHECK(s.window.in_slow_start());
    }
    const std::uint32_t before = s.window.cwnd;
    s.round(45'000);
    CHECK_FALSE(s.window.in_slow_start());
    CHECK(s.window.ssthresh == before);
  }
}

TEST_CASE("tcp RFC 9406 4.2 HyStart++: when the round trip falls back, slow start goes on") {
  slow_starter s(congestion_control::cubic, slow_start::hystart_plus_plus);
  s.round(40'000);
  s.round(45'000);
  CHECK(s.control.cubic()->exit.conservative());
  s.round(45'000);
  CHECK(s.round(42'000) == 7 * 250 + 13'000);
  CHECK_FALSE(s.control.cubic()->exit.conservative());
  for (int i = 0; i < 10; ++i) CHECK(s.round(42'000) == 20'000);
  CHECK(s.window.in_slow_start());
}

TEST_CASE("tcp RFC 9406 4.3 HyStart++: thresholds of 4 to 16 ms, and bursts of 8 segments") {
  struct expectation {
    std::uint32_t base_us, threshold_us;
  };
  for (const auto& [base_us, threshold_us] :
       {expectation{10'000, 4000}, {64'000, 8000}, {400'000, 16'000}}) {
    for (const bool over : {false, true}) {
      slow_starter s(congestion_control::cubic, slow_start::hystart_plus_plus);
      s.round(base_us);
      s.round(base_us + threshold_us - (over ? 0 : 1));
      CHECK(s.control.cubic()->exit.conservative() == over);
    }
  }
  for (const std::uint64_t pacing : {std::uint64_t{0}, std::uint64_t{1'000'000}}) {
    slow_starter s(congestion_control::reno, slow_start::hystart_plus_plus);
    s.window.pacing_rate = pacing;
    s.sample.delivered_bytes = 40'000;
    s.sample.rtt_us = 40'000;
    s.control.on_ack(s.window, s.sample, recovery_phase::open);
    CHECK(s.window.cwnd == (pacing == 0 ? 72'000 : 104'000));
  }
}

TEST_CASE("tcp HyStart, HyStart++: slow start ends before the buffer overflows") {
  for (const double rtt_us : {20'000.0, 50'000.0, 100'000.0}) {
    for (const double rate : {1.25e6, 12.5e6}) {
      path p;
      p.rtt_us = rtt_us;
      p.rate = rate;
      p.buffer = 1.5 * std::max(rate * rtt_us / 1e6, 50'000.0);
      CAPTURE(rtt_us);
      CAPTURE(rate);
      for (const bool paced : {false, true}) {
        CAPTURE(paced);
        const outcome standard =
            begin_on(p, congestion_control::cubic, slow_start::standard, paced);
        const outcome linux_way =
            begin_on(p, congestion_control::cubic, slow_start::hystart, paced);
        const outcome plus =
            begin_on(p, congestion_control::reno, slow_start::hystart_plus_plus, paced);
        CHECK(standard.lost > 0);
        const double room = rate * rtt_us / 1e6 + p.buffer;
        CHECK(linux_way.ssthresh >= 0.4 * rate * rtt_us / 1e6);
        CHECK(linux_way.ssthresh <= 1.1 * room);
        CHECK(linux_way.lost <= standard.lost / 4);
        CHECK(plus.lost <= standard.lost * 2 / 3);
        CHECK(linux_way.delivered >= 0.7 * standard.delivered);
        CHECK(plus.delivered >= 0.7 * standard.delivered);
      }
    }
  }
}

TEST_CASE("tcp Reno: Linux's HyStart is CUBIC's own; Reno leaves slow start at a loss") {
  slow_starter s(congestion_control::reno, slow_start::hystart);
  s.round(20'000);
  for (int i = 0; i < 10; ++i) s.round(90'000);
  CHECK(s.window.in_slow_start());
}
