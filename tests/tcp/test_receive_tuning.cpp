#include "host_pair.hpp"
#include "raw_peer.hpp"
#include "sim/transfer.hpp"
#include "wire_watch.hpp"

// How the receive buffer and its window follow what is read (Linux's Dynamic Right-Sizing).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t first_buffer = 131'072;

using adjustment = std::function<void(host_options&)>;

/// The client writes whatever is taken, over a path of 20 ms; the server reads.
struct streaming : connected_pair {
  explicit streaming(const adjustment& adjust = {}, wire_faults way = {.latency = 10ms},
                     std::uint64_t seed = 1)
      : connected_pair(seed, way, [&](int, host_options& options) {
          options.connection.send_buffer = 8U << 20;
          if (adjust) adjust(options);
        }) {
    keep_trace = false;
  }

  /// Every `pause` the server reads up to `most`; 0 is whenever something has come.
  void stream(duration span, std::size_t most = SIZE_MAX, duration pause = {}) {
    static const std::string text = numbered_text(1U << 20);
    const time_point end = now() + span;
    time_point next_read = now();
    while (now() < end) {
      send(client, text);
      const time_point next = std::min(end, pause == 0ns ? end : next_read);
      if (!step(next)) drive_until(next);
      if (now() < next_read) continue;
      take(most);
      next_read = now() + pause;
    }
  }
  void take(std::size_t most) {
    std::vector<std::byte> room(std::min<std::size_t>(most, 1U << 20));
    while (most > 0) {
      const auto got = (*this)[server].receive(
          server_socket, std::span(room).first(std::min(most, room.size())), now());
      if (!got || got.value == 0) return;
      most -= got.value;
      taken += got.value;
    }
  }
  /// What was written has arrived and is read.
  void settle() {
    while (look(client).unacked_bytes > 0 && step()) receive(server);
    receive(server);
  }

  std::uint64_t taken = 0;
};

}  // namespace

