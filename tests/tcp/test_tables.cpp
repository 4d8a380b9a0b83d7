#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "tcp/engine/flow_table.hpp"
#include "tcp/engine/index_list.hpp"
#include "tcp/engine/ring.hpp"
#include "tcp/engine/slab.hpp"
#include "tcp/engine/timer_wheel.hpp"

// The tables and lists that the engine keeps its objects in, against the standard library's, with
// random operations.

using namespace runnel::tcp::detail;

namespace {

struct object {
  std::uint32_t next = 0;
  std::uint64_t hash = 0;
  list_links links;
  timer_node node;
  std::uint64_t expiry = 0;
};
using objects = slab<object, 64>;

/// What the flow table asks of its objects; the kinds have a slab each.
struct table_links {
  objects (&of)[3];
  std::uint32_t& next(entry_ref entry) noexcept {
    return of[static_cast<int>(entry.kind())][entry.index()].next;
  }
  std::uint64_t hash(entry_ref entry) noexcept {
    return of[static_cast<int>(entry.kind())][entry.index()].hash;
  }
};

}  // namespace

TEST_CASE(
    "tcp flow table: random entries of all kinds are found by their hash, as a map has them") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    objects slabs[3];
    flow_table table;
    std::map<entry_ref, std::uint64_t> model;
    std::vector<entry_ref> all;
    const auto chained = [&](std::uint64_t hash, entry_ref wanted) {
      for (chain_link at = table.first(hash); at;
           at = chain_link(table_links{slabs}.next(at.entry()))) {
        if (at.entry() == wanted) return at.may_have(hash);
        if (at.is_last()) return false;
      }
      return false;
    };
    // Grows well beyond its first size, and shrinks again.
    for (int i = 0; i < 30'000; ++i) {
      const bool grow = i < 18'000 ? random() % 8 != 0 : random() % 3 == 0;
      if (grow || all.empty()) {
        const auto kind = static_cast<entry_kind>(random() % 3);
        const std::uint32_t index = slabs[static_cast<int>(kind)].allocate();
        const entry_ref entry(kind, index);
        // Few bits vary in some of them: long chains.
        const std::uint64_t hash = random() % 4 == 0 ? random() % 16 : random();
        slabs[static_cast<int>(kind)][index].hash = hash;
        table.insert(table_links{slabs}, entry, hash);
        model[entry] = hash;
        all.push_back(entry);
      } else {
        const std::size_t at = random() % all.size();
        const entry_ref entry = all[at];
        const std::uint64_t hash = model[entry];
        if (random() % 4 == 0) {
          // Another object takes its place, as TIME-WAIT does.
          const auto kind = static_cast<entry_kind>(random() % 3);
          const std::uint32_t index = slabs[static_cast<int>(kind)].allocate();
          const entry_ref fresh(kind, index);
          slabs[static_cast<int>(kind)][index].hash = hash;
          table.replace(table_links{slabs}, entry, fresh, hash);
          model[fresh] = hash;
          all.push_back(fresh);
        } else {
          table.remove(table_links{slabs}, entry, hash);
        }
        model.erase(entry);
        slabs[static_cast<int>(entry.kind())].release(entry.index());
        all.erase(std::find(all.begin(), all.end(), entry));
        REQUIRE(!chained(hash, entry));
      }
      if (!all.empty()) {
        const entry_ref entry = all[random() % all.size()];
        REQUIRE(chained(model[entry], entry));
      }
      REQUIRE(table.size() == model.size());
    }
    for (const auto& [entry, hash] : model) REQUIRE(chained(hash, entry));
  }
}

