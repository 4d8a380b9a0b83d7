#include "host_pair.hpp"
#include "loss_peer.hpp"

// TCP_NOTSENT_LOWAT and net.ipv4.tcp_notsent_lowat: what may wait to be sent for the first time
// (Linux's tcp_stream_memory_free).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

bool is_writable(loss_peer& peer) {
  return any(peer.engine().readiness(peer.socket) & events::writable);
}

std::function<void(host_options&)> with(std::uint32_t lowat) {
  return [lowat](host_options& options) {
    options.connection.notsent_lowat = lowat;
    options.connection.send_buffer = 1 << 20;
  };
}

}  // namespace

TEST_CASE(
    "TCP_NOTSENT_LOWAT: beside what the window lets out so much is taken, up to a segment more") {
  for (const std::uint32_t lowat : {1U, 1460U, 10'000U, 100'000U}) {
    CAPTURE(lowat);
    loss_peer peer(with(lowat));
    peer.open({});
    const std::size_t window = 10 * std::size_t{peer.size};
    const std::size_t taken = peer.write(numbered_text(500'000));
    CHECK(taken >= window + lowat);
    CHECK(taken < window + lowat + peer.size);
    CHECK(peer.said().size() == 10);
    CHECK(peer.look().unsent_bytes == taken - window);
    CHECK(peer.write_error() == error::would_block);
  }
}

TEST_CASE("TCP_NOTSENT_LOWAT: room is reported when less than half of it waits") {
  loss_peer peer(with(20'000));
  peer.open({});
  std::size_t written = peer.write(numbered_text(500'000));
  peer.forget();
  peer.reported = events::none;
  CHECK(!is_writable(peer));
  std::uint32_t acked = 0;
  while (!any(peer.reported & events::writable)) {
    REQUIRE(acked < written);
    CHECK(!is_writable(peer));
    CHECK(peer.look().unsent_bytes * 2 >= 20'000);
    peer.run_for(1ms);
    peer.send({ack(1 + (acked += peer.size))});
  }
  CHECK(is_writable(peer));
  CHECK(peer.look().unsent_bytes * 2 < 20'000);
  // The send buffer has room for far more.
  CHECK(peer.look().send_held_bytes < 100'000);
  written = peer.write(numbered_text(500'000));
  CHECK(written > 0);
  CHECK(peer.look().unsent_bytes <= 20'000 + peer.size);
}

TEST_CASE("TCP_NOTSENT_LOWAT: with a closed window only so much is taken, and nothing is lost") {
  loss_peer peer(with(5000));
  peer.open({});
  peer.send({window(0)});
  const std::size_t taken = peer.write(numbered_text(50'000));
  CHECK(taken >= 5000);
  CHECK(taken < 5000 + peer.size);
  CHECK(peer.said().empty());
  CHECK(peer.write(numbered_text(50'000)) == 0);
  peer.reported = events::none;
  peer.send({window(65'535)});
  CHECK(peer.look().unsent_bytes == 0);
  CHECK(any(peer.reported & events::writable));
}

TEST_CASE(
    "TCP_NOTSENT_LOWAT: an option of 0 leaves it to the sysctl, which has no bound by default") {
  loss_peer peer;
  peer.open({});
  CHECK(peer.engine().get(peer.socket, "TCP_NOTSENT_LOWAT") == "4294967295");
  CHECK(peer.engine().set(peer.socket, "send_buffer", "1M") == "");
  CHECK(peer.engine().set("net.ipv4.tcp_notsent_lowat", "30000") == "");
  CHECK(peer.engine().get(peer.socket, "TCP_NOTSENT_LOWAT") == "30000");
  CHECK(peer.engine().set(peer.socket, "TCP_NOTSENT_LOWAT", "3000") == "");
  CHECK(peer.write(numbered_text(100'000)) < 10 * peer.size + 3000 + peer.size);
  peer.reported = events::none;
  // A larger bound is room at once.
  CHECK(peer.engine().set(peer.socket, "TCP_NOTSENT_LOWAT", "0") == "");
  CHECK(peer.engine().get(peer.socket, "TCP_NOTSENT_LOWAT") == "30000");
  peer.flush();
  CHECK(any(peer.reported & events::writable));
  CHECK(peer.write(numbered_text(100'000)) > 20'000);
  CHECK(peer.engine().set("net.ipv4.tcp_notsent_lowat", "0") ==
        "net.ipv4.tcp_notsent_lowat must be 1 to 4294967295 bytes; it is 0");
}

TEST_CASE(
    "TCP_NOTSENT_LOWAT: everything arrives, however small it is, in order and without a stall") {
  for (const std::uint32_t lowat : {1U, 4096U}) {
    for (const congestion_control control : {congestion_control::cubic, congestion_control::bbr}) {
      CAPTURE(lowat);
      connected_pair pair(1, {.latency = 5ms, .loss = 0.01}, [&](int, host_options& options) {
        options.connection.notsent_lowat = lowat;
        options.connection.congestion_control = control;
      });
      pair.establish();
      const std::string text = numbered_text(300'000);
      std::string got;
      std::size_t written = pair.send(0, text);
      const time_point late = pair.now() + 60s;
      while (got.size() < text.size() && pair.now() < late) {
        REQUIRE(pair.step());
        // A segment by rounding, and what of the window is too little for one.
        CHECK(pair.look(0).unsent_bytes <= lowat + 2 * 1460);
        if (pair.reported(0, events::writable) && written < text.size()) {
          pair.events_of(0).clear();
          written += pair.send(0, std::string_view(text).substr(written));
        }
        got += pair.receive(1);
      }
      CHECK(got == text);
    }
  }
}
