#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "tcp/engine/listener_table.hpp"
#include "tcp/engine/reassembly_queue.hpp"

// The containers of the engine against simple models, with random operations.

using namespace runnel::tcp::detail;

TEST_CASE("tcp listener table: random listeners are found by port and place, as a map finds them") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    listener_table table;
    std::map<std::pair<std::uint16_t, std::uint32_t>, std::uint32_t> model;
    std::vector<std::uint32_t> free;
    std::uint32_t fresh = 0;
    for (int i = 0; i < 3000; ++i) {
      const auto port = static_cast<std::uint16_t>(random() % 40 * 1024);
      const std::uint32_t place = random() % 3 == 0 ? listener_table::every_address
                                                    : static_cast<std::uint32_t>(random() % 20);
      const auto known = model.find({port, place});
      REQUIRE(table.find(port, place) == (known == model.end() ? no_index : known->second));
      if (known == model.end()) {
        std::uint32_t index = fresh;
        if (free.empty()) {
          ++fresh;
        } else {
          index = free.back();
          free.pop_back();
        }
        table.insert(index, port, place);
        model[{port, place}] = index;
      } else if (random() % 2 == 0) {
        table.remove(known->second);
        free.push_back(known->second);
        model.erase(known);
      }
      REQUIRE(table.size() == model.size());
    }
  }
}

namespace {

std::byte byte_at(std::uint32_t position) noexcept {
  return static_cast<std::byte>(position * 2654435761U >> 24);
}

std::vector<std::byte> bytes_from(std::uint32_t position, std::uint32_t count) {
  std::vector<std::byte> out(count);
  for (std::byte& each : out) each = byte_at(position++);
  return out;
}

/// A payload for these positions, as it lies in a packet behind `head` bytes of headers.
runnel::net::packet payload_of(runnel::net::packet_pool& pool, std::uint32_t from,
                               std::uint32_t size, std::uint32_t head) {
  runnel::net::packet made = pool.allocate(head + size);
  made->begin = head;
  made->end = head + size;
  for (std::uint32_t i = 0; i < size; ++i) made.bytes()[i] = byte_at(from + i);
  return made;
}

/// A reassembly queue and a receive queue against a set of positions.
struct reassembly_model {
  explicit reassembly_model(std::uint64_t seed, std::size_t limit = std::size_t{16} << 20)
      : random(seed), pool(limit, seed), base(static_cast<std::uint32_t>(random())) {}
  ~reassembly_model() {
    queue.clear(pool);
    ready.clear(pool);
    CHECK(pool.used_bytes() == 0);
    CHECK(link.used_bytes() == 0);
  }
  runnel::tcp::sequence at(std::uint32_t position) const {
    return runnel::tcp::sequence(base + position);
  }
  reassembly_queue::verdict insert(std::uint32_t from, std::uint32_t size, std::uint32_t head) {
    const auto verdict = queue.insert(pool, at(from), payload_of(link, from, size, head));
    if (verdict != reassembly_queue::verdict::refused) {
      for (std::uint32_t i = from; i < from + size; ++i) known.insert(i);
    }
    return verdict;
  }
  void check() {
    REQUIRE(queue.size() == known.size());
    REQUIRE(queue.empty() == known.empty());
    REQUIRE(pool.used_bytes() == std::size_t{queue.held_bytes()} + ready.held_bytes());
  }
  /// Moves what follows on `next` and compares it.
  void take() {
    known.erase(known.begin(), known.lower_bound(next));
    std::uint32_t wanted = 0;
    while (known.count(next + wanted) != 0) known.erase(next + wanted++);
    const std::uint32_t moved = queue.take(pool, at(next), ready);
    REQUIRE(moved == wanted);
    REQUIRE(ready.size() == moved);
    std::vector<std::byte> bytes(moved);
    REQUIRE(ready.read(pool, bytes) == moved);
    REQUIRE(bytes == bytes_from(next, moved));
    next += moved;
  }

