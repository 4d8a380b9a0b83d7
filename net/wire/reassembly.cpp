#include "runnel/wire/reassembly.hpp"

#include "fragment.hpp"

#include <array>
#include <cstring>
#include <new>
#include <utility>

namespace runnel::wire {
namespace {

std::size_t lane_of(net::family family) noexcept {
  return family == net::family::v6 ? 1 : 0;
}

/// The fragment as it can be held for long: in memory that is its own, and no more than it needs.
/// Empty when that is not to be had.
net::packet settled(net::packet fragment, std::size_t bytes) noexcept {
  const bool shared = fragment->references != 1;
  if (!shared && net::packet_pool::truesize_for(bytes) >= fragment->truesize()) return fragment;
  net::packet copy = fragment->pool->copy_of(fragment.bytes().first(bytes));
  return copy || shared ? copy : fragment;
}

/// Makes one packet of all fragments of a datagram, which are all there.
net::packet joined(const net::packet_buffer* first, std::uint32_t length,
                   std::uint8_t ecn) noexcept {
  net::packet whole = first->pool->allocate(header_of(*first) + std::size_t{length});
  if (!whole) return {};
  const std::size_t header = whole_header(whole.room(), *first, length, ecn);
  for (const net::packet_buffer* at = first; at != nullptr; at = at->next) {
    std::memcpy(whole->storage() + header + offset_of(*at), at->storage() + at->begin, at->size());
  }
  whole.resize(header + length);
  return whole;
}

}  // namespace

/// What fragments of one packet share. No padding: it is hashed as bytes.
struct reassembler::key {
  net::address source;
  net::address destination;
  std::uint32_t id;
  /// 0 in IPv6, where fragments may differ in it.
  std::uint32_t protocol;

  static key of(const ip_header& ip) noexcept {
    return {ip.source, ip.destination, ip.id, ip.source.is_v6() ? 0U : ip.protocol};
  }
  friend bool operator==(const key&, const key&) noexcept = default;
};

/// A fragment on its way into a datagram.
struct reassembler::piece {
  std::uint32_t offset;
  std::uint32_t end;
  bool more;
  std::uint8_t ecn;
};

struct reassembler::datagram {
  key of;
  time_point since;
  /// The fragments by offset.
  net::packet_buffer* first;
  net::packet_buffer* last;
  /// Where the last fragment ends, once it is there.
  std::uint32_t length;
  std::uint32_t received;
  std::uint32_t truesize;
  std::uint16_t fragments;
  /// Which of the four values of the ECN field were seen, a bit each.
  std::uint8_t ecn;
  bool has_end;
  index bucket;
  index chain;
  index older;
  index newer;
};

struct reassembler::table {
  static constexpr index none = 0xffff;

  std::array<index, max_datagrams> buckets;
  /// By age, IPv4's and IPv6's: a queue each, since their times differ.
  std::array<index, 2> eldest{none, none};
  std::array<index, 2> youngest{none, none};
  index free = 0;
  std::array<datagram, max_datagrams> entries;

  table() noexcept {
    buckets.fill(none);
    for (std::size_t i = 0; i < max_datagrams; ++i) {
      entries[i].chain = i + 1 < max_datagrams ? static_cast<index>(i + 1) : none;
    }
  }
};

const char* to_string(reassembly_verdict verdict) noexcept {
  switch (verdict) {
    case reassembly_verdict::kept:
      return "kept";
    case reassembly_verdict::complete:
      return "complete";
    case reassembly_verdict::duplicate:
      return "duplicate";
    case reassembly_verdict::overlap:
      return "overlap";
    case reassembly_verdict::bad_end:
      return "bad_end";
    case reassembly_verdict::too_many:
      return "too_many";
    case reassembly_verdict::bad_ecn:
      return "bad_ecn";
    case reassembly_verdict::empty:
      return "empty";
    case reassembly_verdict::bad_length:
      return "bad_length";
    case reassembly_verdict::oversized:
      return "oversized";
    case reassembly_verdict::tiny:
      return "tiny";
    case reassembly_verdict::no_memory:
      return "no_memory";
  }
  return "unknown";
}

reassembler::reassembler(const reassembly_policy& policy, hash_function hash,
                         const void* context) noexcept
    : policy_(policy), hash_(hash), context_(context), counters_{} {}

reassembler::~reassembler() {
  for (index at; (at = oldest(table::none)) != table::none;) remove(at);
}

duration reassembler::time_of(std::size_t family) const noexcept {
  return family == 0 ? policy_.ipfrag_time : policy_.ip6frag_time;
}

std::uint64_t reassembler::hash_of(const key& of) const noexcept {
  static_assert(sizeof(key) == 2 * sizeof(net::address) + 8);
  const auto bytes = std::as_bytes(std::span(&of, 1));
  if (hash_ != nullptr) return hash_(context_, bytes);
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 29;
  }
  return hash;
}

