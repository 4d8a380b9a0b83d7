#include "support/pace.hpp"
#include "transfer.hpp"

// How flows share a bottleneck, in virtual time.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t link_rate = 12'500'000;
constexpr duration round_trip = 20ms;

struct shares {
  /// Jain's index: 1 is all alike, 1 / flows is one that has everything.
  double jain = 0;
  /// Of the link, as payload.
  double used = 0;
};

/// `flows` of CUBIC over a link with a queue of `queue_bdp` bandwidth-delay products.
shares share(std::size_t flows, double queue_bdp, duration warm_up, duration measured,
             std::uint64_t seed) {
  path_options data;
  data.rate = link_rate;
  const double bdp =
      static_cast<double>(link_rate) * std::chrono::duration<double>(round_trip).count();
  data.queue = static_cast<std::uint64_t>(bdp * queue_bdp);
  data.delay = round_trip / 2;
  data.jitter = 1ms;
  path_options acks = data;
  acks.rate = 0;
  network net(seed, data, acks, [](int, host_options& options) {
    options.checksum_offload_tx = options.checksum_offload_rx = true;
    options.connection.send_buffer = options.connection.receive_buffer = 4 << 20;
  });
  bulk_flows all(net, flows, UINT64_MAX);
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < flows; ++i) {
    all.start(i);
    net.drive_for(1ms * static_cast<int>(random() % 100));
  }
  net.drive_for(warm_up);
  std::vector<std::uint64_t> before;
  for (std::size_t i = 0; i < flows; ++i) before.push_back(all[i].bytes_read());
  net.drive_for(measured);
  double sum = 0;
  double squares = 0;
  for (std::size_t i = 0; i < flows; ++i) {
    const auto got = static_cast<double>(all[i].bytes_read() - before[i]);
    sum += got;
    squares += got * got;
  }
  const double seconds = std::chrono::duration<double>(measured).count();
  return {sum * sum / (static_cast<double>(flows) * squares),
          sum / (static_cast<double>(link_rate) * seconds)};
}

}  // namespace

TEST_CASE("sim fairness: 2, 8 and 32 flows of CUBIC share a link evenly and leave none of it") {
  const duration measured = testing::full_pace ? 60s : 12s;
  for (const std::size_t flows : {2U, 8U, 32U}) {
    if (!testing::full_pace && flows == 32) continue;
    CAPTURE(flows);
    const shares got = share(flows, 1, 20s, measured, 1);
    MESSAGE(flows, " flows: Jain's index ", got.jain, ", ", got.used, " of the link");
    CHECK(got.jain >= (testing::full_pace ? 0.95 : 0.8));
    CHECK(got.used > 0.9);
  }
}
