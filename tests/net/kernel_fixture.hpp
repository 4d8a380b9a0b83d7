#pragma once

#include <doctest/doctest.h>

#include "net/stream_contract.hpp"

#include <runnel/net/kernel/tcp.hpp>
#include <runnel/task_group.hpp>

#include <fcntl.h>

#include <optional>
#include <utility>

namespace runnel::testing {

inline const net::endpoint any_loopback_port{net::address::v4(127, 0, 0, 1), 0};

/// On the real kernel, with shared receive buffers and without, where each socket is polled; and
/// with writes that wait for the end of their turn.
inline void run_both_ways(test_body body) {
  {
    INFO("batch_sends_from = 1");
    loop driver{loop_options{.batch_sends_from = 1}};
    driver.run(body(driver, 0));
  }
  for (const unsigned buffers : {256u, 4u, 0u}) {
    INFO("receive_buffers = ", buffers);
    loop driver{loop_options{.receive_buffers = buffers}};
    driver.run(body(driver, 0));
  }
}

/// How many descriptors below 1,024 this process has.
inline int open_descriptors() {
  constexpr int most = 1024;
  int count = 0;
  for (int fd = 0; fd < most; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

template <class Listener>
task<> accept_one(Listener& listener, std::optional<typename Listener::stream_type>& into) {
  auto accepted = co_await listener.accept();
  CHECK(accepted.has_value());
  if (accepted) into = std::move(*accepted);
}

/// Two ends of one TCP connection of the kernel; the first one connected.
inline task<std::pair<net::kernel::tcp_stream, net::kernel::tcp_stream>> connect_tcp(loop& owner) {
  auto listener = net::kernel::tcp_listener::listen(owner, any_loopback_port).value();
  net::kernel::tcp_connector connector{owner};
  std::optional<net::kernel::tcp_stream> accepted;
  task_group group{owner};
  group.spawn(accept_one(listener, accepted));
  auto connected = co_await connector.connect(listener.local_endpoint());
  co_await group.join();
  std::pair<net::kernel::tcp_stream, net::kernel::tcp_stream> both(std::move(connected.value()),
                                                                   std::move(accepted.value()));
  co_return both;
}

struct kernel_tcp_model {
  using stream_type = net::kernel::tcp_stream;
  static constexpr bool resets = true;

  static void run(test_body body) { run_both_ways(body); }
  static task<std::pair<stream_type, stream_type>> connect(loop& owner) {
    auto both = co_await connect_tcp(owner);
    co_return both;
  }
};

}  // namespace runnel::testing
