#include <runnel/wire/packet.hpp>

#include "net/bytes.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace runnel::net;
using namespace runnel::test;

TEST_CASE("packet pool: a packet comes from the smallest class that holds it") {
  packet_pool pool;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{512}}) {
    CHECK(pool.allocate(bytes)->capacity == 512);
  }
  CHECK(pool.allocate(513)->capacity == 2048);
  CHECK(pool.allocate(2048)->capacity == 2048);
  CHECK(pool.allocate(2049)->capacity == 16384);
  CHECK(pool.allocate(65536)->capacity == 65536 + 512);
  CHECK(pool.allocate(65536 + 512));
  CHECK_FALSE(pool.allocate(65536 + 513));
  CHECK_FALSE(pool.allocate(SIZE_MAX));
}

TEST_CASE("packet pool: a released block is the next one given out, clean") {
  packet_pool pool;
  packet first = pool.allocate(1500);
  packet_buffer* const block = first.get();
  first.resize(1500);
  first->tag = 7;
  first->offload.gso_size = 1460;
  first = {};
  const packet second = pool.allocate(1000);
  CHECK(second.get() == block);
  CHECK(second.size() == 0);
  CHECK(second->tag == 0);
  CHECK(second->next == nullptr);
  CHECK(second->references == 1);
  CHECK(second->offload == packet_offload{});
}

TEST_CASE("packet: copies share the bytes, and the last one gives the block back") {
  packet_pool pool;
  packet original = pool.copy_of(bytes_of("hello"));
  packet shared = original;
  CHECK(shared->references == 2);
  CHECK(shared.bytes().data() == original.bytes().data());
  original = {};
  CHECK(pool.used_bytes() == shared->truesize());
  CHECK(std::ranges::equal(shared.bytes(), bytes_of("hello")));

  packet_buffer* const held = shared.detach();
  CHECK_FALSE(shared);
  CHECK(pool.used_bytes() != 0);
  packet::adopt(held) = {};
  CHECK(pool.used_bytes() == 0);
}

TEST_CASE("packet pool: never takes more than its limit") {
  constexpr std::size_t limit = 100'000;
  packet_pool pool{limit};
  std::vector<packet> held;
  for (;;) {
    packet next = pool.allocate(1500);
    if (!next) break;
    held.push_back(std::move(next));
  }
  CHECK(held.size() > 40);
  CHECK(pool.held_bytes() <= limit);
  CHECK(pool.used_bytes() <= pool.held_bytes());
  CHECK_FALSE(pool.allocate(1500));

  // With the system's memory used up, a free block of a larger class still serves.
  held.pop_back();
  std::vector<packet> small;
  for (;;) {
    packet next = pool.allocate(100);
    if (!next) break;
    small.push_back(std::move(next));
  }
  CHECK(small.back()->capacity == 2048);
  packet_buffer* const block = small.back().get();
  small.pop_back();
  CHECK(pool.allocate(1500).get() == block);
}

TEST_CASE("packet pool: holds what its busiest moment needed and no more") {
  packet_pool pool;
  std::vector<packet> held;
  for (int i = 0; i < 1000; ++i) held.push_back(pool.allocate(2048));
  const std::size_t peak = pool.held_bytes();
  CHECK(pool.used_bytes() == 1000 * held.front()->truesize());
  for (int round = 0; round < 10; ++round) {
    held.clear();
    CHECK(pool.used_bytes() == 0);
    for (int i = 0; i < 1000; ++i) held.push_back(pool.allocate(2048));
  }
  CHECK(pool.held_bytes() == peak);
}

TEST_CASE("packet pool: blocks do not overlap") {
  packet_pool pool;
  std::vector<packet> held;
  for (const std::size_t bytes : packet_pool::block_bytes) {
    for (int i = 0; i < 40; ++i) {
      packet next = pool.allocate(bytes);
      next.resize(bytes);
      std::ranges::fill(next.bytes(), static_cast<std::byte>(held.size()));
      held.push_back(std::move(next));
    }
  }
  for (std::size_t i = 0; i < held.size(); ++i) {
    const auto mine = [i](std::byte byte) { return byte == static_cast<std::byte>(i); };
    CHECK(std::ranges::all_of(held[i].bytes(), mine));
    CHECK(held[i]->references == 1);
  }
}
