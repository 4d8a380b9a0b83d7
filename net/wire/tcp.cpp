#include "runnel/wire/tcp.hpp"

#include "runnel/wire/bytes.hpp"
#include "runnel/wire/checksum.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/plain_tcp.hpp"

#include <algorithm>

namespace runnel::wire {
namespace {

using detail::aligned_timestamp;
using detail::timestamp_row_bytes;
constexpr std::size_t fixed_bytes = detail::tcp_fixed_bytes;
constexpr std::size_t max_option_bytes = 40;
constexpr std::size_t checksum_at = 16;

/// Option kinds, by IANA number.
namespace kind {
constexpr std::uint8_t end = 0;
constexpr std::uint8_t nop = 1;
constexpr std::uint8_t mss = 2;
constexpr std::uint8_t window_scale = 3;
constexpr std::uint8_t sack_permitted = 4;
constexpr std::uint8_t sack = 5;
constexpr std::uint8_t timestamp = 8;
constexpr std::uint8_t fast_open = 34;
}  // namespace kind

constexpr bool good_cookie_size(std::size_t size) noexcept {
  return size == 0 || (size >= 4 && size <= 16 && size % 2 == 0);
}

tcp_timestamp load_timestamp(const std::byte* at) noexcept {
  return {load32(at), load32(at + 4)};
}

/// Takes one option whose `body` follows its kind and length; a body of the wrong size is no
/// option.
void take_option(tcp_options& options, std::uint8_t what,
                 std::span<const std::byte> body) noexcept {
  switch (what) {
    case kind::mss:
      if (body.size() != 2) return;
      if (const std::uint16_t mss = load16(body.data()); mss != 0) options.mss = mss;
      return;
    case kind::window_scale:
      if (body.size() == 1) options.window_scale = load8(body.data());
      return;
    case kind::sack_permitted:
      if (body.empty()) options.sack_permitted = true;
      return;
    case kind::sack:
      if (body.empty() || body.size() % 8 != 0) return;
      options.sack = {};
      options.sack_count = 0;
      for (; !body.empty(); body = body.subspan(8)) {
        options.add_sack({load32(body.data()), load32(body.data() + 4)});
      }
      return;
    case kind::timestamp:
      if (body.size() == 8) options.timestamp = load_timestamp(body.data());
      return;
    case kind::fast_open:
      if (good_cookie_size(body.size())) options.fast_open = body;
      return;
    default:
      return;
  }
}

void parse_options(tcp_options& options, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const std::uint8_t what = load8(bytes.data());
    if (what == kind::end) return;
    if (what == kind::nop) {
      bytes = bytes.subspan(1);
      continue;
    }
    if (bytes.size() < 2) return;
    const std::size_t length = load8(bytes.data() + 1);
    if (length < 2 || length > bytes.size()) return;
    take_option(options, what, bytes.subspan(2, length - 2));
    bytes = bytes.subspan(length);
  }
}

tcp_error read_header(tcp_header& header, std::span<const std::byte> segment) noexcept {
  if (segment.size() < fixed_bytes) return tcp_error::too_short;
  const std::byte* const at = segment.data();
  const std::size_t header_bytes = std::size_t{load8(at + 12)} >> 4 << 2;
  if (header_bytes < fixed_bytes || header_bytes > segment.size()) return tcp_error::bad_offset;

  header.source_port = load16(at);
  header.destination_port = load16(at + 2);
  header.seq = load32(at + 4);
  header.ack = load32(at + 8);
  header.flags = load8(at + 13);
  header.header_bytes = static_cast<std::uint8_t>(header_bytes);
  header.window = load16(at + 14);
  header.checksum = load16(at + checksum_at);
  header.urgent = load16(at + 18);
  const std::size_t option_bytes = header_bytes - fixed_bytes;
  if (option_bytes == timestamp_row_bytes && load32(at + fixed_bytes) == aligned_timestamp)
      [[likely]] {
    header.options.timestamp = load_timestamp(at + fixed_bytes + 4);
  } else if (option_bytes != 0) {
    parse_options(header.options, segment.subspan(fixed_bytes, option_bytes));
  }
  return tcp_error::none;
}

/// Which options are written, and how many bytes they fill.
struct option_plan {
  std::size_t bytes = 0;
  std::uint8_t sack_blocks = 0;
  bool fast_open = false;
};

option_plan plan_options(const tcp_options& options) noexcept {
  option_plan plan;
  if (options.mss) plan.bytes += 4;
  if (options.timestamp) {
    plan.bytes += timestamp_row_bytes;
  } else if (options.sack_permitted) {
    plan.bytes += 4;
  }
  if (options.window_scale) plan.bytes += 4;
  if (options.sack_count != 0) {
    const std::size_t room = (max_option_bytes - plan.bytes - 4) / 8;
    plan.sack_blocks = static_cast<std::uint8_t>(std::min<std::size_t>(options.sack_count, room));
    if (plan.sack_blocks != 0) plan.bytes += 4 + std::size_t{8} * plan.sack_blocks;
  }
  if (options.fast_open && good_cookie_size(options.fast_open->size())) {
    const std::size_t row = (2 + options.fast_open->size() + 3) / 4 * 4;
    plan.fast_open = plan.bytes + row <= max_option_bytes;
    if (plan.fast_open) plan.bytes += row;
  }
  return plan;
}

constexpr std::uint32_t row(std::uint8_t a, std::uint8_t b, std::uint8_t c,
                            std::uint8_t d) noexcept {
  return std::uint32_t{a} << 24 | std::uint32_t{b} << 16 | std::uint32_t{c} << 8 | d;
}

void emit_options(std::byte* at, const tcp_options& options, const option_plan& plan) noexcept {
  const auto put = [&at](std::uint32_t word) {
    store32(at, word);
    at += 4;
  };
  if (options.mss) put(row(kind::mss, 4, 0, 0) | *options.mss);
  if (options.timestamp) {
    put(options.sack_permitted ? row(kind::sack_permitted, 2, kind::timestamp, 10)
                               : aligned_timestamp);
    put(options.timestamp->value);
    put(options.timestamp->echo);
  } else if (options.sack_permitted) {
    put(row(kind::nop, kind::nop, kind::sack_permitted, 2));
  }
  if (options.window_scale) put(row(kind::nop, kind::window_scale, 3, *options.window_scale));
  if (plan.sack_blocks != 0) {
    const auto length = static_cast<std::uint8_t>(2 + 8 * plan.sack_blocks);
    put(row(kind::nop, kind::nop, kind::sack, length));
    for (const sack_block& block : options.sacks().first(plan.sack_blocks)) {
      put(block.left);
      put(block.right);
    }
  }
  if (plan.fast_open) {
    const std::size_t size = options.fast_open->size();
    store8(at, kind::fast_open);
    store8(at + 1, static_cast<std::uint8_t>(2 + size));
    if (size != 0) std::memcpy(at + 2, options.fast_open->data(), size);
    if ((2 + size) % 4 != 0) store16(at + 2 + size, kind::nop << 8 | kind::nop);
  }
}

}  // namespace

