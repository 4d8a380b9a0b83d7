#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/net/impair.hpp"
#include "runnel/net/link_pair.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task.hpp"
#include "runnel/tcp/stack.hpp"
#include "test_family.hpp"

namespace runnel::tcp::test {

inline const auto client_address = test_address(10, 0, 0, 1);
inline const auto server_address = test_address(10, 0, 0, 2);
inline const net::endpoint server_endpoint{server_address, 80};

inline net::link_pair_options with_test_mtu(net::link_pair_options link) {
  link.mtu = test_mtu(link.mtu);
  return link;
}

inline stack_options options_for(const net::address& address,
                                 const connection_policy& connections = {}) {
  stack_options options;
  options.addresses = {address};
  options.connection = connections;
  return options;
}

/// Two stacks of one loop with a wire of 1 ms between them, which can be cut.
struct network {
  explicit network(loop& owner, const connection_policy& connections = {},
                   const net::link_pair_options& link = {.latency = std::chrono::milliseconds(1)})
      : wire(with_test_mtu(link)),
        cutter(wire.first()),
        client(owner, cutter, options_for(client_address, connections)),
        server(owner, wire.second(), options_for(server_address, connections)) {}

  listener listen(listener_policy policy = {}) {
    policy.connection = server.engine().connection_defaults();
    return server.listen(server_endpoint, policy).value();
  }
  /// From now on nothing arrives, in neither direction.
  void cut() {
    net::impairment all;
    all.loss = 1;
    cutter.set_outgoing(all);
    cutter.set_incoming(all);
  }
  /// Takes `cut` back.
  void heal() {
    cutter.set_outgoing({});
    cutter.set_incoming({});
  }

  net::link_pair wire;
  net::impair cutter;
  stack client;
  stack server;
};

/// Both ends of a connection.
struct ends {
  ends(stream of_client, stream of_server)
      : client(std::move(of_client)), server(std::move(of_server)) {}
  stream client;
  stream server;
};

inline task<ends> connect_ends(network& both, listener& on) {
  auto connected = co_await both.client.connect(server_endpoint);
  auto accepted = co_await on.accept();
  co_return ends(std::move(connected.value()), std::move(accepted.value()));
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// A text in which every place can be told from its neighbours.
inline std::string pattern(std::size_t size) {
  std::string text(size, '?');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i + i / 251) % 26);
  return text;
}

inline task<std::string> read_to_end(stream& from) {
  std::string out;
  std::vector<std::byte> buffer(10'000);
  for (;;) {
    const auto got = co_await from.read(buffer);
    if (!got || *got == 0) co_return out;
    out.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
}

}  // namespace runnel::tcp::test
