#include <algorithm>
#include <cstring>

#include "fastopen.hpp"
#include "siphash.hpp"

// Fast Open cookies as numbers, without a host.

namespace runnel::tcp::detail {

namespace {

/// Eight bytes as they lie on the wire, read as the little end first, which is how SipHash reads
/// its input.
std::uint64_t word_of(std::span<const std::uint8_t, 8> bytes) noexcept {
  std::uint64_t word = 0;
  for (std::size_t i = 8; i-- > 0;) word = word << 8 | bytes[i];
  return word;
}

}  // namespace

fastopen_cookie make_fastopen_cookie(const secret_key& key, const net::address& remote,
                                     const net::address& local) noexcept {
  siphash_mac hash(key);
  if (remote.is_v4()) {
    std::array<std::uint8_t, 8> both{};
    for (unsigned i = 0; i < 4; ++i) {
      both[i] = static_cast<std::uint8_t>(remote.to_v4_number() >> (24 - 8 * i));
      both[4 + i] = static_cast<std::uint8_t>(local.to_v4_number() >> (24 - 8 * i));
    }
    hash.add(word_of(both));
  } else {
    for (const net::address* each : {&remote, &local}) {
      const auto bytes = each->bytes();
      hash.add(word_of(bytes.first<8>())).add(word_of(bytes.subspan<8, 8>()));
    }
  }
  const std::uint64_t value = hash.finish();
  fastopen_cookie cookie{};
  for (unsigned i = 0; i < cookie.size(); ++i) {
    cookie[i] = static_cast<std::byte>(value >> 8 * i);
  }
  return cookie;
}

fastopen_match check_fastopen_cookie(const key_ring& keys, std::span<const std::byte> cookie,
                                     const net::address& remote,
                                     const net::address& local) noexcept {
  const auto made_with = [&](const secret_key& key) {
    return std::ranges::equal(cookie, make_fastopen_cookie(key, remote, local));
  };
  if (made_with(keys.current().key)) return fastopen_match::current;
  const key_ring::entry* const previous = keys.previous();
  if (previous != nullptr && made_with(previous->key)) return fastopen_match::previous;
  return fastopen_match::none;
}

}  // namespace runnel::tcp::detail
