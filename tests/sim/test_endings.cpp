#include "transfer.hpp"

// How connections end after a transfer over a simulated path.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::sim;
using namespace std::chrono_literals;

TEST_CASE("sim BBR: FIN that pacing holds back goes when its time has come") {
  path_options slow;
  slow.rate = 10'000;
  slow.delay = 1ms;
  path_options fast;
  fast.delay = 1ms;
  network net(1, slow, fast, [](int, host_options& options) {
    options.connection.congestion_control = congestion_control::bbr;
  });
  bulk_flows flows(net, 1, 200'000);
  host& client = net[network::client];
  const socket_id sender = flows[0].sender();
  const auto until_acknowledged = [&] {
    while (client.snapshot(sender).value.unacked_bytes > 0) REQUIRE(net.step());
  };
  flows.start(0);
  until_acknowledged();
  // What is sent now is acknowledged long before the rate allows more.
  net.path_from(network::client).change(fast);
  net.drive_for(1s);
  net.on_event = nullptr;
  CHECK(client.send(sender, test::bytes_of(endless_text().substr(0, 1448)), net.now()).value ==
        1448);
  until_acknowledged();
  CHECK(client.shutdown(sender, net.now()) == error::none);
  net.drive_for(1ms);
  CHECK(client.snapshot(sender).value.state == state::fin_wait_1);
  net.drive_for(1s);
  CHECK(client.snapshot(sender).value.state == state::fin_wait_2);
}
