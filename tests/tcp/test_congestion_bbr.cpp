#include <doctest/doctest.h>

#include <set>

#include "bottleneck.hpp"

// BBR version 1, as Linux's.

using namespace runnel::tcp;
using namespace runnel::tcp::detail;
using namespace runnel::tcp::test;

namespace {

using mode = bbr_state::mode;

double rate_over(bottleneck& b, bottleneck::flow& f, double seconds) {
  const auto before = static_cast<double>(f.delivered);
  b.run_until(static_cast<double>(b.now_us()) + seconds * 1e6);
  return (static_cast<double>(f.delivered) - before) / seconds;
}

}  // namespace

TEST_CASE("tcp BBR: it finds the bandwidth and the round trip, and keeps the queue short") {
  for (const double rate : {125e3, 1.25e6, 12.5e6, 125e6}) {
    for (const double rtt_us : {2000.0, 20'000.0, 100'000.0}) {
      CAPTURE(rate);
      CAPTURE(rtt_us);
      path p;
      p.rate = rate;
      p.rtt_us = rtt_us;
      bottleneck b(p);
      auto& f = b.add(congestion_control::bbr, slow_start::hystart);
      CHECK(f.control.owns_window());
      b.run_until(3e6);
      const bbr_state& bbr = *f.control.bbr();
      CHECK(bbr.current_mode() == mode::probe_bw);
      CHECK(static_cast<double>(bbr.bandwidth()) == doctest::Approx(rate).epsilon(0.05));
      const double segment_us = 1448e6 / rate;
      CHECK(bbr.min_rtt_us() >= rtt_us);
      CHECK(bbr.min_rtt_us() <= rtt_us * 1.05 + 4 * segment_us);
      b.forget_largest_queue();
      CHECK(rate_over(b, f, 3) > 0.93 * rate);
      const double bdp = rate * rtt_us / 1e6;
      // Twice the path, and three of the bursts of 1 ms that it plans for.
      CHECK(b.largest_queue() < 1.1 * bdp + 3 * rate / 1024 + 16 * 1448);
    }
  }
}

TEST_CASE("tcp BBR: STARTUP doubles the rate, DRAIN empties the queue that it has made") {
  path p;
  bottleneck b(p);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  std::vector<mode> modes{mode::startup};
  double queue_at_probe = -1;
  b.run_until(4e6, [&] {
    const mode m = f.control.bbr()->current_mode();
    if (m == modes.back()) return;
    modes.push_back(m);
    if (m == mode::probe_bw) queue_at_probe = b.queued();
  });
  CHECK(modes == std::vector{mode::startup, mode::drain, mode::probe_bw});
  const double bdp = p.rate * p.rtt_us / 1e6;
  CHECK(b.largest_queue() > 0.5 * bdp);
  CHECK(b.largest_queue() < 2.5 * bdp);
  CHECK(queue_at_probe < 12 * 1448);
}

TEST_CASE("tcp BBR: the gain cycle probes with 5/4, drains with 3/4 and cruises for six rounds") {
  path p;
  p.rate = 12.5e6;
  bottleneck b(p);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  b.run_until(2e6);
  double faster = 0;
  double slower = 0;
  double steady = 0;
  double last = 2e6;
  b.run_until(7e6, [&] {
    const auto now = static_cast<double>(b.now_us());
    const double gain = static_cast<double>(f.window.pacing_rate) /
                        (0.99 * static_cast<double>(f.control.bbr()->bandwidth()));
    (gain > 1.2 ? faster : gain < 0.8 ? slower : steady) += now - last;
    last = now;
  });
  // A flight of 5/4 takes about two round trips to be seen; the drain ends as the queue does.
  CHECK(faster > 0.09 * 5e6);
  CHECK(faster < 0.3 * 5e6);
  CHECK(slower > 0.02 * 5e6);
  CHECK(slower < 0.15 * 5e6);
  CHECK(steady > 0.6 * 5e6);
}

