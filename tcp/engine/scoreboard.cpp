#include "scoreboard.hpp"

#include <algorithm>

#include "core.hpp"
#include "flight.hpp"

namespace runnel::tcp::detail {

namespace {

/// More ranges than this are not told apart: what a peer may make us keep is bounded
/// (CVE-2019-11477 and its kin).
constexpr std::uint32_t most_ranges = 8192;

sent_range& at(core& host, std::uint32_t index) noexcept {
  return host.sent_ranges[index];
}

/// A fresh range; `no_index` without memory, of which `forced` needs none of the host's limit.
std::uint32_t take_range(core& host, bool forced) noexcept {
  if (!forced && !host.pool.has_room(sizeof(sent_range))) return no_index;
  const std::uint32_t index = host.sent_ranges.allocate();
  if (index != no_index) host.pool.charge(sizeof(sent_range));
  return index;
}

void give_range(core& host, std::uint32_t index) noexcept {
  host.sent_ranges.release(index);
  host.pool.refund(sizeof(sent_range));
}

void leave_time_order(core& host, connection& c, std::uint32_t index) noexcept {
  sent_range& range = at(host, index);
  if (range.sacked || (range.lost && !range.resent_in_flight)) return;
  c.sent.by_time.remove(host.sent_ranges, index);
}

void link_behind(core& host, connection& c, std::uint32_t before, std::uint32_t fresh) noexcept {
  sent_range& range = at(host, fresh);
  range.prev = before;
  range.next = before == no_index ? c.sent.head : at(host, before).next;
  (range.prev == no_index ? c.sent.head : at(host, range.prev).next) = fresh;
  (range.next == no_index ? c.sent.tail : at(host, range.next).prev) = fresh;
  ++c.sent.count;
}

void unlink(core& host, connection& c, std::uint32_t index) noexcept {
  const sent_range& range = at(host, index);
  (range.prev == no_index ? c.sent.head : at(host, range.prev).next) = range.next;
  (range.next == no_index ? c.sent.tail : at(host, range.next).prev) = range.prev;
  --c.sent.count;
}

/// Takes the bytes out of the sums that the range's flags put them in.
void forget_flags(core& host, connection& c, const sent_range& range,
                  std::uint32_t bytes) noexcept {
  if (c.flight == no_index) return;
  flight& f = host.flights[c.flight];
  if (range.sacked) f.sacked_bytes -= bytes;
  if (range.lost) f.lost_bytes -= bytes;
  if (range.resent_in_flight) f.resent_bytes -= bytes;
}

void drop(core& host, connection& c, std::uint32_t index) noexcept {
  leave_time_order(host, c, index);
  forget_flags(host, c, at(host, index), at(host, index).size());
  if (c.flight != no_index && host.flights[c.flight].resend_hint == index) {
    host.flights[c.flight].resend_hint = at(host, index).next;
  }
  unlink(host, c, index);
  give_range(host, index);
}

/// RFC 8985 §6.2 step 2, and the newest delivered packet of the rate sample.
void note_delivered(core& host, connection& c, const sent_range& range, std::uint32_t bytes,
                    ack_facts& facts) noexcept {
  facts.delivered_bytes += bytes;
  if (c.flight == no_index) return;
  flight& f = host.flights[c.flight];
  f.delivered_bytes += bytes;
  f.delivered_us = host.now_us();
  const std::uint64_t rtt = host.now_us() - range.sent_us;
  // An acknowledgement that comes too soon for what was sent again is for the original.
  const bool ambiguous = range.resent && rtt < c.flow.min_rtt_us;
  if (!ambiguous) {
    f.rack_advanced = true;
    f.rack_rtt_us = static_cast<std::uint32_t>(std::min<std::uint64_t>(rtt, UINT32_MAX));
    if (range.sent_us > f.rack_sent_us ||
        (range.sent_us == f.rack_sent_us && after(range.end, f.rack_end))) {
      f.rack_sent_us = range.sent_us;
      f.rack_end = range.end;
    }
  }
  if (!facts.has_newest || range.sent_us >= facts.newest_sent_us) {
    facts.has_newest = true;
    facts.newest_sent_us = range.sent_us;
    facts.newest_delivered = range.delivered_bytes;
    facts.newest_delivered_us = range.delivered_us;
    facts.newest_first_sent_us = range.first_sent_us;
    facts.newest_app_limited = range.app_limited;
  }
}

std::uint32_t elapsed_us(const core& host, std::uint64_t since) noexcept {
  const std::uint64_t passed = host.now_us() - since;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(passed, 1, UINT32_MAX));
}

void keep_shortest(std::uint32_t& rtt, std::uint32_t sample) noexcept {
  rtt = rtt == 0 ? sample : std::min(rtt, sample);
}

/// What arrives below what arrived before has been overtaken (Linux's tcp_check_sack_reordering).
void note_reordering(core& host, connection& c, sequence low, sequence high) noexcept {
  const std::uint32_t segments = segments_in(distance(low, high), c.snd_mss);
  if (segments > c.reordering) {
    const std::uint32_t most = host.policy.max_reordering;
    c.reordering = static_cast<std::uint16_t>(std::min(segments, most));
  }
  ++host.count.sack_reorder;
  c.reordering_seen = true;
}

void sack_range(core& host, connection& c, std::uint32_t index, ack_facts& facts,
                sequence& lowest_overtaken) noexcept {
  flight& f = host.flights[c.flight];
  sent_range& range = at(host, index);
  const std::uint32_t bytes = range.size();
  note_delivered(host, c, range, bytes, facts);
  if (!range.resent) {
    if (before(range.begin, lowest_overtaken)) lowest_overtaken = range.begin;
    if (at_or_before(range.end, f.high_seq)) facts.original_delivered = true;
    keep_shortest(facts.sack_rtt_us, elapsed_us(host, range.sent_us));
  }
  leave_time_order(host, c, index);
  if (range.lost) f.lost_bytes -= bytes;
  if (range.resent_in_flight) f.resent_bytes -= bytes;
  range.lost = false;
  range.resent_in_flight = false;
  range.sacked = true;
  f.sacked_bytes += bytes;
  facts.sacked_more = true;
}

/// Where a block's edge falls inside of a range only whole segments of it count, or a peer could
/// make us keep one range for each byte. `segment` is what the range was cut into.
constexpr std::uint32_t whole_segments(std::uint32_t segment, std::uint32_t bytes) noexcept {
  return bytes / segment * segment;
}

void score_block(core& host, connection& c, sequence left, sequence right, ack_facts& facts,
                 sequence& lowest_overtaken) noexcept {
  // Blocks grow at the upper end, so the search begins there when that is nearer.
  std::uint32_t index = c.sent.head;
  if (distance(left, c.snd_.nxt) < distance(c.snd_.una, left)) {
    index = c.sent.tail;
    while (index != no_index && after(at(host, index).begin, left)) index = at(host, index).prev;
    if (index == no_index) index = c.sent.head;
  }
  for (; index != no_index && before(at(host, index).begin, right); index = at(host, index).next) {
    if (at_or_before(at(host, index).end, left) || at(host, index).sacked) continue;
    const std::uint32_t segment = segment_size_at(host, c, at(host, index).begin);
    if (before(at(host, index).begin, left)) {
      const std::uint32_t ahead = distance(at(host, index).begin, left);
      const std::uint32_t cut = whole_segments(segment, ahead + segment - 1);
      // What is split off is looked at next.
      if (cut < at(host, index).size()) split_range(host, c, index, cut);
      continue;
    }
    if (after(at(host, index).end, right)) {
      const std::uint32_t cut = whole_segments(segment, distance(at(host, index).begin, right));
      if (cut == 0 || !split_range(host, c, index, cut)) continue;
    }
    sack_range(host, c, index, facts, lowest_overtaken);
  }
  flight& f = host.flights[c.flight];
  f.fack = later(f.fack, right);
}

/// RFC 2883 §4: the first block may be about what has arrived twice.
bool is_duplicate_sack(sequence ack, std::span<const wire::sack_block> blocks) noexcept {
  const sequence left(blocks[0].left);
  const sequence right(blocks[0].right);
  if (before(left, ack)) return true;
  return blocks.size() > 1 && at_or_before(right, sequence(blocks[1].right)) &&
         at_or_after(left, sequence(blocks[1].left));
}

void count_duplicate(core& host, sequence ack, const wire::sack_block& block) noexcept {
  const bool acknowledged = before(sequence(block.left), ack);
  ++(acknowledged ? host.count.dsack_recv : host.count.dsack_ofo_recv);
}

/// `una` is what the segment makes of SND.UNA. A block that begins there contradicts it.
bool is_sane(const connection& c, sequence una, const wire::sack_block& block) noexcept {
  const sequence left(block.left);
  const sequence right(block.right);
  return before(left, right) && at_or_before(right, c.snd_.nxt) && after(left, una);
}

/// More than full segments need: the others share a range, or a peer that acknowledges nothing
/// would make us keep one for each byte.
bool too_many_ranges(const connection& c) noexcept {
  constexpr std::uint32_t always = 256;
  return c.sent.count >= always + c.in_flight() / (c.snd_mss / 2 + 1);
}

/// What left without a range, for want of memory, gets one.
void note_missing(core& host, connection& c) noexcept {
  const std::uint32_t index = take_range(host, true);
  if (index == no_index) return;
  sent_range& range = at(host, index);
  range = sent_range();
  range.begin = c.snd_.una;
  range.end = c.snd_.nxt;
  link_behind(host, c, no_index, index);
  c.sent.by_time.push_back(host.sent_ranges, index);
}

void note_sent_without_memory(core& host, connection& c, std::uint32_t bytes) noexcept {
  if (c.sent.tail == no_index) return;
  sent_range& last = at(host, c.sent.tail);
  last.end += bytes;
  if (c.flight == no_index) return;
  flight& f = host.flights[c.flight];
  if (last.sacked) f.sacked_bytes += bytes;
  if (last.lost) f.lost_bytes += bytes;
  if (last.resent_in_flight) f.resent_bytes += bytes;
}

}  // namespace

