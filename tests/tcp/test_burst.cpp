#include <map>
#include <optional>
#include <set>
#include <vector>

#include "packets.hpp"
#include "tcp/engine/core.hpp"
#include "tcp/engine/ingress.hpp"

// Packets that come together: `host::on_packets` fetches ahead what the next ones need, and does
// nothing else than `on_packet` for each.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using packet_bytes = std::vector<std::byte>;

const net::address served4 = net::address::v4(10, 0, 0, 2);
const net::address served6 = *net::address::parse("fd00::2");

/// What the host sends next; nothing when it has nothing to say.
std::optional<packet_bytes> next_of(host& engine, time_point now) {
  const net::tx_packet* out = engine.poll_transmit(now);
  if (out == nullptr) return {};
  packet_bytes whole;
  for (const auto piece : out->pieces) whole.insert(whole.end(), piece.begin(), piece.end());
  return whole;
}

host make_host(std::vector<net::address> addresses, std::uint64_t seed) {
  host_options options;
  options.addresses = std::move(addresses);
  options.keys = keys_from(seed);
  options.policy.quiet_time = 0s;
  return host(std::move(options));
}

/// A server that answers what it reads with the same text, and closes after the second time.
struct echo_server {
  echo_server() : engine(make_host({served4, served6}, 2)) {
    listener = engine.listen({{}, 80}, {}, listener_token).value;
  }

  /// What it sends then.
  std::vector<packet_bytes> work(time_point now) {
    socket_event happened;
    while (engine.poll_event(happened)) {
      if (happened.token == listener_token) {
        while (const auto accepted = engine.accept(listener, 0)) answer(accepted.value, now);
      } else {
        answer(happened.socket, now);
      }
    }
    std::vector<packet_bytes> out;
    while (auto each = next_of(engine, now)) out.push_back(std::move(*each));
    return out;
  }
  void answer(socket_id socket, time_point now) {
    std::array<std::byte, 100> text;
    const auto got = engine.receive(socket, text, now);
    if (!got || got.value == 0) return;
    CHECK(engine.send(socket, std::span(text).first(got.value), now));
    if (++answers[socket.index] < 2) return;
    answers.erase(socket.index);
    engine.release(socket, now);
  }

  static constexpr std::uint64_t listener_token = 7;
  host engine;
  socket_id listener;
  std::map<std::uint32_t, int> answers;
};

/// Many clients, what they send, and between it what is no packet for the server.
class senders {
 public:
  explicit senders(std::uint64_t seed)
      : random_(seed),
        engine_(make_host({net::address::v4(10, 0, 0, 1), *net::address::parse("fd00::1")}, 1)) {}

  std::vector<packet_bytes> work(time_point now) {
    if (random_() % 2 == 0) open(now);
    socket_event happened;
    while (engine_.poll_event(happened)) ask(happened, now);
    std::vector<packet_bytes> out;
    while (const auto each = next_of(engine_, now)) {
      out.push_back(*each);
      if (random_() % 4 == 0) out.push_back(spoilt(*each));
    }
    return out;
  }
  void take(const packet_bytes& bytes, time_point now) {
    engine_.on_packet(pool_.copy_of(bytes), now);
  }

 private:
  void open(time_point now) {
    for (const net::address& to : {served4, served6}) {
      for (int i = 0; i < 20; ++i) CHECK(engine_.connect({to, 80}, {}, 0, now));
    }
  }
  void ask(const socket_event& happened, time_point now) {
    std::array<std::byte, 100> text{};
    if (any(happened.what & events::connected)) CHECK(engine_.send(happened.socket, text, now));
    if (!any(happened.what & events::readable)) return;
    while (const auto got = engine_.receive(happened.socket, text, now)) {
      if (got.value == 0) {
        asked_again_.erase(happened.socket.index);
        return engine_.release(happened.socket, now);
      }
      if (!asked_again_.insert(happened.socket.index).second) continue;
      CHECK(engine_.send(happened.socket, std::span(text).first(random_() % 99 + 1), now));
    }
  }
  /// Cut off anywhere, or with one byte that is another.
  packet_bytes spoilt(packet_bytes of) {
    if (random_() % 2 == 0) {
      of.resize(random_() % of.size());
    } else {
      of[random_() % of.size()] ^= std::byte(1 + random_() % 255);
    }
    return of;
  }

