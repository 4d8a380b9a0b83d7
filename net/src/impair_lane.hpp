#pragma once

#include "runnel/net/impair.hpp"
#include "runnel/random.hpp"

#include <vector>

namespace runnel::net {

/// One direction: decides the fate of packets and holds them until they are due.
class impair::lane {
 public:
  lane(std::uint64_t seed, const impairment& what) : random_(seed) { set(what); }

  /// Throws `std::invalid_argument`.
  void set(const impairment& what);
  /// Whether packets pass untouched and at once, so that they need not come here.
  bool transparent() const noexcept { return transparent_ && held_.empty(); }
  void count_untouched() noexcept { ++counters_.packets; }
  void count_overflow() noexcept {
    ++counters_.packets;
    ++counters_.overflowed;
  }

  void accept(time_point now, packet_pool& pool, packet what) noexcept;
  bool empty() const noexcept { return held_.empty(); }
  /// When the next packet is due; `max()` when there is none.
  time_point next_due() const noexcept;
  /// The packet that is due next; only when not empty.
  const packet& front() const noexcept { return held_.front().what; }
  packet pop() noexcept;
  void clear() noexcept { held_.clear(); }
  const impair_counters& counters() const noexcept { return counters_; }

 private:
  struct entry {
    time_point due;
    std::uint64_t number;
    packet what;
  };
  /// Orders a heap whose front is due first; of equals the older one.
  struct later {
    bool operator()(const entry& left, const entry& right) const noexcept {
      return left.due != right.due ? left.due > right.due : left.number > right.number;
    }
  };

  bool chance(double probability) noexcept;
  time_point due_time(time_point now, std::size_t bytes) noexcept;
  packet damaged(packet_pool& pool, packet what) noexcept;

  impairment what_;
  bool transparent_ = true;
  runnel::random_source random_;
  impair_counters counters_;
  std::vector<entry> held_;
  std::uint64_t next_number_ = 0;
  /// When the last byte accepted so far has passed at the given rate.
  time_point busy_until_{};
  /// No packet that keeps its place comes before this.
  time_point last_due_{};
};

}  // namespace runnel::net
