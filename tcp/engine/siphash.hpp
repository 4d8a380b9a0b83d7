#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace runnel::tcp::detail {

/// SipHash over 64-bit words: a keyed hash whose values an outsider cannot foresee. `CRounds` for
/// each word, `DRounds` at the end.
template <int CRounds, int DRounds>
class basic_siphash {
 public:
  explicit basic_siphash(const std::array<std::uint64_t, 2>& key) noexcept
      : v0_(0x736f6d6570736575ULL ^ key[0]),
        v1_(0x646f72616e646f6dULL ^ key[1]),
        v2_(0x6c7967656e657261ULL ^ key[0]),
        v3_(0x7465646279746573ULL ^ key[1]) {}

  basic_siphash& add(std::uint64_t word) noexcept {
    v3_ ^= word;
    for (int i = 0; i < CRounds; ++i) round();
    v0_ ^= word;
    ++words_;
    return *this;
  }

  /// `tail`, of which the highest byte is zero, is what is left over behind the last whole word. It
  /// goes with the length in bytes, to which it adds `tail_bytes`.
  std::uint64_t finish(std::uint64_t tail = 0, std::uint32_t tail_bytes = 0) noexcept {
    add((std::uint64_t{words_} * 8 + tail_bytes) << 56 | tail);
    v2_ ^= 0xff;
    for (int i = 0; i < DRounds; ++i) round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  void round() noexcept {
    v0_ += v1_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v3_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ += v3_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ += v1_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }

  std::uint64_t v0_;
  std::uint64_t v1_;
  std::uint64_t v2_;
  std::uint64_t v3_;
  std::uint32_t words_ = 0;
};

/// For places in tables and for numbers that nobody checks: the variant that language run-times use
/// for hash tables.
using siphash = basic_siphash<1, 3>;
/// For what a peer must not be able to forge: the variant that its authors give the margin of a
/// message authentication code.
using siphash_mac = basic_siphash<2, 4>;

}  // namespace runnel::tcp::detail
