#pragma once

#include "net/tun_fixture.hpp"

#include <runnel/net/link.hpp>
#include <runnel/wire/bytes.hpp>
#include <runnel/wire/checksum.hpp>
#include <runnel/wire/offload.hpp>
#include <runnel/wire/tcp.hpp>

#include <netinet/tcp.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <vector>

namespace runnel::test {

/// One connection from a socket of the kernel to us, whose packets are made and read here by hand:
/// enough of TCP to see what the kernel does with offloads. Nothing is lost and nothing waits.
class raw_tcp {
 public:
  explicit raw_tcp(bool v6)
      : v6_(v6),
        fd_(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  raw_tcp(const raw_tcp&) = delete;
  raw_tcp& operator=(const raw_tcp&) = delete;
  ~raw_tcp() { ::close(fd_); }

  static std::string host_prefix(bool v6) { return v6 ? "fd77::1/64" : "10.77.0.1/24"; }

  void connect() const {
    if (!v6_) {
      const sockaddr_in to = socket_address(net::address::v4(10, 77, 0, 2), port);
      ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to);
      return;
    }
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(port);
    // A new address is no source before the kernel's own work on it is done.
    ::inet_pton(AF_INET6, "fd77::1", &to.sin6_addr);
    to.sin6_port = 0;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (::bind(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 &&
           std::chrono::steady_clock::now() < limit) {
      ::sched_yield();
    }
    to.sin6_port = htons(port);
    ::inet_pton(AF_INET6, "fd77::2", &to.sin6_addr);
    ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  bool write(const std::string& text) const {
    return ::send(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  }
  std::string read(std::size_t most) const {
    std::string got(most, '\0');
    std::size_t used = 0;
    for (ssize_t size = 0; used < most; used += static_cast<std::size_t>(size)) {
      size = ::recv(fd_, got.data() + used, most - used, 0);
      if (size <= 0) break;
    }
    got.resize(used);
    return got;
  }

  /// The next packet from the kernel with SYN or text in it; empty when there is none.
  net::packet next(net::link& from, time_point now) const {
    for (;;) {
      std::array<net::packet, 1> one;
      if (from.receive(now, one) == 0) return {};
      if (!is_ours(one[0])) continue;
      const auto tcp = wire::parse_tcp(segment(one[0]));
      if (tcp && ((tcp->flags & syn) != 0 || !payload_of(one[0]).empty())) return one[0];
    }
  }

  /// Answers the kernel's SYN; from then on it is established.
  void accept(net::link& to, time_point now, const net::packet& request, std::uint16_t mss) {
    const auto tcp = wire::parse_tcp(segment(request));
    peer_port_ = tcp->source_port;
    acked_ = tcp->seq + 1;
    if (v6_) {
      std::copy_n(request.bytes().begin() + 8, 16, theirs_.begin());
      std::copy_n(request.bytes().begin() + 24, 16, ours_.begin());
    }
    wire::tcp_options options;
    options.mss = mss;
    options.window_scale = std::uint8_t{7};
    send(to, now, {}, 60'000, syn | 0x10, options);
    next_ += 1;
  }

  /// A super-segment to be cut into 1,000 bytes each, in pieces of this size.
  net::send_status send_cut(net::link& to, time_point now, const std::string& text,
                            std::size_t piece, int flags) {
    const auto status = send(to, now, text, piece, flags, {});
    next_ += static_cast<std::uint32_t>(text.size());
    return status;
  }

  std::string payload_of(const net::packet& what) const {
    const auto bytes = segment(what);
    const auto tcp = wire::parse_tcp(bytes);
    if (!tcp) return {};
    const auto text = bytes.subspan(tcp->header_bytes);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  bool checksum_intact(const net::packet& what) const {
    wire::checksum sum;
    const auto bytes = segment(what);
    sum.add(what.bytes().subspan(v6_ ? 8 : 12, v6_ ? 32 : 8));
    sum.add_word(6);
    sum.add_word(static_cast<std::uint16_t>(bytes.size()));
    sum.add(bytes);
    return sum.intact();
  }

 private:
  static constexpr std::uint16_t port = 80;
  static constexpr int syn = 2;

  bool is_ours(const net::packet& what) const {
    const auto bytes = what.bytes();
    if (bytes.size() < ip_bytes() + 20) return false;
    return v6_ ? bytes[6] == std::byte{6} : bytes[0] == std::byte{0x45} && bytes[9] == std::byte{6};
  }
  std::size_t ip_bytes() const { return v6_ ? 40 : 20; }
  std::span<const std::byte> segment(const net::packet& what) const {
    return std::span<const std::byte>(what.bytes()).subspan(ip_bytes());
  }

  net::send_status send(net::link& to, time_point now, const std::string& text, std::size_t piece,
                        int flags, const wire::tcp_options& options) {
    wire::tcp_header tcp;
    tcp.source_port = port;
    tcp.destination_port = peer_port_;
    tcp.seq = next_;
    tcp.ack = acked_;
    tcp.flags = static_cast<std::uint8_t>(flags);
    tcp.window = 60'000;
    tcp.options = options;
    const std::size_t head = ip_bytes() + wire::tcp_header_bytes(options);
    std::vector<std::byte> packet(head + text.size());
    std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(),
                packet.begin() + static_cast<std::ptrdiff_t>(head));
    wire::emit_tcp(std::span(packet).subspan(ip_bytes()), tcp);
    wire::checksum pseudo = emit_ip(packet);
    const bool offloads = to.info().checksum_offload_tx;
    if (!offloads) pseudo.add(std::span(packet).subspan(ip_bytes()));
    wire::store16(&packet[ip_bytes() + 16], offloads ? pseudo.sum() : pseudo.value());

    std::vector<std::span<const std::byte>> pieces;
    for (std::span<const std::byte> rest = packet; !rest.empty();) {
      pieces.push_back(rest.first(std::min(rest.size(), piece)));
      rest = rest.subspan(pieces.back().size());
    }
    net::tx_packet out{.pieces = pieces, .size = static_cast<std::uint32_t>(packet.size())};
    if (offloads) {
      out.offload.checksum = net::checksum_state::partial;
      out.offload.checksum_start = static_cast<std::uint16_t>(ip_bytes());
      out.offload.checksum_offset = 16;
      if (text.size() > 1000) out.offload.gso_size = 1000;
    }
    return to.send(now, out);
  }

  /// Writes the IP header; gives the sum of the pseudo-header.
  wire::checksum emit_ip(std::span<std::byte> packet) const {
    wire::checksum pseudo;
    const auto transport = static_cast<std::uint16_t>(packet.size() - ip_bytes());
    if (v6_) {
      std::fill_n(packet.begin(), 8, std::byte{0});
      wire::store8(&packet[0], 0x60);
      wire::store16(&packet[4], transport);
      wire::store8(&packet[6], 6);
      wire::store8(&packet[7], 64);
      std::copy(ours_.begin(), ours_.end(), packet.begin() + 8);
      std::copy(theirs_.begin(), theirs_.end(), packet.begin() + 24);
      pseudo.add(packet.subspan(8, 32));
    } else {
      wire::ip_header ip;
      ip.source = net::address::v4(10, 77, 0, 2);
      ip.destination = net::address::v4(10, 77, 0, 1);
      ip.protocol = 6;
      ip.total_length = static_cast<std::uint32_t>(packet.size());
      wire::emit_ip(packet, ip);
      pseudo.add(packet.subspan(12, 8));
    }
    pseudo.add_word(6);
    pseudo.add_word(transport);
    return pseudo;
  }

  bool v6_;
  int fd_;
  std::uint16_t peer_port_ = 0;
  std::uint32_t next_ = 7'000'000;
  std::uint32_t acked_ = 0;
  std::array<std::byte, 16> ours_{};
  std::array<std::byte, 16> theirs_{};
};

}  // namespace runnel::test
