#include "fuzz/reassembly_fuzz.hpp"

#include "net/bytes.hpp"
#include "net/v6_packets.hpp"

#include <runnel/wire/bytes.hpp>
#include <runnel/wire/checksum.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

using namespace runnel;
using namespace runnel::test;

namespace {

/// A well-formed packet with options and a payload.
byte_string real_packet(random_source& random) {
  wire::tcp_header tcp;
  tcp.seq = static_cast<std::uint32_t>(random());
  tcp.flags = static_cast<std::uint8_t>(random());
  if (random.chance(50)) tcp.options.mss = std::uint16_t{1460};
  if (random.chance(50)) tcp.options.window_scale = std::uint8_t{7};
  tcp.options.sack_permitted = random.chance(50);
  if (random.chance(50)) tcp.options.timestamp = wire::tcp_timestamp{1, 2};
  for (std::size_t i = random.below(4); i > 0; --i) tcp.options.add_sack({1, 2});
  const std::size_t header = wire::tcp_header_bytes(tcp.options);
  byte_string packet(20 + header + random.below(100));
  wire::ip_header ip;
  ip.source = net::address::v4(10, 0, 0, 1);
  ip.destination = net::address::v4(10, 0, 0, 2);
  ip.protocol = random.chance(80) ? 6 : 1;
  ip.total_length = static_cast<std::uint32_t>(packet.size());
  CHECK(wire::emit_ip(packet, ip) == 20);
  CHECK(wire::emit_tcp(std::span(packet).subspan(20), tcp) == header);
  return packet;
}

/// A well-formed IPv6 packet behind some extension headers.
byte_string real_v6_packet(random_source& random) {
  const int transport = random.chance(70) ? 6 : 58;
  byte_string rest = plain_tcp(random.below(100));
  int next = transport;
  for (std::size_t i = random.below(6); i > 0; --i) {
    const int kind = static_cast<int>(random.below(3));
    if (kind == 0) {
      rest = joined({options_header(next, bytes_of({0x1e, 1, 0, 1, 1, 0})), rest});
    } else if (kind == 1) {
      rest = joined({bytes_of({next, 0, 0, 0, 0, 0, 0, 0}), rest});
    } else {
      rest = joined({fragment_header(next, 0, random.chance(50)), rest});
    }
    next = kind == 0 ? 60 : kind == 1 ? 43 : 44;
  }
  if (random.chance(30)) {
    rest = joined({padding_header(next), rest});
    next = 0;
  }
  return v6_packet(next, rest);
}

/// Breaks some bytes, mostly of the headers, and mends the IP checksum so that what lies behind it
/// is reached.
void mutate(byte_string& packet, random_source& random) {
  for (std::size_t i = random.below(5) + 1; i > 0; --i) {
    const std::size_t end =
        random.chance(80) ? std::min<std::size_t>(packet.size(), 80) : packet.size();
    packet[random.below(end)] = static_cast<std::byte>(random());
  }
  if (random.chance(30)) packet.resize(random.below(packet.size()));
  const std::size_t header = packet.empty() ? 0 : std::size_t{wire::load8(&packet[0])} % 16 * 4;
  if (random.chance(80) && header >= 20 && header <= packet.size()) {
    wire::store16(&packet[10], 0);
    wire::store16(&packet[10], wire::checksum_of(std::span(packet).first(header)));
  }
}

}  // namespace

TEST_CASE("wire: ten thousand random byte strings are read without harm") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 10'000; ++round) {
    auto bytes = random.bytes(random.below(120));
    if (bytes.size() > 12 && random.chance(50)) bytes[12] |= std::byte{0x50};
    fuzz::fuzz_packet(copy_of(bytes));
  }
}

TEST_CASE("hostile wire: ten thousand packets, each with a mutated virtio header, do no harm") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 10'000; ++round) {
    auto packet = real_packet(random);
    if (random.chance(30)) mutate(packet, random);
    const auto low = [&](std::size_t bound) { return static_cast<int>(random.below(bound)); };
    auto bytes = random.chance(10)
                     ? random.bytes(wire::vnet_header_bytes)
                     : bytes_of({low(4), random.chance(50) ? low(6) : 1 + low(2) * 128, low(80), 0,
                                 low(60), 0, 20, 0, 16, 0});
    if (random.chance(30)) bytes[random.below(bytes.size())] = static_cast<std::byte>(random());
    bytes.insert(bytes.end(), packet.begin(), packet.end());
    fuzz::fuzz_packet(copy_of(bytes));
  }
}

TEST_CASE("wire: ten thousand mutated packets are read without harm") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 10'000; ++round) {
    auto packet = real_packet(random);
    mutate(packet, random);
    fuzz::fuzz_packet(copy_of(packet));
  }
}

TEST_CASE("wire: ten thousand mutated IPv6 packets are read without harm") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  int readable = 0;
  int owed = 0;
  for (int round = 0; round < 10'000; ++round) {
    auto packet = real_v6_packet(random);
    for (std::size_t i = random.below(4); i > 0; --i) {
      packet[random.chance(70) ? 40 + random.below(packet.size() - 40)
                               : random.below(packet.size())] = static_cast<std::byte>(random());
    }
    if (random.chance(10)) packet.resize(random.below(packet.size()));
    fuzz::fuzz_packet(copy_of(packet));
    readable += wire::parse_ip(packet) ? 1 : 0;
    owed += wire::problem_of(packet) ? 1 : 0;
  }
  CHECK(readable > 1000);
  CHECK(owed > 100);
}

TEST_CASE("wire: a thousand random programs of fragments are taken without harm") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  std::uint64_t whole = 0;
  for (int round = 0; round < 1000; ++round) {
    fuzz::reassembly_fuzz strangers;
    strangers.run(random.bytes(random.below(1500)));
    whole += strangers.whole();
  }
  CHECK(whole > 1000);
}

TEST_CASE("wire: a hundred thousand texts like addresses are read without harm") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  constexpr std::string_view letters = "0123456789abcdefF::::....%/[]1";
  for (int round = 0; round < 100'000; ++round) {
    std::string text(random.below(24), ':');
    for (char& c : text) {
      if (random.chance(85)) c = letters[random.below(letters.size())];
    }
    fuzz::fuzz_text(text);
  }
}
