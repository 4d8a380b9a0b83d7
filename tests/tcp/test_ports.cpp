#include <set>

#include "host_pair.hpp"
#include "raw_peer.hpp"

// Local ports and addresses: what connect chooses, what listen takes, and who gets a SYN.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const auto remote_a = net::endpoint{test_address(10, 0, 0, 1), 80};
const auto remote_b = net::endpoint{test_address(10, 0, 0, 9), 80};

/// A host with two addresses and ten local ports.
struct small_host {
  explicit small_host(std::uint16_t first = 5000, std::uint16_t last = 5009)
      : engine(make(first, last)) {}
  static host_options make(std::uint16_t first, std::uint16_t last) {
    host_options options;
    options.addresses = {test_address(10, 0, 0, 2), test_address(10, 0, 0, 3)};
    options.keys = keys_from(1);
    options.policy.local_port_first = first;
    options.policy.local_port_last = last;
    return options;
  }
  outcome<socket_id> connect(const net::endpoint& to, const net::endpoint& from = {}) {
    connect_options options;
    options.local = from;
    return engine.connect(to, options, 1, now);
  }
  std::uint16_t port_of(socket_id id) { return engine.snapshot(id).value.local.port; }

  time_point now = time_point(1000s);
  host engine;
};

}  // namespace

TEST_CASE("tcp ports: connect takes each port of the range once, then there is none") {
  small_host local;
  std::set<std::uint16_t> seen;
  std::vector<socket_id> sockets;
  for (int i = 0; i < 10; ++i) {
    const auto made = local.connect(remote_a);
    REQUIRE(made);
    sockets.push_back(made.value);
    const std::uint16_t port = local.port_of(made.value);
    CHECK(port >= 5000);
    CHECK(port <= 5009);
    CHECK(seen.insert(port).second);
  }
  CHECK(local.connect(remote_a).error == error::address_not_available);
  // S07: the limit is for each destination.
  CHECK(local.connect(remote_b));
  CHECK(local.connect({remote_a.address, 81}));
  local.engine.release(sockets[3], local.now);
  CHECK(local.connect(remote_a));
}

TEST_CASE("tcp ports: the range may be one port, or all of them") {
  small_host one(7000, 7000);
  CHECK(one.port_of(one.connect(remote_a).value) == 7000);
  CHECK(one.connect(remote_a).error == error::address_not_available);
  small_host all(1, 65535);
  for (int i = 0; i < 100; ++i) CHECK(all.connect(remote_a));
}

TEST_CASE("tcp ports: what is chosen differs by destination and by secret (RFC 6056)") {
  std::set<std::uint16_t> seen;
  for (std::uint8_t i = 1; i <= 20; ++i) {
    small_host local(1024, 65535);
    seen.insert(local.port_of(local.connect({test_address(10, 0, 1, i), 80}).value));
  }
  CHECK(seen.size() >= 18);
}

TEST_CASE("tcp S88 ports: TIME-WAIT keeps its port for its destination until it is over") {
  connected_pair pair(1, {}, [](int, host_options& options) {
    options.policy.local_port_first = 5000;
    options.policy.local_port_last = 5000;
    options.policy.timestamps = false;
  });
  pair.establish();
  pair.close(0);
  pair.close(1);
  pair.drive_for(100ms);
  CHECK(pair[0].memory().time_wait == 1);
  const net::endpoint server{pair.address(1), 80};
  CHECK(pair[0].connect(server, {}, 1, pair.now()).error == error::address_not_available);
  CHECK(pair[0].counters().local_ports_exhausted == 1);
  connect_options fixed;
  fixed.local.port = 5000;
  CHECK(pair[0].connect(server, fixed, 1, pair.now()).error == error::address_in_use);
  pair.drive_for(60s);
  const auto again = pair[0].connect(server, {}, 1, pair.now());
  CHECK(again);
  pair[0].release(again.value, pair.now());
}

TEST_CASE("tcp ports: an explicit local endpoint is used as it is") {
  small_host local;
  const net::endpoint from{test_address(10, 0, 0, 3), 1234};
  const auto made = local.connect(remote_a, from);
  REQUIRE(made);
  CHECK(local.engine.snapshot(made.value).value.local == from);
  CHECK(local.connect(remote_a, from).error == error::address_in_use);
  CHECK(local.connect(remote_b, from));
  CHECK(local.connect(remote_a, {test_address(10, 0, 0, 2), 1234}));
}

TEST_CASE("tcp ports: connect refuses what cannot be") {
  small_host local;
  CHECK(local.connect({remote_a.address, 0}).error == error::invalid_argument);
  for (const char* bad :
       {"0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:10.0.0.1"}) {
    const auto to = *net::address::parse(bad);
    CHECK(local.connect({to, 80}).error == error::invalid_argument);
  }
  CHECK(local.connect(remote_a, {test_address(10, 0, 0, 77), 0}).error ==
        error::address_not_available);
  connect_options bad;
  bad.policy.ttl = 0;
  CHECK(local.engine.connect(remote_a, bad, 1, local.now).error == error::invalid_argument);
  CHECK(local.engine.memory().connections == 0);
  CHECK(local.engine.poll_transmit(local.now) == nullptr);
}

