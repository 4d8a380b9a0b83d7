#pragma once

#include <doctest/doctest.h>

#include <deque>
#include <exception>
#include <functional>
#include <vector>

#include "packets.hpp"

namespace runnel::tcp::test {

/// What the wire between two hosts does to packets.
struct wire_faults {
  duration latency = std::chrono::milliseconds(1);
  double loss = 0;
  double duplicate = 0;
  /// Chance that a packet takes up to four times the latency.
  double reorder = 0;
};

/// Two hosts, 10.0.0.1 and 10.0.0.2, and a wire between them, in virtual time.
///
/// `step` runs the next thing that happens; `drive` runs until nothing is left to happen, or until
/// a moment. Every packet passes `filter` (return false to lose it) and is kept in `trace`.
class host_pair {
 public:
  static constexpr int client = 0;
  static constexpr int server = 1;

  explicit host_pair(std::uint64_t seed = 1, wire_faults wire_behaviour = {},
                     const std::function<void(int, host_options&)>& adjust = {},
                     time_point start = time_point(std::chrono::seconds(1000)))
      : faults(wire_behaviour), random_(seed), now_(start) {
    for (int side = 0; side < 2; ++side) {
      host_options options;
      options.addresses = {address(side)};
      options.mtu = test_mtu(1500);
      options.keys = keys_from(seed * 2 + static_cast<std::uint64_t>(side));
      if (adjust) adjust(side, options);
      hosts_.emplace_back(std::move(options));
    }
  }
  ~host_pair() { flying_.clear(); }
  host_pair(const host_pair&) = delete;
  host_pair& operator=(const host_pair&) = delete;

  static net::address address(int side) {
    return test_address(10, 0, 0, static_cast<std::uint8_t>(1 + side));
  }
  host& operator[](int side) { return hosts_[static_cast<std::size_t>(side)]; }
  time_point now() const { return now_; }

  /// Takes what both hosts report, lets `react` answer it, and sends what they have to say now.
  void flush() {
    take_events();
    if (react) react();
    for (int side = 0; side < 2; ++side) {
      while (const net::tx_packet* out = (*this)[side].poll_transmit(now_)) transmit(side, *out);
    }
    take_events();
  }

