#include "syncookies.hpp"

#include <algorithm>
#include <array>
#include <cstring>

// Cookies as such: bits and hashes, without a host.

namespace runnel::tcp::detail {

namespace {

constexpr unsigned mss_bits = 2;
constexpr unsigned scale_bits = 3;
constexpr std::uint32_t timestamp_option_mask = 63;
constexpr std::uint32_t no_shift = 15;

using mss_table = std::array<std::uint16_t, 1 << mss_bits>;
/// Linux's tables: what is common on the path, less the headers. A smaller MSS counts as the first.
constexpr mss_table mss_v4 = {536, 1300, 1440, 1460};
constexpr mss_table mss_v6 = {1220, 1420, 1440, 8940};

/// Shifts that there are bits for where the peer has no timestamps; index 0 is no window scaling.
/// Those of today's systems are here; another one is rounded down, which takes the peer's window
/// for smaller than it is.
constexpr std::array<std::uint8_t, 1 << scale_bits> shifts = {0, 0, 2, 4, 6, 7, 8, 10};

const mss_table& table_for(net::family family) noexcept {
  return family == net::family::v6 ? mss_v6 : mss_v4;
}

template <class Table, class Value>
std::uint32_t floor_index(const Table& table, std::size_t first, Value value) noexcept {
  std::size_t at = table.size() - 1;
  while (at > first && table[at] > value) --at;
  return static_cast<std::uint32_t>(at);
}

std::uint32_t mss_index(std::uint16_t mss, net::family family) noexcept {
  return floor_index(table_for(family), 0, mss);
}

std::uint32_t scale_index(const cookie_options& options) noexcept {
  return options.window_scaled ? floor_index(shifts, 1, options.snd_wscale) : 0;
}

/// One way of laying the 32 bits out.
struct layout {
  bool timestamps;
  /// Bits below the hash: MSS, shift, SACK, ECN, key.
  unsigned option_bits;