std::uint32_t pipe_of(const core& host, const connection& c) noexcept {
  const std::uint32_t sent = c.in_flight();
  if (c.flight == no_index) return sent;
  const flight& f = host.flights[c.flight];
  const std::uint32_t gone = f.sacked_bytes + f.lost_bytes + f.counted_bytes;
  return (sent > gone ? sent - gone : 0) + f.resent_bytes;
}

std::uint32_t segments_in_flight(const core& host, const connection& c,
                                 std::uint32_t most) noexcept {
  std::uint32_t segments = 0;
  for (std::uint32_t i = c.sent.head; i != no_index; i = host.sent_ranges[i].next) {
    segments += segments_in(host.sent_ranges[i].size(), c.snd_mss);
    if (segments >= most) return most;
  }
  return segments;
}

void note_sent(core& host, connection& c, std::uint32_t bytes) noexcept {
  const std::uint64_t now = host.now_us();
  const sequence begin = c.snd_.nxt;
  flight* const f = c.flight == no_index ? nullptr : &host.flights[c.flight];
  if (c.sent.tail != no_index) {
    sent_range& last = at(host, c.sent.tail);
    const bool plain =
        !last.resent && !last.sacked && !last.lost && same_cut_around(host, c, begin);
    const bool whole = last.sent_us == now && !ends_short(last.size(), c.snd_mss);
    if (plain && (whole || too_many_ranges(c))) {
      last.end = begin + bytes;
      last.sent_us = now;
      return;
    }
  }
  // Without one of its own nothing could be sent again.
  const std::uint32_t index = take_range(host, c.sent.tail == no_index);
  if (index == no_index) return note_sent_without_memory(host, c, bytes);
  sent_range& range = at(host, index);
  sent_slab::renew(range);
  range.begin = begin;
  range.end = begin + bytes;
  range.sent_us = now;
  if (f != nullptr) {
    if (c.sent.head == no_index) f->first_sent_us = f->delivered_us = now;
    range.delivered_bytes = f->delivered_bytes;
    range.delivered_us = f->delivered_us;
    range.first_sent_us = f->first_sent_us;
    range.app_limited = f->app_limited_until != 0;
  }
  link_behind(host, c, c.sent.tail, index);
  c.sent.by_time.push_back(host.sent_ranges, index);
}