  std::mt19937_64 random;
  runnel::net::packet_pool link;
  buffer_pool pool;
  std::uint32_t base;
  reassembly_queue queue;
  receive_queue ready;
  std::set<std::uint32_t> known;
  std::uint32_t next = 0;
};

}  // namespace

TEST_CASE("tcp reassembly: random segments come out as a set of positions has them") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    reassembly_model model(seed);
    const std::uint32_t largest = seed % 3 == 0 ? 3 : seed % 3 == 1 ? 300 : 1400;
    for (int i = 0; i < 400; ++i) {
      const std::uint32_t ahead = 1 + static_cast<std::uint32_t>(model.random() % (20 * largest));
      const std::uint32_t size = 1 + static_cast<std::uint32_t>(model.random() % largest);
      model.insert(model.next + ahead, size, model.random() % 2 == 0 ? 40 : 0);
      model.check();
      if (model.random() % 16 == 0) {
        // The hole is filled from elsewhere, somewhere within what is waiting.
        model.next += static_cast<std::uint32_t>(model.random() % (10 * largest));
        model.take();
        model.check();
      }
    }
  }
}

TEST_CASE(
    "tcp reassembly: without memory nothing is lost that was not refused, and nothing leaks") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    reassembly_model model(seed, 300'000);
    std::size_t refused = 0;
    for (int i = 0; i < 400; ++i) {
      // What a refused segment covered may have gone: only whole gaps are offered.
      const std::uint32_t place = static_cast<std::uint32_t>(model.random() % 2000) * 700;
      if (model.known.count(place + 1) != 0) continue;
      const auto verdict = model.insert(place + 1, 600, 0);
      if (verdict == reassembly_queue::verdict::refused) ++refused;
      model.check();
    }
    CHECK(refused > 0);
  }
}

TEST_CASE("tcp hostile: SegmentSmack, storing a segment costs a logarithm whatever the order") {
  // How many runs are looked at for each segment, with 4000 runs: the height of the tree is about
  // 2 log2(n) on average, 4 log2(n) is a bound that chance does not reach; three descents.
  constexpr std::uint32_t count = 4000;
  constexpr std::uint64_t bound = 3 * 4 * 12;
  for (const std::string_view order : {"up", "down", "random", "from the middle"}) {
    CAPTURE(order);
    reassembly_model model(9);
    std::vector<std::uint32_t> places(count);
    for (std::uint32_t i = 0; i < count; ++i) places[i] = 1 + 2 * i;
    if (order == "down") std::reverse(places.begin(), places.end());
    if (order == "random") std::shuffle(places.begin(), places.end(), model.random);
    if (order == "from the middle") {
      std::sort(places.begin(), places.end(), [](std::uint32_t a, std::uint32_t b) {
        return (a > count ? a - count : count - a) < (b > count ? b - count : count - b);
      });
    }
    std::uint64_t most = 0;
    for (const std::uint32_t place : places) {
      const std::uint64_t before = model.pool.reassembly_steps;
      CHECK(model.insert(place, 1, 40) == reassembly_queue::verdict::stored);
      most = std::max(most, model.pool.reassembly_steps - before);
    }
    CHECK(most <= bound);
    CHECK(model.pool.reassembly_steps <= count * bound / 2);
    CHECK(model.queue.pieces() == count);
    // Then nothing more is held, and filling the holes makes one run of it.
    for (std::uint32_t i = 0; i < 200; ++i) {
      model.insert(2 * count + 10 + 2 * i, 1, 40);
    }
    CHECK(model.queue.pieces() == reassembly_queue::piece_limit);
    model.next = 1;
    model.take();
    model.check();
  }
}

TEST_CASE("tcp reassembly: what follows on is one run, however long") {
  reassembly_model model(3);
  for (std::uint32_t i = 0; i < 500; ++i) model.insert(10 + i * 1400, 1400, 40);
  // Behind one hole there is one run to look at, three times for each segment.
  CHECK(model.pool.reassembly_steps <= 500 * 3);
  model.next = 10;
  model.take();
  CHECK(model.next == 10 + 500 * 1400);
}