reassembler::index reassembler::find(const key& of, std::uint64_t hash) const noexcept {
  index at = table_->buckets[hash % max_datagrams];
  while (at != table::none && !(table_->entries[at].of == of)) at = table_->entries[at].chain;
  return at;
}

reassembler::index reassembler::create(const key& of, std::uint64_t hash, time_point now) noexcept {
  if (table_->free == table::none) give_up(oldest(table::none));
  const index at = table_->free;
  datagram& fresh = table_->entries[at];
  table_->free = fresh.chain;
  const auto bucket = static_cast<index>(hash % max_datagrams);
  const std::size_t lane = lane_of(of.source.family());
  fresh = {};
  fresh.of = of;
  fresh.since = now;
  fresh.bucket = bucket;
  fresh.chain = std::exchange(table_->buckets[bucket], at);
  fresh.newer = table::none;
  fresh.older = std::exchange(table_->youngest[lane], at);
  (fresh.older != table::none ? table_->entries[fresh.older].newer : table_->eldest[lane]) = at;
  ++count_;
  return at;
}

reassembler::index reassembler::oldest(index kept) const noexcept {
  if (table_ == nullptr) return table::none;
  index best = table::none;
  for (index at : table_->eldest) {
    if (at != table::none && at == kept) at = table_->entries[at].newer;
    if (at == table::none) continue;
    if (best == table::none || table_->entries[at].since < table_->entries[best].since) best = at;
  }
  return best;
}

void reassembler::remove(index at) noexcept {
  datagram& gone = table_->entries[at];
  while (gone.first != nullptr) {
    net::packet_buffer* const fragment = std::exchange(gone.first, gone.first->next);
    fragment->next = nullptr;
    static_cast<void>(net::packet::adopt(fragment));
  }
  used_bytes_ -= gone.truesize;
  index* link = &table_->buckets[gone.bucket];
  while (*link != at) link = &table_->entries[*link].chain;
  *link = gone.chain;
  const std::size_t lane = lane_of(gone.of.source.family());
  (gone.older != table::none ? table_->entries[gone.older].newer : table_->eldest[lane]) =
      gone.newer;
  (gone.newer != table::none ? table_->entries[gone.newer].older : table_->youngest[lane]) =
      gone.older;
  gone.chain = std::exchange(table_->free, at);
  --count_;
}

void reassembler::give_up(index at) noexcept {
  ++counters_[lane_of(table_->entries[at].of.source.family())].reasm_fails;
  remove(at);
}

bool reassembler::make_room(std::size_t bytes, index kept) noexcept {
  while (used_bytes_ + bytes > policy_.high_thresh) {
    const index at = oldest(kept);
    if (at == table::none) return false;
    give_up(at);
  }
  return true;
}

void reassembler::set_policy(const reassembly_policy& policy) noexcept {
  policy_ = policy;
  make_room(0, table::none);
}

reassembly_verdict reassembler::insert(index at, net::packet fragment,
                                       const piece& fresh) noexcept {
  datagram& into = table_->entries[at];
  const std::uint32_t highest = into.last != nullptr ? end_of(*into.last) : 0;
  const bool contradicts =
      into.has_end ? fresh.end > into.length || (!fresh.more && fresh.end != into.length)
                   : !fresh.more && fresh.end < highest;
  if (contradicts) return reassembly_verdict::bad_end;

  net::packet_buffer* before = nullptr;
  if (into.last != nullptr && fresh.offset >= highest) {
    before = into.last;
  } else {
    for (auto* p = into.first; p != nullptr && offset_of(*p) < fresh.offset; p = p->next) {
      before = p;
    }
  }
  net::packet_buffer* const after = before != nullptr ? before->next : into.first;
  if (after != nullptr && offset_of(*after) == fresh.offset && end_of(*after) == fresh.end) {
    return reassembly_verdict::duplicate;
  }
  if ((before != nullptr && end_of(*before) > fresh.offset) ||
      (after != nullptr && offset_of(*after) < fresh.end)) {
    return reassembly_verdict::overlap;
  }
  if (into.fragments >= policy_.max_fragments) return reassembly_verdict::too_many;
  const std::uint32_t truesize = fragment->truesize();
  if (!make_room(truesize, at)) return reassembly_verdict::no_memory;

  used_bytes_ += truesize;
  into.truesize += truesize;
  into.received += fresh.end - fresh.offset;
  into.ecn = static_cast<std::uint8_t>(into.ecn | fresh.ecn);
  ++into.fragments;
  if (!fresh.more) {
    into.has_end = true;
    into.length = fresh.end;
  }
  net::packet_buffer* const held = fragment.detach();
  held->next = after;
  (before != nullptr ? before->next : into.first) = held;
  if (after == nullptr) into.last = held;
  return into.has_end && into.received == into.length ? reassembly_verdict::complete
                                                      : reassembly_verdict::kept;
}