  /// The next arrival or timer; false when there is none up to `until`.
  bool step(time_point until = time_point::max()) {
    flush();
    time_point next = std::min((*this)[0].poll_timeout(), (*this)[1].poll_timeout());
    if (!flying_.empty()) next = std::min(next, flying_.front().at);
    if (next == time_point::max() || next > until) return false;
    now_ = std::max(now_, next);
    while (!flying_.empty() && flying_.front().at <= now_) {
      flight arrived = std::move(flying_.front());
      flying_.pop_front();
      if (delivered) delivered(look_at(arrived.content.bytes(), now_, 1 - arrived.to, false));
      (*this)[arrived.to].on_packet(std::move(arrived.content), now_);
    }
    for (int side = 0; side < 2; ++side) {
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

  /// Hands a packet of the test's own to a host at once.
  void inject(int to, const net::endpoint& from, const net::endpoint& destination,
              const wire::tcp_header& tcp, std::span<const std::byte> text = {}) {
    (*this)[to].on_packet(make_packet(pool_, from, destination, tcp, text), now_);
    flush();
  }

  std::vector<socket_event>& events_of(int side) { return events_[static_cast<std::size_t>(side)]; }
  /// Whether a socket of this side was reported with all of `what` since its events were cleared.
  bool reported(int side, events what) {
    events seen = events::none;
    for (const socket_event& each : events_of(side)) seen |= each.what;
    return (seen & what) == what;
  }

  /// Runs until nothing is left to happen and checks that neither host holds anything: no
  /// connection, no compact entry, no buffer. Every handle must have been released.
  void check_nothing_left() {
    drive_for(std::chrono::seconds(4000));
    for (int side = 0; side < 2; ++side) {
      CAPTURE(side);
      const memory_table held = (*this)[side].memory();
      CHECK(held.connections == 0);
      CHECK(held.half_open == 0);
      CHECK(held.time_wait == 0);
      CHECK(held.buffer_bytes == 0);
      CHECK(held.flight_bytes == 0);
      CHECK((*this)[side].counters().curr_estab == 0);
      CHECK((*this)[side].counters().in_csum_errors == 0);
      CHECK((*this)[side].poll_timeout() == time_point::max());
    }
    CHECK(flying_.empty());
    CHECK(pool_.used_bytes() == 0);
  }

  wire_faults faults;
  /// Called for each packet before it flies; false loses it.
  std::function<bool(const seen_packet&)> filter;
  /// When set, called in place of the random faults: how much longer than the latency each copy of
  /// the packet takes. No copy loses it.
  std::function<std::vector<duration>(const seen_packet&)> copies;
  /// What programs do when events were taken and nothing is sent yet, so that their text rides on
  /// what the events caused.
  std::function<void()> react;
  /// Called for each packet that arrives, before the host sees it.
  std::function<void(const seen_packet&)> delivered;
  std::vector<seen_packet> trace;
  bool keep_trace = true;
  /// The bytes of every packet that left, with the time and the side before it.
  std::string bytes_of_trace;
  bool keep_bytes = false;

 private:
  struct flight {
    time_point at;
    int to;
    net::packet content;
  };

  void take_events() {
    for (int side = 0; side < 2; ++side) {
      socket_event happened;
      while ((*this)[side].poll_event(happened)) {
        events_[static_cast<std::size_t>(side)].push_back(happened);
      }
    }
  }
  void transmit(int from, const net::tx_packet& out) {
    net::packet copy = flatten(pool_, out);
    const seen_packet seen = look_at(copy.bytes(), now_, from, false);
    if (keep_trace) trace.push_back(seen);
    if (keep_bytes) {
      bytes_of_trace += std::to_string(now_.time_since_epoch().count()) + (from == 0 ? '>' : '<');
      bytes_of_trace.append(reinterpret_cast<const char*>(copy.bytes().data()), copy.size());
    }
    if (filter && !filter(seen)) return;
    if (copies) {
      for (const duration detour : copies(seen)) fly(1 - from, pool_.copy_of(copy.bytes()), detour);
      return;
    }
    if (chance(faults.loss)) return;
    if (chance(faults.duplicate)) fly(1 - from, pool_.copy_of(copy.bytes()));
    fly(1 - from, std::move(copy));
  }
  void fly(int to, net::packet content, duration detour = {}) {
    duration delay = faults.latency + detour;
    if (chance(faults.reorder)) delay += faults.latency * static_cast<int>(random_() % 4);
    flight f{now_ + delay, to, std::move(content)};
    const auto place =
        std::upper_bound(flying_.begin(), flying_.end(), f.at,
                         [](time_point at, const flight& other) { return at < other.at; });
    flying_.insert(place, std::move(f));
  }
  bool chance(double probability) {
    if (probability <= 0) return false;
    return static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
  }

  std::mt19937_64 random_;
  time_point now_;
  net::packet_pool pool_;
  std::vector<host> hosts_;
  std::deque<flight> flying_;
  std::vector<socket_event> events_[2];
};

/// A listener on the server's port 80 and a connection to it. At its end everything is closed and
/// must come to nothing.
struct connected_pair : host_pair {
  using host_pair::host_pair;

  ~connected_pair() {
    if (std::uncaught_exceptions() > 0) return;
    filter = nullptr;
    faults = {.latency = faults.latency};
    (*this)[client].release(client_socket, now());
    (*this)[server].release(server_socket, now());
    (*this)[server].close_listener(listener, now());
    check_nothing_left();
  }

  void listen(const listener_policy& policy = {}) {
    listener = (*this)[server].listen({{}, 80}, policy, 1).value;
  }
  void connect(const connect_options& options = {}) {
    client_socket = (*this)[client].connect({address(server), 80}, options, 2, now()).value;
  }
  void accept() { server_socket = (*this)[server].accept(listener, 3).value; }
  /// Both ends established; the trace is empty afterwards.
  void establish(const connect_options& options = {}, const listener_policy& policy = {}) {
    listen(policy);
    connect(options);
    drive_for(20 * faults.latency);
    accept();
    clear();
  }
  /// Forgets the trace and the events.
  void clear() {
    trace.clear();
    events_of(0).clear();
    events_of(1).clear();
  }

  socket_id socket(int side) const { return side == client ? client_socket : server_socket; }
  snapshot look(int side) { return (*this)[side].snapshot(socket(side)).value; }
  state state_of(int side) { return look(side).state; }
  state client_state() { return state_of(client); }
  state server_state() { return state_of(server); }
  std::size_t send(int side, std::string_view text) {
    return (*this)[side].send(socket(side), bytes_of(text), now()).value;
  }
  std::string receive(int side) { return receive_all((*this)[side], socket(side), now()); }
  void shutdown(int side) { CHECK((*this)[side].shutdown(socket(side), now()) == error::none); }
  void close(int side, close_mode mode = close_mode::graceful) {
    CHECK((*this)[side].close(socket(side), mode, now()) == error::none);
  }
  void release(int side) { (*this)[side].release(socket(side), now()); }

  socket_id listener;
  socket_id client_socket;
  socket_id server_socket;
};

}  // namespace runnel::tcp::test
