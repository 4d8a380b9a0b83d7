#pragma once

#include <cstdint>
#include <optional>

#include "peer_cache.hpp"

namespace runnel::tcp::detail {

/// The newest timestamp of each of the hosts that were heard last; nothing where none was heard.
using host_timestamps = peer_cache<std::optional<std::uint32_t>>;

}  // namespace runnel::tcp::detail
