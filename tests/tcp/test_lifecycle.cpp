#include <doctest/doctest.h>

#include "host_pair.hpp"
#include "runnel/wire/checksum.hpp"

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE(
    "tcp S10 handshake: three segments with Linux's options bring both sides to ESTABLISHED") {
  connected_pair pair;
  pair.listen();
  pair.connect();
  pair.drive_for(10ms);
  REQUIRE(pair.trace.size() == 3);
  CHECK(pair.trace[0].flags() == "S");
  CHECK(pair.trace[0].tcp.options.mss == 1460);
  CHECK(pair.trace[0].tcp.options.window_scale.has_value());
  CHECK(pair.trace[0].tcp.options.timestamp.has_value());
  CHECK(pair.trace[1].flags() == "SA");
  CHECK(pair.trace[1].tcp.ack == pair.trace[0].tcp.seq + 1);
  CHECK(pair.trace[2].flags() == "A");
  CHECK(pair.trace[2].tcp.ack == pair.trace[1].tcp.seq + 1);
  CHECK(pair.client_state() == state::established);
  pair.accept();
  CHECK(pair.server_state() == state::established);
}

TEST_CASE("tcp S54 close: four segments, TIME-WAIT for the one who closed first and for 60 s") {
  connected_pair pair;
  pair.establish();
  pair[pair.client].close(pair.client_socket, close_mode::graceful, pair.now());
  pair.drive_for(5ms);
  CHECK(pair.client_state() == state::fin_wait_2);
  CHECK(pair.server_state() == state::close_wait);
  pair[pair.server].close(pair.server_socket, close_mode::graceful, pair.now());
  pair.drive_for(5ms);
  CHECK(pair.client_state() == state::closed);
  CHECK(pair.server_state() == state::closed);
  CHECK(pair[pair.client].snapshot(pair.client_socket).value.ended == end_reason::clean);
  CHECK(pair[pair.client].memory().time_wait == 1);
  CHECK(pair[pair.server].memory().time_wait == 0);
  pair[pair.client].release(pair.client_socket, pair.now());
  pair[pair.server].release(pair.server_socket, pair.now());
  pair.drive_for(59s);
  CHECK(pair[pair.client].memory().time_wait == 1);
  pair.drive_for(2s);
  CHECK(pair[pair.client].memory().time_wait == 0);
  CHECK(pair[pair.client].memory().connections == 0);
  CHECK(pair[pair.server].memory().connections == 0);
}

TEST_CASE("tcp engine: a write followed by close leaves as one segment with FIN") {
  connected_pair pair;
  pair.establish();
  CHECK(pair[pair.server].send(pair.server_socket, bytes_of("hello"), pair.now()).value == 5);
  pair[pair.server].close(pair.server_socket, close_mode::graceful, pair.now());
  pair.drive_for(5ms);
  CHECK(pair.trace[0].flags() == "FPA");
  CHECK(pair.trace[0].length == 5);
  CHECK(receive_all(pair[0], pair.client_socket, pair.now()) == "hello");
}

TEST_CASE("tcp engine: the same seed gives the same bytes at the same times twice") {
  const auto run = [](std::uint64_t seed) {
    connected_pair pair(
        seed, {.latency = 3ms, .loss = 0.05, .duplicate = 0.05, .reorder = 0.2},
        [](int, host_options& options) { options.connection.send_buffer = 1 << 20; });
    pair.keep_bytes = true;
    pair.listener = pair[1].listen({{}, 80}, {}, 1).value;
    pair.client_socket = pair[0].connect({pair.address(1), 80}, {}, 2, pair.now()).value;
    pair.drive_for(20s);
    pair.server_socket = pair[1].accept(pair.listener, 3).value;
    const std::string text(60'000, 'x');
    CHECK(pair[0].send(pair.client_socket, bytes_of(text), pair.now()).value == text.size());
    pair[0].close(pair.client_socket, close_mode::graceful, pair.now());
    pair.drive_for(60s);
    CHECK(receive_all(pair[1], pair.server_socket, pair.now()).size() == text.size());
    pair[1].close(pair.server_socket, close_mode::graceful, pair.now());
    pair.drive_for(120s);
    return pair.bytes_of_trace;
  };
  const std::string first = run(7);
  CHECK(first == run(7));
  CHECK(first != run(8));
}
