#include <runnel/net/impair.hpp>

#include "net/bytes.hpp"
#include "net/link_fixture.hpp"

#include <runnel/net/link_pair.hpp>
#include <runnel/sleep.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <set>
#include <stdexcept>

using namespace std::chrono_literals;
using namespace runnel;
using namespace runnel::net;
using namespace runnel::test;

namespace {

constexpr time_point start{};

std::string numbered(int i) {
  return "packet " + std::to_string(i);
}

/// Sends numbered packets through an impaired end, a millisecond apart, and gives what arrives.
texts run_through(const impair_options& options, int packets, impair_counters* counters = nullptr) {
  link_pair pair;
  impair bad{pair.first(), options};
  texts received;
  time_point now = start;
  const auto collect = [&] {
    for (std::string& text : receive_texts(pair.second(), now)) received.push_back(std::move(text));
  };
  for (int i = 0; i < packets; ++i) {
    CHECK(send_text(bad, now, numbered(i)) == send_status::sent);
    collect();
    now += 1ms;
  }
  while (bad.deadline() != time_point::max()) {
    now = std::max(now, bad.deadline());
    CHECK(receive_texts(bad, now).empty());
    collect();
  }
  if (counters != nullptr) *counters = bad.outgoing();
  return received;
}

texts all_of(int packets) {
  texts result;
  for (int i = 0; i < packets; ++i) result.push_back(numbered(i));
  return result;
}

}  // namespace

TEST_CASE("impair: does nothing unless told to") {
  impair_counters counters;
  CHECK(run_through({}, 100, &counters) == all_of(100));
  CHECK(counters == impair_counters{.packets = 100});
}

TEST_CASE("impair: loses about as many packets as it should, and counts them") {
  impair_counters counters;
  impair_options options;
  options.outgoing.loss = 0.1;
  const texts received = run_through(options, 5000, &counters);
  CHECK(counters.packets == 5000);
  CHECK(counters.lost > 400);
  CHECK(counters.lost < 600);
  CHECK(received.size() == 5000 - counters.lost);
  options.outgoing.loss = 1;
  CHECK(run_through(options, 100).empty());
}

TEST_CASE("impair: doubles packets") {
  impair_counters counters;
  impair_options options;
  options.outgoing.duplicate = 0.2;
  const texts received = run_through(options, 1000, &counters);
  CHECK(counters.duplicated > 130);
  CHECK(received.size() == 1000 + counters.duplicated);
  CHECK(std::set<std::string>(received.begin(), received.end()).size() == 1000);
}

TEST_CASE("impair: flips one bit of the packets it damages, and of one copy only") {
  impair_counters counters;
  impair_options options;
  options.outgoing.corrupt = 0.5;
  options.outgoing.duplicate = 1;
  const texts received = run_through(options, 500, &counters);
  REQUIRE(received.size() == 1000);
  std::uint64_t damaged = 0;
  for (std::size_t i = 0; i < received.size(); ++i) {
    const std::string& was = numbered(static_cast<int>(i / 2));
    REQUIRE(received[i].size() == was.size());
    int bits = 0;
    for (std::size_t j = 0; j < was.size(); ++j) {
      bits += std::popcount(static_cast<unsigned char>(was[j] ^ received[i][j]));
    }
    CHECK(bits <= 1);
    damaged += static_cast<unsigned>(bits);
  }
  CHECK(damaged == counters.corrupted);
  CHECK(damaged > 400);
}

TEST_CASE("impair: reorders and loses nothing") {
  impair_counters counters;
  impair_options options;
  options.outgoing.reorder = 0.1;
  options.outgoing.reorder_delay = 3500us;
  const texts received = run_through(options, 1000, &counters);
  CHECK(counters.reordered > 60);
  CHECK(received != all_of(1000));
  CHECK(std::set<std::string>(received.begin(), received.end()).size() == 1000);
  // A packet that is held back for 3.5 ms is overtaken by the three that follow.
  int displaced = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto at = std::find(received.begin(), received.end(), numbered(i)) - received.begin();
    CHECK(at <= i + 3);
    if (at > i) ++displaced;
  }
  CHECK(displaced > 50);
}

TEST_CASE("impair: delays each packet, with jitter but in order") {
  impair_options options;
  options.outgoing.delay = 10ms;
  link_pair pair;
  impair bad{pair.first(), options};
  send_text(bad, start, "a");
  CHECK(bad.deadline() == start + 10ms);
  CHECK(receive_texts(pair.second(), start).empty());
  receive_texts(bad, start + 9ms);
  CHECK(receive_texts(pair.second(), start + 9ms).empty());
  receive_texts(bad, start + 10ms);
  CHECK(receive_texts(pair.second(), start + 10ms) == texts{"a"});
  CHECK(bad.deadline() == time_point::max());

  options.outgoing.jitter = 50ms;
  CHECK(run_through(options, 500) == all_of(500));
}

