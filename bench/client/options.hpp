#pragma once

#include <netinet/in.h>

#include <cstdint>

namespace bench {

/// What bench_client is told on its command line.
struct options {
  sockaddr_in server{};
  std::uint32_t connections = 64;
  /// Keep-alive requests instead of a connection for each.
  bool requests = false;
  bool client_closes = false;
  std::int64_t seconds_ns = 0;
  std::int64_t warmup_ns = 0;
  std::int64_t timeout_ns = 0;
  /// Operations a second that are begun come what may; 0 for the closed loop.
  double rate = 0;
  /// The first of the local addresses, in host order, and how many; none when 0.
  std::uint32_t first_source = 0;
  std::uint32_t source_count = 0;
  std::int64_t spin_ns = 0;
  /// How many connections to hold open instead of a load; 0 for a load.
  std::uint32_t idle = 0;

  bool open_loop() const { return rate > 0; }
};

}  // namespace bench
