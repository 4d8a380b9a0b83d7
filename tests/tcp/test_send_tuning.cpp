#include "host_pair.hpp"
#include "loss_peer.hpp"

// The send buffer follows the window: net.ipv4.tcp_wmem, SO_SNDBUF, and when a writer is told of
// room (Linux's tcp_sndbuf_expand, tcp_check_space and sk_stream_is_writeable).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// What Linux reckons with for a segment of 1460 bytes: a block of 4096 and an sk_buff.
constexpr std::uint32_t segment_cost = 4096 + 256;

/// Writes whenever there is room and reads at once, until so much has been read.
void stream(connected_pair& pair, std::size_t bytes) {
  const std::string text = numbered_text(256 << 10);
  std::size_t got = 0;
  const auto write = [&] {
    while (pair.send(0, text) > 0) {
    }
  };
  write();
  while (got < bytes) {
    REQUIRE(pair.step());
    if (pair.reported(0, events::writable)) {
      pair.events_of(0).clear();
      write();
    }
    got += pair.receive(1).size();
  }
}

std::function<void(int, host_options&)> large_receiver(
    const std::function<void(host_options&)>& sender = {}) {
  return [sender](int side, host_options& options) {
    options.connection.receive_buffer = 16U << 20;
    if (side == 0 && sender) sender(options);
  };
}

}  // namespace

