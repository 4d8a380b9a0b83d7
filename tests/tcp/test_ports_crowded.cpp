#include <map>
#include <set>

#include "host_pair.hpp"

// Local ports towards a place that is short of them: finding one, or knowing that there is none,
// takes few look-ups. They are counted (RunnelLocalPortProbes), not timed.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const auto near_by = net::endpoint{test_address(10, 0, 0, 1), 80};
/// The survey of one call, the blind tries before it, and the port itself.
constexpr std::uint64_t few_probes = 32 + 9 + 2;

/// A host that only asks for ports: nobody answers it.
struct asking_host {
  explicit asking_host(std::uint16_t first = 32768, std::uint16_t last = 60999,
                       std::uint64_t seed = 1)
      : engine(make(first, last, seed)) {}
  static host_options make(std::uint16_t first, std::uint16_t last, std::uint64_t seed) {
    host_options options;
    options.addresses = {test_address(10, 0, 0, 2)};
    options.keys = keys_from(seed);
    options.policy.local_port_first = first;
    options.policy.local_port_last = last;
    return options;
  }
  /// The port, 0 when there is none; `probes` grows to the most look-ups that one call took.
  std::uint16_t connect(const net::endpoint& to, std::uint16_t port = 0) {
    connect_options options;
    options.local.port = port;
    const std::uint64_t before = engine.counters().local_port_probes;
    const auto made = engine.connect(to, options, 1, now);
    probes = std::max(probes, engine.counters().local_port_probes - before);
    if (!made) return 0;
    const std::uint16_t got = engine.snapshot(made.value).value.local.port;
    sockets[{to.port, got}] = made.value;
    return got;
  }
  void release(const net::endpoint& to, std::uint16_t port) {
    const auto found = sockets.find({to.port, port});
    engine.release(found->second, now);
    sockets.erase(found);
  }

  time_point now = time_point(1000s);
  host engine;
  std::map<std::pair<std::uint16_t, std::uint16_t>, socket_id> sockets;
  std::uint64_t probes = 0;
};

}  // namespace

