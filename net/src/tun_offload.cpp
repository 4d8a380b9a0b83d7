#include "tun_offload.hpp"

#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace runnel::net::detail {
namespace {

constexpr unsigned checksums = TUN_F_CSUM;
constexpr unsigned segments_v4 = checksums | TUN_F_TSO4;
constexpr unsigned segments = segments_v4 | TUN_F_TSO6;

/// From the most to the least.
constexpr std::array<unsigned, 5> ladder{segments | TUN_F_TSO_ECN, segments, segments_v4, checksums,
                                         0};

/// A super-segment with its headers is one IP packet.
constexpr std::uint32_t largest_payload = 65'535 - 40 - 60;

}  // namespace

bool knows_vnet_header(int fd) noexcept {
  unsigned features = 0;
  return ::ioctl(fd, TUNGETFEATURES, &features) == 0 && (features & IFF_VNET_HDR) != 0;
}

offload_grant negotiate_offload(int fd, tun_offload wanted) noexcept {
  offload_grant grant;
  // Who had the device before may have left it with others, longer and in the other order.
  int bytes = 10;
  int little = 1;
  grant.vnet_header =
      ::ioctl(fd, TUNSETVNETHDRSZ, &bytes) == 0 && ::ioctl(fd, TUNSETVNETLE, &little) == 0;
  if (!grant.vnet_header) grant.refusal = errno;
  for (const unsigned features : ladder) {
    if (wanted == tun_offload::checksum && features > checksums) continue;
    if (!grant.vnet_header) break;
    if (::ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(features)) == 0) {
      grant.features = features;
      break;
    }
    if (grant.refusal == 0) grant.refusal = errno;
  }
  return grant;
}

void refuse_offload(int fd, offload_grant& grant) noexcept {
  static_cast<void>(::ioctl(fd, TUNSETOFFLOAD, 0UL) == 0);
  grant.features = 0;
}

bool satisfies(const offload_grant& grant, tun_offload wanted) noexcept {
  switch (wanted) {
    case tun_offload::automatic:
    case tun_offload::off:
      return true;
    case tun_offload::checksum:
      return (grant.features & checksums) == checksums;
    case tun_offload::segmentation:
      return (grant.features & segments_v4) == segments_v4;
  }
  return false;
}

void describe(const offload_grant& grant, link_info& info) noexcept {
  info.checksum_offload_rx = (grant.features & checksums) != 0;
  info.checksum_offload_tx = info.checksum_offload_rx;
  info.coalesces_rx = (grant.features & segments_v4) == segments_v4;
  info.gso_max_bytes = info.coalesces_rx ? largest_payload : 0;
}

std::string to_string(const offload_grant& grant) {
  std::string text = "plain packets";
  if ((grant.features & TUN_F_TSO4) != 0) {
    text = "the kernel does checksums and cuts segments (TSO4";
    if ((grant.features & TUN_F_TSO6) != 0) text += " TSO6";
    if ((grant.features & TUN_F_TSO_ECN) != 0) text += " ECN";
    text += ")";
  } else if ((grant.features & checksums) != 0) {
    text = "the kernel does checksums";
  }
  if (grant.refusal != 0) {
    text += ", and refuses more (" +
            std::error_code(grant.refusal, std::generic_category()).message() + ")";
  }
  return text;
}

}  // namespace runnel::net::detail