TEST_CASE(
    "tcp_wmem: a connection begins with the default and has two initial windows when it is open") {
  raw_peer peer;
  peer.connect();
  CHECK(peer.look().send_buffer == 16'384);
  peer.expect({flags("S")});
  peer.send({flags("SA"), mss(1460)});
  peer.forget();
  CHECK(peer.look().send_buffer == 2 * 10 * segment_cost);
  CHECK(peer.engine().get(peer.socket, "SO_SNDBUF") == "87040");
}

TEST_CASE(
    "tcp_wmem: the buffer grows with the window while the writer waits for it, up to the most") {
  for (const std::uint32_t most : {4U << 20, 300'000U}) {
    CAPTURE(most);
    connected_pair pair(1, {.latency = 10ms}, large_receiver([most](host_options& options) {
                          options.policy.wmem_max = most;
                        }));
    pair.establish();
    stream(pair, 8 << 20);
    const snapshot now = pair.look(0);
    if (most == 300'000) {
      CHECK(now.send_buffer == most);
    } else {
      CHECK(now.send_buffer > 1'000'000);
      CHECK(now.send_buffer <= most);
    }
    CHECK(now.send_held_bytes <= now.send_buffer + 70'000);
  }
}

TEST_CASE("tcp_wmem: BBR has room for three windows, the others for two") {
  for (const congestion_control control : {congestion_control::cubic, congestion_control::bbr}) {
    raw_peer peer([&](host_options& options) { options.connection.congestion_control = control; });
    peer.establish();
    const std::uint32_t windows = control == congestion_control::bbr ? 3 : 2;
    CHECK(peer.look().send_buffer == windows * 10 * segment_cost);
  }
}

TEST_CASE("tcp_wmem: the buffer does not grow where the window is full, nor where nobody waits") {
  loss_peer peer;
  peer.open({});
  const std::uint32_t first = peer.look().send_buffer;
  // Little is written: the window grows, the buffer need not.
  for (int i = 0; i < 5; ++i) {
    peer.write_segments(peer.look().snd_cwnd_bytes / peer.size > 12 ? 12 : 10);
    peer.run_for(peer.rtt);
    peer.send({});
  }
  CHECK(peer.look().send_buffer == first);
  // What is queued fills the window.
  peer.forget();
  while (peer.write(numbered_text(100'000)) > 0) {
  }
  CHECK(peer.look().send_buffer == first);
}

TEST_CASE("SO_SNDBUF: what the user has set does not grow, and holds at once") {
  connected_pair pair(1, {.latency = 10ms}, large_receiver());
  pair.establish();
  CHECK(pair[0].set(pair.client_socket, "SO_SNDBUF", "25000") == "");
  CHECK(pair.look(0).send_buffer == 50'000);
  stream(pair, 2 << 20);
  CHECK(pair.look(0).send_buffer == 50'000);
  CHECK(pair.look(0).send_held_bytes <= 50'000 + 17'000);
  // Taken back it grows.
  CHECK(pair[0].set(pair.client_socket, "SO_SNDBUF", "default") == "");
  CHECK(pair.look(0).send_buffer >= 50'000);
  stream(pair, 2 << 20);
  CHECK(pair.look(0).send_buffer > 87'040);
}

TEST_CASE("SO_SNDBUF: a listener's is its children's, and a stack's default is everybody's") {
  connected_pair pair(1, {}, [](int side, host_options& options) {
    if (side == 0) options.connection.send_buffer = 30'000;
  });
  listener_policy policy;
  policy.connection.send_buffer = 40'000;
  pair.establish({}, policy);
  CHECK(pair.look(0).send_buffer == 30'000);
  CHECK(pair.look(1).send_buffer == 40'000);
}

TEST_CASE("tcp send room: a writer is told when a third of the buffer is free, not before") {
  loss_peer peer([](host_options& options) { options.connection.send_buffer = 60'000; });
  peer.open({});
  const std::size_t taken = peer.write(numbered_text(200'000));
  CHECK(taken >= 50'000);
  CHECK(taken <= 62'000);
  peer.reported = events::none;
  const auto writable = [&] {
    const bool ready = any(peer.engine().readiness(peer.socket) & events::writable);
    CHECK(ready == any(peer.reported & events::writable));
    return ready;
  };
  std::uint32_t acked = 0;
  while (!writable()) {
    REQUIRE(acked < taken);
    CHECK(peer.look().send_held_bytes * 3 > 2 * 60'000);
    peer.run_for(1ms);
    peer.send({ack(1 + (acked += peer.size))});
  }
  CHECK(peer.look().send_held_bytes * 3 <= 2 * 60'000);
  CHECK(acked >= 16'000);
  CHECK(peer.write(numbered_text(200'000)) > 0);
}

TEST_CASE("tcp send room: who was told that nothing fits is told later, whatever he wrote before") {
  loss_peer peer([](host_options& options) { options.connection.send_buffer = 60'000; });
  peer.open({});
  // All of it was taken; a poll finds no room.
  CHECK(peer.write(numbered_text(50'000)) == 50'000);
  peer.reported = events::none;
  CHECK(!any(peer.engine().readiness(peer.socket) & events::writable));
  for (std::uint32_t acked = 0; acked < 50'000; acked += peer.size) {
    peer.run_for(1ms);
    peer.send({ack(1 + std::min<std::uint32_t>(acked + peer.size, 50'000))});
  }
  CHECK(any(peer.reported & events::writable));
}

TEST_CASE("tcp_wmem: the least is to be had under memory pressure, and no buffer grows then") {
  raw_peer peer([](host_options& options) {
    options.policy.memory_limit = 1 << 20;
    options.policy.wmem_min = 20'000;
  });
  peer.listen();
  std::vector<socket_id> all;
  for (std::uint16_t i = 0; i < 12; ++i) {
    peer.peer_port = static_cast<std::uint16_t>(41'000 + i);
    peer.send_syn();
    peer.send({});
    peer.accept();
    all.push_back(peer.socket);
  }
  peer.forget();
  while (true) {
    std::size_t taken = 0;
    for (const socket_id each : all) {
      taken += peer.engine().send(each, bytes_of(numbered_text(100'000)), peer.now()).value;
    }
    if (taken == 0) break;
  }
  CHECK(peer.count().memory_pressures > 0);
  for (const socket_id each : all) {
    const snapshot now = peer.engine().snapshot(each).value;
    CHECK(now.send_buffer == 2 * 10 * segment_cost);
    CHECK(now.send_held_bytes >= 20'000);
    peer.engine().close(each, close_mode::abort, peer.now());
    peer.engine().release(each, peer.now());
  }
  peer.flush();
}

TEST_CASE("tcp_mem: what is in flight is counted besides the bytes, and given back") {
  loss_peer peer;
  peer.open({});
  CHECK(peer.engine().memory().flight_bytes == 0);
  // Small segments, each of which left on its own.
  peer.engine().set_nodelay(peer.socket, true);
  for (int i = 0; i < 100; ++i) {
    peer.write("x");
    peer.run_for(1us);
  }
  peer.forget();
  const std::size_t used = peer.engine().memory().flight_bytes;
  CHECK(used >= 10 * 64);
  CHECK(used <= 100 * 128 + 512);
  CHECK(peer.engine().memory().held_bytes > used);
  while (peer.look().unacked_bytes > 0) {
    peer.send({});
    peer.run_for(1ms);
  }
  peer.run_for(2s);
  CHECK(peer.engine().memory().flight_bytes == 0);
}

TEST_CASE("tcp_mem: many small segments in flight bring memory pressure by what they cost") {
  raw_peer peer([](host_options& options) {
    options.policy.memory_limit = 1 << 20;
    options.connection.nodelay = true;
    options.connection.slow_start = slow_start::standard;
  });
  peer.listen();
  std::vector<socket_id> all;
  for (std::uint16_t i = 0; i < 100; ++i) {
    peer.peer_port = static_cast<std::uint16_t>(41'000 + i);
    peer.send_syn({mss(88)});
    peer.send({});
    peer.accept();
    all.push_back(peer.socket);
  }
  std::size_t most = 0;
  for (int round = 0; round < 130; ++round) {
    for (const socket_id each : all) {
      static_cast<void>(peer.engine().send(each, bytes_of("x"), peer.now()));
    }
    peer.flush();
    peer.forget();
    peer.run_for(1us);
    const memory_table now = peer.engine().memory();
    most = std::max(most, now.flight_bytes);
    CHECK(now.buffer_bytes + now.flight_bytes <= (1 << 20) + 100 * 512);
  }
  CHECK(most > 500'000);
  CHECK(peer.count().memory_pressures > 0);
  for (const socket_id each : all) {
    peer.engine().close(each, close_mode::abort, peer.now());
    peer.engine().release(each, peer.now());
  }
  peer.flush();
  CHECK(peer.engine().memory().flight_bytes == 0);
}
