#include "crowd.hpp"
#include "host_pair.hpp"

// What queued bytes may hold: one limit, whichever pool they lie in, and what gives way first.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

std::function<void(host_options&)> with_limit(std::size_t bytes) {
  return [bytes](host_options& options) { options.policy.memory_limit = bytes; };
}

/// Connections that send what they may, in segments of `size`, and whose program never reads.
std::vector<crowd::peer*> hogs(crowd& all, std::uint32_t count, std::size_t size) {
  std::vector<crowd::peer*> made;
  for (std::uint32_t i = 0; i < count; ++i) {
    crowd::peer& p = all.join(i);
    if (p.answers > 0) made.push_back(&p);
  }
  for (std::uint64_t moved = 1; moved > 0;) {
    moved = 0;
    for (crowd::peer* p : made) moved += all.fill(*p, size, 32'768);
  }
  return made;
}

/// Passes `bytes` through a connection whose program reads at once.
std::size_t pass_through(crowd& all, crowd::peer& p, std::size_t bytes) {
  std::size_t got = 0;
  for (int i = 0; i < 1000 && got < bytes; ++i) {
    all.fill(p, 1400, 14'000);
    got += all.read(p);
    all.run_for(50ms);
  }
  return got;
}

}  // namespace

TEST_CASE(
    "tcp memory: connections that never read take neither the link's packets nor the host's "
    "memory from others") {
  for (const std::size_t size : {std::size_t{1400}, std::size_t{600}, std::size_t{20}}) {
    CAPTURE(size);
    const std::size_t limit = size < 100 ? 2 * mib : 16 * mib;
    crowd all(with_limit(limit), limit);
    crowd::peer& honest = all.join(100'000);
    const auto greedy = hogs(all, 200, size);
    REQUIRE(greedy.size() == 200);
    CHECK(all.engine.memory().buffer_bytes <= limit);
    CHECK(all.link_pool.used_bytes() <= limit / 2 + 4096);
    CHECK(all.link_drops == 0);
    CHECK(pass_through(all, honest, 500'000) >= 500'000);
    CHECK(all.link_drops == 0);
    // Reading makes room at once, for them too.
    std::size_t unread = 0;
    for (crowd::peer* p : greedy) unread += all.read(*p);
    CHECK(unread > limit / 4);
    CHECK(all.engine.memory().buffer_bytes == 0);
    CHECK(all.link_pool.used_bytes() == 0);
    all.run_for(1s);
    CHECK(pass_through(all, *greedy[7], 200'000) >= 200'000);
  }
}

TEST_CASE("tcp memory: what stays in the link's packets counts against the host's limit") {
  crowd all(with_limit(64 * mib), 64 * mib);
  crowd::peer& p = all.join(1);
  std::size_t sent = 0;
  while (sent < 60'000) {
    all.send(p, 1 + static_cast<std::uint32_t>(sent), 1400);
    sent += 1400;
  }
  CHECK(all.link_pool.used_bytes() > sent);
  CHECK(all.engine.memory().buffer_bytes == all.link_pool.used_bytes());
  CHECK(all.engine.snapshot(p.socket).value.held_bytes == all.link_pool.used_bytes());
  CHECK(all.read(p) == sent);
  CHECK(all.engine.memory().buffer_bytes == 0);
}

TEST_CASE("tcp memory: a scarce link keeps half of its packets for what arrives") {
  crowd all(
      [](host_options& options) {
        options.policy.memory_limit = 64 * mib;
        options.connection.receive_buffer = 1 * mib;
      },
      2 * mib);
  const auto greedy = hogs(all, 20, 1400);
  CHECK(all.link_drops == 0);
  CHECK(all.link_pool.used_bytes() <= 1 * mib + 4096);
  std::size_t unread = 0;
  for (crowd::peer* p : greedy) unread += all.read(*p);
  CHECK(unread > 4 * mib);
}

TEST_CASE("tcp memory: out-of-order text is the first to go, wherever it waits") {
  crowd all(with_limit(8 * mib), 64 * mib);
  crowd::peer& honest = all.join(100'000);
  std::vector<crowd::peer*> holders;
  for (std::uint32_t i = 0; i < 200; ++i) holders.push_back(&all.join(i));
  for (crowd::peer* p : holders) {
    // A byte is missing, and then silence.
    for (std::uint32_t at = 2; at + 1400 < 65'000; at += 1400) all.send(*p, at, 1400);
  }
  CHECK(all.engine.memory().buffer_bytes <= 8 * mib);
  CHECK(all.engine.counters().memory_pressures >= 1);
  CHECK(all.engine.counters().ofo_pruned > 0);
  CHECK(pass_through(all, honest, 300'000) >= 300'000);
  CHECK(all.engine.memory().buffer_bytes <= 8 * mib / 3 * 2);
}

TEST_CASE("tcp memory: readers that are too slow for what they ask for leave memory for others") {
  // The peers have asked for much and acknowledge nothing: what is queued for them stays.
  crowd all(with_limit(16 * mib));
  const std::string page(mib, 'p');
  std::size_t queued = 0;
  std::vector<crowd::peer*> slow;
  crowd::peer& honest = all.join(100'000);
  for (std::uint32_t i = 0; i < 300; ++i) {
    slow.push_back(&all.join(i));
    if (slow.back()->answers == 0) break;
    const auto taken = all.engine.send(slow.back()->socket, bytes_of(page), all.now);
    if (taken) queued += taken.value;
    all.flush();
    CHECK(all.engine.memory().buffer_bytes <= 16 * mib);
  }
  CHECK(queued > 8 * mib);
  CHECK(pass_through(all, honest, 100'000) >= 100'000);
  const auto taken = all.engine.send(honest.socket, bytes_of("answer"), all.now);
  CHECK(taken.error == error::none);
  CHECK(taken.value == 6);
}

TEST_CASE("tcp memory: at the limit SYNs are not answered and orphans are reset") {
  crowd all(with_limit(2 * mib));
  const std::string page(mib / 4, 'p');
  std::vector<crowd::peer*> slow;
  for (std::uint32_t i = 0; i < 300; ++i) {
    crowd::peer& p = all.start(i);
    if (p.answers == 0) break;
    all.give(p, wire::tcp_flag::ack, 1, 1);
    p.socket = all.engine.accept(all.listener, i).value;
    (void)all.engine.send(p.socket, bytes_of(page), all.now);
    slow.push_back(&p);
  }
  REQUIRE(slow.size() > 5);
  CHECK(slow.size() < 300);
  CHECK(all.engine.counters().listen_drops > 0);
  CHECK(all.engine.listener(all.listener).value.drops.no_memory > 0);
  const std::size_t resets = all.engine.counters().out_rsts;
  for (std::size_t i = 1; i < slow.size(); ++i) all.engine.release(slow[i]->socket, all.now);
  for (std::uint32_t i = 0; i < 100; ++i) all.send(*slow[0], 1 + i, 1);
  CHECK(all.engine.counters().abort_on_memory > 0);
  CHECK(all.engine.counters().out_rsts - resets == all.engine.counters().abort_on_memory);
  // Those that are left fit.
  CHECK(all.start(100'000).answers == 1);
}

TEST_CASE(
    "tcp memory: a pool of which only small blocks are left still takes and gives everything") {
  // Many small pieces once held the whole pool; their blocks never become larger again.
  crowd all(with_limit(2 * mib), 64 * mib);
  std::vector<crowd::peer*> holders;
  for (std::uint32_t i = 0; i < 40; ++i) holders.push_back(&all.join(i));
  for (std::uint32_t at = 2; at < 4000; at += 2) {
    for (crowd::peer* p : holders) all.send(*p, at, 1);
  }
  for (crowd::peer* p : holders) {
    all.engine.close(p->socket, close_mode::abort, all.now);
    all.engine.release(p->socket, all.now);
    p->socket = {};
  }
  all.flush();
  CHECK(all.engine.memory().buffer_bytes == 0);
  crowd::peer& p = all.join(1000);
  CHECK(pass_through(all, p, 200'000) >= 200'000);
  const std::string page(60'000, 'p');
  const auto taken = all.engine.send(p.socket, bytes_of(page), all.now);
  CHECK(taken.error == error::none);
  CHECK(taken.value == page.size());
}

TEST_CASE("tcp memory: when the last reserve is gone too, who holds most is reset and told") {
  crowd all(with_limit(1 * mib));
  std::vector<crowd::peer*> greedy;
  for (std::uint32_t i = 0; i < 400; ++i) greedy.push_back(&all.join(i));
  std::vector<bool> ended(greedy.size());
  // All of them together may hold more than there is, were each left its least share.
  for (int round = 0; round < 8; ++round) {
    for (std::size_t i = 0; i < greedy.size(); ++i) {
      crowd::peer& p = *greedy[i];
      if (p.resets > 0 || ended[i]) continue;
      all.fill(p, 1400, 8 * 1400);
      // Some have said everything, and are not told that it is over while bytes are missing.
      ended[i] = i % 2 == 0 && all.engine.snapshot(p.socket).value.unread_bytes >= 2800;
      if (ended[i]) all.give(p, wire::tcp_flag::fin | wire::tcp_flag::ack, p.acked(), 1);
    }
    CHECK(all.engine.memory().buffer_bytes <= 1 * mib);
  }
  CHECK(all.engine.counters().abort_on_memory > 0);
  std::size_t told = 0;
  std::size_t told_behind_fin = 0;
  for (std::size_t i = 0; i < greedy.size(); ++i) {
    crowd::peer* p = greedy[i];
    if (p->resets == 0) continue;
    if (ended[i]) ++told_behind_fin;
    std::byte byte;
    if (all.engine.receive(p->socket, {&byte, 1}, all.now).error == error::no_buffer_space) ++told;
  }
  CHECK(told == all.engine.counters().abort_on_memory);
  CHECK(told_behind_fin > 0);
  CHECK(told < greedy.size() / 2);
}

TEST_CASE("tcp memory: a packet that others look at too is not changed by who receives it") {
  crowd all;
  crowd::peer& p = all.join(1);
  wire::tcp_header tcp;
  tcp.seq = p.iss + 1;
  tcp.ack = p.host_iss + 1;
  tcp.flags = wire::tcp_flag::ack;
  tcp.window = 1000;
  const std::string text(1000, 'x');
  const net::packet twice =
      make_packet(all.link_pool, p.at, {crowd::host_address(), 80}, tcp, bytes_of(text));
  const std::size_t size = twice.size();
  for (int i = 0; i < 2; ++i) {
    all.engine.on_packet(twice, all.now);
    CHECK(twice.size() == size);
  }
  all.flush();
  CHECK(all.engine.counters().ip_in_hdr_errors == 0);
  CHECK(all.engine.counters().in_segs == 4);
  CHECK(all.read(p) == text.size());
}

TEST_CASE("tcp memory: pressure goes as it came, and windows open again") {
  connected_pair pair(1, {},
                      [](int, host_options& options) { options.policy.memory_limit = 4 * mib; });
  pair.establish();
  // One connection may have everything while it is alone, and is told so only by its own buffer.
  const std::string text = numbered_text(3 * mib);
  std::string got;
  std::size_t written = 0;
  for (int i = 0; i < 2000 && got.size() < text.size(); ++i) {
    written += pair.send(0, std::string_view(text).substr(written));
    pair.drive_for(20ms);
    if (i % 10 == 9) got += pair.receive(1);
  }
  CHECK(got == text);
  CHECK(pair[1].counters().rcv_q_drop == 0);
}
