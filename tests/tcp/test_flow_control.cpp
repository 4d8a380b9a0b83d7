#include "host_pair.hpp"
#include "raw_peer.hpp"
#include "wire_watch.hpp"

// The window from both sides: zero-window probes, silly windows, and edges that never move left.
// The fixture answers at once, so the RTO is 201 ms.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using moments = std::vector<std::int64_t>;

/// A connection with text to send and a window of zero.
void close_the_window(raw_peer& peer, const listener_policy& policy = {}) {
  peer.establish(policy);
  peer.send({window(0)});
  peer.mark();
  peer.write("held back");
  peer.expect_nothing();
}

listener_policy with_receive_buffer(std::uint32_t bytes) {
  listener_policy policy;
  policy.connection.receive_buffer = bytes;
  return policy;
}

/// What a SYN-ACK offers of such a buffer.
std::uint32_t first_window_of(std::uint32_t buffer) {
  const std::uint32_t full = buffer / 2;
  return std::min(full > 1460 ? full / 1460 * 1460 : full, 65535U);
}

/// Checks all that the host said, and what it was told, against the promises of `wire_watch`.
struct watched_peer : raw_peer {
  using raw_peer::raw_peer;
  /// Of what was said since last time: the highest acknowledgement and the window beside it.
  void look_over() {
    for (const seen_packet& each : said()) {
      if (before(sequence(acked), sequence(each.tcp.ack))) acked = each.tcp.ack;
      const std::uint32_t its_edge = each.tcp.ack + each.tcp.window;
      CHECK(!before(sequence(its_edge), sequence(edge)));
      edge = its_edge;
    }
    forget();
  }
  void begin() {
    acked = peer_iss + 1;
    edge = peer_iss + 1 + 65535;
  }
  std::uint32_t acked = 0;
  std::uint32_t edge = 0;
};

}  // namespace

TEST_CASE("tcp zero window: probes with an old number at 1, 3, 7, ... times the RTO") {
  raw_peer peer;
  close_the_window(peer);
  peer.run_for(3100ms);
  for (int i = 0; i < 4; ++i) peer.expect({flags("A"), seq(0), ack(1), length(0)});
  peer.expect_nothing();
  CHECK(peer.count().win_probe == 4);
  CHECK(peer.count().retrans_segs == 0);
}

