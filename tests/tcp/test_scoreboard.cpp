#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "packets.hpp"
#include "support/pace.hpp"
#include "tcp/engine/core.hpp"
#include "tcp/engine/recovery.hpp"

// The scoreboard by itself: whatever a peer reports, its ranges cover what is in flight without a
// gap, its sums are those of the ranges, and there are not too many of them (RFC 2018 §5; the
// attacks of CVE-2019-11477).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::detail;
using namespace std::chrono_literals;

namespace {

class scoreboard_rig {
 public:
  explicit scoreboard_rig(std::uint64_t seed, std::uint16_t mss, sequence first)
      : random_(seed), host_(std::make_unique<core>(options())) {
    host_->set_time(now_);
    c_ = make_connection(*host_, {}, policy_store::nothing_set);
    c_->sack_permitted = true;
    c_->snd_mss = mss;
    c_->snd_.una = c_->snd_.nxt = c_->snd_.iss = first;
    start_congestion_control(*c_);
    c_->flow.srtt_us = c_->flow.min_rtt_us = 40'000;
    REQUIRE(flight_of(*host_, *c_) != nullptr);
  }
  ~scoreboard_rig() {
    clear_ranges(*host_, *c_);
    CHECK(host_->sent_ranges.size() == 0);
    give_back_flight(*host_, *c_);
  }
  scoreboard_rig(const scoreboard_rig&) = delete;
  scoreboard_rig& operator=(const scoreboard_rig&) = delete;

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::uint32_t count() const { return c_->sent.count; }
  std::uint32_t in_flight() const { return c_->in_flight(); }