TEST_CASE("tcp BBR: the cycle begins anywhere but where it drains, as the seed has it") {
  std::set<std::uint64_t> rates;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    bottleneck b(path{}, seed);
    auto& f = b.add(congestion_control::bbr, slow_start::hystart);
    std::uint64_t first = 0;
    b.run_until(3e6, [&] {
      if (f.control.bbr()->current_mode() == mode::probe_bw && first == 0) {
        first = (f.window.pacing_rate * 16 / f.control.bbr()->bandwidth() + 1) / 4;
      }
    });
    rates.insert(first);
  }
  // Quarters.
  CHECK(rates == std::set<std::uint64_t>{4, 5});
}

TEST_CASE("tcp BBR: every ten seconds it goes down to four segments for 200 ms, and comes back") {
  path p;
  bottleneck b(p);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  std::vector<double> begun;
  std::vector<double> lasted;
  bool probing = false;
  std::uint32_t smallest = UINT32_MAX;
  std::uint32_t cwnd_before = 0;
  b.run_until(65e6, [&] {
    const bool now = f.control.bbr()->current_mode() == mode::probe_rtt;
    const auto at = static_cast<double>(b.now_us()) / 1e6;
    if (now && !probing) begun.push_back(at);
    if (!now && probing) {
      lasted.push_back(at - begun.back());
      CHECK(f.window.cwnd >= 0.9 * cwnd_before);
    }
    if (now) smallest = std::min(smallest, f.window.cwnd);
    if (!now) cwnd_before = f.window.cwnd;
    probing = now;
  });
  REQUIRE(begun.size() >= 5);
  CHECK(begun.size() <= 6);
  for (std::size_t i = 1; i < lasted.size(); ++i) {
    CHECK(begun[i] - begun[i - 1] == doctest::Approx(10.3).epsilon(0.03));
    CHECK(lasted[i] > 0.2);
    CHECK(lasted[i] < 0.45);
  }
  CHECK(smallest == 4 * 1448);
  CHECK(static_cast<double>(f.control.bbr()->bandwidth()) == doctest::Approx(p.rate).epsilon(0.05));
}

TEST_CASE("tcp BBR: probing a short round trip does not make it forget the bandwidth") {
  path p;
  p.rate = 12.5e6;
  p.rtt_us = 5000;
  bottleneck b(p);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  b.run_until(9e6);
  double lowest = 1e18;
  b.run_until(11.5e6, [&] {
    lowest = std::min(lowest, static_cast<double>(f.control.bbr()->bandwidth()));
  });
  CHECK(lowest > 0.9 * p.rate);
}

TEST_CASE("tcp BBR: random loss of a twentieth costs little") {
  for (const double rtt_us : {10'000.0, 100'000.0}) {
    path p;
    p.rtt_us = rtt_us;
    p.random_loss = 0.05;
    bottleneck b(p, 3);
    auto& f = b.add(congestion_control::bbr, slow_start::hystart);
    b.run_until(5e6);
    CHECK(rate_over(b, f, 30) > 0.8 * p.rate);
    // Where CUBIC is stopped by it.
    bottleneck other(p, 3);
    auto& g = other.add(congestion_control::cubic, slow_start::hystart);
    other.run_until(5e6);
    CHECK(rate_over(other, g, 30) < 0.6 * p.rate);
  }
}

TEST_CASE("tcp BBR: it follows a path that becomes slower, faster or longer") {
  path p;
  bottleneck b(p);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  b.run_until(5e6);
  p.rate /= 4;
  b.change_path(p);
  b.run_until(25e6);
  CHECK(static_cast<double>(f.control.bbr()->bandwidth()) == doctest::Approx(p.rate).epsilon(0.05));
  CHECK(rate_over(b, f, 5) > 0.9 * p.rate);
  p.rate *= 8;
  b.change_path(p);
  b.run_until(45e6);
  CHECK(static_cast<double>(f.control.bbr()->bandwidth()) == doctest::Approx(p.rate).epsilon(0.05));
  p.rtt_us *= 2;
  b.change_path(p);
  b.run_until(80e6);
  CHECK(f.control.bbr()->min_rtt_us() == doctest::Approx(p.rtt_us).epsilon(0.05));
  CHECK(rate_over(b, f, 5) > 0.9 * p.rate);
}