bool operator==(const tcp_options& left, const tcp_options& right) noexcept {
  if (left.fast_open.has_value() != right.fast_open.has_value()) return false;
  if (left.fast_open && !std::ranges::equal(*left.fast_open, *right.fast_open)) return false;
  return left.mss == right.mss && left.window_scale == right.window_scale &&
         left.sack_permitted == right.sack_permitted && left.timestamp == right.timestamp &&
         std::ranges::equal(left.sacks(), right.sacks());
}

const char* to_string(tcp_error error) noexcept {
  switch (error) {
    case tcp_error::none:
      return "none";
    case tcp_error::too_short:
      return "too_short";
    case tcp_error::bad_offset:
      return "bad_offset";
  }
  return "unknown";
}

parsed<tcp_header, tcp_error> parse_tcp(std::span<const std::byte> segment) noexcept {
  return parsed<tcp_header, tcp_error>::from(
      [&](tcp_header& header) noexcept { return read_header(header, segment); });
}

bool tcp_checksum_intact(const net::address& source, const net::address& destination,
                         std::span<const std::byte> segment) noexcept {
  checksum sum;
  sum.add_pseudo_header(source, destination, static_cast<std::uint8_t>(ip_protocol::tcp),
                        static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  return sum.intact();
}

std::size_t tcp_header_bytes(const tcp_options& options) noexcept {
  return fixed_bytes + plan_options(options).bytes;
}

std::size_t emit_tcp(std::span<std::byte> out, const tcp_header& header) noexcept {
  const option_plan plan = plan_options(header.options);
  const std::size_t header_bytes = fixed_bytes + plan.bytes;
  if (out.size() < header_bytes) return 0;
  std::byte* const at = out.data();
  store16(at, header.source_port);
  store16(at + 2, header.destination_port);
  store32(at + 4, header.seq);
  store32(at + 8, header.ack);
  store8(at + 12, static_cast<std::uint8_t>(header_bytes / 4 << 4));
  store8(at + 13, header.flags);
  store16(at + 14, header.window);
  store16(at + checksum_at, header.checksum);
  store16(at + 18, header.urgent);
  if (plan.bytes != 0) emit_options(at + fixed_bytes, header.options, plan);
  return header_bytes;
}

void put_tcp_checksum(std::span<std::byte> header, std::uint16_t checksum) noexcept {
  store16(header.data() + checksum_at, checksum);
}

}  // namespace runnel::wire
