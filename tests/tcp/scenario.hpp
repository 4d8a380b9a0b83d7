#pragma once

#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "scenario_application.hpp"

namespace runnel::tcp::test {

/// What the network does to the packets of a run, counted from 0 over both directions.
using disturbance = std::function<std::vector<duration>(std::size_t, const seen_packet&)>;

/// One run of a script. Looks at what both programs were told and at what the hosts still hold.
class scenario {
 public:
  scenario(const script& plan, const disturbance& disturb)
      : plan_(plan), ends_{{pair_, 0, plan}, {pair_, 1, plan}} {
    if (disturb) {
      pair_.copies = [this, disturb](const seen_packet& seen) { return disturb(sent_++, seen); };
    }
    run();
  }

  struct bounds {
    /// The longest from the start to the end of a connection that its program has not closed.
    duration open;
    /// The longest from closing it to its end.
    duration closing;
    /// The longest from the start to the end of everything that the hosts hold.
    duration empty;
    /// The disturbance is small enough for everything to arrive.
    bool arrives = false;
  };
  /// Every broken promise in a sentence.
  std::vector<std::string> complaints(const bounds& limit) const {
    std::vector<std::string> out;
    for (const int side : {0, 1}) check_truth(side, out);
    for (const int side : {0, 1}) check_end(side, limit, out);
    if (emptied_ - start_ > limit.empty) {
      out.push_back("the hosts were not empty before " + seconds(emptied_ - start_));
    }
    for (const int side : {0, 1}) check_nothing_held(side, out);
    return out;
  }
  const std::vector<seen_packet>& trace() const { return pair_.trace; }
  const application& end(int side) const { return ends_[side]; }

  std::string told() const {
    std::ostringstream out;
    for (const int side : {0, 1}) {
      const application& a = ends_[side];
      out << "  " << name_of(side) << ": " << to_string(a.ended) << ", told " << to_string(a.told)
          << ", wrote " << a.written.size() << ", read " << a.received.size()
          << (a.eof ? " and the end" : "") << ", lost " << a.lost_bytes;
      if (a.close_at) out << ", closed at " << seconds(*a.close_at - start_);
      if (a.over_at) out << ", over at " << seconds(*a.over_at - start_);
      out << "\n";
    }
    std::size_t number = 0;
    for (const seen_packet& each : pair_.trace) {
      if (number > 60) break;
      out << "  " << number++ << " " << seconds(each.at - start_) << " " << name_of(each.from)
          << " " << each.flags() << " seq " << each.tcp.seq << " ack " << each.tcp.ack << " length "
          << each.length << "\n";
    }
    return out.str();
  }

 private:
  static std::string name_of(int side) { return side == host_pair::client ? "client" : "server"; }
  static std::string seconds(duration of) {
    std::ostringstream out;
    out << std::chrono::duration<double>(of).count() << " s";
    return out.str();
  }

  /// Whether an acknowledgement of everything that this side sent, FIN included, reached it.
  bool fin_acknowledged(int side) const {
    std::optional<sequence> fin;
    for (const seen_packet& each : pair_.trace) {
      if (each.from != side || (each.tcp.flags & wire::tcp_flag::fin) == 0) continue;
      fin = sequence(each.tcp.seq + each.seq_len());
    }
    return fin && acknowledged_[side] && at_or_after(*acknowledged_[side], *fin);
  }
  bool both_over() const { return ends_[0].over_at && ends_[1].over_at; }
  void run() {
    pair_.delivered = [this](const seen_packet& seen) {
      constexpr unsigned wanted = wire::tcp_flag::ack | wire::tcp_flag::rst;
      if ((seen.tcp.flags & wanted) != wire::tcp_flag::ack) return;
      std::optional<sequence>& most = acknowledged_[1 - seen.from];
      const sequence here(seen.tcp.ack);
      most = most ? later(*most, here) : here;
    };
    pair_.react = [this] {
      for (application& each : ends_) each.act();
    };
    for (application& each : ends_) each.start();
    const time_point end = start_ + std::chrono::seconds(5000);
    while (!both_over()) {
      pair_.flush();
      if (both_over()) break;
      if (!pair_.events_of(0).empty() || !pair_.events_of(1).empty()) continue;
      const time_point wake = std::min({ends_[0].wake(), ends_[1].wake(), end});
      if (pair_.step(wake)) continue;
      // Nothing will happen by itself: an application that never got its connection is at its end.
      if (wake >= end) break;
      pair_.drive_until(wake);
    }
    emptied_ = pair_.now();
    while (pair_.step(end)) emptied_ = pair_.now();
    for (application& each : ends_) each.close_listener();
  }

