#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <queue>
#include <random>
#include <vector>

#include "tcp/engine/congestion.hpp"

// A bottleneck in virtual time for congestion control alone: one queue of bytes that drains at a
// rate, senders that always have something to send, and a return path that loses nothing. Every
// segment is acknowledged, or found lost, one by one and in order; what is lost is not sent again,
// as only its size matters here.

namespace runnel::tcp::test {

using detail::ack_sample;
using detail::congestion;
using detail::congestion_window;
using detail::recovery_phase;

struct path {
  /// Bytes a second.
  double rate = 1.25e6;
  /// Bytes that may wait for the link.
  double buffer = 1e9;
  /// The round trip of an empty path.
  double rtt_us = 50'000;
  /// The share of segments that is lost before the link.
  double random_loss = 0;
  /// Disorder in time of the acknowledgements, in segments. With none, flows that share the link
  /// may fall into step, so that the full queue always meets the same one.
  double jitter_segments = 0;
  /// A token bucket before the link: bytes a second and bytes; 0 for none.
  double policer_rate = 0;
  double policer_burst = 0;
};

class bottleneck {
 public:
  struct flow {
    congestion control;
    congestion_window window;
    recovery_phase phase = recovery_phase::open;
    std::uint32_t flight = 0;
    std::uint64_t delivered = 0;
    std::uint64_t lost = 0;
    std::uint32_t srtt_us = 0;
    std::uint32_t min_rtt_us = 0;
    std::uint32_t last_rtt_us = 0;
    std::uint64_t loss_episodes = 0;
    /// Bytes it may have sent in all, for a sender with pauses.
    std::uint64_t allowed = UINT64_MAX;
    std::uint64_t sent = 0;
    /// Not paced by its algorithm, but by what Linux paces with.
    bool classic_pacing = false;

   private:
    friend bottleneck;
    sequence una, nxt, recover;
    double next_send_us = 0;
    double first_sent_us = 0;
    double delivered_us = 0;
    double idle_since_us = 0;
    /// Until more than this is delivered, the application's pause shows in the rates.
    std::uint64_t limited_until = 0;
    double last_event_us = 0;
    bool wake_queued = false;
  };

  explicit bottleneck(path p, std::uint32_t seed = 1) : path_(p), random_(seed) {}

  flow& add(congestion_control algorithm, slow_start exit, std::uint32_t mss = 1448) {
    flows_.push_back(std::make_unique<flow>());
    flow& f = *flows_.back();
    f.window.mss = mss;
    f.control.start(algorithm, exit, f.window, 10 * mss, now_us(),
                    static_cast<std::uint32_t>(random_()));
    return f;
  }

  std::uint64_t now_us() const { return static_cast<std::uint64_t>(now_); }
  void change_path(const path& p) { path_ = p; }
  /// Bytes that wait for the link now.
  double queued() const { return std::max(0.0, (free_at_ - now_) * path_.rate / 1e6); }
  double largest_queue() const { return largest_queue_; }
  void forget_largest_queue() { largest_queue_ = 0; }

  /// `each` is called after every event.
  template <typename F>
  void run_until(double end_us, F&& each) {
    for (auto& f : flows_) send(*f);
    while (!events_.empty() && events_.top().at <= end_us) {
      const event e = events_.top();
      events_.pop();
      now_ = std::max(now_, e.at);
      flow& f = *e.of;
      if (e.wake) {
        f.wake_queued = false;
      } else {
        arrive(f, e);
      }
      send(f);
      each();
    }
    now_ = end_us;
  }
  void run_until(double end_us) {
    run_until(end_us, [] {});
  }

 private:
  struct event {
    double at = 0;
    std::uint64_t order = 0;
    flow* of = nullptr;
    bool wake = false;
    bool dropped = false;
    bool limited = false;
    sequence end;
    std::uint32_t bytes = 0;
    double sent_us = 0;
    double first_sent_us = 0;
    double prior_us = 0;
    std::uint64_t prior_delivered = 0;