  std::mt19937_64 random_;
  net::packet_pool pool_;
  host engine_;
  std::set<std::uint32_t> asked_again_;
};

}  // namespace

TEST_CASE("tcp burst: packets that come together are taken as each alone, whatever they are") {
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    CAPTURE(seed);
    net::packet_pool pool;
    senders clients(seed);
    echo_server alone;
    echo_server together;
    time_point now(1000s);
    std::size_t largest = 0;
    for (int turn = 0; turn < 60; ++turn, now += 7ms) {
      const std::vector<packet_bytes> sent = clients.work(now);
      std::vector<net::packet> burst;
      for (const packet_bytes& bytes : sent) {
        alone.engine.on_packet(pool.copy_of(bytes), now);
        burst.push_back(pool.copy_of(bytes));
        // No memory for what arrived.
        if (sent.size() > 3 && burst.size() == 2) {
          alone.engine.on_packet({}, now);
          burst.emplace_back();
        }
      }
      largest = std::max(largest, burst.size());
      together.engine.on_packets(burst, now);
      for (const net::packet& each : burst) CHECK(!each);
      for (host* each : {&alone.engine, &together.engine}) {
        if (each->poll_timeout() <= now) each->on_timeout(now);
      }
      const std::vector<packet_bytes> answers = alone.work(now);
      REQUIRE(together.work(now) == answers);
      for (const packet_bytes& each : answers) clients.take(each, now);
    }
    CHECK(largest > 60);
    const counters& seen = together.engine.counters();
    CHECK(seen.passive_opens > 500);
    CHECK(seen.in_errs > 0);
    CHECK(seen.in_segs == alone.engine.counters().in_segs);
    CHECK(seen.out_rsts == alone.engine.counters().out_rsts);
    CHECK(together.engine.memory().time_wait > 20);
    CHECK(together.engine.memory().time_wait == alone.engine.memory().time_wait);
  }
}

TEST_CASE("tcp burst: whose a packet is, is guessed from what there is of it") {
  host_options options;
  // So many that a table is asked for them.
  for (std::uint8_t i = 2; i < 10; ++i) options.addresses.push_back(net::address::v4(10, 0, 0, i));
  options.addresses.push_back(served6);
  options.keys = keys_from(1);
  const detail::core host(options);
  const auto guess = [&](const net::endpoint& from, const net::endpoint& to, std::size_t bytes) {
    net::packet_pool pool;
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::syn;
    const net::packet whole = make_packet(pool, from, to, tcp, {});
    // In a block that ends where they do, so that a sanitizer hears of a byte too many.
    const std::vector<std::byte> seen(whole.bytes().begin(),
                                      whole.bytes().begin() + static_cast<std::ptrdiff_t>(bytes));
    std::optional<detail::flow_key> out{std::in_place};
    if (!detail::guess_flow(host, seen, *out)) out.reset();
    return out;
  };
  const net::endpoint v4{net::address::v4(10, 0, 0, 1), 1001};
  const net::endpoint v6{*net::address::parse("fd00::1"), 1002};
  const net::endpoint to4{net::address::v4(10, 0, 0, 9), 80};
  const net::endpoint to6{served6, 81};
  for (std::size_t bytes = 0; bytes <= 40; ++bytes) {
    CAPTURE(bytes);
    const auto found = guess(v4, to4, bytes);
    CHECK(found.has_value() == (bytes >= 24));
    if (found) CHECK(*found == detail::flow_key{v4.address, 1001, 80, 7});
  }
  for (std::size_t bytes = 0; bytes <= 60; ++bytes) {
    CAPTURE(bytes);
    const auto found = guess(v6, to6, bytes);
    CHECK(found.has_value() == (bytes >= 44));
    if (found) CHECK(*found == detail::flow_key{v6.address, 1002, 81, 8});
  }
  CHECK(!guess(v4, {net::address::v4(10, 0, 0, 77), 80}, 40));
}
