#include <atomic>
#include <map>
#include <thread>

#include "packets.hpp"
#include "runnel/net/link.hpp"
#include "runnel/sleep.hpp"
#include "runnel/tcp/inspect_server.hpp"
#include "runnel/tcp/shard_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "support/task_test.hpp"
#include "tcp/src/packet_ring.hpp"

// What crosses threads: packets in rings, wake-ups, letters.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;
using tcp::detail::packet_ring;

namespace {

constexpr std::size_t ring_bytes = std::size_t{256} << 10;

net::packet numbered(net::packet_pool& pool, std::size_t size, std::uint32_t number) {
  net::packet out = pool.allocate(size);
  out.resize(size);
  std::ranges::fill(out.bytes(), std::byte{static_cast<unsigned char>(number)});
  out->offload.gso_size = static_cast<std::uint16_t>(number);
  out->offload.checksum = net::checksum_state::verified;
  return out;
}

bool is_numbered(const net::packet& what, std::size_t size, std::uint32_t number) {
  return what.size() == size && what->offload.gso_size == static_cast<std::uint16_t>(number) &&
         what->offload.checksum == net::checksum_state::verified &&
         what.bytes().front() == std::byte{static_cast<unsigned char>(number)} &&
         what.bytes().back() == what.bytes().front();
}

std::size_t size_of(std::uint32_t number) {
  const std::size_t sizes[] = {20, 60, 61, 1500, 33, 9000, 65'535};
  return sizes[number % std::size(sizes)];
}

}  // namespace

TEST_CASE("tcp shards: a ring gives what it was given, in order, wherever it wraps") {
  net::packet_pool pool;
  packet_ring ring(1);
  net::packet out;
  CHECK(!ring.pop(pool, out));
  for (std::uint32_t n = 0; n < 5000; ++n) {
    REQUIRE(ring.push(numbered(pool, size_of(n), n)));
    if (n % 3 == 0) REQUIRE(ring.push(numbered(pool, size_of(n), n)));
    REQUIRE(ring.pop(pool, out));
    CHECK(is_numbered(out, size_of(n), n));
    if (n % 3 == 0) REQUIRE(ring.pop(pool, out));
  }
  CHECK(!ring.pop(pool, out));
}

TEST_CASE("tcp shards: a ring that is full refuses, and takes again when there is room") {
  net::packet_pool pool;
  packet_ring ring(ring_bytes);
  std::size_t taken = 0;
  while (ring.push(numbered(pool, 60, 1))) ++taken;
  CHECK(taken > 2500);
  CHECK(taken <= ring_bytes / 60);
  net::packet out;
  REQUIRE(ring.pop(pool, out));
  CHECK(ring.push(numbered(pool, 60, 1)));
  CHECK(!ring.push(numbered(pool, 60, 1)));
  std::size_t given = 0;
  while (ring.pop(pool, out)) ++given;
  CHECK(given == taken);
  CHECK(ring.push(numbered(pool, 65'535, 1)));
  // Without memory for a copy the packet is gone all the same.
  net::packet_pool empty(0);
  CHECK(ring.pop(empty, out));
  CHECK(!out);
  CHECK(!ring.pop(pool, out));
}

TEST_CASE("tcp shards: a ring between two threads loses and changes nothing") {
  constexpr std::uint32_t packets = 20'000;
  packet_ring ring(ring_bytes);
  std::thread producer([&] {
    net::packet_pool pool;
    for (std::uint32_t n = 0; n < packets; ++n) {
      const net::packet next = numbered(pool, size_of(n), n);
      while (!ring.push(next)) std::this_thread::yield();
    }
  });
  net::packet_pool pool;
  std::uint32_t wrong = 0;
  for (std::uint32_t n = 0; n < packets; ++n) {
    net::packet out;
    while (!ring.pop(pool, out)) std::this_thread::yield();
    if (!is_numbered(out, size_of(n), n)) ++wrong;
  }
  producer.join();
  CHECK(wrong == 0);
}

namespace {

const auto ours = test_address(10, 0, 0, 2);
constexpr std::uint16_t first_port = 1024;

/// A link by which a share of many SYNs arrives, and that answers each SYN-ACK with an
/// acknowledgement by which whoever has the connection is done.
class crowd_link final : public net::link {
 public:
  crowd_link(std::uint16_t from, std::uint16_t to) : next_(from), end_(to) {
    info_.name = "crowd";
    info_.mtu = test_mtu(1500);
  }

  const net::link_info& info() const noexcept override { return info_; }
  std::size_t receive(time_point, std::span<net::packet> out) noexcept override {
    std::size_t count = 0;
    while (count < out.size() && next_ < end_) {
      wire::tcp_header syn;
      syn.flags = flags_from("S");
      syn.window = 65535;
      out[count++] = make_packet(pool_, {peer_of(next_), next_}, {ours, 80}, syn);
      ++next_;
    }
    while (count < out.size() && !answers_.empty()) {
      out[count++] = std::move(answers_.back());
      answers_.pop_back();
    }
    return count;
  }
  net::send_status send(time_point now, const net::tx_packet& what) noexcept override {
    const seen_packet seen = look_at(flatten(pool_, what).bytes(), now, 0, false);
    if (seen.flags() != "SA") return net::send_status::sent;
    ++synacks;
    wire::tcp_header ack;
    ack.flags = flags_from("A");
    ack.window = 65535;
    ack.seq = 1;
    ack.ack = seen.tcp.seq + 1;
    answers_.push_back(
        make_packet(pool_, {seen.ip.destination, seen.tcp.destination_port}, {ours, 80}, ack));
    client_->on_link_ready();
    owner_->request_turn();
    return net::send_status::sent;
  }
  void attach(loop& owner, net::link_client& client) override {
    owner_ = &owner;
    client_ = &client;
    client.on_link_ready();
  }
  void detach() noexcept override {}
  net::packet_pool& pool() noexcept override { return pool_; }
  net::link_counters counters() const noexcept override { return {}; }

  std::size_t synacks = 0;

 private:
  static net::address peer_of(std::uint16_t port) {
    return test_address(10, 1, static_cast<std::uint8_t>(port >> 8), 1);
  }

  net::packet_pool pool_;
  net::link_info info_;
  std::uint16_t next_;
  std::uint16_t end_;
  std::vector<net::packet> answers_;
  loop* owner_ = nullptr;
  net::link_client* client_ = nullptr;
};

struct outcome {
  std::size_t synacks = 0;
  /// Lines about sockets, of all shards.
  std::ptrdiff_t rows = 0;
  tcp::counters counters;
};

/// Runs until all connections of all shards are there. Every shard looks at all of them meanwhile,
/// and turns keys.
task<> serve_crowd(tcp::stack& stack, std::uint64_t wanted, std::atomic<int>& running,
                   outcome& found) {
  const tcp::inspect_request every{.states = tcp::state_set::all(), .no_header = true};
  for (int patience = 0; patience < 20'000; ++patience) {
    const auto seen = co_await stack.look_at_all();
    if (seen->counters.passive_opens == wanted) break;
    if (patience % 16 == 0) co_await inspect(stack, every);
    co_await sleep(1ms);
  }
  stack.rotate_fastopen_key();
  // Whom nobody has accepted is reset when the listener goes.
  found.counters = stack.engine().counters();
  const auto rows = co_await inspect(stack, every);
  found.rows = std::ranges::count(*rows, '\n');
  // The others may be on the way to their last look.
  running.fetch_sub(1);
  while (running.load() > 0) {
    co_await sleep(1ms);
  }
}

outcome run_shard(const tcp::shard_group& shards, std::uint32_t index, std::uint16_t connections,
                  std::atomic<int>& running) {
  loop driver;
  const auto share = static_cast<std::uint16_t>(connections / shards.size());
  const auto from = static_cast<std::uint16_t>(first_port + index * share);
  crowd_link link(from, static_cast<std::uint16_t>(from + share));
  tcp::stack_options options;
  options.addresses = {ours};
  options.policy.somaxconn = 65'535;
  options.listener.syncookies = tcp::syncookies::off;
  options.policy.max_syn_backlog = 100'000;
  options.shard = shards.seat(index);
  tcp::stack stack(driver, link, std::move(options));
  // What comes before there is a listener is refused.
  const auto listener = stack.listen({{}, 80}, {.backlog = 60'000}).value();
  outcome found;
  driver.run(serve_crowd(stack, connections, running, found));
  found.synacks = link.synacks;
  return found;
}

}  // namespace

TEST_CASE(
    "tcp shards: on threads of their own, each answers what is its own, and all is answered") {
  constexpr std::uint32_t threads = 3;
  constexpr std::uint16_t connections = 3000;
  const tcp::shard_group shards(threads);
  std::atomic<int> running{threads};
  std::array<outcome, threads> ended;
  std::vector<std::thread> others;
  for (std::uint32_t i = 0; i < threads; ++i) {
    others.emplace_back([&, i] { ended[i] = run_shard(shards, i, connections, running); });
  }
  for (std::thread& each : others) each.join();
  tcp::counters sum;
  std::size_t synacks = 0;
  for (const outcome& each : ended) {
    CHECK(each.counters.passive_opens > connections / threads / 2);
    synacks += each.synacks;
    CHECK(each.rows == connections + std::ptrdiff_t{threads});
    sum += each.counters;
  }
  CHECK(sum.passive_opens == connections);
  CHECK(synacks == connections);
  CHECK(sum.out_rsts == 0);
  CHECK(sum.shard_dropped == 0);
  CHECK(sum.shard_handed == sum.shard_taken);
  // Two of three SYNs came by the wrong link, and no acknowledgement did.
  CHECK(sum.shard_handed > connections / 2);
  CHECK(sum.shard_handed < connections * 4 / 5);
}
