#include <cmath>
#include <cstdlib>

#include "support/pace.hpp"
#include "table.hpp"
#include "transfer.hpp"

// How fast one connection is over a path with troubles, in virtual time, against throughput.txt.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::sim;
using namespace std::chrono_literals;

namespace {

const std::string table_file = RUNNEL_SOURCE_DIR "/tests/sim/throughput.txt";
constexpr std::size_t seeds_of_a_cell = 10;
constexpr std::uint32_t round_trips_ms[] = {1, 20, 100};
constexpr std::uint32_t buffers_kib[] = {64, 256, 1024, 4096};

constexpr const char* head =
    R"(What one transfer achieves, in Mbit/s of payload, from the first write to the last read.

10 MB, or 2 MB where 2 % and more are lost, from one host to another in virtual time over a link of
1 Gbit/s each way with a queue of 512 KiB. The troubles are in both directions. CUBIC and everything
else as it is without a policy, but for the buffers of both ends, which are fixed. Of ten seeds the
median, the slowest and the fastest, and the retransmission time-outs of all ten together.

"late": that share of packets takes up to a quarter, or the whole, of the round trip longer.
"bursts": one begins with that share of packets, and takes that many on average, in 10 ms at most.

RUNNEL_UPDATE_TABLE=1 with test_sim_throughput writes it anew.)";

/// What a path does to packets.
struct trouble {
  std::string name;
  double loss = 0;
  double burst_begins = 0;
  double burst_length = 1;
  double late = 0;
  /// As a share of the round trip.
  double late_by = 0;

  std::uint64_t bytes() const {
    return loss + burst_begins * burst_length >= 0.0199 ? 2'000'000 : 10'000'000;
  }
};

const std::vector<trouble>& troubles() {
  static const std::vector<trouble> all = {
      {"none"},
      {"loss 0.1 %", 0.001},
      {"loss 0.5 %", 0.005},
      {"loss 1 %", 0.01},
      {"loss 2 %", 0.02},
      {"loss 3 %", 0.03},
      {"loss 5 %", 0.05},
      {"loss 10 %", 0.1},
      {"late 1 % 1/4", 0, 0, 1, 0.01, 0.25},
      {"late 5 % 1/4", 0, 0, 1, 0.05, 0.25},
      {"late 5 % 1/1", 0, 0, 1, 0.05, 1},
      {"late 2 % 1/4, loss 1 %", 0.01, 0, 1, 0.02, 0.25},
      {"bursts 0.03 % of 3", 0, 0.0003, 3},
      {"bursts 0.1 % of 10", 0, 0.001, 10},
      {"bursts 0.2 % of 10", 0, 0.002, 10},
  };
  return all;
}

path_options plain_path(duration round_trip) {
  path_options out;
  out.rate = 125'000'000;
  out.queue = 512 << 10;
  out.delay = round_trip / 2;
  return out;
}

transfer transfer_of(std::uint32_t rtt_ms, const trouble& met, std::uint32_t buffer_kib) {
  const duration round_trip = 1ms * rtt_ms;
  transfer out;
  out.data = plain_path(round_trip);
  out.data.loss = met.loss;
  out.data.burst_begins = met.burst_begins;
  out.data.burst_ends = 1 / met.burst_length;
  out.data.reorder = met.late;
  out.data.late =
      duration(static_cast<std::int64_t>(static_cast<double>(round_trip.count()) * met.late_by));
  out.acks = out.data;
  out.bytes = met.bytes();
  out.adjust = [buffer_kib](int, host_options& options) {
    options.connection.send_buffer = options.connection.receive_buffer = buffer_kib << 10;
  };
  return out;
}

cell measure(const transfer& what, std::size_t seeds) {
  cell out;
  std::vector<double> rates;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const transfer_result result = run(what, seed);
    rates.push_back(result.megabits_per_second);
    out.timeouts += result.sender.timeouts;
  }
  std::sort(rates.begin(), rates.end());
  out.median = (rates[rates.size() / 2] + rates[(rates.size() - 1) / 2]) / 2;
  out.slowest = rates.front();
  out.fastest = rates.back();
  return out;
}

/// Every cell of the table; `each` measures it.
template <class Each>
void for_each_cell(Each&& each) {
  for (const std::uint32_t rtt_ms : round_trips_ms) {
    for (const trouble& met : troubles()) {
      for (const std::uint32_t buffer_kib : buffers_kib) {
        each(cell_key{rtt_ms, met.name, buffer_kib}, transfer_of(rtt_ms, met, buffer_kib));
      }
    }
  }
}

void write_anew() {
  throughput_table fresh;
  for_each_cell([&](const cell_key& key, const transfer& what) {
    fresh[key] = measure(what, seeds_of_a_cell);
  });
  std::vector<std::string> names;
  for (const trouble& each : troubles()) names.push_back(each.name);
  write_table(table_file, head, names, fresh);
}

}  // namespace

