#pragma once

#include <doctest/doctest.h>

#include <deque>
#include <exception>
#include <functional>
#include <source_location>
#include <vector>

#include "segments.hpp"

namespace runnel::tcp::test {

/// One host, 10.0.0.2, against segments made by hand from 10.0.0.1, in virtual time.
///
/// `send` hands the host a segment; whatever the host says is kept until `expect` looks at it, in
/// order. What a segment does not say is what an honest peer would say: the next number, everything
/// acknowledged, flags "A", a window of 65,535. Options are only what the fields say, so without
/// further ado a connection has neither timestamps nor window scaling and an MSS of 1460.
///
/// At its end everything is released, silence is waited out, and nothing may be left.
class raw_peer {
 public:
  using where = std::source_location;

  explicit raw_peer(const std::function<void(host_options&)>& adjust = {},
                    time_point start = time_point(std::chrono::seconds(1000)))
      : engine_(make_options(adjust)), now_(start) {}
  ~raw_peer() {
    if (std::uncaught_exceptions() == 0) check_nothing_left();
  }
  raw_peer(const raw_peer&) = delete;
  raw_peer& operator=(const raw_peer&) = delete;

  static net::address peer_address() { return test_address(10, 0, 0, 1); }
  static net::address host_address() { return test_address(10, 0, 0, 2); }

  host& engine() { return engine_; }
  const tcp::counters& count() const { return engine_.counters(); }
  time_point now() const { return now_; }

  // ---- segments -----------------------------------------------------------------------------

  void send(std::initializer_list<field> fields) {
    send_unanswered(fields);
    flush();
  }
  /// Without asking the host for its answer yet, as when a burst arrives.
  void send_unanswered(std::initializer_list<field> fields) {
    segment_plan plan;
    plan.tcp.seq = peer_next;
    plan.tcp.ack = host_next;
    plan.tcp.flags = wire::tcp_flag::ack;
    plan.tcp.window = 65535;
    for (const field& f : fields) apply(plan, f, {peer_iss, host_iss});
    if ((plan.tcp.flags & wire::tcp_flag::ack) == 0) plan.tcp.ack = 0;
    seen_packet numbers;
    numbers.tcp = plan.tcp;
    numbers.length = static_cast<std::uint32_t>(plan.text.size());
    const std::uint32_t end = plan.tcp.seq + numbers.seq_len();
    if (plan.tcp.seq == peer_next) peer_next = end;
    engine_.on_packet(
        make_packet(pool_, {peer_address(), plan.from_port.value_or(peer_port)},
                    {host_address(), host_port}, plan.tcp, bytes_of(plan.text), plan.tos),
        now_);
  }

