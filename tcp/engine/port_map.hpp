#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "connection.hpp"

namespace runnel::tcp::detail {

/// Numbers below a bound, one bit each, and one more for each 64 of them, so that the next member
/// is found without walking: at most 16 words are looked at for 65,536 numbers.
class port_set {
 public:
  explicit port_set(std::uint32_t bound)
      : words_((bound + 63) / 64), used_words_((words_.size() + 63) / 64) {}

  static constexpr std::uint32_t none = UINT32_MAX;

  bool contains(std::uint32_t number) const noexcept {
    return (words_[number / 64] >> (number % 64) & 1) != 0;
  }
  void insert(std::uint32_t number) noexcept {
    words_[number / 64] |= std::uint64_t{1} << (number % 64);
    used_words_[number / 4096] |= std::uint64_t{1} << (number / 64 % 64);
  }
  void erase(std::uint32_t number) noexcept {
    words_[number / 64] &= ~(std::uint64_t{1} << (number % 64));
    if (words_[number / 64] == 0) {
      used_words_[number / 4096] &= ~(std::uint64_t{1} << (number / 64 % 64));
    }
  }
  /// The first member at or after `from`, or else the first of all; `none` in an empty set.
  std::uint32_t next(std::uint32_t from) const noexcept {
    const std::uint32_t found = at_or_after(from);
    return found != none ? found : at_or_after(0);
  }

 private:
  std::uint32_t at_or_after(std::uint32_t from) const noexcept {
    const std::uint64_t here = words_[from / 64] >> (from % 64);
    if (here != 0) return from + static_cast<std::uint32_t>(std::countr_zero(here));
    const std::size_t word = from / 64 + 1;
    for (std::size_t i = word / 64; i < used_words_.size(); ++i) {
      std::uint64_t bits = used_words_[i];
      if (i == word / 64) bits &= ~std::uint64_t{0} << (word % 64);
      if (bits == 0) continue;
      const std::size_t full = i * 64 + static_cast<std::size_t>(std::countr_zero(bits));
      return static_cast<std::uint32_t>(full * 64 +
                                        static_cast<std::size_t>(std::countr_zero(words_[full])));
    }
    return none;
  }

  std::vector<std::uint64_t> words_;
  std::vector<std::uint64_t> used_words_;
};

/// Local ports in steps: `first`, `first + step`, ...
struct port_range {
  std::uint32_t first = 0;
  /// How many; may be 0.
  std::uint32_t count = 0;
  std::uint32_t step = 1;

  static constexpr std::uint32_t none = UINT32_MAX;
  /// Which of them it is, from 0; `none` for another port.
  std::uint32_t number_of(std::uint32_t port) const noexcept {
    if (port < first) return none;
    const std::uint32_t distance = port - first;
    if (step == 1) return distance < count ? distance : none;
    return distance % step == 0 && distance / step < count ? distance / step : none;
  }
  friend bool operator==(const port_range&, const port_range&) noexcept = default;
};

/// Where connections go: the remote endpoint and the local address, with port 0.
struct place_hash {
  std::size_t operator()(const flow_key& place) const noexcept {
    return std::hash<net::address>()(place.remote) * 31 +
           (std::size_t{place.remote_port} << 16 | place.local_index);
  }
};

/// The local ports towards one place that is short of them. It learns of them a few at a time, in
/// order; of those that it knows it is told every change.
struct port_map {
  explicit port_map(const port_range& ports)
      : range(ports), count(ports.count), free(ports.count), waiting_known(ports.count) {}

  /// The numbers here are those of this range.
  port_range range;
  std::uint32_t count;
  /// Numbers below this one are known.
  std::uint32_t known = 0;
  /// Of the known ones.
  std::uint32_t used = 0;
  port_set free;

  /// A port that has entered TIME-WAIT, and when, or before it last did.
  struct waiting_port {
    std::uint32_t since_ms = 0;
    std::uint32_t number = 0;
  };
  /// A heap with the oldest on top. What is in it may be out of date: its time is then too early,
  /// or the port not in TIME-WAIT any more, which shows when it comes to the top.
  std::vector<waiting_port> waiting;
  /// Those in the heap; none is in it twice.
  port_set waiting_known;

  /// Takes a port that has been in TIME-WAIT since then. Without memory it is forgotten, and is
  /// found when it is free.
  void add_waiting(std::uint32_t number, std::uint32_t since_ms) noexcept {
    if (waiting_known.contains(number)) return;
    try {
      waiting.push_back({since_ms, number});
    } catch (...) {
      return;
    }
    waiting_known.insert(number);
    std::push_heap(waiting.begin(), waiting.end(), is_younger);
  }
  /// Takes the oldest out.
  waiting_port pop_waiting() noexcept {
    std::pop_heap(waiting.begin(), waiting.end(), is_younger);
    const waiting_port oldest = waiting.back();
    waiting.pop_back();
    waiting_known.erase(oldest.number);
    return oldest;
  }

 private:
  static bool is_younger(const waiting_port& a, const waiting_port& b) noexcept {
    return static_cast<std::int32_t>(a.since_ms - b.since_ms) > 0;
  }
};

}  // namespace runnel::tcp::detail
