#pragma once

#include "runnel/net/tun.hpp"

#include <string>

namespace runnel::net::detail {

/// What a TUN descriptor and the kernel have agreed on.
struct offload_grant {
  /// Each packet has a virtio-net header in front, little-endian, of `wire::vnet_header_bytes`.
  bool vnet_header = false;
  /// The TUN_F_ bits that the kernel took; without `vnet_header` none.
  unsigned features = 0;
  /// The errno value of the first refusal; 0 when there was none.
  int refusal = 0;
};

/// Whether this descriptor may ask for virtio-net headers at all, before it has a device.
bool knows_vnet_header(int fd) noexcept;

/// Agrees on the most of `wanted` that the kernel takes, on a descriptor whose device was opened
/// with the header. Without `vnet_header` in what it gives the descriptor is of no use.
offload_grant negotiate_offload(int fd, tun_offload wanted) noexcept;

/// Takes back everything that this descriptor, or who had the device before, has agreed on, but
/// for the header itself.
void refuse_offload(int fd, offload_grant& grant) noexcept;

/// Whether `grant` is what was wanted.
bool satisfies(const offload_grant& grant, tun_offload wanted) noexcept;

/// Sets what a link's user must know.
void describe(const offload_grant& grant, link_info& info) noexcept;

/// "the kernel does checksums and cuts segments (TSO4 TSO6 ECN)".
std::string to_string(const offload_grant& grant);

}  // namespace runnel::net::detail
