#pragma once

#include <runnel/tcp/engine/host.hpp>
#include <runnel/tcp/engine/sequence.hpp>
#include <runnel/wire/checksum.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/tcp.hpp>

#include <array>
#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

namespace runnel::fuzz {

/// Bytes as a program of small numbers; zeros when they are used up.
class program {
 public:
  explicit program(std::span<const std::byte> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint32_t u8() {
    if (bytes_.empty()) return 0;
    const auto value = std::to_integer<std::uint32_t>(bytes_.front());
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::uint32_t u16() {
    const std::uint32_t high = u8();
    return high << 8 | u8();
  }
  std::uint32_t u32() {
    const std::uint32_t high = u16();
    return high << 16 | u16();
  }
  std::span<const std::byte> take(std::size_t count) {
    const auto part = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return part;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// One host with a listener and peers that say whatever a program of bytes tells them, in virtual
/// time: garbage, segments near the window, damaged and repeated ones; between them the
/// application does something, and time passes. Throws where a promise is broken:
/// - what one input draws is bounded, and every loop of polling ends;
/// - memory stays within its limit, objects within what was asked for;
/// - when everybody has gone and every timer has run out, nothing is left.
class engine_fuzz {
 public:
  static constexpr std::size_t memory_limit = std::size_t{1} << 20;

  explicit engine_fuzz(std::uint32_t variant)
      : v6_((variant & 32) != 0), host_(make(variant, v6_)) {
    tcp::listener_policy policy;
    policy.backlog = 4;
    policy.connection.receive_buffer = 8192;
    policy.connection.send_buffer = 16'384;
    listener_ = host_.listen({{}, 80}, policy, 0).value;
  }

  void run(program input) {
    while (!input.empty()) {
      step(input);
      settle();
    }
    finish();
  }

 private:
  static constexpr std::uint32_t peers = 4;
  struct peer {
    std::uint32_t next = 1000;
    std::uint32_t host_next = 0;
    std::uint32_t host_acked = 1000;
  };

  static net::address address_of(bool v6, std::uint8_t last) {
    if (!v6) return net::address::v4(10, 0, 0, last);
    std::array<std::uint8_t, 16> bytes{0xfd};
    bytes[15] = last;
    return net::address::v6(bytes);
  }
  net::address ours() const { return address_of(v6_, 2); }
  net::endpoint endpoint_of(std::uint32_t n) const {
    return {address_of(v6_, static_cast<std::uint8_t>(10 + n % 2)),
            static_cast<std::uint16_t>(2000 + n)};
  }
  static tcp::host_options make(std::uint32_t variant, bool v6) {
    tcp::host_options options;
    options.addresses = {address_of(v6, 2)};
    // What the link's packets hold is compared with what the queues count.
    options.policy.ipfrag_high_thresh = 0;
    options.keys = {{variant, 1}, {variant, 2}, {variant, 3}};
    options.policy.memory_limit = memory_limit;
    options.policy.timestamps = (variant & 1) != 0;
    options.policy.rfc1337 = (variant & 2) != 0;
    options.policy.max_tw_buckets = (variant & 4) != 0 ? 2 : 1000;
    options.gso_max_bytes = (variant & 8) != 0 ? 60'000 : 0;
    options.checksum_offload_tx = (variant & 16) != 0;
    return options;
  }
  static void require(bool held, const char* what) {
    if (!held) throw std::logic_error(what);
  }

  void step(program& input) {
    switch (input.u8() % 8) {
      case 0:
        return give(input.take(input.u8() % 80));
      case 1:
      case 2:
        return give(segment(input));
      case 3: {
        std::vector<std::byte> damaged = segment(input);
        for (std::uint32_t i = input.u8() % 4 + 1; i > 0; --i) {
          damaged[input.u16() % damaged.size()] = static_cast<std::byte>(input.u8());
        }
        if ((input.u8() & 1) != 0) mend(damaged);
        return give(damaged);
      }
      case 4:
        if (!last_.empty()) give(std::vector<std::byte>(last_));
        return;
      case 5:
        return pass(std::chrono::milliseconds(input.u8() % 4 == 0 ? input.u16() * 4 : input.u8()));
      default:
        return act(input);
    }
  }

  /// A segment of one of the peers, somewhere near where it may be.
  std::vector<std::byte> segment(program& input) {
    const std::uint32_t n = input.u8() % peers;
    peer& p = peers_[n];
    constexpr std::array<std::uint8_t, 8> kinds{2, 16, 16, 24, 17, 4, 18, 20};
    wire::tcp_header tcp;
    const std::uint32_t kind = input.u8();
    tcp.flags = kind < 200 ? kinds[kind % 8] : static_cast<std::uint8_t>(input.u8());
    tcp.seq = p.next + nearby(input);
    tcp.ack = p.host_next + nearby(input);
    tcp.window = static_cast<std::uint16_t>(input.u8() % 3 == 0 ? input.u16() : 8000);
    tcp.source_port = endpoint_of(n).port;
    tcp.destination_port = input.u8() < 16 ? 81 : to_[n];
    const std::uint32_t options = input.u8();
    if ((options & 1) != 0) tcp.options.mss = static_cast<std::uint16_t>(input.u16());
    if ((options & 2) != 0) {
      tcp.options.timestamp = wire::tcp_timestamp{stamp_ += input.u8() % 3, input.u16()};
    }
    if ((options & 12) == 12) tcp.options.window_scale = static_cast<std::uint8_t>(input.u8() % 20);
    if ((options & 16) != 0) tcp.options.sack_permitted = true;
    if ((options & 96) == 96) {
      tcp.options.add_sack({p.host_next + nearby(input), p.host_next + nearby(input)});
    }
    const std::size_t text = (tcp.flags & 2) != 0 ? 0 : text_size(input);
    wire::ip_header ip;
    ip.source = endpoint_of(n).address;
    const std::size_t header = wire::ip_header_bytes(ip);
    std::vector<std::byte> out(header + wire::tcp_header_bytes(tcp.options) + text);
    ip.destination = ours();
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
    ip.total_length = static_cast<std::uint32_t>(out.size());
    wire::emit_ip(out, ip);
    wire::emit_tcp(std::span(out).subspan(header), tcp);
    mend(out);
    const std::uint32_t end = tcp.seq + static_cast<std::uint32_t>(text) + (tcp.flags & 1) +
                              ((tcp.flags & 2) != 0 ? 1 : 0);
    if (tcp.seq == p.next && (tcp.flags & 4) == 0) p.next = end;
    return out;
  }
  static std::uint32_t nearby(program& input) {
    const std::uint32_t how = input.u8();
    if (how < 160) return 0;
    if (how < 200) return input.u8();
    if (how < 230) return 0U - input.u8();
    return how < 250 ? input.u16() : input.u32();
  }
  static std::size_t text_size(program& input) {
    const std::uint32_t how = input.u8();
    return how < 100 ? 0 : how < 200 ? input.u8() : input.u16() % 1400;
  }
  /// Makes the TCP checksum right again.
  static void mend(std::vector<std::byte>& packet) {
    const auto ip = wire::parse_ip(packet);
    if (!ip || ip->payload_bytes() < 20) return;
    const auto bytes = std::span(packet).subspan(ip->header_bytes, ip->payload_bytes());
    wire::put_tcp_checksum(bytes, 0);
    wire::checksum sum;
    sum.add_pseudo_header(ip->source, ip->destination, ip->protocol, ip->payload_bytes());
    sum.add(bytes);
    wire::put_tcp_checksum(bytes, sum.value());
  }

  void give(std::span<const std::byte> bytes) {
    last_.assign(bytes.begin(), bytes.end());
    // Behind another one, so that it is looked at ahead of its turn, too: mostly one for which
    // there was no memory, and at times the one before once more, which may change what was looked
    // at.
    std::array<net::packet, 2> burst{net::packet(), link_.copy_of(bytes)};
    if (given_ % 4 == 3) burst[0] = link_.copy_of(earlier_);
    host_.on_packets(burst, now_);
    earlier_ = last_;
    ++given_;
  }
  void pass(duration span) {
    const time_point until = now_ + span;
    for (int i = 0; host_.poll_timeout() <= until; ++i) {
      require(i < 100'000, "timers without end");
      now_ = std::max(now_, host_.poll_timeout());
      host_.on_timeout(now_);
      settle();
    }
    now_ = until;
  }

  void act(program& input) {
    static constexpr std::array<std::byte, 4000> text{};
    std::array<std::byte, 3000> buffer;
    const std::uint32_t what = input.u8() % 8;
    if (what == 0 && sockets_.size() < 8) return connect(input);
    if (what == 1) {
      const auto taken = host_.accept(listener_, 0);
      if (taken) sockets_.push_back(taken.value);
      return;
    }
    if (sockets_.empty()) return;
    const std::size_t which = input.u8() % sockets_.size();
    const tcp::socket_id socket = sockets_[which];
    switch (what) {
      case 2:
      case 3:
        (void)host_.send(socket, std::span(text).first(input.u16() % text.size()), now_);
        return;
      case 4:
      case 5:
        (void)host_.receive(socket, std::span(buffer).first(input.u16() % buffer.size()), now_);
        return;
      case 6:
        (void)host_.shutdown(socket, now_);
        return;
      default:
        if ((input.u8() & 1) != 0) {
          (void)host_.close(socket, static_cast<tcp::close_mode>(input.u8() % 5), now_);
        }
        if ((input.u8() & 1) != 0) {
          host_.release(socket, now_);
          sockets_.erase(sockets_.begin() + static_cast<std::ptrdiff_t>(which));
        }
        return;
    }
  }
  void connect(program& input) {
    const std::uint32_t n = input.u8() % peers;
    tcp::connect_options options;
    options.local.port = static_cast<std::uint16_t>(3000 + input.u8() % 4);
    const auto made = host_.connect(endpoint_of(n), options, 0, now_);
    if (!made) return;
    sockets_.push_back(made.value);
    to_[n] = options.local.port;
  }

  /// Takes what the host says and reports, and looks at what it holds.
  void settle() {
    std::size_t said = 0;
    while (const net::tx_packet* out = host_.poll_transmit(now_)) {
      learn(*out);
      require(++said <= 300, "one input draws packets without end");
    }
    tcp::socket_event happened;
    for (int i = 0; host_.poll_event(happened); ++i) require(i < 100, "reports without end");
    const tcp::memory_table held = host_.memory();
    require(held.buffer_bytes <= memory_limit, "more memory than the limit");
    require(link_.used_bytes() <= held.buffer_bytes, "packets of the link that nobody counts");
    require(held.half_open <= 6, "more half-open entries than the backlog");
    require(held.connections <= given_ + 8 && held.time_wait <= 1000, "objects out of nothing");
  }
  void learn(const net::tx_packet& out) {
    require(out.size <= 65'535, "a packet longer than a packet may be");
    std::array<std::byte, 128> head;
    const auto first = out.pieces.front();
    const std::size_t header = wire::ip_header_bytes(ours().family());
    require(first.size() >= header, "a packet without its header");
    const std::size_t size = std::min(first.size(), head.size());
    std::memcpy(head.data(), first.data(), size);
    const int protocol = std::to_integer<int>(head[v6_ ? 6 : 9]);
    if (protocol != static_cast<int>(wire::ip_protocol::tcp)) return;
    const auto tcp = wire::parse_tcp(std::span(head).subspan(header, size - header));
    require(tcp.has_value(), "a segment that cannot be read");
    for (std::uint32_t n = 0; n < peers; ++n) {
      if (tcp->destination_port != endpoint_of(n).port || (tcp->flags & 4) != 0) continue;
      const auto text =
          static_cast<std::uint32_t>(out.size - header) - std::uint32_t{tcp->header_bytes};
      peers_[n].host_next = tcp->seq + text + ((tcp->flags & 3) != 0 ? 1 : 0);
      to_[n] = tcp->source_port;
      if ((tcp->flags & 16) != 0) peers_[n].next = tcp->ack;
    }
  }

  void finish() {
    for (const tcp::socket_id each : sockets_) host_.release(each, now_);
    host_.close_listener(listener_, now_);
    settle();
    for (int i = 0; host_.poll_timeout() != time_point::max(); ++i) {
      require(i < 100'000, "timers that never run out");
      now_ = std::max(now_, host_.poll_timeout());
      host_.on_timeout(now_);
      settle();
    }
    const tcp::memory_table held = host_.memory();
    require(held.connections == 0 && held.half_open == 0 && held.time_wait == 0,
            "objects are left");
    require(held.buffer_bytes == 0 && link_.used_bytes() == 0, "memory is left");
    require(host_.counters().curr_estab == 0, "TcpCurrEstab is wrong");
  }

  bool v6_;
  net::packet_pool link_;
  tcp::host host_;
  time_point now_ = time_point(std::chrono::seconds(1000));
  tcp::socket_id listener_;
  std::vector<tcp::socket_id> sockets_;
  std::array<peer, peers> peers_;
  std::array<std::uint16_t, peers> to_{80, 80, 80, 80};
  std::vector<std::byte> last_;
  std::uint32_t stamp_ = 1;
  std::size_t given_ = 0;
  std::vector<std::byte> earlier_;
};

/// Runs the bytes as a program; the first chooses the host's policies.
inline void fuzz_engine(std::span<const std::byte> bytes) {
  program input(bytes);
  engine_fuzz fuzz(input.u8());
  fuzz.run(input);
}

}  // namespace runnel::fuzz