bool split_range(core& host, connection& c, std::uint32_t index, std::uint32_t bytes) noexcept {
  if (bytes >= at(host, index).size()) return true;
  if (c.sent.count >= most_ranges) return false;
  const std::uint32_t fresh = take_range(host, false);
  if (fresh == no_index) return false;
  sent_range& range = at(host, index);
  sent_range& rest = at(host, fresh);
  rest = range;
  rest.begin = range.begin + bytes;
  range.end = rest.begin;
  link_behind(host, c, index, fresh);
  const bool timed = !range.sacked && (!range.lost || range.resent_in_flight);
  rest.by_time = {};
  if (timed) c.sent.by_time.insert_behind(host.sent_ranges, index, fresh);
  return true;
}

void note_resent(core& host, connection& c, std::uint32_t index, std::uint32_t bytes) noexcept {
  // Where it cannot be split the rest counts as sent too, and the next time-out mends that.
  split_range(host, c, index, bytes);
  flight& f = host.flights[c.flight];
  sent_range& range = at(host, index);
  leave_time_order(host, c, index);
  if (!range.resent_in_flight) f.resent_bytes += range.size();
  range.resent = true;
  range.resent_in_flight = true;
  range.sent_us = host.now_us();
  range.delivered_bytes = f.delivered_bytes;
  range.delivered_us = f.delivered_us;
  range.first_sent_us = f.first_sent_us;
  range.app_limited = f.app_limited_until != 0;
  c.sent.by_time.push_back(host.sent_ranges, index);
}

