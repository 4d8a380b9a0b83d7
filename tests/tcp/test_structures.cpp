#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <random>
#include <utility>

#include "tcp/engine/listener_table.hpp"

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