TEST_CASE("tcp BBR: a policer is found out and its rate is kept") {
  path p;
  p.rate = 12.5e6;
  p.policer_rate = 1.25e6;
  p.policer_burst = 500'000;
  bottleneck b(p, 5);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  double policed_us = 0;
  double last = 0;
  std::uint64_t lost_policed = 0;
  std::uint64_t sent_policed = 0;
  std::uint64_t lost_before = 0;
  std::uint64_t sent_before = 0;
  bool before = false;
  b.run_until(20e6, [&] {
    const auto now = static_cast<double>(b.now_us());
    const bool policed = f.control.bbr()->policed();
    if (policed && before) {
      policed_us += now - last;
      lost_policed += f.lost - lost_before;
      sent_policed += f.sent - sent_before;
    }
    before = policed;
    last = now;
    lost_before = f.lost;
    sent_before = f.sent;
    if (policed) {
      CHECK(static_cast<double>(f.control.bbr()->bandwidth()) ==
            doctest::Approx(p.policer_rate).epsilon(0.2));
    }
  });
  CHECK(policed_us > 8e6);
  CHECK(static_cast<double>(lost_policed) < 0.1 * static_cast<double>(sent_policed));
  CHECK(static_cast<double>(f.delivered) > 0.85 * p.policer_rate * 20);
}

TEST_CASE("tcp BBR: a sender with pauses does not take its own rate for the path's") {
  path p;
  bottleneck b(p);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  b.run_until(3e6);
  const auto full = static_cast<double>(f.control.bbr()->bandwidth());
  for (int i = 0; i < 40; ++i) {
    f.allowed = f.sent + 20'000;
    b.run_until(static_cast<double>(b.now_us()) + 200'000);
  }
  CHECK(static_cast<double>(f.control.bbr()->bandwidth()) > 0.9 * full);
  CHECK(f.window.cwnd > p.rate * p.rtt_us / 1e6);
}

TEST_CASE("tcp BBR: loss saves the window, packets are conserved, and the end restores it") {
  path p;
  bottleneck b(p);
  auto& f = b.add(congestion_control::bbr, slow_start::hystart);
  b.run_until(3e6);
  congestion control = f.control;
  congestion_window window = f.window;
  const std::uint32_t before = window.cwnd;
  const std::uint32_t ssthresh = window.ssthresh;
  CHECK(control.ssthresh_on_loss(window) == ssthresh);
  CHECK(window.cwnd == before);
  ack_sample s;
  s.now_us = b.now_us() + 1000;
  s.delivered_bytes = 1448;
  s.lost_bytes = 10 * 1448;
  s.flight = 20'000;
  s.total_delivered_bytes = f.delivered + 1448;
  control.on_ack(window, s, recovery_phase::recovery);
  CHECK(window.cwnd == 20'000 + 1448);
  SUBCASE("the next acknowledgement in order") {
    s.lost_bytes = 0;
    control.on_ack(window, s, recovery_phase::open);
    CHECK(window.cwnd >= before);
  }
  SUBCASE("the end of recovery") {
    control.on_recovery_exit(window, s.now_us);
    CHECK(window.cwnd == before);
  }
  SUBCASE("undo") {
    control.undo(window);
    CHECK(window.cwnd == before);
  }
  SUBCASE("a time-out in between") {
    control.ssthresh_on_loss(window);
    control.on_timeout(window, s.now_us);
    CHECK(window.cwnd == 1448);
    s.lost_bytes = 0;
    control.on_ack(window, s, recovery_phase::loss);
    CHECK(window.cwnd >= 4 * 1448);
    control.on_recovery_exit(window, s.now_us);
    CHECK(window.cwnd == before);
  }
}

TEST_CASE("tcp BBR: the largest of a window of rounds, and what follows when it leaves") {
  windowed_max best;
  std::mt19937 random(9);
  std::vector<std::uint32_t> values;
  for (std::uint32_t round = 0; round < 2000; ++round) {
    values.push_back(static_cast<std::uint32_t>(random() % 1000));
    best.add(values.back(), round, 10);
    std::uint32_t exact = 0;
    for (std::uint32_t back = 0; back <= std::min(round, 10U); ++back) {
      exact = std::max(exact, values[round - back]);
    }
    CHECK(best.best() <= exact);
    CHECK(best.best() >= values[round]);
    // Three entries are not all of it: it may be less, but seldom.
    CHECK(best.best() + 500 >= exact);
  }
}