void join_lost(core& host, connection& c, std::uint32_t index) noexcept {
  sent_range& range = at(host, index);
  while (range.next != no_index) {
    const std::uint32_t behind = range.next;
    const sent_range& next = at(host, behind);
    const bool fin = c.fin_sent && next.end == c.snd_.nxt;
    const std::uint32_t size = range.size() + next.size() - (fin ? 1U : 0U);
    if (!next.lost || next.resent_in_flight || size > c.snd_mss) return;
    range.end = next.end;
    range.resent |= next.resent;
    unlink(host, c, behind);
    give_range(host, behind);
  }
}

std::uint32_t next_to_resend(core& host, connection& c) noexcept {
  if (c.flight == no_index) return no_index;
  flight& f = host.flights[c.flight];
  std::uint32_t index = f.resend_hint;
  while (index != no_index && (!at(host, index).lost || at(host, index).resent_in_flight)) {
    index = at(host, index).next;
  }
  f.resend_hint = index;
  return index;
}

void score_ack(core& host, connection& c, sequence ack, ack_facts& facts) noexcept {
  bool overtaken = false;
  sequence lowest = facts.prior_fack;
  while (c.sent.head != no_index && before(at(host, c.sent.head).begin, ack)) {
    const std::uint32_t index = c.sent.head;
    sent_range& range = at(host, index);
    const std::uint32_t bytes = before(ack, range.end) ? distance(range.begin, ack) : range.size();
    if (!range.resent) {
      facts.rtt_us = elapsed_us(host, range.sent_us);
      if (c.flight != no_index && !range.sacked) {
        if (before(range.begin, lowest)) {
          lowest = range.begin;
          overtaken = true;
        }
        if (at_or_before(ack, host.flights[c.flight].high_seq)) facts.original_delivered = true;
      }
    } else {
      facts.resent_acked = true;
    }
    facts.acked_bytes += bytes;
    if (!range.sacked) note_delivered(host, c, range, bytes, facts);
    facts.advanced = true;
    if (bytes == range.size()) {
      drop(host, c, index);
      continue;
    }
    forget_flags(host, c, range, bytes);
    range.begin = ack;
    break;
  }
  if (facts.resent_acked) facts.rtt_us = 0;
  // Without SACK what was sent again may just have filled the hole below what had long arrived.
  if (facts.resent_acked && !c.sack_permitted) facts.original_delivered = false;
  if (c.flight == no_index) return;
  if (overtaken && !facts.resent_acked) note_reordering(host, c, lowest, facts.prior_fack);
  host.flights[c.flight].fack = later(host.flights[c.flight].fack, ack);
}

