#include <algorithm>

#include "recovery.hpp"

// Taking back what was done for losses that were none: by timestamps (RFC 3522, RFC 4015), by
// D-SACK (RFC 3708), and for time-outs by F-RTO (RFC 5682), in the order that Linux has them.

namespace runnel::tcp::detail {

namespace {

/// The window as it was before; what is marked lost stays so unless `unmark`.
void take_back(core& host, connection& c, bool unmark) noexcept {
  flight& f = host.flights[c.flight];
  if (unmark) unmark_lost(host, c);
  if (f.prior_ssthresh != 0) {
    congestion_window window = window_of(host, c);
    f.control.undo(window);
    window.cwnd = std::max(window.cwnd, f.prior_cwnd);
    if (f.prior_ssthresh > window.ssthresh) {
      window.ssthresh = f.prior_ssthresh;
      c.cwr_due = false;
    }
    keep_window(host, c, window);
  }
  f.may_undo = false;
  // What was found lost is judged anew.
  f.rack_advanced = true;
}

bool may_undo(const core& host, const connection& c, const segment& seg) noexcept {
  const flight& f = host.flights[c.flight];
  return f.may_undo && (f.undo_retrans == 0 || was_spurious(host, c, seg));
}

}  // namespace

bool was_spurious(const core& host, const connection& c, const segment& seg) noexcept {
  const flight& f = host.flights[c.flight];
  if (!f.has_retrans_stamp || !c.timestamps || !seg.options->timestamp) return false;
  // RFC 3522 §3.2 step 3: the acknowledgement echoes a time before anything was sent again.
  return static_cast<std::int32_t>(seg.options->timestamp->echo - f.retrans_stamp) < 0;
}

void begin_undo(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  f.may_undo = true;
  f.undo_marker = c.snd_.una;
  f.undo_retrans = 0;
  // What is sent again already may draw D-SACKs of its own.
  const std::uint32_t out = segments_in(f.resent_bytes, c.snd_mss);
  f.undo_retrans = static_cast<std::int32_t>(out) + (f.tlp_out && f.tlp_is_resent ? 1 : 0);
  if (f.undo_retrans == 0) f.undo_retrans = -1;
  f.has_retrans_stamp = false;
}

bool undo_full(core& host, connection& c, const segment& seg) noexcept {
  if (may_undo(host, c, seg)) {
    ++(c.flow.phase == recovery_phase::loss ? host.count.loss_undo : host.count.full_undo);
    take_back(host, c, false);
    return true;
  }
  if (c.reo_wnd_persist > 0 && --c.reo_wnd_persist == 0) c.flow.reo_wnd_mult = 1;
  return false;
}

bool undo_partial(core& host, connection& c, const segment& seg) noexcept {
  flight& f = host.flights[c.flight];
  if (!f.may_undo || !was_spurious(host, c, seg)) return false;
  c.reordering_seen = true;
  // With something of it still on its way, new text may go, and nothing more counts as lost.
  if (f.resent_bytes > 0) return true;
  take_back(host, c, true);
  ++host.count.partial_undo;
  c.flow.phase = recovery_phase::open;
  return true;
}

bool undo_by_dsack(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  if (!f.may_undo || f.undo_retrans != 0) return false;
  take_back(host, c, false);
  ++host.count.dsack_undo;
  return true;
}

bool undo_timeout(core& host, connection& c, const segment& seg, bool proven) noexcept {
  if (!proven && !may_undo(host, c, seg)) return false;
  take_back(host, c, true);
  ++host.count.loss_undo;
  if (proven) ++host.count.spurious_rtos;
  c.flow.retransmits = 0;
  host.flights[c.flight].frto = false;
  if (repeats_point(host, c)) return true;
  if (proven || c.sack_permitted) c.flow.phase = recovery_phase::open;
  return true;
}

}  // namespace runnel::tcp::detail
