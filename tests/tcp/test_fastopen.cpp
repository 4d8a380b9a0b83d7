#include "host_pair.hpp"

// Both sides of Fast Open (S53, RFC 7413) against each other, in virtual time.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

connect_options fast() {
  connect_options options;
  options.policy.fastopen_connect = true;
  return options;
}

listener_policy fast_listener() {
  listener_policy policy;
  policy.fastopen_queue = 16;
  return policy;
}

struct fast_pair : connected_pair {
  explicit fast_pair(wire_faults wire_behaviour = {.latency = 50ms},
                     const std::function<void(int, host_options&)>& adjust = {})
      : connected_pair(1, wire_behaviour, [&](int side, host_options& options) {
          options.policy.fastopen = fastopen_flag::client | fastopen_flag::server;
          if (adjust) adjust(side, options);
        }) {
    listen(fast_listener());
    // The client learns the cookie.
    connect(fast());
    drive_for(10 * faults.latency);
    accept();
    release(client);
    drive_for(10 * faults.latency);
    release(server);
    drive_for(70s);
    clear();
  }
};

}  // namespace

TEST_CASE("S16 S53 Fast Open: a request is answered after one round trip") {
  fast_pair pair;
  const time_point start = pair.now();
  pair.connect(fast());
  CHECK(pair.send(0, "GET") == 3);
  while (!pair.reported(1, events::acceptable)) REQUIRE(pair.step());
  CHECK(pair.now() - start == 50ms);
  pair.accept();
  CHECK(pair.receive(1) == "GET");
  pair.send(1, "200");
  while (pair.look(0).unread_bytes == 0) REQUIRE(pair.step());
  CHECK(pair.receive(0) == "200");
  CHECK(pair.now() - start == 100ms);
  CHECK(pair.look(0).syn_data_acked);
  CHECK(pair.look(1).syn_data_acked);
}

TEST_CASE("S53 Fast Open: whichever packets are lost, each byte arrives once, and both ends end") {
  // Every packet of the exchange and every pair of them; what stays of the text is counted by the
  // reader.
  const auto exchange = [](int first, int second) {
    CAPTURE(first);
    CAPTURE(second);
    fast_pair pair;
    int at = 0;
    pair.filter = [&](const seen_packet&) {
      const int place = at++;
      return place != first && place != second;
    };
    pair.connect(fast());
    const std::string question = numbered_text(4000);
    const std::string answer = numbered_text(9000, 77);
    CHECK(pair.send(0, question) == question.size());
    const time_point limit = pair.now() + 200s;
    std::string seen[2];
    bool accepted = false;
    bool answered = false;
    while ((seen[0].size() < answer.size() || seen[1].size() < question.size()) &&
           pair.step(limit)) {
      if (!accepted && pair.reported(1, events::acceptable)) {
        pair.accept();
        accepted = true;
      }
      if (accepted) seen[1] += pair.receive(1);
      seen[0] += pair.receive(0);
      if (accepted && !answered && seen[1].size() == question.size()) {
        CHECK(pair.send(1, answer) == answer.size());
        answered = true;
      }
    }
    CHECK(seen[1] == question);
    CHECK(seen[0] == answer);
    pair.close(0);
    pair.close(1);
    pair.drive_for(200s);
    CHECK(pair.look(0).ended != end_reason::timed_out);
    CHECK(pair.look(1).ended != end_reason::timed_out);
  };
  exchange(-1, -1);
  for (int first = 0; first < 10; ++first) {
    for (int second = first; second < 10; ++second) exchange(first, second);
  }
}

TEST_CASE("S53 Fast Open: a SYN that the wire doubles opens one connection") {
  fast_pair pair;
  bool doubled = false;
  pair.copies = [&](const seen_packet& seen) {
    const bool first = !doubled && (seen.tcp.flags & wire::tcp_flag::syn) != 0 && seen.length > 0;
    doubled |= first;
    return first ? std::vector<duration>{0ms, 30ms} : std::vector<duration>{0ms};
  };
  pair.connect(fast());
  pair.send(0, "GET");
  pair.drive_for(1s);
  pair.accept();
  CHECK(pair.receive(1) == "GET");
  CHECK(pair[1].accept(pair.listener, 9).error == error::would_block);
  CHECK(pair[1].counters().fastopen_passive == 1);
}

TEST_CASE("S53 Fast Open: keys that change while it goes on cost a round trip at most") {
  fast_pair pair;
  const auto takes = [&] {
    const time_point start = pair.now();
    pair.connect(fast());
    pair.send(0, "GET");
    while (!pair.reported(1, events::acceptable)) REQUIRE(pair.step());
    pair.accept();
    while (pair.look(1).unread_bytes == 0) REQUIRE(pair.step());
    const auto took = pair.now() - start;
    CHECK(pair.receive(1) == "GET");
    pair.release(0);
    pair.drive_for(1s);
    pair.release(1);
    pair.drive_for(70s);
    pair.clear();
    return took;
  };
  CHECK(takes() == 50ms);
  pair[1].rotate_fastopen_key({1, 2});
  CHECK(takes() == 50ms);
  pair[1].rotate_fastopen_key({3, 4});
  CHECK(takes() == 50ms);
  pair[1].rotate_fastopen_key({5, 6});
  pair[1].rotate_fastopen_key({7, 8});
  CHECK(takes() == 150ms);
  CHECK(takes() == 50ms);
}
