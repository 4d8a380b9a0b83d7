// What the programs on lwIP share: its clock, its pool of connections, and a way in for packets.
#pragma once

#include <chrono>
#include <cstddef>

struct netif;
struct pbuf;

namespace bench_lwip {

/// Starts lwIP. Once in a process.
void start();

/// Reads the clock, which is the time for lwIP until the next call, and returns it.
std::chrono::steady_clock::time_point refresh_clock();

/// Gives lwIP one packet in one buffer and takes its ownership. A SYN that found its tuple in
/// TIME_WAIT, and is newer, is given twice: TIME_WAIT ends, and then it finds the listener.
void input(struct pbuf* packet, struct netif& from);

/// Connections in TIME_WAIT now, by walking lwIP's list.
std::size_t time_wait_count();

/// Keeps about so many connections in TIME_WAIT, the youngest, whatever the pool has room for: lwIP
/// does the same once its pool is empty, but then the limit depends on how many are open.
class time_wait_limit {
 public:
  explicit time_wait_limit(std::size_t limit) : limit_(limit), spare_(limit / 16 + 1) {}

  /// One more connection may have come to be in TIME_WAIT.
  void closed() { ++closed_; }
  /// Call it outside of lwIP's callbacks. Looks at the list only when it may have grown by a
  /// sixteenth.
  void trim() {
    if (closed_ >= spare_) cut();
  }

 private:
  void cut();

  std::size_t limit_;
  std::size_t spare_;
  std::size_t closed_ = 0;
};

}  // namespace bench_lwip