TEST_CASE("tcp receive queue: short and long pieces in turn are packed as well as others") {
  runnel::net::packet_pool link;
  buffer_pool pool(4'000'000, 1);
  receive_queue queue;
  std::uint32_t written = 0;
  for (int i = 0; i < 100; ++i) {
    for (const std::uint32_t size : {1U, 600U, 1650U}) {
      written += queue.append(pool, payload_of(link, written, size, 40));
    }
  }
  CHECK(queue.collapse(pool) > 100);
  CHECK(queue.size() == written);
  CHECK(queue.held_bytes() <= written + written / 3 + 17'000);
  std::vector<std::byte> bytes(written);
  CHECK(queue.read(pool, bytes) == written);
  CHECK(bytes == bytes_from(0, written));
  CHECK(pool.used_bytes() == 0);
}

TEST_CASE("tcp receive queue: what is lent is not packed into, with memory for it or without") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    runnel::net::packet_pool link(std::size_t{4} << 20);
    buffer_pool pool(60'000 + random() % 60'000, seed);
    receive_queue queue;
    std::vector<runnel::net::owned_buffer> lent;
    std::uint32_t written = 0;
    std::uint32_t read = 0;
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t what = random() % 16;
      if (what < 10) {
        const auto size = static_cast<std::uint32_t>(1 + random() % (random() % 3 == 0 ? 400 : 60));
        written += queue.append(pool, payload_of(link, written, size, 40));
      } else if (what < 12) {
        std::array<runnel::net::owned_buffer, 6> some;
        const std::size_t count = queue.lend(some, 1 + random() % 20'000);
        for (std::size_t k = 0; k < count; ++k) lent.push_back(std::move(some[k]));
      } else if (what == 12) {
        lent.clear();
      } else if (what == 13) {
        std::vector<runnel::net::packet> others;
        while (random() % 200 != 0) {
          runnel::net::packet block = pool.allocate(1);
          if (!block) break;
          others.push_back(std::move(block));
        }
        queue.collapse(pool);
      } else {
        std::vector<std::byte> bytes(random() % 200);
        bytes.resize(queue.read(pool, bytes));
        REQUIRE(bytes == bytes_from(read, static_cast<std::uint32_t>(bytes.size())));
        read += static_cast<std::uint32_t>(bytes.size());
      }
      REQUIRE(queue.size() == written - read);
    }
    std::vector<std::byte> rest(written - read);
    REQUIRE(queue.read(pool, rest) == rest.size());
    REQUIRE(rest == bytes_from(read, written - read));
  }
}

TEST_CASE("tcp receive queue: random texts are read as they were written, packed or not") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    runnel::net::packet_pool link(std::size_t{1} << 20);
    buffer_pool pool(seed % 2 == 0 ? 400'000 : 4'000'000, seed);
    receive_queue queue;
    std::uint32_t written = 0;
    std::uint32_t read = 0;
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t what = random() % 16;
      if (what < 9) {
        const auto size =
            static_cast<std::uint32_t>(1 + random() % (random() % 3 == 0 ? 1460 : 60));
        runnel::net::packet payload = payload_of(link, written, size, 40);
        const std::uint32_t taken = queue.append(pool, std::move(payload));
        REQUIRE(taken <= size);
        written += taken;
      } else if (what == 9) {
        const std::uint32_t held = queue.held_bytes();
        if (queue.collapse(pool) > 0) REQUIRE(queue.held_bytes() < held);
      } else if (what > 12) {
        std::vector<std::byte> bytes(random() % 5000);
        const std::size_t got = queue.read(pool, bytes);
        REQUIRE(got == std::min<std::size_t>(bytes.size(), written - read));
        bytes.resize(got);
        REQUIRE(bytes == bytes_from(read, static_cast<std::uint32_t>(got)));
        read += static_cast<std::uint32_t>(got);
      }
      REQUIRE(queue.size() == written - read);
      REQUIRE(pool.used_bytes() == queue.held_bytes());
      REQUIRE(pool.kept_bytes() == link.used_bytes());
    }
    queue.clear(pool);
    REQUIRE(pool.used_bytes() == 0);
    REQUIRE(link.used_bytes() == 0);
  }
}