TEST_CASE(
    "tcp S07 S88 ports: 28,232 for each destination, and few look-ups for every one of them") {
  asking_host local;
  std::set<std::uint16_t> seen;
  for (int i = 0; i < 28'232; ++i) {
    const std::uint16_t port = local.connect(near_by);
    REQUIRE(port != 0);
    REQUIRE(seen.insert(port).second);
  }
  CHECK(local.probes <= few_probes);
  // The port itself, the map's survey, and the tries before there is a map.
  CHECK(local.engine.counters().local_port_probes < 3 * 28'232);
  for (int i = 0; i < 10; ++i) CHECK(local.connect(near_by) == 0);
  CHECK(local.engine.counters().local_ports_exhausted == 10);
  CHECK(local.connect({near_by.address, 81}) != 0);
  local.release(near_by, 40'000);
  CHECK(local.connect(near_by) == 40'000);
  CHECK(local.connect(near_by) == 0);
  CHECK(local.probes <= few_probes);
}

TEST_CASE("tcp S88 ports: knowing that none is left takes no look-up at all") {
  asking_host local;
  while (local.connect(near_by) != 0) {
  }
  local.probes = 0;
  for (int i = 0; i < 100; ++i) CHECK(local.connect(near_by) == 0);
  CHECK(local.probes == 0);
}

TEST_CASE(
    "tcp S88 ports: the last of 64,512 ports is found at once, in whatever order they leave") {
  asking_host local(1024, 65535);
  while (local.connect(near_by) != 0) {
  }
  CHECK(local.sockets.size() == 64'512);
  CHECK(local.probes <= few_probes);
  local.probes = 0;
  std::mt19937_64 random(7);
  for (int i = 0; i < 1000; ++i) {
    const auto port = static_cast<std::uint16_t>(1024 + random() % 64'512);
    local.release(near_by, port);
    CHECK(local.connect(near_by) == port);
    CHECK(local.connect(near_by) == 0);
  }
  CHECK(local.probes <= 1);
}

TEST_CASE("tcp ports: a range that was used up by name is known too") {
  asking_host local;
  for (std::uint32_t port = 32768; port <= 60999; ++port) {
    if (port != 50'000) REQUIRE(local.connect(near_by, static_cast<std::uint16_t>(port)) == port);
  }
  CHECK(local.connect(near_by) == 50'000);
  CHECK(local.connect(near_by) == 0);
  CHECK(local.probes <= few_probes);
}

TEST_CASE("tcp ports: ports that lie side by side are stepped over") {
  asking_host local;
  // A third of the range is held, and the counter comes round to it again and again.
  std::vector<std::uint16_t> held;
  for (int i = 0; i < 9'400; ++i) held.push_back(local.connect(near_by));
  local.probes = 0;
  const std::uint64_t before = local.engine.counters().local_port_probes;
  for (int i = 0; i < 60'000; ++i) {
    const std::uint16_t port = local.connect(near_by);
    REQUIRE(port != 0);
    local.release(near_by, port);
  }
  CHECK(local.probes <= few_probes);
  CHECK(local.engine.counters().local_port_probes - before < 60'000 * 5 / 2);
}

TEST_CASE("tcp ports: a change of the range holds at once") {
  asking_host local(5000, 5099);
  for (int i = 0; i < 100; ++i) CHECK(local.connect(near_by) != 0);
  CHECK(local.connect(near_by) == 0);
  stack_policy policy = local.engine.policy();
  policy.local_port_last = 5199;
  CHECK(local.engine.set_policy(policy) == error::none);
  for (int i = 0; i < 100; ++i) CHECK(local.connect(near_by) >= 5100);
  CHECK(local.connect(near_by) == 0);
  policy.local_port_first = 6000;
  policy.local_port_last = 6000;
  CHECK(local.engine.set_policy(policy) == error::none);
  CHECK(local.connect(near_by) == 6000);
}

TEST_CASE("tcp ports: chosen, named and released at random, they are what a plain set says") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    constexpr std::uint16_t first = 7000;
    const auto count = static_cast<std::uint16_t>(40 + seed * 20);
    asking_host local(first, static_cast<std::uint16_t>(first + count - 1), seed);
    std::mt19937_64 random(seed);
    std::map<std::uint16_t, std::vector<std::uint16_t>> model;
    std::uint64_t refused = 0;
    for (int step = 0; step < 6000; ++step) {
      const net::endpoint to{near_by.address, static_cast<std::uint16_t>(80 + random() % 3)};
      auto& used = model[to.port];
      const bool grows = (step / 1000) % 2 == 0;
      const std::uint64_t dice = random() % 10;
      if (dice < (grows ? 7U : 2U)) {
        const std::uint16_t port = local.connect(to);
        CHECK((port == 0) == (used.size() == count));
        if (port == 0) {
          ++refused;
          continue;
        }
        CHECK(std::find(used.begin(), used.end(), port) == used.end());
        used.push_back(port);
      } else if (dice < (grows ? 8U : 3U)) {
        const auto port = static_cast<std::uint16_t>(first + random() % count);
        const bool taken = std::find(used.begin(), used.end(), port) != used.end();
        CHECK((local.connect(to, port) == 0) == taken);
        if (!taken) used.push_back(port);
      } else if (!used.empty()) {
        std::swap(used[random() % used.size()], used.back());
        local.release(to, used.back());
        used.pop_back();
      }
    }
    CHECK(local.engine.counters().local_ports_exhausted == refused);
  }
}

TEST_CASE("tcp ports: a listener in the range whose clients take its port is no harm") {
  asking_host local(5000, 5199);
  CHECK(local.engine.listen({{}, 5050}, {}, 1));
  for (int i = 0; i < 150; ++i) CHECK(local.connect(near_by) != 0);
  const bool taken = local.sockets.count({80, std::uint16_t{5050}}) != 0;
  if (taken) local.release(near_by, 5050);
  net::packet_pool pool;
  wire::tcp_header syn;
  syn.flags = wire::tcp_flag::syn;
  local.engine.on_packet(make_packet(pool, near_by, {test_address(10, 0, 0, 2), 5050}, syn),
                         local.now);
  CHECK(local.engine.memory().half_open == 1);
  while (local.connect(near_by) != 0) {
  }
  CHECK(local.sockets.size() == 199);
  CHECK(local.sockets.count({80, std::uint16_t{5050}}) == 0);
  // The half-open entry goes.
  syn.flags = wire::tcp_flag::rst;
  syn.seq = 1;
  local.engine.on_packet(make_packet(pool, near_by, {test_address(10, 0, 0, 2), 5050}, syn),
                         local.now);
  CHECK(local.engine.memory().half_open == 0);
  CHECK(local.connect(near_by) == 5050);
}

namespace {

/// A pair whose client has a connection made and closed from its side, many at a time.
struct churn : host_pair {
  churn(std::uint16_t ports, tw_reuse reuse)
      : host_pair(3, {}, [=](int side, host_options& options) {
          if (side == server) return;
          options.policy.local_port_first = 10'000;
          options.policy.local_port_last = static_cast<std::uint16_t>(10'000 + ports - 1);
          options.policy.tw_reuse = reuse;
        }) {
    keep_trace = false;
    delivered = [this](const seen_packet& seen) {
      if (seen.from == server && seen.flags().find('F') != std::string::npos) {
        last_fin[seen.tcp.destination_port] = seen.tcp;
      }
    };
    listener = (*this)[server].listen({{}, 80}, {}, 1).value;
  }
  /// Starts that many, finishes them, closes them from the client; how many got a port.
  int round(int wanted) {
    std::vector<socket_id> ends;
    for (int i = 0; i < wanted; ++i) {
      const auto made = (*this)[client].connect({address(server), 80}, {}, 2, now());
      if (made) ends.push_back(made.value);
    }
    return finish(ends);
  }
  /// The same with these ports.
  int round_named(std::uint16_t first, int wanted) {
    std::vector<socket_id> ends;
    for (int i = 0; i < wanted; ++i) {
      connect_options options;
      options.local.port = static_cast<std::uint16_t>(first + i);
      const auto made = (*this)[client].connect({address(server), 80}, options, 2, now());
      if (made) ends.push_back(made.value);
    }
    return finish(ends);
  }
  /// Whether there is a port for one more; it is kept, and its SYN is lost.
  bool connect_and_drop() {
    filter = [](const seen_packet&) { return false; };
    const auto made = (*this)[client].connect({address(server), 80}, {}, 2, now());
    flush();
    filter = nullptr;
    return made.error == error::none;
  }
  /// What the server says when the last acknowledgement was lost.
  void repeat_fin(std::uint16_t port) {
    wire::tcp_header tcp = last_fin.at(port);
    tcp.checksum = 0;
    // The server knows of no connection any more, and would answer with RST.
    filter = [](const seen_packet&) { return false; };
    inject(client, {address(server), 80}, {address(client), port}, tcp);
    filter = nullptr;
  }
  int finish(const std::vector<socket_id>& ends) {
    drive_for(10ms);
    for (const socket_id id : ends) (*this)[client].release(id, now());
    drive_for(5ms);
    for (;;) {
      const auto taken = (*this)[server].accept(listener, 3);
      if (!taken) break;
      (*this)[server].release(taken.value, now());
    }
    drive_for(5ms);
    return static_cast<int>(ends.size());
  }
  socket_id listener;
  std::map<std::uint16_t, wire::tcp_header> last_fin;
};

}  // namespace

TEST_CASE("tcp S88 ports: 60 s of TIME-WAIT bound the connections a second to one destination") {
  CHECK(stack_policy().local_port_last - stack_policy().local_port_first + 1 == 28'232);
  CHECK(28'232 / 60 == 470);
  // The same with 620 ports: ten a second go on for ever, eleven do not.
  churn pair(620, tw_reuse::loopback);
  for (int second = 0; second < 130; ++second) {
    CHECK(pair.round(second < 125 ? 10 : 0) == (second < 125 ? 10 : 0));
    pair.drive_for(980ms);
  }
  CHECK(pair[0].counters().local_ports_exhausted == 0);
  churn faster(620, tw_reuse::loopback);
  int made = 0;
  for (int second = 0; second < 125; ++second) {
    made += faster.round(11);
    faster.drive_for(980ms);
  }
  CHECK(made < 125 * 11);
  CHECK(made >= 1240);
  CHECK(faster[0].counters().local_ports_exhausted > 0);
}

TEST_CASE("tcp S88 S90 ports: with tw_reuse on the same ports serve again after a second") {
  churn pair(600, tw_reuse::on);
  int made = 0;
  for (int second = 0; second < 20; ++second) {
    made += pair.round(290);
    pair.drive_for(980ms);
  }
  CHECK(made == 20 * 290);
  CHECK(pair[0].counters().tw_recycled >= 20 * 290 - 600);
  CHECK(pair[0].counters().local_ports_exhausted == 0);
  CHECK(pair[0].counters().local_port_probes < 20 * 290 * 5);
}

TEST_CASE("tcp S90 ports: one that may be used again is found, wherever it lies among young ones") {
  constexpr std::uint16_t ports = 400;
  churn pair(ports, tw_reuse::on);
  // The upper half is old when the lower half has only just entered TIME-WAIT.
  CHECK(pair.round_named(10'200, 200) == 200);
  pair.drive_for(900ms);
  CHECK(pair.round_named(10'000, 200) == 200);
  pair.drive_for(100ms);
  const auto may_connect = [&](int wanted) {
    int got = 0;
    while (got < wanted && pair.connect_and_drop()) ++got;
    return got;
  };
  const std::uint64_t before = pair[0].counters().local_port_probes;
  CHECK(may_connect(200) == 200);
  CHECK(may_connect(10) == 0);
  pair.drive_for(900ms);
  CHECK(may_connect(200) == 200);
  CHECK(may_connect(10) == 0);
  CHECK(pair[0].counters().local_port_probes - before < 2000);
}

TEST_CASE("tcp S90 ports: TIME-WAIT that a repeated FIN has started anew is young again") {
  churn pair(100, tw_reuse::on);
  CHECK(pair.round_named(10'000, 100) == 100);
  pair.drive_for(900ms);
  for (std::uint16_t port = 10'000; port < 10'050; ++port) pair.repeat_fin(port);
  pair.drive_for(150ms);
  int got = 0;
  while (got < 100 && pair.connect_and_drop()) ++got;
  CHECK(got == 50);
  pair.drive_for(900ms);
  while (got < 150 && pair.connect_and_drop()) ++got;
  CHECK(got == 100);
}

TEST_CASE("tcp S89 ports: a listener needs no port of its own for a connection") {
  connected_pair pair(1, {}, [](int side, host_options& options) {
    if (side == host_pair::client) return;
    options.policy.local_port_first = 5000;
    options.policy.local_port_last = 5000;
  });
  pair.keep_trace = false;
  pair.listen();
  std::vector<socket_id> ends;
  for (int i = 0; i < 500; ++i) {
    ends.push_back(pair[0].connect({pair.address(1), 80}, {}, 2, pair.now()).value);
  }
  pair.drive_for(20ms);
  CHECK(pair[1].counters().curr_estab == 500);
  for (int i = 0; i < 500; ++i) {
    const auto taken = pair[1].accept(pair.listener, 3);
    REQUIRE(taken);
    CHECK(pair[1].snapshot(taken.value).value.local.port == 80);
    pair[1].release(taken.value, pair.now());
  }
  for (const socket_id id : ends) pair[0].release(id, pair.now());
}