void score_sacks(core& host, connection& c, sequence ack, std::span<const wire::sack_block> blocks,
                 ack_facts& facts) noexcept {
  if (blocks.empty()) return;
  const bool duplicate = is_duplicate_sack(ack, blocks);
  if (duplicate) count_duplicate(host, ack, blocks[0]);
  // Of what is over nothing is to be undone.
  if (c.flight == no_index && c.snd_.una == c.snd_.nxt) return;
  flight* f = flight_of(host, c);
  if (f == nullptr) return;
  if (duplicate) {
    facts.duplicate_sack = true;
    const sequence right(blocks[0].right);
    if (f->tlp_out && f->tlp_is_resent && right == f->tlp_high_seq) facts.probe_duplicate = true;
    if (f->may_undo && f->undo_retrans > 0 && after(right, f->undo_marker)) {
      const std::uint32_t size = distance(sequence(blocks[0].left), right);
      const auto segments = static_cast<std::int32_t>(segments_in(size, c.snd_mss));
      f->undo_retrans = std::max(0, f->undo_retrans - std::max(segments, 1));
    }
    blocks = blocks.subspan(1);
  }
  sequence lowest = facts.prior_fack;
  const sequence una = later(c.snd_.una, ack);
  for (const wire::sack_block& block : blocks) {
    if (!is_sane(c, una, block)) {
      // An overtaken acknowledgement may well tell of what is acknowledged by now.
      const bool old = before(ack, una) && at_or_before(sequence(block.right), una);
      if (!old) ++host.count.sack_discard;
      continue;
    }
    if (std::ranges::count(f->seen_sacks, block) != 0) continue;
    score_block(host, c, sequence(block.left), sequence(block.right), facts, lowest);
  }
  std::size_t kept = 0;
  for (const wire::sack_block& block : blocks) f->seen_sacks[kept++] = block;
  while (kept < f->seen_sacks.size()) f->seen_sacks[kept++] = {};
  if (before(lowest, facts.prior_fack)) note_reordering(host, c, lowest, facts.prior_fack);
}

void mark_lost(core& host, connection& c, std::uint32_t index) noexcept {
  flight& f = host.flights[c.flight];
  sent_range& range = at(host, index);
  if (range.sacked) return;
  leave_time_order(host, c, index);
  if (!range.lost) f.lost_bytes += range.size();
  if (range.resent_in_flight) f.resent_bytes -= range.size();
  range.lost = true;
  range.resent_in_flight = false;
  if (f.resend_hint == no_index || before(range.begin, at(host, f.resend_hint).begin)) {
    f.resend_hint = index;
  }
}

void unmark_lost(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  for (std::uint32_t i = c.sent.head; i != no_index; i = at(host, i).next) {
    sent_range& range = at(host, i);
    if (!range.lost) continue;
    if (!range.resent_in_flight) c.sent.by_time.push_back(host.sent_ranges, i);
    range.lost = false;
  }
  f.lost_bytes = 0;
  f.resend_hint = no_index;
}

void forget_sacks(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  for (std::uint32_t i = c.sent.head; i != no_index; i = at(host, i).next) {
    sent_range& range = at(host, i);
    if (!range.sacked) continue;
    range.sacked = false;
    c.sent.by_time.push_back(host.sent_ranges, i);
  }
  f.sacked_bytes = 0;
  f.seen_sacks = {};
  f.fack = c.snd_.una;
}

void mark_all_lost(core& host, connection& c, std::uint64_t spared_us) noexcept {
  if (c.sent.head == no_index && c.in_flight() > 0) note_missing(host, c);
  for (std::uint32_t i = c.sent.head; i != no_index; i = at(host, i).next) {
    const sent_range& range = at(host, i);
    const bool young = spared_us != 0 && host.now_us() - range.sent_us < spared_us;
    if (i != c.sent.head && young && !range.lost) continue;
    mark_lost(host, c, i);
  }
  host.flights[c.flight].resend_hint = c.sent.head;
}

void mark_lost_between(core& host, connection& c, sequence begin, sequence end) noexcept {
  for (std::uint32_t i = c.sent.head; i != no_index && before(at(host, i).begin, end);
       i = at(host, i).next) {
    if (after(at(host, i).end, begin)) mark_lost(host, c, i);
  }
}

void clear_ranges(core& host, connection& c) noexcept {
  while (c.sent.head != no_index) {
    const std::uint32_t index = c.sent.head;
    c.sent.head = at(host, index).next;
    give_range(host, index);
  }
  c.sent = {};
}

}  // namespace runnel::tcp::detail
