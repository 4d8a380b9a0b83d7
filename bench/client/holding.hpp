#pragma once

#include <cstdint>

#include "options.hpp"

namespace bench {

/// Raises the limit of descriptors as far as that many sockets need and this user may; how many
/// sockets there is room for.
std::uint32_t room_for_sockets(std::uint32_t wanted);

/// Opens `options::idle` connections, prints "holding", and closes them at SIGTERM, SIGINT or the
/// end of standard input; the process's exit code. Throws a sentence when some cannot be had.
///
/// Where one process may not have so many descriptors, several of its children share them.
int hold(const options& given);

}  // namespace bench
