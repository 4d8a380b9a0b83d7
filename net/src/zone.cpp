#include "runnel/net/zone.hpp"

#include <algorithm>
#include <array>

#include <net/if.h>

namespace runnel::net {
namespace {

std::uint32_t zone_of(std::string_view name) noexcept {
  std::array<char, IF_NAMESIZE> terminated{};
  if (name.size() >= terminated.size()) return 0;
  std::copy(name.begin(), name.end(), terminated.begin());
  return if_nametoindex(terminated.data());
}

std::string name_of(std::uint32_t zone) {
  std::array<char, IF_NAMESIZE> name{};
  const char* const found = if_indextoname(zone, name.data());
  return found != nullptr ? found : "";
}

}  // namespace

const zone_names& system_zones() noexcept {
  static constexpr zone_names zones{&zone_of, &name_of};
  return zones;
}

}  // namespace runnel::net
