#pragma once

#include "wire_fuzz.hpp"

#include <runnel/wire/bytes.hpp>
#include <runnel/wire/reassembly.hpp>

#include <chrono>
#include <vector>

namespace runnel::fuzz {

/// A reassembler and strangers who send what a program of bytes tells them. Aborts where a promise
/// is broken: memory within its bound, every packet accounted for, whole packets that parse and
/// hold what their fragments held, nothing left once every time is over.
class reassembly_fuzz {
 public:
  static constexpr std::size_t bound = 32 << 10;

  /// How many packets became whole.
  std::uint64_t whole() const {
    return under_test_.counters(net::family::v4).reasm_oks +
           under_test_.counters(net::family::v6).reasm_oks;
  }

  void run(std::span<const std::byte> program) {
    program_ = program;
    while (!program_.empty()) {
      const unsigned what = take();
      if (what % 16 == 0) {
        now_ += std::chrono::milliseconds(what * 100);
        expire();
      } else if (what % 16 == 1) {
        // Fragments come from below only, so that each place has one byte that is right.
        const auto bytes = garbage();
        const auto ip = wire::parse_ip(bytes);
        if (ip && !ip->is_fragment()) give(bytes);
      } else {
        give(fragment(what));
      }
      check();
    }
    now_ += std::chrono::seconds(61);
    expire();
    require(!under_test_.deadline(), "a deadline with nothing that waits");
    require(under_test_.used_bytes() == 0 && under_test_.datagrams() == 0, "something is left");
    check();
    for (const net::family of : {net::family::v4, net::family::v6}) {
      const auto& count = under_test_.counters(of);
      require(count.reasm_oks + count.reasm_fails <= count.reasm_reqds, "more ends than fragments");
      require(count.reasm_timeout + count.reasm_overlaps <= count.reasm_fails,
              "failures that do not count as such");
    }
  }

 private:
  unsigned take() {
    if (program_.empty()) return 0;
    const auto value = std::to_integer<unsigned>(program_.front());
    program_ = program_.subspan(1);
    return value;
  }

  std::vector<std::byte> garbage() {
    std::vector<std::byte> bytes(take() % 100);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(take());
    return bytes;
  }

  /// The byte that belongs at a place of every payload, so that a whole one can be checked.
  static std::byte at_place(std::size_t place) {
    return static_cast<std::byte>(place / 8 * 3 + place);
  }

  std::vector<std::byte> fragment(unsigned what) {
    wire::ip_header ip;
    const bool v6 = (what & 16) != 0;
    const auto host = static_cast<std::uint8_t>(what >> 5 & 1);
    std::array<std::uint8_t, 16> raw{0x20, 1};
    raw[15] = host;
    ip.source = v6 ? net::address::v6(raw) : net::address::v4(10, 0, 0, host);
    ip.destination = v6 ? net::address::v6(raw) : net::address::v4(10, 0, 0, 9);
    const unsigned shape = take();
    ip.protocol = (what & 64) != 0 ? 50 : 6;
    ip.id = shape & 3;
    // Most come from datagrams of four pieces that fit together; some are from nowhere.
    const unsigned place = take();
    ip.fragment_offset = static_cast<std::uint16_t>(place % 4 * 64);
    ip.more_fragments = place % 4 != 3;
    std::size_t size = ip.more_fragments ? 64 : 29;
    if ((shape & 0xf0) == 0) {
      ip.more_fragments = (shape & 4) != 0;
      ip.tos = static_cast<std::uint8_t>(take());
      ip.fragment_offset = static_cast<std::uint16_t>(place * ((shape & 8) != 0 ? 256U : 8U));
      size = (take() % 32) * 8U * (take() % 4) + (take() % 4 == 0 ? 3 : 0);
    }
    const std::size_t header = wire::ip_header_bytes(ip);
    std::vector<std::byte> packet(header + size);
    ip.total_length = static_cast<std::uint32_t>(packet.size());
    require(wire::emit_ip(packet, ip) == header, "a fragment that cannot be emitted");
    for (std::size_t i = 0; i < size; ++i) packet[header + i] = at_place(ip.fragment_offset + i);
    return packet;
  }

  void give(const std::vector<std::byte>& bytes) {
    const auto ip = wire::parse_ip(bytes);
    if (!ip) return;
    const auto result = under_test_.on_fragment(pool_.copy_of(bytes), *ip, now_);
    if (result.problem) {
      require(static_cast<bool>(result.packet), "a problem about no packet");
      std::array<std::byte, 1240> out;
      require(wire::emit_icmp(out, ip->destination, ip->source, *result.problem) != 0,
              "a problem that cannot be emitted");
    }
    const bool whole = result.verdict == wire::reassembly_verdict::complete;
    require(!whole || result.packet, "whole without a packet");
    if (!whole || !ip->is_fragment()) return;
    const auto again = wire::parse_ip(result.packet.bytes());
    require(again && !again->is_fragment(), "a whole packet that does not parse");
    require(again->total_length == result.packet.size(), "a whole packet of another length");
    const auto payload = again->payload(result.packet.bytes());
    for (std::size_t i = 0; i < payload.size(); ++i) {
      require(payload[i] == at_place(i), "a whole packet with a byte at the wrong place");
    }
    fuzz_packet(result.packet.bytes());
  }

  void expire() {
    for (;;) {
      const net::packet owed = under_test_.poll_expired(now_);
      if (!owed) break;
      const auto ip = wire::parse_ip(owed.bytes());
      require(ip && ip->more_fragments && ip->fragment_offset == 0, "owed about no first fragment");
    }
    const auto deadline = under_test_.deadline();
    require(!deadline || *deadline > now_, "what is expired still waits");
  }

  void check() {
    require(under_test_.used_bytes() <= bound, "more memory than the bound");
    require(pool_.used_bytes() == under_test_.used_bytes(), "packets unaccounted for");
    require((under_test_.datagrams() == 0) == (under_test_.used_bytes() == 0),
            "datagrams without fragments");
    require(under_test_.deadline().has_value() == (under_test_.datagrams() != 0),
            "a deadline and nothing that waits, or the other way round");
  }

  static wire::reassembly_policy policy() {
    wire::reassembly_policy policy;
    policy.high_thresh = bound;
    policy.max_fragments = 16;
    return policy;
  }

  net::packet_pool pool_;
  wire::reassembler under_test_{policy()};
  time_point now_{};
  std::span<const std::byte> program_;
};

}  // namespace runnel::fuzz
