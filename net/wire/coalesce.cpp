#include "runnel/wire/coalesce.hpp"

#include "runnel/wire/bytes.hpp"
#include "runnel/wire/checksum.hpp"
#include "runnel/wire/tcp.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace runnel::wire {
namespace {

constexpr std::size_t v4_bytes = 20;
constexpr std::size_t v6_bytes = 40;
constexpr std::size_t tcp_bytes = 20;
constexpr std::uint8_t protocol_tcp = 6;
constexpr std::size_t largest_packet = 65'535;

/// A segment that may be joined with others.
struct plain_segment {
  const std::byte* bytes = nullptr;
  std::size_t ip_bytes = 0;
  std::size_t header_bytes = 0;
  std::size_t text_bytes = 0;
  std::uint32_t seq = 0;
  bool push = false;

  explicit operator bool() const noexcept { return text_bytes != 0; }
  const std::byte* tcp() const noexcept { return bytes + ip_bytes; }
  std::size_t size() const noexcept { return header_bytes + text_bytes; }
};

/// The length of a plain IP header in front of TCP; 0 when it is anything else.
std::size_t plain_ip_bytes(std::span<const std::byte> packet) noexcept {
  if (packet.size() < v4_bytes + tcp_bytes) return 0;
  const std::byte* const at = packet.data();
  if (load8(at) == 0x45) {
    // Neither a fragment nor the bit that must be zero (RFC 791).
    const bool whole = (load16(at + 6) & 0xbfff) == 0;
    const bool plain = whole && load8(at + 9) == protocol_tcp && load16(at + 2) == packet.size();
    checksum sum;
    sum.add(packet.first(v4_bytes));
    return plain && sum.intact() ? v4_bytes : 0;
  }
  if (load8(at) >> 4 != 6 || packet.size() < v6_bytes + tcp_bytes) return 0;
  const bool plain = load8(at + 6) == protocol_tcp && load16(at + 4) + v6_bytes == packet.size();
  return plain ? v6_bytes : 0;
}

plain_segment look_at(const net::packet& packet) noexcept {
  plain_segment out;
  if (!packet || packet->offload.gso_size != 0 ||
      packet->offload.checksum == net::checksum_state::partial) {
    return out;
  }
  const std::span<const std::byte> bytes = packet.bytes();
  out.ip_bytes = plain_ip_bytes(bytes);
  if (out.ip_bytes == 0) return out;
  out.bytes = bytes.data();
  const std::size_t offset = std::size_t{load8(out.tcp() + 12)} / 16 * 4;
  const std::uint8_t flags = load8(out.tcp() + 13);
  out.header_bytes = out.ip_bytes + offset;
  if (offset < tcp_bytes || out.header_bytes >= bytes.size()) return out;
  if ((flags & ~tcp_flag::psh) != tcp_flag::ack) return out;
  out.push = (flags & tcp_flag::psh) != 0;
  out.seq = load32(out.tcp() + 4);
  out.text_bytes = bytes.size() - out.header_bytes;
  return out;
}

bool same(const std::byte* left, const std::byte* right, std::size_t from,
          std::size_t to) noexcept {
  return std::memcmp(left + from, right + from, to - from) == 0;
}

/// All but the lengths, IPv4's identification and the checksums.
bool same_ip(const plain_segment& left, const plain_segment& right) noexcept {
  if (left.ip_bytes != right.ip_bytes) return false;
  const std::byte* const a = left.bytes;
  const std::byte* const b = right.bytes;
  if (left.ip_bytes == v4_bytes) return same(a, b, 0, 2) && same(a, b, 6, 10) && same(a, b, 12, 20);
  return same(a, b, 0, 4) && same(a, b, 6, v6_bytes);
}

/// Whether `next` is what comes behind `last` in a super-segment that begins with `first`.
bool follows(const plain_segment& first, const plain_segment& last,
             const plain_segment& next) noexcept {
  if (last.push || last.text_bytes != first.text_bytes) return false;
  if (next.text_bytes > first.text_bytes || next.header_bytes != first.header_bytes) return false;
  if (next.seq != last.seq + static_cast<std::uint32_t>(last.text_bytes)) return false;
  if (!same_ip(first, next)) return false;
  const std::byte* const a = first.tcp();
  const std::byte* const b = next.tcp();
  return same(a, b, 0, 4) && same(a, b, 8, 13) && same(a, b, 14, 16) &&
         same(a, b, tcp_bytes, first.header_bytes - first.ip_bytes);
}

/// Looks where nobody has; true when the segment is right.
bool verify(const net::packet& packet) noexcept {
  if (packet->offload.checksum == net::checksum_state::verified) return true;
  const plain_segment it = look_at(packet);
  const std::span<const std::byte> bytes = packet.bytes();
  const std::size_t addresses = it.ip_bytes == v4_bytes ? 12 : 8;
  checksum sum;
  sum.add(bytes.subspan(addresses, it.ip_bytes - addresses));
  sum.add_word(protocol_tcp);
  sum.add_word(static_cast<std::uint16_t>(bytes.size() - it.ip_bytes));
  sum.add(bytes.subspan(it.ip_bytes));
  if (!sum.intact()) return false;
  packet->offload.checksum = net::checksum_state::verified;
  return true;
}

/// What of a run goes together, and what that takes.
struct portion {
  std::size_t count = 0;
  std::size_t bytes = 0;
};

/// As many of the run as fill a block at least by half: what is joined is held as long as any of it
/// is unread, and memory is what budgets count.
portion portion_of(std::span<const net::packet> run, std::size_t header_bytes) noexcept {
  const auto& blocks = net::packet_pool::block_bytes;
  for (std::size_t i = blocks.size(); i-- > 0;) {
    const std::size_t room = std::min<std::size_t>(blocks[i], largest_packet);
    portion fits{0, header_bytes};
    for (const net::packet& each : run) {
      const std::size_t text = each.size() - header_bytes;
      if (fits.bytes + text > room) break;
      fits.bytes += text;
      ++fits.count;
    }
    if (fits.count > 1 && fits.bytes * 2 >= room) return fits;
  }
  return {};
}

/// The packet that these were cut from, as far as anyone can tell.
net::packet join(std::span<const net::packet> run, std::size_t bytes,
                 net::packet_pool& pool) noexcept {
  net::packet out = pool.allocate(bytes);
  if (!out) return out;
  const plain_segment first = look_at(run.front());
  out.resize(bytes);
  std::byte* const start = out.bytes().data();
  std::memcpy(start, first.bytes, first.header_bytes);
  std::byte* end = start + first.header_bytes;
  for (const net::packet& each : run) {
    const auto text = each.bytes().subspan(first.header_bytes);
    std::memcpy(end, text.data(), text.size());
    end += text.size();
  }
  if (first.ip_bytes == v4_bytes) {
    store16(start + 2, static_cast<std::uint16_t>(bytes));
    store16(start + 10, 0);
    store16(start + 10, checksum_of({start, v4_bytes}));
  } else {
    store16(start + 4, static_cast<std::uint16_t>(bytes - v6_bytes));
  }
  std::byte* const flags = start + first.ip_bytes + 13;
  const std::uint8_t pushed = look_at(run.back()).push ? tcp_flag::psh : 0;
  store8(flags, static_cast<std::uint8_t>(load8(flags) | pushed));
  out->offload.checksum = net::checksum_state::verified;
  out->offload.gso_size = static_cast<std::uint16_t>(first.text_bytes);
  return out;
}

/// How many packets from the front belong together; 1 when the first one stands alone.
std::size_t run_length(std::span<const net::packet> burst) noexcept {
  const plain_segment first = look_at(burst.front());
  if (!first) return 1;
  plain_segment last = first;
  std::size_t count = 1;
  while (count < burst.size()) {
    const plain_segment next = look_at(burst[count]);
    if (!next || !follows(first, last, next)) break;
    last = next;
    ++count;
  }
  return count;
}

}  // namespace

std::size_t coalesce(std::span<net::packet> burst, net::packet_pool& pool) noexcept {
  std::size_t kept = 0;
  std::size_t at = 0;
  while (at < burst.size()) {
    const std::size_t length = run_length(burst.subspan(at));
    auto run = burst.subspan(at, length);
    if (length > 1 && !pool.scarce()) {
      const std::size_t header_bytes = look_at(run.front()).header_bytes;
      portion part = portion_of(run, header_bytes);
      const auto wrong = std::ranges::find_if_not(run.first(part.count), verify);
      const auto right = static_cast<std::size_t>(wrong - run.begin());
      if (right < part.count) part = portion_of(run.first(right), header_bytes);
      net::packet joined =
          part.count > 1 ? join(run.first(part.count), part.bytes, pool) : net::packet();
      if (joined) {
        for (net::packet& each : run.first(part.count)) each = {};
        burst[kept++] = std::move(joined);
        at += part.count;
        continue;
      }
    }
    at += length;
    for (net::packet& each : run) {
      net::packet alone = std::move(each);
      burst[kept++] = std::move(alone);
    }
  }
  return kept;
}

}  // namespace runnel::wire