    bool operator<(const event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

  static bool can_send(const flow& f) {
    return f.flight + f.window.mss <= f.window.cwnd && f.sent < f.allowed;
  }

  void send(flow& f) {
    if (f.flight == 0 && f.sent != 0 && can_send(f) && now_ > f.idle_since_us) {
      f.control.on_idle_restart(f.window, static_cast<std::uint64_t>(now_ - f.idle_since_us),
                                now_us());
    }
    while (can_send(f)) {
      if (f.window.pacing_rate != 0) {
        if (f.next_send_us > now_) {
          wake_at(f, f.next_send_us);
          return;
        }
        f.next_send_us = std::max(f.next_send_us, now_ - 1000) +
                         f.window.mss * 1e6 / static_cast<double>(f.window.pacing_rate);
      }
      transmit(f);
    }
    if (f.sent >= f.allowed) f.limited_until = std::max<std::uint64_t>(f.delivered + f.flight, 1);
  }

  void wake_at(flow& f, double at) {
    if (f.wake_queued) return;
    f.wake_queued = true;
    event e;
    e.at = at;
    e.order = order_++;
    e.of = &f;
    e.wake = true;
    events_.push(e);
  }

  void transmit(flow& f) {
    if (f.flight == 0) f.first_sent_us = f.delivered_us = now_;
    event e;
    e.of = &f;
    e.bytes = f.window.mss;
    e.sent_us = now_;
    e.first_sent_us = f.first_sent_us;
    e.prior_us = f.delivered_us;
    e.prior_delivered = f.delivered;
    e.limited = f.limited_until != 0;
    f.sent += e.bytes;
    f.nxt += e.bytes;
    e.end = f.nxt;
    f.flight += e.bytes;
    e.dropped = !admit(e.bytes);
    if (!e.dropped) free_at_ = std::max(free_at_, now_) + e.bytes * 1e6 / path_.rate;
    largest_queue_ = std::max(largest_queue_, queued());
    const double jitter_us = path_.jitter_segments * e.bytes * 1e6 / path_.rate;
    const double back = path_.rtt_us + std::uniform_real_distribution<>(0, 1)(random_) * jitter_us;
    e.at = std::max(f.last_event_us, std::max(free_at_, now_) + back);
    f.last_event_us = e.at;
    e.order = order_++;
    events_.push(e);
  }

  bool admit(std::uint32_t bytes) {
    if (std::uniform_real_distribution<>(0, 1)(random_) < path_.random_loss) return false;
    if (path_.policer_rate > 0) {
      tokens_ =
          std::min(path_.policer_burst, tokens_ + (now_ - tokens_us_) * path_.policer_rate / 1e6);
      tokens_us_ = now_;
      if (tokens_ < bytes) return false;
      tokens_ -= bytes;
    }
    return queued() + bytes <= path_.buffer;
  }

  void arrive(flow& f, const event& e) {
    ack_sample s;
    s.now_us = now_us();
    s.prior_flight = f.flight;
    f.flight -= e.bytes;
    s.flight = f.flight;
    f.una = e.end;
    s.una = f.una;
    s.nxt = f.nxt;
    if (f.flight == 0) f.idle_since_us = now_;
    if (f.phase == recovery_phase::recovery && after(f.una, f.recover)) {
      f.phase = recovery_phase::open;
      f.control.on_recovery_exit(f.window, now_us());
    }
    if (e.dropped) {
      f.lost += e.bytes;
      lost_with_next_ += e.bytes;
      if (f.phase == recovery_phase::open) enter_recovery(f);
      // Told with the next acknowledgement, which is what tells of a loss.
      return;
    }
    s.lost_bytes = lost_with_next_;
    lost_with_next_ = 0;
    s.delivered_bytes = e.bytes;
    f.delivered += e.bytes;
    if (f.delivered > f.limited_until) f.limited_until = 0;
    f.last_rtt_us = s.rtt_us = std::max(1U, static_cast<std::uint32_t>(now_ - e.sent_us));
    f.srtt_us = f.srtt_us == 0 ? s.rtt_us : f.srtt_us - f.srtt_us / 8 + s.rtt_us / 8;
    f.min_rtt_us = f.min_rtt_us == 0 ? s.rtt_us : std::min(f.min_rtt_us, s.rtt_us);
    s.srtt_us = f.srtt_us;
    s.min_rtt_us = f.min_rtt_us;
    const bool full = s.prior_flight + f.window.mss > f.window.cwnd;
    s.cwnd_limited = full || (f.window.in_slow_start() && s.prior_flight * 2 >= f.window.cwnd);
    s.rate_bytes = static_cast<std::uint32_t>(f.delivered - e.prior_delivered);
    s.rate_interval_us =
        static_cast<std::uint32_t>(std::max(e.sent_us - e.first_sent_us, now_ - e.prior_us));
    s.prior_delivered_bytes = e.prior_delivered;
    s.total_delivered_bytes = f.delivered;
    s.rate_app_limited = e.limited;
    f.first_sent_us = e.sent_us;
    f.delivered_us = now_;
    f.control.on_ack(f.window, s, f.phase);
    if (f.classic_pacing) f.window.pacing_rate = detail::classic_pacing_rate(f.window, f.srtt_us);
  }

  void enter_recovery(flow& f) {
    f.phase = recovery_phase::recovery;
    f.recover = f.nxt;
    ++f.loss_episodes;
    f.window.ssthresh = f.control.ssthresh_on_loss(f.window);
    if (!f.control.owns_window()) f.window.cwnd = f.window.ssthresh;
  }

  path path_;
  std::mt19937 random_;
  std::vector<std::unique_ptr<flow>> flows_;
  std::priority_queue<event> events_;
  double now_ = 0;
  double free_at_ = 0;
  double tokens_ = 0;
  double tokens_us_ = 0;
  double largest_queue_ = 0;
  std::uint32_t lost_with_next_ = 0;
  std::uint64_t order_ = 0;
};

}  // namespace runnel::tcp::test