TEST_CASE("tcp timer wheel: random timers fire at their moment, each once, as a map has them") {
  using wheel_of_objects = timer_wheel<objects, &object::node>;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    objects slab;
    std::vector<std::uint32_t> indices;
    for (int i = 0; i < 100; ++i) indices.push_back(slab.allocate());
    for (const std::uint32_t index : indices) slab[index] = {};
    wheel_of_objects wheel;
    // Near the wrap of 32 bits in some.
    std::uint64_t now = seed % 3 == 0 ? UINT32_MAX - 5000 : 1 + random() % 100'000;
    wheel.start(now);
    std::map<std::uint32_t, std::uint64_t> model;
    const auto advance_to = [&](std::uint64_t until) {
      std::uint64_t last = 0;
      wheel.advance(slab, until, [&](std::uint32_t index) {
        REQUIRE(model.count(index) == 1);
        REQUIRE(model[index] <= until);
        REQUIRE(model[index] >= last);
        last = model[index];
        model.erase(index);
        if (random() % 4 == 0) {
          // Armed again from inside.
          model[index] = until + 1 + random() % 300;
          wheel.arm(slab, index, model[index]);
        }
      });
      now = until;
      for (const auto& [index, expiry] : model) REQUIRE(expiry > now);
    };
    for (int i = 0; i < 2000; ++i) {
      const std::uint32_t index = indices[random() % indices.size()];
      const std::uint64_t what = random() % 8;
      if (what < 4) {
        constexpr std::uint64_t spans[] = {10, 300, 70'000, 20'000'000, 0x7fff'0000};
        const std::uint64_t expiry = now + random() % spans[random() % 5];
        wheel.arm(slab, index, expiry);
        model[index] = std::max(expiry, now + 1);
      } else if (what == 4) {
        wheel.cancel(slab, index);
        model.erase(index);
      } else {
        // Never later than the first, and progress each time.
        std::uint64_t first = wheel_of_objects::never;
        for (const auto& [each, expiry] : model) first = std::min(first, expiry);
        REQUIRE(wheel.next() <= first);
        REQUIRE((first == wheel_of_objects::never || wheel.next() > now));
        advance_to(what == 5 ? std::max(now, std::min(wheel.next(), now + 100'000))
                             : now + random() % 2000);
      }
    }
    for (int i = 0; i < 10'000 && wheel.next() != wheel_of_objects::never; ++i) {
      advance_to(wheel.next());
    }
    REQUIRE(model.empty());
  }
}

TEST_CASE("tcp index list: random operations keep the order that a list has") {
  std::mt19937_64 random(1);
  objects slab;
  std::vector<std::uint32_t> indices;
  for (int i = 0; i < 50; ++i) indices.push_back(slab.allocate());
  for (const std::uint32_t index : indices) slab[index] = {};
  index_list<objects, &object::links> list;
  std::list<std::uint32_t> model;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint32_t index = indices[random() % indices.size()];
    const auto known = std::find(model.begin(), model.end(), index);
    if (random() % 5 == 0) {
      const std::uint32_t first = list.pop_front(slab);
      REQUIRE(first == (model.empty() ? no_index : model.front()));
      if (!model.empty()) model.pop_front();
    } else if (known == model.end()) {
      list.push_back(slab, index);
      model.push_back(index);
    } else {
      list.remove(slab, index);
      model.erase(known);
    }
    REQUIRE(list.empty() == model.empty());
    REQUIRE(list.front() == (model.empty() ? no_index : model.front()));
    if (i % 100 == 0) {
      std::uint32_t at = list.front();
      for (const std::uint32_t wanted : model) {
        REQUIRE(at == wanted);
        at = slab[at].links.next;
      }
      REQUIRE(at == no_index);
    }
  }
}

TEST_CASE("tcp ring: random operations are a deque's, and its bound holds") {
  std::mt19937_64 random(2);
  ring<std::uint64_t> of(256);
  std::deque<std::uint64_t> model;
  for (int i = 0; i < 50'000; ++i) {
    // Long rises and long falls.
    if (random() % 100 < (i / 1000 % 2 == 0 ? 60U : 40U)) {
      const std::uint64_t value = random();
      const bool taken = of.push(value);
      REQUIRE(taken == (model.size() < 256));
      if (taken) model.push_back(value);
    } else if (!model.empty()) {
      REQUIRE(of.pop() == model.front());
      model.pop_front();
    }
    REQUIRE(of.size() == model.size());
    REQUIRE(of.empty() == model.empty());
  }
}

TEST_CASE("tcp slab: random objects keep their place and their content, as a map has them") {
  std::mt19937_64 random(3);
  slab<object, 8> objects_of_few;
  std::map<std::uint32_t, std::uint64_t> model;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 100 < (i / 2000 % 2 == 0 ? 60U : 40U) || model.empty()) {
      const std::uint32_t index = objects_of_few.allocate();
      REQUIRE(index < objects_of_few.extent());
      REQUIRE(model.count(index) == 0);
      objects_of_few[index].hash = model[index] = random();
    } else {
      auto at = model.begin();
      std::advance(at,
                   static_cast<std::ptrdiff_t>(random() % std::min<std::size_t>(20, model.size())));
      REQUIRE(objects_of_few[at->first].hash == at->second);
      objects_of_few.release(at->first);
      model.erase(at);
    }
    REQUIRE(objects_of_few.size() == model.size());
  }
}