  /// The next segment of the host is this one.
  void expect(std::initializer_list<field> fields, const where& at = where::current()) {
    if (said_.empty()) return fail(at, "the host says nothing; wanted " + to_text(fields));
    const seen_packet seen = std::move(said_.front());
    said_.pop_front();
    const sequence_bases bases{host_iss, peer_iss};
    for (const field& f : fields) {
      if (holds(seen, f, bases)) continue;
      return fail(at, "the host says " + to_text(seen, bases) + "; wanted " + to_text(fields));
    }
    DOCTEST_CHECK(true);
  }
  /// The host has nothing (more) to say.
  void expect_nothing(const where& at = where::current()) {
    if (said_.empty()) {
      DOCTEST_CHECK(true);
      return;
    }
    fail(at, "the host says " + to_text(said_.front(), {host_iss, peer_iss}) + "; wanted nothing");
    said_.clear();
  }
  /// What the host has said and nobody has looked at.
  std::deque<seen_packet>& said() { return said_; }
  void forget() { said_.clear(); }
  /// When each of them left, in ms after `mark`; forgets them.
  std::vector<std::int64_t> times() {
    std::vector<std::int64_t> out;
    for (const seen_packet& seen : said_) {
      out.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(seen.at - mark_).count());
    }
    said_.clear();
    return out;
  }
  void mark() { mark_ = now_; }
  std::chrono::milliseconds since_mark() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now_ - mark_);
  }

  // ---- time ---------------------------------------------------------------------------------

  /// Takes what the host says and reports now.
  void flush() {
    while (const net::tx_packet* out = engine_.poll_transmit(now_)) {
      const net::packet copy = flatten(pool_, *out);
      seen_packet seen = look_at(copy.bytes(), now_, 1, true);
      learn(seen);
      said_.push_back(std::move(seen));
    }
    socket_event happened;
    while (engine_.poll_event(happened)) reported |= happened.what;
  }
  /// Lets time pass, with every timer at its moment.
  void run_for(duration span) {
    flush();
    const time_point until = now_ + span;
    while (engine_.poll_timeout() <= until) {
      now_ = std::max(now_, engine_.poll_timeout());
      engine_.on_timeout(now_);
      flush();
    }
    now_ = until;
  }
  /// Lets time pass until the connection is over; how long that took from `mark`, or -1 ms when it
  /// is not within `limit`.
  std::chrono::milliseconds run_until_over(duration limit) {
    flush();
    const time_point until = now_ + limit;
    while (current() != state::closed) {
      if (engine_.poll_timeout() > until) return std::chrono::milliseconds(-1);
      now_ = std::max(now_, engine_.poll_timeout());
      engine_.on_timeout(now_);
      flush();
    }
    return since_mark();
  }

  // ---- the connection -----------------------------------------------------------------------

  void listen(const listener_policy& policy = {}) {
    listener = engine_.listen({{}, host_port}, policy, 1).value;
  }
  /// The host connects; its SYN is still to be looked at.
  void connect(const connection_policy& policy = {}) {
    connect_options options;
    options.local = {{}, host_port};
    options.policy = policy;
    const auto made = engine_.connect({peer_address(), peer_port}, options, 2, now_);
    REQUIRE(made);
    socket = made.value;
    flush();
  }
  void accept() {
    const auto taken = engine_.accept(listener, 3);
    REQUIRE(taken);
    socket = taken.value;
  }
  /// A connection that the host accepted. `syn` adds to our SYN, `third` to our third segment.
  void establish(const listener_policy& policy = {}, std::initializer_list<field> syn = {mss(1460)},
                 std::initializer_list<field> third = {}) {
    listen(policy);
    send_syn(syn);
    forget();
    send(third);
    accept();
    forget();
    reported = events::none;
  }
  /// SYN with number 0 and these options.
  void send_syn(std::initializer_list<field> fields = {mss(1460)}) {
    segment_plan plan;
    plan.tcp.seq = peer_iss;
    plan.tcp.flags = wire::tcp_flag::syn;
    plan.tcp.window = 65535;
    for (const field& f : fields) apply(plan, f, {peer_iss, host_iss});
    peer_next = peer_iss + 1;
    engine_.on_packet(
        make_packet(pool_, {peer_address(), plan.from_port.value_or(peer_port)},
                    {host_address(), host_port}, plan.tcp, bytes_of(plan.text), plan.tos),
        now_);
    flush();
  }

  /// The state of our 4-tuple, whatever the host keeps for it.
  state current() {
    state found = state::closed;
    engine_.for_each_connection([&](const tcp::snapshot& each) {
      if (each.remote.port == peer_port) found = each.state;
    });
    return found;
  }
  snapshot look() { return engine_.snapshot(socket).value; }
  std::size_t write(std::string_view what) {
    const std::size_t taken = engine_.send(socket, bytes_of(what), now_).value;
    flush();
    return taken;
  }
  std::string read() {
    std::string out = receive_all(engine_, socket, now_);
    flush();
    return out;
  }
  /// What `receive` answers now, with the bytes thrown away.
  error read_error() {
    std::byte buffer[64];
    return engine_.receive(socket, buffer, now_).error;
  }
  error write_error() { return engine_.send(socket, bytes_of("x"), now_).error; }
  void shutdown() {
    CHECK(engine_.shutdown(socket, now_) == error::none);
    flush();
  }
  void close(close_mode mode = close_mode::graceful) {
    CHECK(engine_.close(socket, mode, now_) == error::none);
    flush();
  }

  void check_nothing_left() {
    engine_.release(socket, now_);
    engine_.close_listener(listener, now_);
    run_for(std::chrono::seconds(4000));
    CHECK(pool_.used_bytes() == 0);
    const memory_table held = engine_.memory();
    CHECK(held.connections == 0);
    CHECK(held.half_open == 0);
    CHECK(held.time_wait == 0);
    CHECK(held.buffer_bytes == 0);
    CHECK(held.flight_bytes == 0);
    CHECK(engine_.counters().curr_estab == 0);
    CHECK(engine_.poll_timeout() == time_point::max());
  }

  std::uint16_t peer_port = 40000;
  std::uint16_t host_port = 80;
  /// Our first sequence number; set it before anything is sent.
  std::uint32_t peer_iss = 1'000'000;
  /// What our next segment begins with, absolute.
  std::uint32_t peer_next = 1'000'000;
  /// The host's first number, learned from its SYN.
  std::uint32_t host_iss = 0;
  /// The end of what the host has sent, absolute.
  std::uint32_t host_next = 0;
  events reported = events::none;
  socket_id listener;
  socket_id socket;

 private:
  static host_options make_options(const std::function<void(host_options&)>& adjust) {
    host_options options;
    options.addresses = {host_address()};
    options.keys = keys_from(42);
    options.mtu = test_mtu(1500);
    if (adjust) adjust(options);
    return options;
  }
  void learn(const seen_packet& seen) {
    const std::uint32_t end = seen.tcp.seq + seen.seq_len();
    if ((seen.tcp.flags & wire::tcp_flag::syn) != 0) {
      host_iss = seen.tcp.seq;
      host_next = end;
    } else if ((seen.tcp.flags & wire::tcp_flag::rst) == 0 &&
               after(sequence(end), sequence(host_next))) {
      host_next = end;
    }
  }
  static void fail(const where& at, const std::string& what) {
    ADD_FAIL_CHECK_AT(at.file_name(), static_cast<int>(at.line()), what);
  }

  net::packet_pool pool_;
  host engine_;
  time_point now_;
  time_point mark_;
  std::deque<seen_packet> said_;
};