TEST_CASE("tcp zero window: the time between probes doubles up to 120 s") {
  raw_peer peer;
  close_the_window(peer);
  peer.run_for(900s);
  CHECK(peer.times() == moments{201, 603, 1407, 3015, 6231, 12663, 25527, 51255, 102'711, 205'623,
                                325'623, 445'623, 565'623, 685'623, 805'623});
}

TEST_CASE("tcp zero window: without an answer it is given up after retries2") {
  raw_peer peer;
  close_the_window(peer);
  CHECK(peer.run_until_over(2000s) == 925'623ms);
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.look().unacked_bytes == 9);
}

TEST_CASE("tcp zero window: with answers it is borne for ever, however few retries are allowed") {
  for (const std::uint8_t retries : std::initializer_list<std::uint8_t>{3, 8, 15}) {
    raw_peer peer;
    listener_policy policy;
    policy.connection.retries2 = retries;
    close_the_window(peer, policy);
    int probes = 0;
    for (int i = 0; i < 20'000; ++i) {
      peer.run_for(500ms);
      if (peer.said().empty()) continue;
      ++probes;
      peer.forget();
      peer.send({window(0)});
    }
    CHECK(peer.current() == state::established);
    CHECK(probes > 80);
    peer.send({window(100)});
    peer.expect({flags("PA"), seq(1), text("held back")});
  }
}

TEST_CASE("tcp S101 zero window: an orphan is given up although every probe is answered") {
  raw_peer peer;
  close_the_window(peer);
  peer.close();
  int probes = 0;
  while (peer.current() != state::closed && peer.since_mark() < 400s) {
    peer.run_for(100ms);
    if (peer.said().empty()) continue;
    ++probes;
    peer.forget();
    peer.send({window(0)});
  }
  CHECK(peer.since_mark() > 300s);
  CHECK(peer.since_mark() <= 361s);
  CHECK(probes == 10);
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.look().unacked_bytes == 9);
}

TEST_CASE("tcp zero window: an orphan without answers is given up after orphan_retries") {
  raw_peer peer;
  close_the_window(peer);
  peer.close();
  CHECK(peer.run_until_over(400s) == 102'711ms);
}

TEST_CASE("tcp zero window: the probe finds a window whose update was lost") {
  raw_peer peer;
  close_the_window(peer);
  peer.run_for(201ms);
  peer.expect({seq(0)});
  peer.send({window(5000)});
  peer.expect({flags("PA"), seq(1), text("held back")});
  peer.send({});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("tcp zero window: an update opens it at once, and the retries begin anew") {
  raw_peer peer;
  close_the_window(peer);
  peer.run_for(1000ms);
  CHECK(peer.said().size() == 2);
  peer.forget();
  peer.send({window(5000)});
  peer.expect({text("held back")});
  peer.mark();
  peer.run_for(700ms);
  CHECK(peer.times() == moments{201, 603});
}

TEST_CASE("tcp zero window: what was sent before it closed is sent again by the timer") {
  raw_peer peer;
  peer.establish();
  peer.write("in flight");
  peer.forget();
  peer.send({ack(1), window(0)});
  peer.run_for(201ms);
  peer.expect({seq(1), text("in flight")});
  peer.send({window(0)});
  peer.expect_nothing();
}

TEST_CASE("tcp zero window: the receiver answers probes and keeps the number") {
  raw_peer peer;
  peer.establish(with_receive_buffer(20'000));
  std::uint32_t at = 1;
  while (peer.look().rcv_wnd_bytes > 0) {
    const std::uint32_t size = std::min<std::uint32_t>(1000, peer.look().rcv_wnd_bytes);
    peer.send({length(size)});
    at += size;
    peer.run_for(50ms);
  }
  peer.forget();
  peer.run_for(1s);
  peer.send({seq(at - 1)});
  peer.expect({flags("A"), ack(at), window(0)});
  peer.run_for(1s);
  // A probe with a byte, as the RFC has it.
  peer.send({seq(at), text("x")});
  peer.expect({flags("A"), ack(at), window(0)});
  CHECK(peer.count().zero_window_drop == 1);
  CHECK(peer.count().zero_window_adv == 1);
  // Reading opens it, and the peer is told.
  CHECK(peer.read().size() == at - 1);
  peer.expect({flags("A"), ack(at), window_at_least(5000)});
}

TEST_CASE("tcp zero window: acknowledgements that come with refused text still count") {
  raw_peer peer;
  peer.establish(with_receive_buffer(20'000));
  peer.write("ours");
  std::uint32_t sent = 0;
  while (peer.look().rcv_wnd_bytes > 0) {
    const std::uint32_t size = std::min<std::uint32_t>(1000, peer.look().rcv_wnd_bytes);
    peer.send({ack(1), length(size)});
    sent += size;
    peer.run_for(50ms);
  }
  CHECK(peer.look().unacked_bytes == 4);
  peer.send({seq(1 + sent), ack(5), text("no room")});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("tcp silly window: a small window is filled when nothing better comes") {
  raw_peer peer;
  peer.establish();
  peer.send({window(300)});
  peer.mark();
  CHECK(peer.write(numbered_text(5000)) == 5000);
  // 300 is less than a segment and less than half of the largest window: it waits at first.
  peer.expect_nothing();
  peer.run_for(201ms);
  peer.expect({seq(1), length(300)});
  peer.expect_nothing();
  peer.send({window(300)});
  peer.run_for(1s);
  peer.expect({seq(301), length(300)});
}

TEST_CASE("tcp silly window: a small window that stays is used until all is sent") {
  raw_peer peer;
  peer.establish();
  peer.send({window(300)});
  const std::string text = numbered_text(2000);
  peer.write(text);
  std::string got;
  for (int i = 0; i < 100 && got.size() < text.size(); ++i) {
    peer.run_for(100ms);
    while (!peer.said().empty()) {
      const seen_packet each = peer.said().front();
      peer.said().pop_front();
      if (each.length > 0) CHECK(each.tcp.seq == peer.host_iss + 1 + got.size());
      CHECK(each.length <= 300);
      got += each.text;
      peer.send({window(300)});
    }
  }
  CHECK(got == text);
}

TEST_CASE("tcp silly window: half of the largest window ever offered is worth filling") {
  raw_peer peer;
  peer.establish({}, {mss(1460), window(1000)}, {window(1000)});
  CHECK(peer.write(numbered_text(5000)) == 5000);
  peer.expect({seq(1), length(1000)});
  peer.expect_nothing();
  peer.send({window(500)});
  peer.expect({seq(1001), length(500)});
  peer.send({window(499)});
  peer.expect_nothing();
}

TEST_CASE("tcp window: nothing is sent beyond it") {
  raw_peer peer;
  peer.establish({}, {mss(1000), window(3500)}, {window(3500)});
  CHECK(peer.write(numbered_text(20'000)) == 20'000);
  for (std::uint32_t i = 0; i < 3; ++i) peer.expect({seq(1 + 1000 * i), length(1000)});
  peer.expect_nothing();
  // The remaining 500 are less than a segment.
  peer.send({ack(1001), window(3500)});
  peer.expect({seq(3001), length(1000)});
  peer.expect_nothing();
}

TEST_CASE("tcp window: an old segment does not change it") {
  raw_peer peer;
  peer.establish();
  peer.send({text("abc")});
  peer.forget();
  peer.send({window(5000)});
  CHECK(peer.look().snd_wnd_bytes == 5000);
  peer.send({seq(2), ack(1), text("bc"), window(9000)});
  CHECK(peer.look().snd_wnd_bytes == 5000);
  peer.send({seq(4), ack(1), window(7000)});
  CHECK(peer.look().snd_wnd_bytes == 7000);
}

TEST_CASE("tcp window: scaled windows are read and written with their own scale") {
  raw_peer peer;
  peer.establish(with_receive_buffer(1U << 20), {mss(1460), scale(3), window(1000)},
                 {window(1000)});
  CHECK(peer.look().snd_wnd_bytes == 8000);
  CHECK(peer.look().snd_wscale == 3);
  CHECK(peer.look().rcv_wscale == 4);
  peer.send({text("x")});
  peer.expect({window_at_least(32'000)});
  CHECK(peer.look().rcv_wnd_bytes > 500'000);
}

TEST_CASE("tcp window: the receiver tells growth only when it is worth a segment") {
  raw_peer peer;
  peer.establish(with_receive_buffer(40'000));
  for (int i = 0; i < 10; ++i) peer.send({length(1000)});
  peer.run_for(100ms);
  peer.forget();
  std::byte buffer[100];
  for (int i = 0; i < 5; ++i) {
    CHECK(peer.engine().receive(peer.socket, buffer, peer.now()).value == 100);
    peer.flush();
  }
  peer.expect_nothing();
}

TEST_CASE("tcp window: what it offers is taken without reading, whatever the segments' size") {
  for (const std::uint32_t buffer : {2304U, 4096U, 10'000U, 65'536U, 131'072U}) {
    for (const std::uint32_t size : {1U, 7U, 100U, 512U, 513U, 1000U, 1460U}) {
      if (size == 1 && buffer > 65'536) continue;
      CAPTURE(buffer);
      CAPTURE(size);
      watched_peer peer;
      peer.establish(with_receive_buffer(buffer), {mss(1460)});
      peer.begin();
      peer.edge = peer.acked + first_window_of(buffer);
      std::string sent;
      for (int stalled = 0; stalled < 3;) {
        const std::uint32_t room = peer.edge - peer.peer_next;
        if (room == 0) {
          peer.run_for(250ms);
          peer.look_over();
          ++stalled;
          continue;
        }
        const std::string piece = numbered_text(std::min(size, room), sent.size());
        peer.send({text(piece)});
        sent += piece;
        peer.look_over();
        REQUIRE(peer.look().held_bytes <= buffer + 20'000);
        stalled = 0;
      }
      CHECK(peer.acked == peer.peer_iss + 1 + sent.size());
      CHECK(sent.size() >= first_window_of(buffer));
      CHECK(peer.count().rcv_q_drop == 0);
      CHECK(peer.read() == sent);
      CHECK(peer.engine().memory().buffer_bytes == 0);
    }
  }
}

TEST_CASE("tcp window: rounding to its scale does not open it beyond the buffer, however often") {
  raw_peer peer;
  peer.establish({}, {mss(1460), scale(7)});
  const std::uint32_t buffer = peer.look().receive_buffer;
  std::uint32_t at = 1;
  const auto feed = [&](std::uint32_t most) {
    const std::uint32_t size = std::min(most, peer.look().rcv_wnd_bytes);
    if (size > 0) peer.send({length(size)});
    at += size;
  };
  while (peer.look().rcv_wnd_bytes > 3000) feed(1460);
  CHECK(peer.count().rcv_q_drop == 0);
  // Each byte of old draws an acknowledgement, and each is rounded anew.
  for (int i = 0; i < 60'000; ++i) {
    feed(15);
    peer.send({seq(at - 1), length(1)});
    peer.forget();
  }
  // Sixty-four roundings are borne.
  const std::uint32_t most = buffer + (64U << peer.look().rcv_wscale);
  CHECK(peer.look().receive_buffer == buffer);
  CHECK(peer.look().unread_bytes <= most + 15);
  CHECK(peer.look().held_bytes <= most + 40'000);
  CHECK(peer.look().rcv_wnd_bytes == 0);
  // What was acknowledged is there, and there is room again when it was read.
  const std::uint32_t told = peer.look().unread_bytes;
  CHECK(peer.read().size() == told);
  peer.forget();
  peer.peer_next = peer.peer_iss + 1 + told;
  peer.send({text("more")});
  CHECK(peer.read() == "more");
}

TEST_CASE("tcp window: a challenge ACK offers nothing that is taken back later") {
  watched_peer peer;
  peer.establish(with_receive_buffer(100'000));
  peer.begin();
  peer.edge = peer.acked + first_window_of(100'000);
  for (int i = 0; i < 20; ++i) {
    peer.send({length(1460)});
    peer.look_over();
  }
  // Reading a little makes room that is not worth telling.
  std::byte buffer[10'000];
  CHECK(peer.engine().receive(peer.socket, buffer, peer.now()).value == 10'000);
  peer.flush();
  peer.look_over();
  peer.send({seq(2), flags("S")});
  peer.look_over();
  // Text ahead of a hole takes the room again.
  for (std::uint32_t i = 1; i < 8; ++i) {
    peer.send({seq(20 * 1460 + 1 + 600 * i), length(600)});
    peer.look_over();
  }
}

TEST_CASE("tcp window: two hosts keep every promise while the reader is slow") {
  for (const std::uint32_t buffer : {4096U, 65'536U, 1U << 20}) {
    connected_pair pair(3, {.latency = 2ms, .loss = 0.02, .duplicate = 0.01, .reorder = 0.1});
    wire_watch watch;
    pair.filter = [&](const seen_packet& seen) {
      watch.on_sent(seen);
      return true;
    };
    pair.delivered = [&](const seen_packet& seen) { watch.on_delivered(seen); };
    connect_options options;
    options.policy.receive_buffer = buffer;
    pair.listen(with_receive_buffer(buffer));
    pair.connect(options);
    pair.drive_for(10s);
    pair.accept();
    const std::string text = numbered_text(200'000);
    std::string got;
    std::size_t written = 0;
    std::byte slice[3000];
    for (int i = 0; i < 5000 && got.size() < text.size(); ++i) {
      written += pair.send(0, std::string_view(text).substr(written));
      pair.drive_for(50ms);
      const auto count = pair[1].receive(pair.server_socket, slice, pair.now());
      if (count) got.append(reinterpret_cast<const char*>(slice), count.value);
    }
    CHECK(got == text);
    pair.delivered = nullptr;
  }
}

TEST_CASE("tcp send buffer: whatever its size, room comes back while most of it is under way") {
  for (const std::uint32_t buffer : {4608U, 16'384U, 65'536U, 200'000U, 1U << 20}) {
    CAPTURE(buffer);
    connected_pair pair(1, {.latency = 10ms}, [&](int, host_options& options) {
      options.connection.send_buffer = buffer;
      options.connection.receive_buffer = 4U << 20;
    });
    pair.establish();
    const std::string text = numbered_text(4U << 20);
    const std::size_t written = pair.send(0, text);
    CHECK(written >= buffer);
    CHECK(written <= buffer + std::max(4096U, buffer / 3));
    CHECK(pair.send(0, text) == 0);
    CHECK(pair.look(0).send_held_bytes <= buffer + std::max(4096U, buffer / 3));
    pair.clear();
    while (!pair.reported(0, events::writable)) {
      REQUIRE(pair.look(0).unacked_bytes > 0);
      REQUIRE(pair.step());
      pair.receive(1);
    }
    // A smaller one is sent in one burst, and acknowledged in one.
    if (buffer >= 65'536) CHECK(pair.look(0).unacked_bytes >= written / 3);
    CHECK(pair.send(0, text) > 0);
    while (pair.look(0).unacked_bytes > 0 && pair.step()) pair.receive(1);
  }
}
