#pragma once

#include "support/network_namespace.hpp"

#include <runnel/wire/icmp.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <string>

namespace runnel::test {

inline sockaddr_in socket_address(const net::address& where, std::uint16_t port = 0) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  result.sin_addr.s_addr = htonl(where.to_v4_number());
  return result;
}

/// A whole IP packet with this ICMP message.
inline std::string icmp_packet(const net::address& from, const net::address& to,
                               const wire::icmp_message& message) {
  const std::size_t header = wire::ip_header_bytes(from.family());
  std::string packet(header + wire::icmp_bytes(message), '\0');
  const auto bytes = std::as_writable_bytes(std::span(packet));
  wire::ip_header ip;
  ip.source = from;
  ip.destination = to;
  ip.protocol = static_cast<std::uint8_t>(wire::icmp_protocol(from.family()));
  ip.total_length = static_cast<std::uint32_t>(packet.size());
  wire::emit_ip(bytes, ip);
  wire::emit_icmp(bytes.subspan(header), from, to, message);
  return packet;
}

inline std::string echo_request(const net::address& from, const net::address& to,
                                std::uint16_t identifier) {
  return icmp_packet(from, to, {.kind = wire::icmp_kind::echo_request, .identifier = identifier});
}

/// The IPv4 address and prefix length of a device.
inline net::prefix device_address(const std::string& device) {
  net::prefix result;
  sockaddr_in raw{};
  ifreq request = testing::request_for(device);
  if (!testing::device_ioctl(SIOCGIFADDR, request)) return result;
  std::memcpy(&raw, &request.ifr_addr, sizeof raw);
  result.address = net::address::v4(ntohl(raw.sin_addr.s_addr));
  request = testing::request_for(device);
  if (!testing::device_ioctl(SIOCGIFNETMASK, request)) return result;
  std::memcpy(&raw, &request.ifr_netmask, sizeof raw);
  result.length = static_cast<std::uint8_t>(std::popcount(raw.sin_addr.s_addr));
  return result;
}

/// Sends datagrams through the kernel, to make packets arrive at a device.
class udp_sender {
 public:
  udp_sender() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  udp_sender(const udp_sender&) = delete;
  udp_sender& operator=(const udp_sender&) = delete;
  ~udp_sender() { ::close(fd_); }

  bool send(const net::address& to, std::size_t bytes) const {
    const std::string payload(bytes, 'u');
    const sockaddr_in where = socket_address(to, 9);
    return ::sendto(fd_, payload.data(), payload.size(), 0,
                    reinterpret_cast<const sockaddr*>(&where), sizeof where) > 0;
  }

 private:
  int fd_;
};

/// Pings as the ping program does, from a raw socket of the kernel.
class kernel_pinger {
 public:
  kernel_pinger() : fd_(::socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP)) {}
  kernel_pinger(const kernel_pinger&) = delete;
  kernel_pinger& operator=(const kernel_pinger&) = delete;
  ~kernel_pinger() { ::close(fd_); }

  bool ping(const net::address& to, std::uint16_t identifier) const {
    const std::string packet = echo_request(to, to, identifier);
    const sockaddr_in where = socket_address(to);
    return ::sendto(fd_, packet.data() + 20, packet.size() - 20, 0,
                    reinterpret_cast<const sockaddr*>(&where), sizeof where) > 0;
  }
  /// Whether an answer to that ping has arrived; takes what arrived before it.
  bool answered(const net::address& from, std::uint16_t identifier) const {
    std::string packet(2000, '\0');
    for (;;) {
      const ssize_t size = ::recv(fd_, packet.data(), packet.size(), 0);
      if (size < 0) return false;
      const auto bytes = std::as_bytes(std::span(packet)).first(static_cast<std::size_t>(size));
      const auto ip = wire::parse_ip(bytes);
      if (!ip || ip->source != from) continue;
      const auto icmp = wire::parse_icmp(*ip, ip->payload(bytes));
      if (icmp && icmp->kind == wire::icmp_kind::echo_reply && icmp->identifier == identifier) {
        return true;
      }
    }
  }

 private:
  int fd_;
};

}  // namespace runnel::test
