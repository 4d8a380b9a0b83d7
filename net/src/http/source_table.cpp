#include "source_table.hpp"

#include <cstring>

namespace runnel::http::detail {
namespace {

constexpr std::size_t first_slots = 64;

constexpr std::uint64_t mixed(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

source_table::key source_table::key_of(const net::address& source) noexcept {
  key made{};
  const auto bytes = source.bytes();
  if (source.is_v4()) {
    made.low = source.to_v4_number();
    return made;
  }
  if (bytes.size() >= sizeof(made.high)) {
    std::memcpy(&made.high, bytes.data(), sizeof(made.high));
    made.low = UINT64_MAX;
  }
  return made;
}

std::size_t source_table::home(const key& of) const noexcept {
  return static_cast<std::size_t>(mixed(mixed(of.high ^ seed_) ^ of.low)) & (slots_.size() - 1);
}

// The slot that holds `of`, or the empty one where it would go. There is always an empty one.
std::size_t source_table::find(const key& of) const noexcept {
  std::size_t at = home(of);
  while (slots_[at].count > 0 && !(slots_[at].of == of)) at = (at + 1) & (slots_.size() - 1);
  return at;
}

std::uint32_t source_table::count(const net::address& source) const noexcept {
  return slots_.empty() ? 0 : slots_[find(key_of(source))].count;
}

void source_table::grow() {
  std::vector<slot> old(slots_.empty() ? first_slots : 2 * slots_.size());
  old.swap(slots_);
  for (const slot& moved : old) {
    if (moved.count > 0) slots_[find(moved.of)] = moved;
  }
}

void source_table::add(const net::address& source) {
  if (2 * (used_ + 1) > slots_.size()) grow();
  const key of = key_of(source);
  slot& place = slots_[find(of)];
  if (place.count == 0) {
    place.of = of;
    ++used_;
  }
  ++place.count;
}

void source_table::remove(const net::address& source) noexcept {
  std::size_t hole = find(key_of(source));
  if (slots_[hole].count == 0 || --slots_[hole].count > 0) return;
  --used_;
  // What was pushed past the hole moves up, so that probing never meets a gap.
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = (hole + 1) & mask; slots_[at].count > 0; at = (at + 1) & mask) {
    const std::size_t wanted = home(slots_[at].of);
    if (((at - wanted) & mask) < ((at - hole) & mask)) continue;
    slots_[hole] = slots_[at];
    slots_[at].count = 0;
    hole = at;
  }
}

}  // namespace runnel::http::detail
