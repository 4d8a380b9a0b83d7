// The ceiling of one stream over a TUN device: super-segments with virtio-net headers, and each
// segment answered from what is in it. Port 9 acknowledges whatever comes, port 19 fills the window
// that each acknowledgement opens. Nothing is checked, kept or sent again, and one stream at a time
// is all it serves. The harness makes the device and is the peer.
//
//   stateless_bulk DEVICE

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <vector>

#include "runnel/wire/checksum.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/offload.hpp"
#include "runnel/wire/tcp.hpp"
#include "tun_device.hpp"

using namespace runnel;

namespace {

constexpr std::uint16_t source_port = 19;
constexpr std::uint32_t first_number = 1000;
constexpr std::uint8_t window_scale = 7;
constexpr std::uint16_t mtu = 1500;
constexpr std::uint32_t largest_payload = 64'000;

/// What a segment says.
struct heard {
  wire::ip_header ip;
  wire::tcp_header tcp;
  std::uint32_t length = 0;
};

class responder {
 public:
  explicit responder(int fd) : fd_(fd), text_(largest_payload, std::byte{'x'}) {}

  void run() {
    std::vector<std::byte> buffer(wire::vnet_header_bytes + 65'536);
    for (;;) {
      pollfd wait{fd_, POLLIN, 0};
      ::poll(&wait, 1, -1);
      for (;;) {
        const ssize_t got = ::read(fd_, buffer.data(), buffer.size());
        if (got < 0 && errno == EAGAIN) break;
        if (got <= static_cast<ssize_t>(wire::vnet_header_bytes)) return;
        take(std::span<const std::byte>(buffer)
                 .first(static_cast<std::size_t>(got))
                 .subspan(wire::vnet_header_bytes));
      }
    }
  }

 private:
  void take(std::span<const std::byte> packet) {
    const auto ip = wire::parse_ip(packet);
    if (!ip || !ip->carries(wire::ip_protocol::tcp)) return;
    const auto payload = ip->payload(packet);
    const auto tcp = wire::parse_tcp(payload);
    if (!tcp || (tcp->flags & wire::tcp_flag::rst) != 0) return;
    const heard seen{*ip, *tcp, static_cast<std::uint32_t>(payload.size()) - tcp->header_bytes};
    if ((tcp->flags & wire::tcp_flag::syn) != 0) return open_stream(seen);
    const bool fin = (tcp->flags & wire::tcp_flag::fin) != 0;
    if (seen.length > 0 || fin) acknowledge(seen, fin);
    if (tcp->destination_port == source_port && !fin) fill_window(seen);
  }

  void open_stream(const heard& seen) {
    wire::tcp_header out;
    out.seq = first_number;
    out.ack = seen.tcp.seq + 1;
    out.flags = wire::tcp_flag::syn | wire::tcp_flag::ack;
    out.options.mss = mss_of(seen);
    if (seen.tcp.options.window_scale) out.options.window_scale = window_scale;
    peer_scale_ = seen.tcp.options.window_scale.value_or(0);
    next_ = first_number + 1;
    send(seen, out, 0);
  }

  void acknowledge(const heard& seen, bool fin) {
    wire::tcp_header out;
    out.seq = seen.tcp.ack;
    out.ack = seen.tcp.seq + seen.length + (fin ? 1 : 0);
    out.flags = fin ? wire::tcp_flag::ack | wire::tcp_flag::fin : wire::tcp_flag::ack;
    send(seen, out, 0);
  }

  void fill_window(const heard& seen) {
    const std::uint32_t edge =
        seen.tcp.ack + (static_cast<std::uint32_t>(seen.tcp.window) << peer_scale_);
    for (;;) {
      const auto room = static_cast<std::int32_t>(edge - next_);
      const std::uint32_t length =
          std::min(static_cast<std::uint32_t>(std::max(room, 0)), largest_payload);
      // Less than a segment waits for the next acknowledgement, unless that would never come.
      if (length == 0 || (length < mss_of(seen) && next_ != seen.tcp.ack)) return;
      wire::tcp_header out;
      out.seq = next_;
      out.ack = seen.tcp.seq + seen.length;
      out.flags = wire::tcp_flag::ack;
      if (!send(seen, out, length)) return;
      next_ += length;
    }
  }

  static std::uint16_t mss_of(const heard& seen) {
    return static_cast<std::uint16_t>(mtu - wire::ip_header_bytes(seen.ip.source.family()) - 20);
  }

  bool send(const heard& to, wire::tcp_header& tcp, std::uint32_t length) {
    wire::ip_header ip;
    ip.source = to.ip.destination;
    ip.destination = to.ip.source;
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
    ip.dont_fragment = true;
    tcp.source_port = to.tcp.destination_port;
    tcp.destination_port = to.tcp.source_port;
    tcp.window = 65'535;
    const std::size_t ip_bytes = wire::ip_header_bytes(ip);
    const std::size_t tcp_bytes = wire::tcp_header_bytes(tcp.options);
    ip.total_length = static_cast<std::uint32_t>(ip_bytes + tcp_bytes + length);
    std::array<std::byte, 128> headers;
    wire::emit_ip(headers, ip);
    const auto segment = std::span(headers).subspan(ip_bytes);
    wire::emit_tcp(segment, tcp);
    wire::checksum sum;
    sum.add_pseudo_header(ip.source, ip.destination, ip.protocol,
                          static_cast<std::uint32_t>(tcp_bytes) + length);
    wire::put_tcp_checksum(segment, sum.sum());

    net::packet_offload offload;
    offload.checksum = net::checksum_state::partial;
    offload.checksum_start = static_cast<std::uint16_t>(ip_bytes);
    offload.checksum_offset = 16;
    if (length > mss_of(to)) offload.gso_size = mss_of(to);
    std::array<std::byte, wire::vnet_header_bytes> head;
    if (!wire::emit_vnet(head, offload, std::span(headers).first(ip_bytes + tcp_bytes))) {
      return false;
    }
    const iovec pieces[] = {
        {&head, sizeof(head)}, {headers.data(), ip_bytes + tcp_bytes}, {text_.data(), length}};
    return ::writev(fd_, pieces, 3) > 0;
  }

  int fd_;
  std::vector<std::byte> text_;
  std::uint32_t next_ = 0;
  std::uint8_t peer_scale_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  // The kernel would make a device of the name --help.
  const bool help = argc == 2 && argv[1][0] == '-';
  if (argc != 2 || help) {
    std::fprintf(help ? stdout : stderr, "usage: stateless_bulk DEVICE\n");
    return help ? 0 : 2;
  }
  try {
    const int fd = bench::open_tun(argv[1], true, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6);
    std::printf("ready\n");
    std::fflush(stdout);
    responder(fd).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stateless_bulk: %s.\n", error.what());
    return 1;
  }
}
