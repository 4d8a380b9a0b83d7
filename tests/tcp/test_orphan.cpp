#include "host_pair.hpp"
#include "raw_peer.hpp"

// Connections without an owner: their number, their memory, and what bounds their time.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;
using moments = std::vector<std::int64_t>;

namespace {

/// A server with connections whose clients have fallen silent.
struct crowd : host_pair {
  crowd(int count, const std::function<void(host_options&)>& adjust)
      : host_pair(7, {}, [&](int side, host_options& options) {
          if (side == server) adjust(options);
        }) {
    listener_policy policy;
    policy.connection.send_buffer = 1 << 20;
    const socket_id listener = (*this)[server].listen({{}, 80}, policy, 1).value;
    for (int i = 0; i < count; ++i) {
      const auto made = (*this)[client].connect({address(server), 80}, {}, 2, now());
      REQUIRE(made);
      clients.push_back(made.value);
    }
    drive_for(20ms);
    for (int i = 0; i < count; ++i) {
      servers.push_back((*this)[server].accept(listener, 3).value);
    }
    filter = [](const seen_packet& seen) { return seen.from == server; };
    trace.clear();
  }
  ~crowd() {
    if (std::uncaught_exceptions() > 0) return;
    filter = nullptr;
    for (const socket_id each : clients) (*this)[client].release(each, now());
    for (const socket_id each : servers) (*this)[server].release(each, now());
    check_nothing_left();
    CHECK((*this)[server].memory().orphans == 0);
    CHECK((*this)[server].memory().orphan_bytes == 0);
  }
  void release(std::size_t which) {
    (*this)[server].release(servers[which], now());
    flush();
  }
  std::size_t resets() const {
    return static_cast<std::size_t>(std::count_if(
        trace.begin(), trace.end(),
        [](const seen_packet& each) { return each.from == server && each.flags() == "RA"; }));
  }
  const tcp::counters& count() { return (*this)[server].counters(); }

  std::vector<socket_id> clients;
  std::vector<socket_id> servers;
};

void write_to(crowd& all, std::size_t which, std::size_t bytes) {
  const std::string text = numbered_text(bytes);
  CHECK(all[1].send(all.servers[which], bytes_of(text), all.now()).value == bytes);
}

}  // namespace

TEST_CASE("tcp S99 S113 RunnelReleasedOpen: released connections are counted until they are over") {
  crowd all(3, [](host_options&) {});
  write_to(all, 0, 1000);
  CHECK(all[1].memory().orphans == 0);
  for (std::size_t i = 0; i < 3; ++i) all.release(i);
  CHECK(all[1].memory().orphans == 3);
  CHECK(all[1].memory().orphan_bytes >= 1000);
  CHECK(all[1].memory().orphan_bytes < 4000);
  CHECK(all.count().released_open == 3);
  all.drive_for(200s);
  CHECK(all[1].memory().orphans == 0);
  CHECK(all[1].memory().orphan_bytes == 0);
  CHECK(all.count().abort_on_timeout == 3);
}

TEST_CASE("tcp S99 orphan: what was closed before it was released is not counted as dropped") {
  crowd all(2, [](host_options&) {});
  CHECK(all[1].close(all.servers[0], all.now()) == error::none);
  all.release(0);
  CHECK(all.count().released_open == 0);
  all.release(1);
  CHECK(all.count().released_open == 1);
}

TEST_CASE(
    "tcp S100 S113 TCPAbortOnMemory: one orphan more than tcp_max_orphans is reset and counted") {
  crowd all(6, [](host_options& options) { options.policy.max_orphans = 4; });
  for (std::size_t i = 0; i < 4; ++i) all.release(i);
  CHECK(all.resets() == 0);
  CHECK(all.count().abort_on_memory == 0);
  all.release(4);
  CHECK(all.resets() == 1);
  CHECK(all.count().abort_on_memory == 1);
  CHECK(all[1].memory().orphans == 4);
  // Those whose end is delivered make room.
  all.filter = nullptr;
  all.drive_for(5s);
  all.release(5);
  CHECK(all.count().abort_on_memory == 1);
}

