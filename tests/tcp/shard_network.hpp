#pragma once

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "runnel/tcp/shard_group.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/tcp.hpp"
#include "stack_network.hpp"

namespace runnel::tcp::test {

/// A segment that passes by.
struct passing {
  time_point at;
  net::endpoint from;
  net::endpoint to;
  std::uint32_t seq = 0;
  std::size_t size = 0;
};

inline passing look_at(const net::packet& packet, time_point now) {
  const auto ip = wire::parse_ip(packet.bytes());
  const auto tcp = wire::parse_tcp(ip->payload(packet.bytes()));
  return {now,
          {ip->source, tcp->source_port},
          {ip->destination, tcp->destination_port},
          tcp->seq,
          packet.size()};
}

/// What stands in for the kernel's side of a TUN device with several queues: what comes from one
/// link goes to the one of many that `choose` says, what comes from those goes to the one.
class splitter final : public turn_hook {
 public:
  using chooser = std::function<std::uint32_t(const passing&)>;

  splitter(loop& owner, net::link& one, std::vector<net::link*> many)
      : owner_(&owner), one_(&one), many_(std::move(many)) {
    one_->attach(owner, ignored_);
    for (net::link* each : many_) each->attach(owner, ignored_);
    owner_->attach(*this);
  }
  ~splitter() {
    owner_->detach(*this);
    one_->detach();
    for (net::link* each : many_) each->detach();
  }

  bool on_receive(time_point now) override {
    bool more = drain(*one_, now, [&](const net::packet& each) -> net::link& {
      return *many_[choose(look_at(each, now))];
    });
    for (net::link* from : many_) {
      more |= drain(*from, now, [&](const net::packet& each) -> net::link& {
        if (watch) watch(look_at(each, now));
        return *one_;
      });
    }
    return more;
  }
  void on_timers(time_point) override {}
  bool on_emit(time_point) override { return false; }
  time_point deadline() const noexcept override {
    time_point first = one_->deadline();
    for (const net::link* each : many_) first = std::min(first, each->deadline());
    return first;
  }

  chooser choose;
  /// Sees what the many send.
  std::function<void(const passing&)> watch;

 private:
  struct client final : net::link_client {
    void on_link_ready() noexcept override {}
    void on_link_error(std::error_code) noexcept override {}
  };

  template <class To>
  static bool drain(net::link& from, time_point now, To to) {
    std::array<net::packet, 64> burst;
    const std::size_t count = from.receive(now, burst);
    for (std::size_t i = 0; i < count; ++i) {
      const std::span<const std::byte> bytes = burst[i].bytes();
      const auto size = static_cast<std::uint32_t>(bytes.size());
      static_cast<void>(to(burst[i]).send(now, {.pieces = {&bytes, 1}, .size = size}));
      burst[i] = {};
    }
    return count == burst.size();
  }

  client ignored_;
  loop* owner_;
  net::link* one_;
  std::vector<net::link*> many_;
};

inline shard_group_options group_options() {
  shard_group_options out;
  out.keys.emplace();
  std::uint64_t number = 1;
  for (auto* key : {&out.keys->lookup, &out.keys->isn, &out.keys->tuple, &out.keys->cookie,
                    &out.keys->fastopen}) {
    *key = {number, ++number * 77};
  }
  return out;
}

/// A client, and a server of two shards; all on one loop, 1 ms apart. By default every packet for
/// the server arrives at the shard that it is not for.
struct shard_network {
  explicit shard_network(loop& owner, const connection_policy& connections = {},
                         const shard_group_options& with = group_options())
      : outer(with_test_mtu({.latency = std::chrono::milliseconds(1)})),
        inner{std::make_unique<net::link_pair>(with_test_mtu({})),
              std::make_unique<net::link_pair>(with_test_mtu({}))},
        middle(owner, outer.second(), {&inner[0]->first(), &inner[1]->first()}),
        shards(2, with),
        client(owner, outer.first(), options_for(client_address, connections)) {
    for (std::uint32_t i = 0; i < 2; ++i) {
      stack_options options = options_for(server_address, connections);
      options.shard = shards.seat(i);
      servers[i] = std::make_unique<stack>(owner, inner[i]->second(), std::move(options));
    }
    middle.choose = [this](const passing& each) { return 1 - owner_of(each); };
  }

  std::uint32_t owner_of(const passing& each) const {
    const stack& any = servers[0] ? *servers[0] : *servers[1];
    return any.engine().owner_of(each.to, each.from);
  }
  std::vector<listener> listen(const listener_policy& policy = {}) {
    std::vector<listener> out;
    for (const auto& each : servers) out.push_back(each->listen(server_endpoint, policy).value());
    return out;
  }
  std::uint64_t sum(std::uint64_t counters::*member) const {
    std::uint64_t out = 0;
    for (const auto& each : servers) out += each ? each->engine().counters().*member : 0;
    return out;
  }

  net::link_pair outer;
  std::array<std::unique_ptr<net::link_pair>, 2> inner;
  splitter middle;
  shard_group shards;
  stack client;
  std::array<std::unique_ptr<stack>, 2> servers;
};

}  // namespace runnel::tcp::test