  void check_truth(int side, std::vector<std::string>& out) const {
    const application& me = ends_[side];
    const application& other = ends_[1 - side];
    const auto complain = [&](const std::string& what) {
      out.push_back("the " + name_of(side) + " " + what);
    };
    if (other.written.compare(0, me.received.size(), me.received) != 0) {
      complain("read what was never written there, or twice, or in another order");
    }
    if (me.eof && me.received != other.written) complain("read the end before all bytes");
    if (me.eof && !other.said_end) complain("read an end that nobody said");
    if (me.ended == end_reason::clean) {
      if (!fin_acknowledged(side)) complain("ended clean although its FIN was not acknowledged");
      if (other.received != me.written && !other.leaves()) {
        complain("ended clean although bytes were not read");
      }
      if (!other.eof && !other.close_at && !other.leaves()) {
        complain("ended clean although its FIN was not read");
      }
    }
    if (me.ended == end_reason::timed_out && !other.leaves() &&
        me.lost_bytes + other.received.size() < me.written.size()) {
      complain("was told of fewer lost bytes than there are");
    }
    const bool silent = me.told == error::none && !me.eof && !me.close_at && !me.leaves();
    if (me.over_at && silent) complain("was never told that the connection is over");
    if (me.ghosts != 0) complain("accepted a connection that nobody made");
  }
  void check_end(int side, const bounds& limit, std::vector<std::string>& out) const {
    const application& me = ends_[side];
    const auto complain = [&](const std::string& what) {
      out.push_back("the " + name_of(side) + " " + what);
    };
    if (!me.has_socket()) {
      if (limit.arrives) complain("never got its connection");
      return;
    }
    if (!me.over_at) return complain("is stuck");
    const bool late = me.close_at ? *me.over_at - *me.close_at > limit.closing
                                  : *me.over_at - start_ > limit.open;
    if (late) complain("had to wait for too long");
    if (!limit.arrives) return;
    if (!plan_.orderly()) return;
    if (me.ended != end_reason::clean) complain("did not end clean");
    if (me.written != plan_.text_of(side)) complain("could not write all of its text");
    if (me.told != error::none) complain("was told an error");
  }
  void check_nothing_held(int side, std::vector<std::string>& out) const {
    const host& engine = const_cast<host_pair&>(pair_)[side];
    const memory_table held = engine.memory();
    if (held.connections + held.half_open + held.time_wait + held.buffer_bytes != 0 ||
        engine.counters().curr_estab != 0 || engine.poll_timeout() != time_point::max()) {
      out.push_back("the " + name_of(side) + " holds something for ever");
    }
  }

  script plan_;
  host_pair pair_;
  application ends_[2];
  std::size_t sent_ = 0;
  /// The largest acknowledgement that reached each side.
  std::optional<sequence> acknowledged_[2];
  time_point start_ = pair_.now();
  time_point emptied_;
};

/// Whether the tests that take minutes are wanted (`tests/run.sh --long`).
inline bool long_run() {
  return std::getenv("RUNNEL_LONG") != nullptr;
}

/// Runs a scenario, unless RUNNEL_SCENARIO names another one, and fails with its name and its
/// packets when it breaks a promise.
inline void play(const script& plan, const std::string& trouble, const disturbance& disturb,
                 const scenario::bounds& limit) {
  const std::string name = plan.name() + "; " + trouble;
  const char* const wanted = std::getenv("RUNNEL_SCENARIO");
  if (wanted != nullptr && name != wanted) return;
  const scenario run(plan, disturb);
  const std::vector<std::string> complaints = run.complaints(limit);
  if (wanted != nullptr) MESSAGE(name << "\n" << run.told());
  if (complaints.empty()) return;
  std::string what;
  for (const std::string& each : complaints) what += "  " + each + "\n";
  FAIL_CHECK("RUNNEL_SCENARIO='" << name << "'\n" << what << run.told());
}

}  // namespace runnel::tcp::test
