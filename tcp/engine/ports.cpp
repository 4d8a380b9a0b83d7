#include "core.hpp"
#include "siphash.hpp"

namespace runnel::tcp::detail {

std::uint16_t choose_port(core& host, flow_key key) noexcept {
  const std::uint32_t first = host.policy.local_port_first;
  const std::uint32_t count = host.policy.local_port_last - first + 1U;
  // RFC 6056 algorithm 3: where the search starts depends on the destination and a secret, so that
  // the ports towards one peer tell nothing about those towards another.
  key.local_port = 0;
  const std::uint32_t offset = host.timestamp_offset(key);
  for (std::uint32_t tried = 0; tried < count; ++tried) {
    key.local_port = static_cast<std::uint16_t>(first + (offset + host.port_counter++) % count);
    if (!host.find(key)) return key.local_port;
  }
  return 0;
}

}  // namespace runnel::tcp::detail