  void pass(duration time) {
    now_ += time;
    host_->set_time(now_);
  }
  void send(std::uint32_t bytes) {
    note_sent(*host_, *c_, bytes);
    c_->snd_.nxt += bytes;
  }
  void resend() {
    const std::uint32_t index = next_to_resend(*host_, *c_);
    if (index == no_index) return;
    const sent_range& range = host_->sent_ranges[index];
    CHECK(range.lost);
    CHECK_FALSE(range.sacked);
    CHECK_FALSE(range.resent_in_flight);
    join_lost(*host_, *c_, index);
    note_resent(*host_, *c_, index, std::min<std::uint32_t>(range.size(), c_->snd_mss));
  }
  /// Somewhere in what is in flight, on a segment's edge mostly, or beyond it.
  sequence somewhere() {
    const std::uint32_t sent = std::max(c_->in_flight(), 1U);
    auto offset = static_cast<std::uint32_t>(below(sent + 1));
    if (below(4) != 0) offset -= offset % c_->snd_mss;
    if (below(50) == 0) offset += static_cast<std::uint32_t>(random_());
    return c_->snd_.una + offset;
  }
  void acknowledge(bool advance, bool blocks) {
    ack_facts facts;
    facts.prior_flight = pipe_of(*host_, *c_);
    facts.prior_fack = flight_now().fack;
    sequence ack = c_->snd_.una;
    if (advance) ack += static_cast<std::uint32_t>(below(c_->in_flight() / 4 + 1));
    std::vector<wire::sack_block> told;
    for (std::uint64_t i = below(5); blocks && i > 0; --i) {
      const sequence left = somewhere();
      told.push_back({left.value(), below(2) == 0 ? somewhere().value() : left.value() + 1460});
    }
    score_sacks(*host_, *c_, ack, told, facts);
    if (after(ack, c_->snd_.una)) {
      score_ack(*host_, *c_, ack, facts);
      c_->snd_.una = ack;
    }
    CHECK(facts.delivered_bytes <= facts.acked_bytes + flight_now().sacked_bytes);
  }
  void detect() { rack_detect_loss(*host_, *c_); }
  void time_out() { mark_all_lost(*host_, *c_, below(2) * 20'000); }
  void undo() { unmark_lost(*host_, *c_); }
  void renege() { forget_sacks(*host_, *c_); }

  /// Everything that holds between two calls.
  void check() {
    std::uint32_t sacked = 0, lost = 0, resent = 0, ranges = 0, timed = 0;
    sequence next = c_->snd_.una;
    std::uint32_t before = no_index;
    bool sound = true;
    for (std::uint32_t i = c_->sent.head; i != no_index; i = host_->sent_ranges[i].next) {
      const sent_range& range = host_->sent_ranges[i];
      sound = sound && range.begin == next && range.prev == before && range.size() > 0;
      sound = sound && !(range.sacked && (range.lost || range.resent_in_flight));
      if (range.sacked) sacked += range.size();
      if (range.lost) lost += range.size();
      if (range.resent_in_flight) resent += range.size();
      if (!range.sacked && (!range.lost || range.resent_in_flight)) ++timed;
      next = range.end;
      before = i;
      ++ranges;
    }
    CHECK(sound);
    CHECK(next == c_->snd_.nxt);
    CHECK(before == c_->sent.tail);
    CHECK(ranges == c_->sent.count);
    CHECK(host_->sent_ranges.size() == ranges);
    const flight& f = flight_now();
    CHECK(f.sacked_bytes == sacked);
    CHECK(f.lost_bytes == lost);
    CHECK(f.resent_bytes == resent);
    CHECK(pipe_of(*host_, *c_) == c_->in_flight() - sacked - lost + resent);
    std::uint32_t listed = 0;
    for (std::uint32_t i = c_->sent.by_time.front(); i != no_index && listed <= ranges;
         i = host_->sent_ranges[i].by_time.next) {
      ++listed;
    }
    CHECK(listed == timed);
    check_resend_hint();
  }

 private:
  static host_options options() {
    host_options out;
    out.addresses = {test::test_address(10, 0, 0, 2)};
    out.keys = test::keys_from(1);
    return out;
  }
  const flight& flight_now() const { return host_->flights[c_->flight]; }
  /// Nothing that is lost and to be sent again lies before where the search begins.
  void check_resend_hint() {
    const std::uint32_t hint = flight_now().resend_hint;
    if (hint == no_index) return;
    std::uint32_t i = c_->sent.head;
    bool passed_over = false;
    for (; i != no_index && i != hint; i = host_->sent_ranges[i].next) {
      const sent_range& range = host_->sent_ranges[i];
      passed_over = passed_over || (range.lost && !range.resent_in_flight);
    }
    CHECK(i == hint);
    CHECK_FALSE(passed_over);
  }

  std::mt19937_64 random_;
  time_point now_{1000s};
  std::unique_ptr<core> host_;
  connection* c_ = nullptr;
};

}  // namespace

TEST_CASE("tcp scoreboard: whatever is reported and done, the ranges and their sums agree") {
  for (std::uint64_t seed = 1; seed <= testing::worthwhile(40U); ++seed) {
    CAPTURE(seed);
    scoreboard_rig rig(seed, seed % 3 == 0 ? 100 : 1460, sequence(UINT32_MAX - 20'000));
    for (int i = 0; i < 1500; ++i) {
      const std::uint64_t what = rig.below(100);
      if (what < 25 && rig.in_flight() < 300'000) {
        rig.send(static_cast<std::uint32_t>(1 + rig.below(20'000)));
      } else if (what < 45) {
        rig.acknowledge(true, false);
      } else if (what < 70) {
        rig.acknowledge(rig.below(2) == 0, true);
      } else if (what < 85) {
        for (std::uint64_t n = rig.below(10); n > 0; --n) rig.resend();
      } else if (what < 92) {
        rig.detect();
      } else if (what < 94) {
        rig.time_out();
      } else if (what < 95) {
        rig.undo();
      } else if (what < 96) {
        rig.renege();
      } else {
        rig.pass(std::chrono::milliseconds(rig.below(60)));
      }
      rig.check();
    }
  }
}

TEST_CASE("tcp RFC 2018 5 scoreboard: a million random blocks leave no more ranges than segments") {
  // Half of the rounds are of a byte each where the segments allow it.
  for (const std::uint16_t mss : {std::uint16_t{1460}, std::uint16_t{48}}) {
    CAPTURE(mss);
    scoreboard_rig rig(7, mss, sequence(1));
    constexpr std::uint32_t bytes = 1'000'000;
    rig.send(bytes);
    const std::uint64_t rounds = testing::worthwhile(mss == 1460 ? 200'000U : 3000U);
    for (std::uint64_t i = 0; i < rounds; ++i) rig.acknowledge(false, true);
    CHECK(rig.count() <= bytes / mss + 2);
    CHECK(rig.count() <= 16'384U);
    rig.check();
    rig.renege();
    rig.time_out();
    rig.check();
  }
}

TEST_CASE(
    "tcp scoreboard: beyond the most ranges that are kept blocks inside of one do not count") {
  scoreboard_rig rig(3, 48, sequence(1));
  rig.send(48 * 40'000);
  for (int i = 0; i < 30'000; ++i) rig.acknowledge(false, true);
  CHECK(rig.count() <= 16'384U);
  rig.check();
  rig.acknowledge(true, true);
  rig.check();
}