reassembly_result reassembler::finish(index at) noexcept {
  const datagram& whole = table_->entries[at];
  const std::uint8_t ecn = joined_ecn(whole.ecn);
  reassembly_result result{reassembly_verdict::complete, {}, {}};
  if (ecn == bad_ecn) {
    result.verdict = reassembly_verdict::bad_ecn;
  } else if (counted_header(*whole.first) + whole.length > max_datagram_bytes) {
    result.verdict = reassembly_verdict::oversized;
  } else {
    result.packet = joined(whole.first, whole.length, ecn);
    if (!result.packet) result.verdict = reassembly_verdict::no_memory;
  }
  if (result.verdict != reassembly_verdict::complete) {
    give_up(at);
    return result;
  }
  ++counters_[lane_of(whole.of.source.family())].reasm_oks;
  remove(at);
  return result;
}

reassembly_result reassembler::on_fragment(net::packet fragment, const ip_header& ip,
                                           time_point now) noexcept {
  if (!ip.is_fragment()) return {reassembly_verdict::complete, std::move(fragment), {}};
  reassembly_counters& count = counters_[lane_of(ip.source.family())];
  ++count.reasm_reqds;
  const auto why = judge_fragment(ip, ip.payload(fragment.bytes()));
  if (why != reassembly_verdict::kept) {
    ++count.reasm_fails;
    auto problem = problem_with(why, ip, fragment.bytes());
    return {why, problem ? std::move(fragment) : net::packet{}, problem};
  }
  fragment = settled(std::move(fragment), ip.total_length);
  if (table_ == nullptr) table_.reset(new (std::nothrow) table);
  if (!fragment || table_ == nullptr || fragment->truesize() > policy_.high_thresh) {
    ++count.reasm_fails;
    return {reassembly_verdict::no_memory, {}, {}};
  }
  mark_fragment(*fragment.get(), ip);

  const key of = key::of(ip);
  const std::uint64_t hash = hash_of(of);
  index at = find(of, hash);
  // The pool is there to receive from: what waits must not take the last of it.
  while (fragment->pool->scarce()) {
    const index victim = oldest(at);
    if (victim == table::none) break;
    give_up(victim);
  }
  if (at == table::none) at = create(of, hash, now);
  const auto ecn = static_cast<std::uint8_t>(1U << (ip.tos & 3));
  const reassembly_verdict verdict =
      insert(at, std::move(fragment),
             {ip.fragment_offset, ip.fragment_offset + ip.payload_bytes(), ip.more_fragments, ecn});
  switch (verdict) {
    case reassembly_verdict::kept:
    case reassembly_verdict::duplicate:
      break;
    case reassembly_verdict::complete:
      return finish(at);
    case reassembly_verdict::overlap:
      ++count.reasm_overlaps;
      [[fallthrough]];
    default:
      give_up(at);
  }
  return {verdict, {}, {}};
}

std::optional<time_point> reassembler::deadline() const noexcept {
  if (count_ == 0) return std::nullopt;
  std::optional<time_point> first;
  for (std::size_t lane = 0; lane < 2; ++lane) {
    const index at = table_->eldest[lane];
    if (at == table::none) continue;
    const time_point ends = table_->entries[at].since + time_of(lane);
    if (!first || ends < *first) first = ends;
  }
  return first;
}

net::packet reassembler::poll_expired(time_point now) noexcept {
  for (std::size_t lane = 0; lane < 2 && count_ != 0; ++lane) {
    for (;;) {
      const index at = table_->eldest[lane];
      if (at == table::none || table_->entries[at].since + time_of(lane) > now) break;
      datagram& late = table_->entries[at];
      net::packet first;
      if (offset_of(*late.first) == 0) {
        first = net::packet::adopt(std::exchange(late.first, late.first->next));
        unmark_fragment(*first.get());
      }
      ++counters_[lane].reasm_timeout;
      give_up(at);
      if (first && may_report_on(first.bytes())) return first;
    }
  }
  return {};
}

}  // namespace runnel::wire
