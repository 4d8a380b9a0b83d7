#include <algorithm>

#include "core.hpp"
#include "recovery.hpp"

// RACK-TLP (RFC 8985): losses by time instead of by count, and the probe that turns a lost tail
// into something that an acknowledgement tells.

namespace runnel::tcp::detail {

namespace {

/// RFC 8985 §6.2 step 4: how long a segment may be overtaken before it counts as lost.
std::uint32_t reordering_window_us(const core& host, const connection& c,
                                   const flight& f) noexcept {
  if (!c.reordering_seen) {
    if (c.flow.phase >= recovery_phase::recovery) return 0;
    // Three segments' worth of evidence is taken as RFC 5681 takes three duplicates.
    const bool counts = (host.policy.recovery & recovery_flag::no_dupthresh) == 0;
    if (counts && f.sacked_bytes >= std::uint32_t{c.reordering} * c.snd_mss) return 0;
  }
  return std::min(c.flow.min_rtt_us / 4 * c.flow.reo_wnd_mult, c.flow.srtt_us);
}

bool sent_before_newest(const flight& f, const sent_range& range) noexcept {
  return range.sent_us < f.rack_sent_us ||
         (range.sent_us == f.rack_sent_us && before(range.end, f.rack_end));
}

constexpr std::uint32_t ms_up(std::uint64_t us) noexcept {
  return static_cast<std::uint32_t>((us + 999) / 1000);
}

}  // namespace

std::uint32_t rack_detect_loss(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  const std::uint64_t patience = std::uint64_t{f.rack_rtt_us} + reordering_window_us(host, c, f);
  std::uint64_t wait_us = 0;
  std::uint32_t index = c.sent.by_time.front();
  while (index != no_index) {
    const sent_range& range = host.sent_ranges[index];
    const std::uint32_t next = range.by_time.next;
    if (!sent_before_newest(f, range)) break;
    const std::uint64_t age = host.now_us() - range.sent_us;
    if (age >= patience) {
      mark_lost(host, c, index);
    } else {
      wait_us = std::max(wait_us, patience - age);
    }
    index = next;
  }
  return ms_up(wait_us);
}

void rack_adapt(const core& host, connection& c, flight& f, const ack_facts& facts) noexcept {
  // RFC 8985 §6.2 step 4: once a round trip a D-SACK widens the window, which is kept for 16
  // recoveries.
  if (at_or_after(c.snd_.una, f.dsack_round)) f.dsack_in_round = false;
  if ((host.policy.recovery & recovery_flag::static_reordering_window) != 0) return;
  // That of a probe tells of no reordering.
  if (!facts.duplicate_sack || facts.probe_duplicate || f.dsack_in_round) return;
  f.dsack_in_round = true;
  f.dsack_round = c.snd_.nxt;
  if (c.flow.reo_wnd_mult < UINT8_MAX) ++c.flow.reo_wnd_mult;
  constexpr std::uint8_t persist_recoveries = 16;
  c.reo_wnd_persist = persist_recoveries;
}

bool arm_probe(core& host, connection& c) noexcept {
  // RFC 8985 §7.2. Linux probes for peers with SACK only, and not while losses are being repaired.
  if (!host.policy.tail_loss_probe || !c.sack_permitted || c.fastopen_child) return false;
  if (c.flow.phase > recovery_phase::reduced || c.snd_.una == c.snd_.nxt) return false;
  std::uint64_t wait_us = 1'000'000;
  if (c.flow.srtt_us != 0) {
    wait_us = std::uint64_t{c.flow.srtt_us} * 2;
    // A single segment's acknowledgement may be a delayed one.
    const bool single = c.in_flight() <= c.snd_mss;
    wait_us +=
        single ? std::uint64_t{setting_ms(host, c, &connection_policy::rto_min)} * 1000 : 2'000;
  }
  const std::uint32_t wait_ms = std::min(ms_up(wait_us), c.flow.rto_ms);
  c.timer = rtx_timer::probe;
  c.when.rtx = host.after_ms(wait_ms);
  schedule(host, c);
  return true;
}

void send_probe(core& host, connection& c) {
  flight* const f = flight_of(host, c);
  c.timer = rtx_timer::none;
  if (f == nullptr || f->tlp_out) return arm_retransmit(host, c);
  // New text, where there is some and the window has room; else the last segment again.
  const std::uint32_t window = c.snd_.wnd > c.in_flight() ? c.snd_.wnd - c.in_flight() : 0;
  if (!c.fin_sent && c.unsent() > 0 && window >= std::min<std::uint32_t>(c.unsent(), c.snd_mss)) {
    f->tlp_is_resent = false;
    c.probe_new_due = true;
  } else {
    std::uint32_t last = c.sent.tail;
    if (last == no_index || host.sent_ranges[last].sacked) return arm_retransmit(host, c);
    // FIN rides on the last segment.
    const std::uint32_t bytes = host.sent_ranges[last].size();
    const std::uint32_t fin = c.fin_sent ? 1 : 0;
    const std::uint32_t over = (bytes - fin) % c.snd_mss;
    const std::uint32_t tail = (over == 0 ? std::uint32_t{c.snd_mss} : over) + fin;
    if (bytes > tail) {
      if (!split_range(host, c, last, bytes - tail)) return arm_retransmit(host, c);
      last = c.sent.tail;
    }
    f->tlp_is_resent = true;
    c.probe_resend_due = true;
  }
  f->tlp_out = true;
  f->tlp_high_seq = c.snd_.nxt;
  ++host.count.loss_probes;
  arm_retransmit(host, c);
  want_transmit(host, c);
}

void on_probe_ack(core& host, connection& c, flight& f, sequence ack,
                  const ack_facts& facts) noexcept {
  if (!f.tlp_out || before(ack, f.tlp_high_seq)) return;
  if (!f.tlp_is_resent || facts.probe_duplicate) {
    f.tlp_out = false;
  } else if (after(ack, f.tlp_high_seq)) {
    // RFC 8985 §7.4.2: the probe has repaired a loss; the path's word is to be heard all the same.
    f.tlp_out = false;
    if (c.flow.phase == recovery_phase::open) reduce_once(host, c);
    ++host.count.loss_probe_recovery;
  } else if (facts.duplicate && !facts.sacked_more) {
    f.tlp_out = false;
  }
}

}  // namespace runnel::tcp::detail
