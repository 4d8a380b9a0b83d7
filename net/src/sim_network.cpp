#include "runnel/net/sim_network.hpp"

#include "runnel/net/link_pair.hpp"
#include "runnel/wire/ip.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace runnel::net {
namespace {

// As many as a stack takes in one turn.
constexpr std::size_t packets_per_turn = 64;

link_pair_options pair_options(const sim_host_options& options) {
  link_pair_options pair;
  pair.mtu = options.mtu;
  pair.queue_packets = options.queue_packets;
  pair.latency = options.latency;
  return pair;
}

impair_options edge_options(const sim_host_options& options, std::uint64_t seed) {
  impair_options edge;
  edge.seed = seed;
  edge.outgoing = options.outgoing;
  edge.incoming = options.incoming;
  return edge;
}

}  // namespace

/// A host's place at the switch: the link is between its edge, which the host uses, and the middle.
class sim_network::port final : private link_client {
 public:
  port(loop& owner, std::span<const address> addresses, const sim_host_options& options)
      : addresses_(addresses.begin(), addresses.end()),
        wire_(pair_options(options)),
        edge_(wire_.first(), edge_options(options, owner.random()())) {
    middle().attach(owner, *this);
  }
  port(const port&) = delete;
  port& operator=(const port&) = delete;
  ~port() { middle().detach(); }

  bool has(const address& wanted) const noexcept {
    return std::find(addresses_.begin(), addresses_.end(), wanted) != addresses_.end();
  }
  link& middle() noexcept { return wire_.second(); }
  net::impair& edge() noexcept { return edge_; }

 private:
  // The middle looks at every port in every turn.
  void on_link_ready() noexcept override {}
  void on_link_error(std::error_code) noexcept override {}

  std::vector<address> addresses_;
  link_pair wire_;
  net::impair edge_;
};

sim_network::sim_network(loop& owner) : owner_(&owner) {
  owner.attach(*this);
}

sim_network::~sim_network() {
  owner_->detach(*this);
}

link& sim_network::add(std::span<const address> addresses, const sim_host_options& options) {
  for (const address& each : addresses) {
    if (find(each) == nullptr) continue;
    throw std::invalid_argument("runnel: two hosts of a sim_network have the address " +
                                each.to_string() + ".");
  }
  ports_.push_back(std::make_unique<port>(*owner_, addresses, options));
  return ports_.back()->edge();
}

sim_network::port* sim_network::find(const address& host) const noexcept {
  for (const auto& each : ports_) {
    if (each->has(host)) return each.get();
  }
  return nullptr;
}

sim_network::port& sim_network::find_or_throw(const address& host) const {
  if (port* found = find(host)) return *found;
  throw std::invalid_argument("runnel: no host of this sim_network has the address " +
                              host.to_string() + ".");
}

void sim_network::impair(const address& host, const impairment& outgoing,
                         const impairment& incoming) {
  net::impair& edge = find_or_throw(host).edge();
  edge.set_outgoing(outgoing);
  edge.set_incoming(incoming);
}

void sim_network::cut(const address& host) {
  impairment all;
  all.loss = 1;
  impair(host, all, all);
}

const net::impair& sim_network::link_of(const address& host) const {
  return find_or_throw(host).edge();
}

bool sim_network::on_receive(time_point now) {
  bool work_left = false;
  std::array<packet, packets_per_turn> burst;
  for (const auto& each : ports_) {
    const std::size_t count = each->middle().receive(now, burst);
    for (packet& one : std::span(burst).first(count)) {
      forward(now, one);
      one = packet();
    }
    work_left |= count == burst.size();
  }
  return work_left;
}

void sim_network::forward(time_point now, const packet& what) noexcept {
  const std::span<const std::byte> bytes = what.bytes();
  const auto header = wire::parse_ip(bytes);
  port* const to = header ? find(header->destination) : nullptr;
  if (to == nullptr) {
    ++counters_.unroutable;
    return;
  }
  const tx_packet out{.pieces = {&bytes, 1},
                      .size = static_cast<std::uint32_t>(bytes.size()),
                      .offload = what->offload};
  if (to->middle().send(now, out) == send_status::sent) {
    ++counters_.forwarded;
  } else {
    ++counters_.overflowed;
  }
}

time_point sim_network::deadline() const noexcept {
  time_point earliest = time_point::max();
  for (const auto& each : ports_) earliest = std::min(earliest, each->middle().deadline());
  return earliest;
}

}  // namespace runnel::net