TEST_CASE("tcp S100 orphan: with no orphans allowed every drop is a reset") {
  crowd all(2, [](host_options& options) { options.policy.max_orphans = 0; });
  all.release(0);
  all.release(1);
  CHECK(all.resets() == 2);
  CHECK(all.count().abort_on_memory == 2);
  CHECK(all[1].memory().connections == 0);
}

TEST_CASE("tcp S100 orphan: a limit that is lowered holds when they next send again") {
  crowd all(4, [](host_options&) {});
  for (std::size_t i = 0; i < 4; ++i) all.release(i);
  stack_policy policy = all[1].policy();
  policy.max_orphans = 1;
  CHECK(all[1].set_policy(policy) == error::none);
  all.drive_for(1s);
  CHECK(all[1].memory().orphans == 1);
  CHECK(all.count().abort_on_memory == 3);
  CHECK(all.resets() == 3);
}

TEST_CASE("tcp S100 orphan: their memory is bounded, and what holds little goes on") {
  crowd all(5, [](host_options& options) { options.policy.orphan_memory = 300'000; });
  for (std::size_t i = 0; i < 4; ++i) write_to(all, i, 100'000);
  all.release(0);
  all.release(1);
  CHECK(all.count().abort_on_memory == 0);
  all.release(2);
  CHECK(all.count().abort_on_memory == 1);
  all.release(4);
  CHECK(all.count().abort_on_memory == 1);
  CHECK(all[1].memory().orphans == 3);
  CHECK(all[1].memory().orphan_bytes <= 300'000);
}

TEST_CASE("tcp S100 orphan: the last sixteenth of all memory is not for them") {
  crowd all(3, [](host_options& options) {
    options.policy.memory_limit = 1 << 20;
    options.policy.orphan_memory = 0;
  });
  const std::string text = numbered_text(1 << 20);
  CHECK(all[1].send(all.servers[0], bytes_of(text), all.now()).value > 900'000);
  CHECK(all[1].memory().buffer_bytes > (1 << 20) * 15 / 16);
  CHECK(all.count().abort_on_memory == 0);
  all.release(0);
  CHECK(all.count().abort_on_memory == 1);
  CHECK(all[1].memory().buffer_bytes < (1 << 20) * 15 / 16);
}

TEST_CASE("tcp S61 orphan: those in FIN-WAIT-2 have a bound of their own") {
  crowd all(5, [](host_options& options) { options.policy.max_orphans = 3; });
  all.filter = nullptr;
  for (std::size_t i = 0; i < 3; ++i) all.release(i);
  all.drive_for(1s);
  CHECK(all[1].memory().orphans == 3);
  CHECK(all[1].busy_count() == 2);
  all.release(3);
  all.drive_for(1s);
  CHECK(all[1].memory().orphans == 3);
  CHECK(all.count().time_wait_overflow == 1);
  CHECK(all.count().abort_on_memory == 0);
  CHECK(all.resets() == 0);
  // Half-closed ones are no orphans, and are forgotten when they become one too many.
  CHECK(all[1].shutdown(all.servers[4], all.now()) == error::none);
  all.drive_for(1s);
  all.release(4);
  CHECK(all.count().time_wait_overflow == 2);
  CHECK(all[1].memory().connections == 3);
}

TEST_CASE("tcp S101 orphan: a window of zero is borne for 361 s on a path of 33 ms") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.forget();
  peer.run_for(33ms);
  peer.send({});
  peer.accept();
  peer.send({window(0)});
  peer.write("a big file");
  peer.mark();
  peer.close();
  moments probes;
  while (peer.current() != state::closed && peer.since_mark() < 400s) {
    peer.run_for(1ms);
    if (peer.said().empty()) continue;
    for (const std::int64_t each : peer.times()) probes.push_back(each);
    peer.send({window(0)});
  }
  // Linux: .18, .98, 1.9, 3.9, 7.9, 15.6, 30, 62, 121, 240; over after 361 s.
  CHECK(probes.size() == 10);
  const std::int64_t rto = 233;
  for (std::size_t i = 0; i < std::min<std::size_t>(probes.size(), 9); ++i) {
    CAPTURE(i);
    CHECK(probes[i] >= rto * ((1 << (i + 1)) - 1));
    CHECK(probes[i] <= (rto + 2) * ((1 << (i + 1)) - 1));
  }
  CHECK(peer.since_mark() > 355s);
  CHECK(peer.since_mark() < 361s);
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.count().abort_on_timeout == 1);
  peer.forget();
  peer.send({window(0)});
  peer.expect({flags("R")});
}

TEST_CASE("tcp S101 orphan: a stricter bound is a policy, and the peer is told") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.orphan_window_timeout = 20s;
  peer.establish(policy);
  peer.send({window(0)});
  peer.write("a big file");
  bool closed = false;
  SUBCASE("closed at once") {
    peer.mark();
    peer.close();
    closed = true;
  }
  SUBCASE("it counts from close") {
    // The next probe would be a long time away.
    for (int i = 0; i < 104; ++i) {
      peer.run_for(500ms);
      if (!peer.said().empty()) peer.send({window(0)});
      peer.forget();
    }
    CHECK(peer.current() == state::established);
    peer.mark();
    peer.close();
    closed = true;
  }
  CHECK(closed);
  bool told = false;
  while (peer.current() != state::closed && peer.since_mark() < 100s) {
    peer.run_for(1ms);
    if (peer.said().empty()) continue;
    told = peer.said().back().flags() == "RA";
    peer.forget();
    if (!told) peer.send({window(0)});
  }
  CHECK(told);
  CHECK(peer.since_mark() >= 20s);
  CHECK(peer.since_mark() <= 20s + 2ms);
}

TEST_CASE(
    "tcp S101 orphan: a window that opens and shuts again lets nothing out, and buys no time") {
  listener_policy policy;
  auto longest = 361s;
  bool owned = false;
  SUBCASE("closed") {}
  SUBCASE("closed, with a stricter bound") {
    policy.connection.orphan_window_timeout = 20s;
    longest = 20s;
  }
  SUBCASE("closed, with a user timeout") {
    policy.connection.user_timeout = 20s;
    longest = 20s;
  }
  SUBCASE("open, with a user timeout") {
    policy.connection.user_timeout = 20s;
    longest = 20s;
    owned = true;
  }
  for (const std::uint32_t opening : {1U, 65'535U}) {
    CAPTURE(opening);
    raw_peer peer;
    peer.establish(policy);
    peer.send({window(0)});
    peer.write("a big file");
    peer.mark();
    if (!owned) peer.close();
    while (peer.look().state != state::closed && peer.since_mark() < 500s) {
      peer.run_for(50ms);
      if (peer.look().state == state::closed) break;
      peer.send_unanswered({window(opening)});
      // One byte is too little to be sent at once.
      if (opening == 1) peer.flush();
      peer.send({window(0)});
      peer.forget();
    }
    CHECK(peer.look().ended == end_reason::timed_out);
    CHECK(peer.look().unacked_bytes == 10);
    CHECK(peer.since_mark() >= longest - 60s);
    CHECK(peer.since_mark() >= 20s);
    CHECK(peer.since_mark() <= longest + 100ms);
  }
}

TEST_CASE(
    "tcp S69 orphan: FIN of shutdown is borne as long as text until the connection is closed") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.orphan_retries = 2;
  peer.establish(policy);
  peer.mark();
  peer.shutdown();
  peer.run_for(100s);
  CHECK(peer.current() == state::fin_wait_1);
  peer.close();
  CHECK(peer.run_until_over(200s) == 102'711ms);
}

TEST_CASE("tcp S68 orphan: the user timeout bounds it too") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.user_timeout = 10s;
  peer.establish(policy);
  peer.mark();
  peer.close();
  CHECK(peer.run_until_over(200s) == 10s);
}