TEST_CASE("impair: lets through no more than the rate, and drops what does not fit its queue") {
  impair_options options;
  options.outgoing.rate = 1000;
  options.outgoing.queue_packets = 5;
  link_pair pair;
  impair bad{pair.first(), options};
  for (int i = 0; i < 8; ++i) send_bytes(bad, start, byte_string(100));
  CHECK(bad.outgoing().overflowed == 3);
  for (int i = 1; i <= 5; ++i) {
    CHECK(bad.deadline() == start + i * 100ms);
    receive_texts(bad, start + i * 100ms);
    CHECK(receive_texts(pair.second(), start + i * 100ms).size() == 1);
  }
  CHECK(bad.deadline() == time_point::max());
}

TEST_CASE("impair: the same seed gives the same fate, another one another") {
  impair_options options;
  options.outgoing = {.loss = 0.1, .duplicate = 0.1, .corrupt = 0.1, .reorder = 0.1, .jitter = 5ms};
  options.seed = 7;
  const texts once = run_through(options, 500);
  CHECK(run_through(options, 500) == once);
  options.seed = 8;
  CHECK(run_through(options, 500) != once);
}

TEST_CASE("impair: received packets share the same treatment, with dice of their own") {
  impair_options options;
  options.incoming = {.loss = 0.2, .delay = 5ms};
  link_pair pair;
  impair bad{pair.first(), options};
  for (int i = 0; i < 500; ++i) send_text(pair.second(), start, numbered(i));
  CHECK(receive_texts(bad, start).empty());
  texts received;
  time_point now = start;
  while (bad.deadline() != time_point::max()) {
    now = std::max(now, bad.deadline());
    for (std::string& text : receive_texts(bad, now)) received.push_back(std::move(text));
  }
  CHECK(bad.incoming().packets == 500);
  CHECK(bad.incoming().lost > 60);
  CHECK(received.size() == 500 - bad.incoming().lost);
  CHECK(std::is_sorted(received.begin(), received.end(), [](const auto& a, const auto& b) {
    return std::stoi(a.substr(7)) < std::stoi(b.substr(7));
  }));
  CHECK(bad.outgoing().packets == 0);
}

TEST_CASE("impair: waits for a full inner link and loses nothing by it") {
  link_pair pair{{.queue_packets = 3}};
  impair_options options;
  options.outgoing.delay = 1ms;
  impair bad{pair.first(), options};
  loop driver{loop_options{.simulated = 0}};
  recording_client client;
  bad.attach(driver, client);
  for (int i = 0; i < 10; ++i) send_text(bad, start, numbered(i));
  texts received;
  CHECK(receive_texts(bad, start + 1ms).empty());
  CHECK(bad.deadline() == time_point::max());
  for (int round = 0; round < 5; ++round) {
    client.ready = 0;
    for (std::string& text : receive_texts(pair.second(), start + 1ms)) {
      received.push_back(std::move(text));
    }
    if (received.size() < 10) CHECK(client.ready != 0);
    CHECK(receive_texts(bad, start + 1ms).empty());
  }
  CHECK(received == all_of(10));
  bad.detach();
}

TEST_CASE("impair: a link that goes away is reported through it") {
  link_pair pair;
  impair_options options;
  options.outgoing.delay = 1ms;
  impair bad{pair.first(), options};
  loop driver{loop_options{.simulated = 0}};
  recording_client client;
  bad.attach(driver, client);
  send_text(bad, start, "lost");
  pair.sever();
  CHECK(client.errors == 1);
  CHECK(send_text(bad, start, "x") == send_status::gone);
  CHECK(bad.deadline() == time_point::max());
  bad.detach();
}

TEST_CASE("impair: what is out of range is refused by its name") {
  link_pair pair;
  const auto refusal = [&](const impairment& what) -> std::string {
    try {
      impair bad{pair.first()};
      bad.set_incoming(what);
      return "accepted";
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
  };
  CHECK(refusal({.loss = 1}) == "accepted");
  CHECK(refusal({.loss = 1.5}).find("impairment::loss is a probability") == 0);
  CHECK(refusal({.corrupt = -0.1}).find("impairment::corrupt") == 0);
  CHECK(refusal({.delay = -1ns}) == "impairment::delay must not be negative");
}

TEST_CASE("impair: more arrives than the span holds, and nothing waits for ever") {
  loop driver{loop_options{.simulated = 0}};
  link_pair pair;
  impair_options options;
  options.incoming.loss = 0.9;
  impair bad{pair.first(), options};
  packet_hook hook{driver, bad};
  for (int i = 0; i < 500; ++i) send_text(pair.second(), driver.now(), numbered(i));
  const auto wait = [](packet_hook&) -> task<> { co_await sleep(1ms); };
  driver.run(wait(hook));
  CHECK(bad.incoming().packets == 500);
  CHECK(hook.received.size() == 500 - bad.incoming().lost);
}
