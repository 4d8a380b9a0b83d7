#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/impair.hpp>
#include <runnel/net/link.hpp>
#include <runnel/wire/address.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

namespace runnel::net {

/// How a host hangs on a `sim_network`.
struct sim_host_options {
  /// The largest packet, header included; a larger one is dropped.
  std::uint32_t mtu = 1500;
  /// How long a packet takes between the host and the middle, each way: to another host it takes
  /// this and the other's.
  duration latency = std::chrono::microseconds{500};
  /// Packets that may be on that way; further ones are lost.
  std::size_t queue_packets = 1024;
  /// What happens to packets of the host on their way to the middle.
  impairment outgoing{};
  /// What happens to packets for the host on their way from the middle.
  impairment incoming{};
};

/// What the middle of a `sim_network` did.
struct sim_network_counters {
  /// Handed on to the host that has the address.
  std::uint64_t forwarded = 0;
  /// Lost: no host has the address.
  std::uint64_t unroutable = 0;
  /// Lost: too many were on the way to that host, or they were too large for it.
  std::uint64_t overflowed = 0;
};

/// A network of one process: hosts with addresses around a switch in the middle, each with a link
/// of its own delay, rate and misfortune. On a simulated loop it runs in virtual time, and whatever
/// it draws comes from `loop::random()`, so the same seed gives the same network:
///
///     loop owner({.simulated = 7});
///     net::sim_network network(owner);
///     tcp::stack client(owner, network.add({a}, {.latency = 20ms}), {.addresses = {a}});
///     tcp::stack server(owner, network.add({b}), {.addresses = {b}});
///     network.impair(a, {.loss = 0.01}, {.reorder = 0.05});
///
/// The switch goes by the destination address and changes nothing in a packet. It takes as many
/// packets a turn as a stack does. The network must outlive what uses its links, and be destroyed
/// before its loop.
class sim_network final : private turn_hook {
 public:
  /// A network without hosts, driven by `owner`, which must outlive it.
  explicit sim_network(loop& owner);
  sim_network(const sim_network&) = delete;
  sim_network& operator=(const sim_network&) = delete;
  ~sim_network();

  /// A new host with these addresses; gives its link, which lives as long as the network. Throws
  /// `std::invalid_argument` for an address that a host has already, or a field out of range.
  link& add(std::span<const address> addresses, const sim_host_options& options = {});
  /// The same.
  link& add(std::initializer_list<address> addresses, const sim_host_options& options = {}) {
    return add(std::span(addresses.begin(), addresses.size()), options);
  }

  /// Changes what happens on the way from and to the host with this address, from now on. Throws
  /// `std::invalid_argument` for an address that no host has, or a field out of range.
  void impair(const address& host, const impairment& outgoing, const impairment& incoming);
  /// Loses everything from and to this host, until `impair` says otherwise.
  void cut(const address& host);

  /// What the middle did so far.
  const sim_network_counters& counters() const noexcept { return counters_; }
  /// The host's end of its link, to see what was lost there.
  const net::impair& link_of(const address& host) const;

 private:
  class port;

  bool on_receive(time_point now) override;
  void on_timers(time_point) override {}
  bool on_emit(time_point) override { return false; }
  time_point deadline() const noexcept override;

  port* find(const address& host) const noexcept;
  port& find_or_throw(const address& host) const;
  void forward(time_point now, const packet& what) noexcept;

  loop* owner_;
  std::vector<std::unique_ptr<port>> ports_;
  sim_network_counters counters_;
};

}  // namespace runnel::net
