#pragma once

#include <deque>
#include <functional>
#include <utility>

#include "path.hpp"
#include "tcp/packets.hpp"

namespace runnel::tcp::sim {

/// Two hosts, 10.0.0.1 and 10.0.0.2, with an impaired path in each direction, in virtual time. It
/// looks into packets only where somebody wants to see them, so that gigabytes are a matter of
/// seconds.
class network {
 public:
  static constexpr int client = 0;
  static constexpr int server = 1;

  /// `paths[side]` is the way from that side.
  network(std::uint64_t seed, const path_options& from_client, const path_options& from_server,
          const std::function<void(int, host_options&)>& adjust = {})
      : paths_{impaired_path(from_client, seed * 4 + 1), impaired_path(from_server, seed * 4 + 3)} {
    for (int side = 0; side < 2; ++side) {
      host_options options;
      options.addresses = {address(side)};
      options.mtu = test::test_mtu(1500);
      options.keys = test::keys_from(seed * 2 + static_cast<std::uint64_t>(side));
      if (adjust) adjust(side, options);
      hosts_.emplace_back(std::move(options));
    }
  }
  ~network() {
    for (auto& each : flying_) each.clear();
  }
  network(const network&) = delete;
  network& operator=(const network&) = delete;

  static net::address address(int side) {
    return test::test_address(10, 0, 0, static_cast<std::uint8_t>(1 + side));
  }
  host& operator[](int side) { return hosts_[static_cast<std::size_t>(side)]; }
  impaired_path& path_from(int side) { return paths_[side]; }
  time_point now() const { return now_; }

  /// Hands out what happened and sends what the hosts have to say.
  void flush() {
    hand_out_events();
    for (int side = 0; side < 2; ++side) {
      while (const net::tx_packet* out = (*this)[side].poll_transmit(now_)) transmit(side, *out);
    }
    hand_out_events();
  }

  /// The next arrival or timer; false when there is none up to `until`.
  bool step(time_point until = time_point::max()) {
    flush();
    time_point next = std::min((*this)[0].poll_timeout(), (*this)[1].poll_timeout());
    for (const auto& each : flying_) {
      if (!each.empty()) next = std::min(next, each.front().at);
    }
    if (next == time_point::max() || next > until) return false;
    now_ = std::max(now_, next);
    for (int side = 0; side < 2; ++side) {
      arrive(side);
      if ((*this)[side].poll_timeout() <= now_) (*this)[side].on_timeout(now_);
    }
    flush();
    return true;
  }
  void drive_until(time_point until) {
    while (step(until)) {
    }
    now_ = std::max(now_, until);
  }
  void drive_for(duration span) { drive_until(now_ + span); }

  /// Packets and bytes on their way.
  bool anything_flies() const { return !flying_[0].empty() || !flying_[1].empty(); }
  std::size_t pool_bytes() const { return pool_.used_bytes(); }

  /// Called for each report of a host.
  std::function<void(int, const socket_event&)> on_event;
  /// Called for each packet that leaves, lost or not, and for each that arrives.
  std::function<void(const test::seen_packet&)> sent;
  std::function<void(const test::seen_packet&)> delivered;

 private:
  struct flight {
    time_point at;
    net::packet content;
  };

  void hand_out_events() {
    for (int side = 0; side < 2; ++side) {
      socket_event happened;
      while ((*this)[side].poll_event(happened)) {
        if (on_event) on_event(side, happened);
      }
    }
  }
  void arrive(int side) {
    std::deque<flight>& coming = flying_[1 - side];
    while (!coming.empty() && coming.front().at <= now_) {
      net::packet content = std::move(coming.front().content);
      coming.pop_front();
      if (delivered) delivered(test::look_at(content.bytes(), now_, 1 - side, false));
      (*this)[side].on_packet(std::move(content), now_);
    }
  }
  void transmit(int side, const net::tx_packet& out) {
    net::packet copy = test::flatten(pool_, out);
    copy->offload = out.offload;
    if (sent) sent(test::look_at(copy.bytes(), now_, side, false));
    impaired_path& path = paths_[side];
    const bool twice = path.duplicates();
    const auto first = path.pass(copy.size(), now_);
    const auto second = twice ? path.pass(copy.size(), now_) : std::nullopt;
    if (second) {
      net::packet other = pool_.copy_of(copy.bytes());
      other->offload = copy->offload;
      fly(side, std::move(other), *second);
    }
    if (first) fly(side, std::move(copy), *first);
  }
  /// Nearly all arrive in the order in which they leave.
  void fly(int side, net::packet content, time_point at) {
    std::deque<flight>& under_way = flying_[side];
    auto place = under_way.end();
    while (place != under_way.begin() && std::prev(place)->at > at) --place;
    under_way.insert(place, flight{at, std::move(content)});
  }

  impaired_path paths_[2];
  time_point now_{std::chrono::seconds(1000)};
  net::packet_pool pool_;
  std::vector<host> hosts_;
  std::deque<flight> flying_[2];
};

}  // namespace runnel::tcp::sim