TEST_CASE("tcp ports: one listener for each address and port") {
  small_host local;
  const auto first = test_address(10, 0, 0, 2);
  const auto second = test_address(10, 0, 0, 3);
  const auto a = local.engine.listen({first, 80}, {}, 1);
  CHECK(a);
  CHECK(local.engine.listen({first, 80}, {}, 1).error == error::address_in_use);
  CHECK(local.engine.listen({second, 80}, {}, 1));
  CHECK(local.engine.listen({first, 81}, {}, 1));
  CHECK(local.engine.listen({test_address(10, 0, 0, 77), 80}, {}, 1).error ==
        error::address_not_available);
  CHECK(local.engine.close_listener(a.value, local.now) == error::none);
  CHECK(local.engine.close_listener(a.value, local.now) == error::bad_handle);
  CHECK(local.engine.accept(a.value, 1).error == error::bad_handle);
  CHECK(local.engine.set_backlog(a.value, 1) == error::bad_handle);
  const auto again = local.engine.listen({first, 80}, {}, 1);
  CHECK(again);
  CHECK(again.value != a.value);
}

TEST_CASE("tcp ports: a listener for every address is one, however that is written") {
  small_host local;
  CHECK(local.engine.listen({{}, 80}, {}, 1));
  for (const auto family : {net::family::v4, net::family::v6}) {
    const auto any = net::address::any(family);
    CHECK(local.engine.listen({any, 80}, {}, 1).error == error::address_in_use);
  }
}

TEST_CASE("tcp ports: listen on port 0 takes a free one, until there is none") {
  small_host local(5000, 5001);
  CHECK(local.engine.listener(local.engine.listen({{}, 0}, {}, 1).value).value.local.port == 5000);
  CHECK(local.engine.listener(local.engine.listen({{}, 0}, {}, 1).value).value.local.port == 5001);
  CHECK(local.engine.listen({{}, 0}, {}, 1).error == error::address_not_available);
}

TEST_CASE("tcp ports: a SYN goes to the listener of its address before the one of all") {
  raw_peer peer;
  peer.listen();
  const auto exact = peer.engine().listen({peer.host_address(), 80}, {}, 7);
  REQUIRE(exact);
  peer.send_syn();
  CHECK(peer.engine().listener(exact.value).value.syn_queue == 1);
  CHECK(peer.engine().listener(peer.listener).value.syn_queue == 0);
  peer.engine().close_listener(exact.value, peer.now());
  peer.peer_port = 2;
  peer.send_syn();
  CHECK(peer.engine().listener(peer.listener).value.syn_queue == 1);
}

TEST_CASE("tcp ports: a handle of another generation is no handle") {
  raw_peer peer;
  peer.establish();
  const socket_id old = peer.socket;
  peer.close(close_mode::abort);
  peer.engine().release(old, peer.now());
  peer.forget();
  peer.peer_port = 9;
  peer.send_syn();
  peer.send({});
  peer.accept();
  CHECK(peer.socket.index == old.index);
  CHECK(peer.socket.generation != old.generation);
  CHECK(peer.engine().send(old, bytes_of("x"), peer.now()).error == error::bad_handle);
  CHECK(peer.engine().close(old, close_mode::abort, peer.now()) == error::bad_handle);
  CHECK(peer.engine().shutdown(old, peer.now()) == error::bad_handle);
  CHECK(peer.engine().pending_error(old) == error::bad_handle);
  CHECK(peer.engine().set_token(old, 1) == error::bad_handle);
  CHECK(peer.engine().set_nodelay(old, true) == error::bad_handle);
  peer.engine().release(old, peer.now());
  CHECK(peer.current() == state::established);
}

TEST_CASE("tcp host: impossible options are refused with one sentence that names the field") {
  const auto complaint = [](auto&& change) {
    host_options options;
    options.addresses = {test_address(10, 0, 0, 2)};
    change(options);
    try {
      host refused(std::move(options));
    } catch (const std::invalid_argument& bad) {
      return std::string(bad.what());
    }
    return std::string();
  };
  CHECK(complaint([](host_options&) {}).empty());
  CHECK(!complaint([](host_options& o) { o.addresses.clear(); }).empty());
  CHECK(!complaint([](host_options& o) { o.addresses.push_back(o.addresses[0]); }).empty());
  CHECK(!complaint([](host_options& o) {
           o.addresses = {net::address::any(net::family::v4)};
         }).empty());
  CHECK(complaint([](host_options& o) { o.mtu = 100; }).find("MTU") != std::string::npos);
  CHECK(complaint([](host_options& o) { o.policy.local_port_last = 5; }).find("local_port_last") !=
        std::string::npos);
  CHECK(complaint([](host_options& o) { o.connection.receive_buffer = 1; }).find("2304") !=
        std::string::npos);
}