/// Drives a fresh fixture to the state, with nothing left unsaid. TIME-WAIT, CLOSING and the like
/// are reached by `shutdown`, so the application may still read; `close` it for the other variant.
/// SYN-RECEIVED is the half-open one.
inline void bring_to(raw_peer& peer, state wanted) {
  switch (wanted) {
    case state::listen:
    case state::closed:
      peer.listen();
      return;
    case state::syn_sent:
      peer.connect();
      break;
    case state::syn_received:
      peer.listen();
      peer.send_syn();
      break;
    case state::established:
      peer.establish();
      break;
    case state::fin_wait_1:
      peer.establish();
      peer.shutdown();
      break;
    case state::fin_wait_2:
      bring_to(peer, state::fin_wait_1);
      peer.send({});
      break;
    case state::closing:
      bring_to(peer, state::fin_wait_1);
      peer.send({ack(1), flags("FA")});
      break;
    case state::time_wait:
      bring_to(peer, state::fin_wait_2);
      peer.send({flags("FA")});
      break;
    case state::close_wait:
      peer.establish();
      peer.send({flags("FA")});
      break;
    case state::last_ack:
      bring_to(peer, state::close_wait);
      peer.shutdown();
      break;
  }
  CHECK(peer.current() == wanted);
  peer.forget();
}

inline constexpr state synchronized_states[] = {
    state::established, state::fin_wait_1, state::fin_wait_2,
    state::close_wait,  state::closing,    state::last_ack,
};

}  // namespace runnel::tcp::test
