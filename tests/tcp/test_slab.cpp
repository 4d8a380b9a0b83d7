#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <vector>

#include "tcp/engine/slab.hpp"

namespace {

struct object {
  std::uint32_t next = 0;
  std::uint32_t value = 0;
};
using objects = runnel::tcp::detail::slab<object, 4>;

}  // namespace

TEST_CASE("tcp slab: indices in use are never handed out again, across many full and empty times") {
  objects slab;
  for (int round = 0; round < 5; ++round) {
    std::set<std::uint32_t> used;
    for (std::uint32_t i = 0; i < 13; ++i) {
      const std::uint32_t index = slab.allocate();
      CHECK(used.insert(index).second);
      CHECK(index < slab.extent());
      slab[index] = {i, i};
    }
    CHECK(slab.size() == 13);
    for (const std::uint32_t index : used) slab.release(index);
    CHECK(slab.size() == 0);
  }
  CHECK(slab.extent() == 16);
}

TEST_CASE("tcp slab: the last free object of a full slab can be taken and given back") {
  objects slab;
  std::vector<std::uint32_t> used;
  for (int i = 0; i < 4; ++i) used.push_back(slab.allocate());
  slab.release(used.back());
  CHECK(slab.allocate() == used.back());
  const std::uint32_t fresh = slab.allocate();
  CHECK(fresh >= 4);
  CHECK(fresh < slab.extent());
}
