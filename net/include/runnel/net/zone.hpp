#pragma once

#include <runnel/wire/address.hpp>

namespace runnel::net {

/// The network interfaces as zones of link-local addresses (RFC 4007 section 6), by the kernel's
/// names and indices: if_nametoindex and if_indextoname. Each look-up is a system call, which does
/// not wait; for configuration, not for every packet.
const zone_names& system_zones() noexcept;

}  // namespace runnel::net
