#include <array>
#include <span>
#include <utility>

#include "core.hpp"
#include "ingress.hpp"
#include "prefetch.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/wire/bytes.hpp"

// Packets that have come together: while one is worked on, what the next ones will need is on its
// way from memory. Their connections are mostly different ones, and with many of them no cache
// holds them all.

namespace runnel::tcp {

namespace detail {

bool guess_flow(const core& host, std::span<const std::byte> packet, flow_key& out) noexcept {
  constexpr std::size_t ip4_bytes = 20;
  constexpr std::size_t ip6_bytes = 40;
  constexpr std::size_t port_bytes = 4;
  const std::byte* const at = packet.data();
  net::address local;
  std::size_t ip_bytes = ip4_bytes;
  if (packet.size() >= ip4_bytes + port_bytes && wire::load8(at) == 0x45) {
    out.remote = net::address::v4(wire::load32(at + 12));
    local = net::address::v4(wire::load32(at + 16));
  } else if (packet.size() >= ip6_bytes + port_bytes && wire::load8(at) >> 4 == 6) {
    const auto* const raw = reinterpret_cast<const std::uint8_t*>(at);
    out.remote = net::address::v6(std::span<const std::uint8_t, 16>(raw + 8, 16));
    local = net::address::v6(std::span<const std::uint8_t, 16>(raw + 24, 16));
    ip_bytes = ip6_bytes;
  } else {
    return false;
  }
  const int index = host.local_index(local);
  if (index < 0) return false;
  out.remote_port = wire::load16(at + ip_bytes);
  out.local_port = wire::load16(at + ip_bytes + 2);
  out.local_index = static_cast<std::uint16_t>(index);
  return true;
}

namespace {

void prefetch_entry(const core& host, entry_ref entry) noexcept {
  switch (entry.kind()) {
    case entry_kind::connection:
      return prefetch(host.connections[entry.index()]);
    case entry_kind::half_open:
      return prefetch(host.half_opens[entry.index()]);
    case entry_kind::time_wait:
      return prefetch(host.time_waits[entry.index()]);
  }
}

/// What is known of the packets that are next.
class lookahead {
 public:
  lookahead(core& host, std::span<const net::packet> burst) noexcept : host_(host), burst_(burst) {}

  /// Asks for the head of the packet's chain.
  void look_up(std::size_t index) noexcept {
    if (index >= burst_.size()) return;
    guess& next = at(index);
    next.good = burst_[index] && guess_flow(host_, burst_[index].bytes(), next.flow);
    if (!next.good) return;
    next.hash = host_.hash_of(next.flow);
    host_.table.prefetch(next.hash);
  }
  /// The head is there: asks for the entry.
  void fetch(std::size_t index) noexcept {
    if (index >= burst_.size() || !at(index).good) return;
    const chain_link first = host_.table.first(at(index).hash);
    if (first) prefetch_entry(host_, first.entry());
  }
  /// Its turn has come: its hash need not be computed again.
  void use(std::size_t index) noexcept {
    if (at(index).good) host_.note_hash(at(index).flow, at(index).hash);
  }

 private:
  struct guess {
    flow_key flow;
    std::uint64_t hash = 0;
    bool good = false;
  };
  guess& at(std::size_t index) noexcept { return guesses_[index % guesses_.size()]; }

  core& host_;
  std::span<const net::packet> burst_;
  /// The one whose turn it is and the two after it have one each; a power of two is found fastest.
  std::array<guess, 4> guesses_;
};

}  // namespace

}  // namespace detail

void host::on_packets(std::span<net::packet> burst, time_point now) {
  core_->set_time(now);
  detail::lookahead ahead(*core_, burst);
  ahead.look_up(1);
  for (std::size_t i = 0; i < burst.size(); ++i) {
    ahead.look_up(i + 2);
    ahead.fetch(i + 1);
    ahead.use(i);
    on_ip_packet(*core_, std::move(burst[i]));
  }
}

}  // namespace runnel::tcp