TEST_CASE(
    "tcp tcp_rmem: SYN and SYN-ACK offer what Linux's do, and the scale of the largest window") {
  raw_peer peer;
  SUBCASE("SYN") {
    peer.connect();
    peer.expect({flags("S"), window(64'240), scale(10)});
  }
  SUBCASE("SYN-ACK, with timestamps") {
    peer.listen();
    peer.send_syn({mss(1460), scale(7), stamp(1)});
    peer.expect({flags("SA"), window(65'160), scale(10)});
  }
  SUBCASE("SYN-ACK, without") {
    peer.listen();
    peer.send_syn({mss(1460), scale(7)});
    peer.expect({flags("SA"), window(64'240), scale(10)});
  }
  peer.forget();
}

TEST_CASE(
    "tcp rcv_ssthresh: the first window after the handshake is Linux's, and so is rcv_space") {
  raw_peer peer;
  peer.establish({}, {mss(1460), scale(7)});
  CHECK(peer.look().rcv_ssthresh_bytes == 64'076);
  CHECK(peer.look().rcv_space_bytes == 14'600);
  CHECK(peer.look().rcv_rtt == 0us);
  peer.send({text("x")});
  peer.expect({flags("A"), ack(2), window(63)});
}

TEST_CASE("tcp tcp_rmem: the scale follows the most that the buffer may be, fixed or not") {
  struct expected {
    std::uint32_t most;
    std::uint32_t shift;
  };
  for (const expected& each :
       {expected{32U << 20, 10}, {6U << 20, 7}, {131'072, 2}, {1U << 30, 14}}) {
    raw_peer peer([&](host_options& options) { options.policy.rmem_max = each.most; });
    peer.connect();
    peer.expect({flags("S"), scale(each.shift)});
  }
}

TEST_CASE("tcp tcp_rcv_space_adjust: the buffer and the window grow while the program reads fast") {
  streaming pair;
  pair.establish();
  pair.stream(2s);
  const snapshot seen = pair.look(pair.server);
  CHECK(seen.receive_buffer > 8 * first_buffer);
  CHECK(seen.rcv_ssthresh_bytes > 2 * first_buffer);
  CHECK(seen.rcv_wnd_bytes > 2 * first_buffer);
  CHECK(seen.rcv_space_bytes > first_buffer);
  CHECK(seen.rcv_rtt >= 20ms);
  CHECK(seen.rcv_rtt <= 22ms);
  CHECK(pair[1].counters().prune_called == 0);
  pair.settle();
}

TEST_CASE("tcp tcp_rcv_rtt_measure: without timestamps a window of text measures the round trip") {
  streaming pair([](host_options& options) { options.policy.timestamps = false; });
  pair.establish();
  pair.stream(2s);
  CHECK(pair.look(pair.server).receive_buffer > 8 * first_buffer);
  CHECK(pair.look(pair.server).rcv_rtt >= 20ms);
  CHECK(pair.look(pair.server).rcv_rtt <= 40ms);
  pair.settle();
}

TEST_CASE("tcp tcp_rcv_space_adjust: nothing grows while the program reads slowly") {
  streaming pair;
  pair.establish();
  pair.stream(5s, 2000, 50ms);
  CHECK(pair.taken > 100'000);
  CHECK(pair.look(pair.server).receive_buffer == first_buffer);
  CHECK(pair.look(pair.server).held_bytes <= first_buffer);
  pair.settle();
}

TEST_CASE("tcp tcp_rmem: the buffer grows to its last number and not beyond") {
  streaming pair([](host_options& options) { options.policy.rmem_max = 400'000; });
  pair.establish();
  pair.stream(2s);
  CHECK(pair.look(pair.server).receive_buffer == 400'000);
  CHECK(pair.look(pair.server).rcv_wnd_bytes <= 200'000);
  CHECK(pair.look(pair.server).rcv_wnd_bytes > 100'000);
  pair.settle();
}

TEST_CASE("tcp tcp_moderate_rcvbuf: off, the buffer stays what it is; the switch is live") {
  for (const bool on : {false, true}) {
    CAPTURE(on);
    streaming pair([&](host_options& options) { options.policy.moderate_rcvbuf = !on; });
    pair.establish();
    CHECK(pair[1].set("net.ipv4.tcp_moderate_rcvbuf", on ? "1" : "0") == "");
    pair.stream(2s);
    CHECK((pair.look(pair.server).receive_buffer > 2 * first_buffer) == on);
    CHECK((pair.look(pair.server).receive_buffer == first_buffer) == !on);
    pair.settle();
  }
}

TEST_CASE("tcp SO_RCVBUF: who sets the buffer has it as it is") {
  streaming pair;
  listener_policy policy;
  SUBCASE("of a listener's children") {
    policy.connection.receive_buffer = 200'000;
    pair.establish({}, policy);
  }
  SUBCASE("of a connection") {
    pair.establish();
    CHECK(pair[1].set(pair.server_socket, "SO_RCVBUF", "100000") == "");
  }
  pair.stream(2s);
  CHECK(pair.look(pair.server).receive_buffer == 200'000);
  CHECK(pair.look(pair.server).rcv_wnd_bytes <= 100'000 + 1023);
  pair.settle();
}

TEST_CASE("tcp tcp_mem: under pressure no buffer grows") {
  streaming pair([](host_options& options) { options.policy.memory_limit = 2U << 20; });
  pair.establish();
  // These do not read, and hold more than two thirds of what there is.
  std::vector<socket_id> hogs;
  std::vector<socket_id> unread;
  const std::string block(60'000, 'h');
  for (std::uint64_t i = 0; i < 18; ++i) {
    hogs.push_back(pair[0].connect({pair.address(1), 80}, {}, 10 + i, pair.now()).value);
    pair.drive_for(100ms);
    unread.push_back(pair[1].accept(pair.listener, 100 + i).value);
    static_cast<void>(pair[0].send(hogs.back(), bytes_of(block), pair.now()));
    pair.drive_for(300ms);
  }
  REQUIRE(pair[1].counters().memory_pressures == 1);
  const std::uint64_t before = pair.taken;
  pair.stream(2s);
  CHECK(pair.taken - before > 200'000);
  CHECK(pair.look(pair.server).receive_buffer == first_buffer);
  CHECK(pair[1].memory().buffer_bytes <= 2U << 20);
  for (std::size_t i = 0; i < hogs.size(); ++i) {
    pair[0].release(hogs[i], pair.now());
    pair[1].release(unread[i], pair.now());
  }
  pair.settle();
}

TEST_CASE(
    "tcp tcp_clamp_window: segments that hold much let the buffer grow, hardly used memory does "
    "not") {
  raw_peer peer;
  peer.establish({}, {mss(536), scale(7)});
  std::uint32_t sent = 0;
  const auto fill = [&](std::uint32_t size) {
    for (;;) {
      const std::uint32_t edge = peer.look().rcv_wnd_bytes;
      const std::uint32_t told = std::min(size, edge);
      if (told == 0) return;
      peer.send({length(told)});
      sent += told;
      if (sent > 10U << 20) return;
      peer.run_for(50ms);
      if (peer.look().rcv_wnd_bytes < size) return;
    }
  };
  fill(536);
  CHECK(peer.look().unread_bytes == sent);
  CHECK(peer.count().rcv_q_drop == 0);
  CHECK(peer.look().held_bytes <= peer.look().receive_buffer + 4096);
  CHECK(peer.look().receive_buffer <= 32U << 20);
}

TEST_CASE("tcp window: its right edge never moves left while buffers grow, over random paths") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t bound) { return random() % bound; };
    streaming pair(
        [&](host_options& options) {
          options.policy.timestamps = below(4) > 0;
          options.policy.sack = below(4) > 0;
          options.policy.rmem_max = below(2) > 0 ? 32U << 20 : 300'000;
        },
        {.latency = 1ms * static_cast<int>(1 + below(40)),
         .loss = 0.01 * static_cast<double>(below(4)),
         .duplicate = 0.01,
         .reorder = 0.1},
        seed);
    wire_watch watch;
    pair.filter = [&](const seen_packet& seen) {
      watch.on_sent(seen);
      return true;
    };
    pair.delivered = [&](const seen_packet& seen) { watch.on_delivered(seen); };
    pair.listen();
    pair.connect();
    pair.drive_for(10s);
    pair.accept();
    for (int phase = 0; phase < 6; ++phase) {
      CHECK_NOTHROW(pair.stream(500ms, 1 + below(200'000), 1ms * static_cast<int>(below(30))));
    }
    CHECK_NOTHROW(pair.settle());
    pair.delivered = nullptr;
    CHECK(pair.taken > 0);
  }
}

TEST_CASE("tcp receive tuning: a quiet connection needs none, and keeps what it has learned") {
  streaming pair;
  pair.establish();
  pair.stream(1s);
  pair.settle();
  const snapshot busy = pair.look(pair.server);
  CHECK(busy.rcv_rtt > 0us);
  pair.drive_for(10s);
  const snapshot quiet = pair.look(pair.server);
  CHECK(quiet.rcv_rtt == 0us);
  CHECK(quiet.receive_buffer == busy.receive_buffer);
  CHECK(quiet.rcv_ssthresh_bytes > busy.rcv_ssthresh_bytes / 2);
  CHECK(quiet.held_bytes == 0);
  CHECK(pair[1].poll_timeout() == time_point::max());
  SUBCASE("and goes on from there") {
    pair.stream(200ms);
    CHECK(pair.look(pair.server).rcv_rtt >= 20ms);
    CHECK(pair.look(pair.server).receive_buffer >= busy.receive_buffer);
    pair.settle();
  }
}

TEST_CASE("tcp receive tuning: requests and answers of a keep-alive connection need none") {
  streaming pair;
  pair.establish();
  for (int i = 0; i < 100; ++i) {
    pair.send(0, std::string(300, 'q'));
    pair.drive_for(25ms);
    pair.receive(1);
    pair.send(1, std::string(500, 'a'));
    pair.drive_for(25ms);
    pair.receive(0);
  }
  pair.drive_for(300ms);
  CHECK(pair[1].poll_timeout() == time_point::max());
  CHECK(pair.look(pair.server).rcv_rtt == 0us);
  CHECK(pair.look(pair.server).receive_buffer == first_buffer);
}

TEST_CASE("tcp S109 ACK: who has read all that was written waits for nothing, as in Linux") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 20; ++i) {
    peer.send({text("x")});
    peer.read();
  }
  peer.forget();
  SUBCASE("a short segment") {
    peer.send({text("x")});
    peer.expect_nothing();
    peer.read();
    peer.expect({flags("A"), ack(22)});
  }
  SUBCASE("not while something is unread") {
    peer.send({text("xy")});
    std::byte one[1];
    CHECK(peer.engine().receive(peer.socket, one, peer.now()).value == 1);
    peer.flush();
    peer.expect_nothing();
    peer.read();
    peer.expect({flags("A"), ack(23)});
  }
  SUBCASE("in a dialogue it waits for the answer, but for the second such segment") {
    peer.send({text("q")});
    peer.write("a");
    peer.forget();
    peer.send({text("q")});
    peer.read();
    peer.expect_nothing();
    peer.send({text("q")});
    peer.read();
    peer.expect({flags("A"), ack(24)});
  }
  CHECK(peer.count().delayed_acks == 0);
}

TEST_CASE("tcp tcp_incr_quickack: a small window needs few quick acknowledgements") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.receive_buffer = 8192;
  peer.establish(policy, {mss(1460)});
  // A window of 2920 is two pairs of segments of 536.
  for (std::uint32_t i = 0; i < 2; ++i) {
    peer.send({text("x")});
    peer.expect({flags("A"), ack(2 + i)});
  }
  peer.send({text("x")});
  peer.expect_nothing();
}

TEST_CASE("tcp receive tuning: over 100 ms at 1 Gbit/s a fast reader has what the path carries") {
  const auto rate = [](std::uint32_t receive_buffer) {
    sim::transfer what;
    what.data.rate = what.acks.rate = 125'000'000;
    what.data.queue = what.acks.queue = 16U << 20;
    what.data.delay = what.acks.delay = 50ms;
    what.bytes = 300'000'000;
    what.adjust = [=](int, host_options& options) {
      options.connection.send_buffer = 64U << 20;
      options.connection.receive_buffer = receive_buffer;
    };
    return sim::run(what, 1).megabits_per_second;
  };
  const double tuned = rate(0);
  const double fixed = rate(1U << 20);
  MESSAGE("tuned ", tuned, " Mbit/s, with 1 MiB ", fixed, " Mbit/s: ", tuned / fixed, " times");
  CHECK(fixed < 45);
  CHECK(tuned > 10 * fixed);
}

TEST_CASE("tcp receive tuning: text ahead of a hole grows nothing for who is not accepted yet") {
  raw_peer peer;
  peer.listen();
  peer.send_syn({mss(1460), scale(7), sack_permitted()});
  peer.send({});
  const std::string piece(1460, 'x');
  for (std::uint32_t i = 0; i < 400; ++i) {
    peer.send({seq(60'001 + i % 2 * 1460), text(piece)});
    peer.run_for(1ms);
  }
  std::uint32_t buffer = 0;
  peer.engine().for_each_connection(
      [&](const tcp::snapshot& each) { buffer = each.receive_buffer; });
  CHECK(buffer == first_buffer);
  peer.accept();
}