  std::uint32_t mask() const noexcept { return (1U << option_bits) - 1; }
  std::uint32_t mark() const noexcept { return 1U << (option_bits - 1); }
};

constexpr layout bare{false, 8};
constexpr layout timed{true, 3};

const layout& layout_for(bool timestamps) noexcept {
  return timestamps ? timed : bare;
}

std::uint32_t number_bits(const layout& of, const cookie_options& options,
                          net::family family) noexcept {
  const std::uint32_t mss = mss_index(options.mss, family);
  if (of.timestamps) return mss;
  return mss | scale_index(options) << mss_bits | (options.sack_permitted ? 1U << 5 : 0) |
         (options.ecn ? 1U << 6 : 0);
}

std::uint32_t timestamp_bits(const cookie_options& options) noexcept {
  const std::uint32_t shift =
      options.window_scaled ? std::min<std::uint32_t>(options.snd_wscale, 14) : no_shift;
  return shift | (options.sack_permitted ? 1U << 4 : 0) | (options.ecn ? 1U << 5 : 0);
}

/// The options that these bits stand for; the opposite of the two functions above.
cookie_options options_from(const layout& of, std::uint32_t number, std::uint32_t timestamp,
                            net::family family) noexcept {
  cookie_options out;
  out.timestamps = of.timestamps;
  out.mss = table_for(family)[number & ((1U << mss_bits) - 1)];
  if (of.timestamps) {
    const std::uint32_t shift = timestamp & no_shift;
    out.window_scaled = shift != no_shift;
    out.snd_wscale = static_cast<std::uint8_t>(out.window_scaled ? shift : 0);
    out.sack_permitted = (timestamp & 1U << 4) != 0;
    out.ecn = (timestamp & 1U << 5) != 0;
  } else {
    const std::uint32_t index = number >> mss_bits & ((1U << scale_bits) - 1);
    out.window_scaled = index != 0;
    out.snd_wscale = shifts[index];
    out.sack_permitted = (number & 1U << 5) != 0;
    out.ecn = (number & 1U << 6) != 0;
  }
  return out;
}

void add_address(siphash_mac& hash, const net::address& address) noexcept {
  if (address.is_v4()) {
    hash.add(address.to_v4_number());
    return;
  }
  std::array<std::uint64_t, 2> words{};
  std::memcpy(words.data(), address.bytes().data(), sizeof words);
  hash.add(words[0]).add(words[1]);
}

/// The 32 hash bits; a layout uses the upper ones.
std::uint32_t mac(const secret_key& key, const cookie_flow& flow, const layout& of,
                  std::uint32_t number, std::uint32_t timestamp, std::uint64_t count) noexcept {
  siphash_mac hash(key);
  add_address(hash, flow.remote);
  add_address(hash, flow.local);
  hash.add(std::uint64_t{flow.remote_port} << 48 | std::uint64_t{flow.local_port} << 32 |
           flow.irs.value());
  hash.add(count);
  hash.add(std::uint64_t{of.timestamps ? 1U : 0U} << 48 | std::uint64_t{flow.rcv_wscale} << 40 |
           std::uint64_t{number} << 8 | (timestamp & timestamp_option_mask));
  return static_cast<std::uint32_t>(hash.finish());
}

/// The bits below the hash, mixed with the upper ones.
std::uint32_t hidden(const layout& of, std::uint32_t hash, std::uint32_t bits) noexcept {
  return (bits ^ hash >> (32 - of.option_bits)) & of.mask();
}

}  // namespace

cookie_options as_kept(const cookie_options& asked, net::family family) noexcept {
  const layout& of = layout_for(asked.timestamps);
  return options_from(of, number_bits(of, asked, family), timestamp_bits(asked), family);
}

sequence make_cookie(const key_ring& keys, const cookie_flow& flow, const cookie_options& asked,
                     std::uint64_t count) noexcept {
  const layout& of = layout_for(asked.timestamps);
  const key_ring::entry& key = keys.current();
  const std::uint32_t bits = number_bits(of, asked, flow.remote.family());
  const std::uint32_t timestamp = of.timestamps ? timestamp_bits(asked) : 0;
  const std::uint32_t hash = mac(key.key, flow, of, bits, timestamp, count);
  return sequence((hash & ~of.mask()) | hidden(of, hash, bits | (key.mark ? of.mark() : 0)));
}

std::uint32_t cookie_timestamp(const cookie_options& asked, std::uint32_t clock) noexcept {
  const std::uint32_t value = (clock & ~timestamp_option_mask) | timestamp_bits(asked);
  // Never ahead of the clock: what the connection says later must not be older.
  return static_cast<std::int32_t>(value - clock) > 0 ? value - (timestamp_option_mask + 1) : value;
}

std::optional<cookie_options> check_cookie(const key_ring& keys, const cookie_flow& flow,
                                           sequence iss, std::optional<std::uint32_t> echo,
                                           std::uint64_t count, cookie_effort effort) noexcept {
  const layout& of = layout_for(echo.has_value());
  const std::uint32_t bits = hidden(of, iss.value(), iss.value());
  const bool mark = (bits & of.mark()) != 0;
  const std::uint32_t number = bits & ~of.mark();
  const std::uint32_t timestamp = echo.value_or(0) & timestamp_option_mask;
  for (const key_ring::entry* key : {&keys.current(), keys.previous()}) {
    if (key == nullptr || key->mark != mark) continue;
    for (const std::uint64_t step : {count, count - 1, count + 1}) {
      if (effort == cookie_effort::least && (step != count || key != &keys.current())) break;
      const std::uint32_t hash = mac(key->key, flow, of, number, timestamp, step);
      if (((hash ^ iss.value()) & ~of.mask()) == 0) {
        return options_from(of, number, timestamp, flow.remote.family());
      }
    }
  }
  return std::nullopt;
}

}  // namespace runnel::tcp::detail