TEST_CASE("sim throughput: every path carries what the table says") {
  if (std::getenv("RUNNEL_UPDATE_TABLE") != nullptr) return write_anew();
  const throughput_table stored = read_table(table_file);
  // A chosen few seeds may be all fast or all slow; and a slow build plays one cell in ten.
  constexpr std::size_t seeds = testing::full_pace ? seeds_of_a_cell : 2;
  constexpr std::size_t stride = testing::full_pace ? 1 : 7;
  double logarithms = 0;
  std::size_t cells = 0;
  std::size_t index = 0;
  for_each_cell([&](const cell_key& key, const transfer& what) {
    if (index++ % stride != 0) return;
    CAPTURE(key.rtt_ms);
    CAPTURE(key.trouble);
    CAPTURE(key.buffer_kib);
    const auto found = stored.find(key);
    REQUIRE_MESSAGE(found != stored.end(), "not in the table, which RUNNEL_UPDATE_TABLE=1 mends");
    const cell& then = found->second;
    const double now = measure(what, seeds).median;
    // Within 15 % of the median, or within what the seeds alone do to it where that is more.
    CHECK(now >= std::min(then.median * 0.85, then.slowest * 0.99));
    CHECK(now <= std::max(then.median * 1.15, then.fastest * 1.01));
    logarithms += std::log(now / then.median);
    ++cells;
  });
  CHECK(index == stored.size());
  // What the seeds do to a cell is nothing over all of them.
  const double mean = std::exp(logarithms / static_cast<double>(cells));
  const double tolerance = testing::full_pace ? 0.03 : 0.15;
  MESSAGE("geometric mean of now / the table: ", mean);
  CHECK(mean > 1 - tolerance);
  CHECK_MESSAGE(mean < 1 + tolerance, "faster than the table: write it anew");
}

TEST_CASE(
    "sim throughput tcp_wmem: a send buffer that follows the window is no slower than a large "
    "one") {
  for (const auto algorithm : {congestion_control::cubic, congestion_control::bbr}) {
    for (const std::uint32_t rtt_ms : {1U, 20U, 100U}) {
      for (const double loss : {0.0, 0.001}) {
        CAPTURE(static_cast<int>(algorithm));
        CAPTURE(rtt_ms);
        CAPTURE(loss);
        const auto with = [&](std::uint32_t send_buffer) {
          transfer what = transfer_of(rtt_ms, {"", loss}, 4096);
          what.adjust = [=](int, host_options& options) {
            options.connection.send_buffer = send_buffer;
            options.connection.receive_buffer = 4 << 20;
            options.connection.congestion_control = algorithm;
          };
          return measure(what, testing::worthwhile(std::size_t{4})).median;
        };
        CHECK(with(0) > with(4 << 20) * 0.95);
      }
    }
  }
}

TEST_CASE("sim throughput RFC 5681: NewReno gets what the square root of the loss rate allows") {
  for (const std::uint32_t rtt_ms : {1U, 20U, 100U}) {
    for (const double loss : {0.002, 0.005, 0.01, 0.02}) {
      CAPTURE(rtt_ms);
      CAPTURE(loss);
      transfer what = transfer_of(rtt_ms, {"", loss}, 4096);
      // Slow start must not count.
      what.bytes = 20'000'000;
      what.acks.loss = 0;
      what.adjust = [](int, host_options& options) {
        options.connection.send_buffer = options.connection.receive_buffer = 4 << 20;
        options.connection.congestion_control = congestion_control::reno;
      };
      const double allowed = 1.22 * 1448 * 8 / 1e3 / rtt_ms / std::sqrt(loss);
      const double got = measure(what, testing::worthwhile(std::size_t{5})).median;
      CHECK(got > allowed * (testing::full_pace ? 0.8 : 0.6));
      CHECK(got < allowed * (testing::full_pace ? 1.3 : 1.6));
    }
  }
}

TEST_CASE("sim throughput: hardly a time-out expires where what follows a loss can tell of it") {
  for (const auto algorithm :
       {congestion_control::cubic, congestion_control::reno, congestion_control::bbr}) {
    for (const std::uint32_t rtt_ms : round_trips_ms) {
      for (const trouble& met : troubles()) {
        if (met.loss > 0.01 || met.burst_length > 3) continue;
        CAPTURE(static_cast<int>(algorithm));
        CAPTURE(rtt_ms);
        CAPTURE(met.name);
        transfer what = transfer_of(rtt_ms, met, 4096);
        const auto buffers = what.adjust;
        what.adjust = [&](int side, host_options& options) {
          buffers(side, options);
          options.connection.congestion_control = algorithm;
          // Where one acknowledgement stands for many, its loss can leave no other way either.
          options.policy.comp_sack_nr = 0;
        };
        // A retransmission that is lost while the window lets nothing follow it leaves no other
        // way.
        CHECK(measure(what, testing::worthwhile(std::size_t{4})).timeouts <= 1);
      }
    }
  }
}
