#include "runnel/net/impair.hpp"

#include "impair_lane.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/detail/packet_queue.hpp"
#include "runnel/wire/offload.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace runnel::net {
namespace {

void check_probability(const char* name, double value) {
  if (value >= 0 && value <= 1) return;
  throw std::invalid_argument(std::string("impairment::") + name +
                              " is a probability from 0 to 1, not " + std::to_string(value));
}

void check_duration(const char* name, duration value) {
  if (value >= duration::zero()) return;
  throw std::invalid_argument(std::string("impairment::") + name + " must not be negative");
}

}  // namespace

void impair::lane::set(const impairment& what) {
  check_probability("loss", what.loss);
  check_probability("duplicate", what.duplicate);
  check_probability("corrupt", what.corrupt);
  check_probability("reorder", what.reorder);
  check_duration("reorder_delay", what.reorder_delay);
  check_duration("delay", what.delay);
  check_duration("jitter", what.jitter);
  what_ = what;
  transparent_ = what.loss <= 0 && what.duplicate <= 0 && what.corrupt <= 0 && what.reorder <= 0 &&
                 what.delay == duration::zero() && what.jitter == duration::zero() &&
                 what.rate == 0;
}

bool impair::lane::chance(double probability) noexcept {
  if (probability <= 0) return false;
  constexpr double one = 1.0 / 9007199254740992.0;  // 2^-53
  return static_cast<double>(random_() >> 11) * one < probability;
}

time_point impair::lane::due_time(time_point now, std::size_t bytes) noexcept {
  time_point departs = now;
  if (what_.rate != 0) {
    constexpr std::uint64_t nanoseconds = 1'000'000'000;
    const std::uint64_t takes = bytes * nanoseconds / what_.rate;
    busy_until_ = std::max(busy_until_, now) + duration{static_cast<duration::rep>(takes)};
    departs = busy_until_;
  }
  time_point due = departs + what_.delay;
  if (what_.jitter > duration::zero()) {
    const auto range = static_cast<std::uint64_t>(what_.jitter.count()) + 1;
    due += duration{static_cast<duration::rep>(random_() % range)};
  }
  due = std::max(due, last_due_);
  if (chance(what_.reorder)) {
    ++counters_.reordered;
    return due + what_.reorder_delay;
  }
  last_due_ = due;
  return due;
}

packet impair::lane::damaged(packet_pool& pool, packet what) noexcept {
  if (what->offload.checksum == checksum_state::partial || what.size() == 0) return what;
  // Another copy of the packet may be on its way undamaged, or still be read by its sender.
  packet mine = what->references == 1 ? std::move(what) : pool.copy_of(what.bytes());
  if (!mine) return mine;
  const std::uint64_t bit = random_() % (std::uint64_t{mine.size()} * 8);
  mine.bytes()[bit / 8] ^= std::byte{1} << (bit % 8);
  mine->offload.checksum = checksum_state::unverified;
  ++counters_.corrupted;
  return mine;
}

void impair::lane::accept(time_point now, packet_pool& pool, packet what) noexcept {
  ++counters_.packets;
  if (chance(what_.loss)) {
    ++counters_.lost;
    return;
  }
  const bool twice = chance(what_.duplicate);
  if (twice) ++counters_.duplicated;
  for (int copies = twice ? 2 : 1; copies > 0; --copies) {
    packet one = copies > 1 ? what : std::move(what);
    if (held_.size() >= what_.queue_packets) {
      ++counters_.overflowed;
      continue;
    }
    if (chance(what_.corrupt)) one = damaged(pool, std::move(one));
    if (!one) {
      ++counters_.overflowed;
      continue;
    }
    const time_point due = due_time(now, one.size());
    held_.push_back({due, next_number_++, std::move(one)});
    std::push_heap(held_.begin(), held_.end(), later{});
  }
}

time_point impair::lane::next_due() const noexcept {
  return held_.empty() ? time_point::max() : held_.front().due;
}

packet impair::lane::pop() noexcept {
  std::pop_heap(held_.begin(), held_.end(), later{});
  packet result = std::move(held_.back().what);
  held_.pop_back();
  return result;
}

impair::impair(link& inner, const impair_options& options)
    : link_decorator(inner),
      // One stream of numbers each, so that the packets of one direction do not decide the fate of
      // the other's.
      outgoing_(std::make_unique<lane>(options.seed * 2, options.outgoing)),
      incoming_(std::make_unique<lane>(options.seed * 2 + 1, options.incoming)) {
  // What is lost, doubled or damaged is what a wire would carry: whole packets of one segment.
  inner.disable_offload();
  info_ = inner.info();
  info_.checksum_offload_tx = false;
  info_.checksum_offload_rx = false;
  info_.gso_max_bytes = 0;
}

impair::~impair() = default;

void impair::set_outgoing(const impairment& what) {
  outgoing_->set(what);
}
void impair::set_incoming(const impairment& what) {
  incoming_->set(what);
}
const impair_counters& impair::outgoing() const noexcept {
  return outgoing_->counters();
}
const impair_counters& impair::incoming() const noexcept {
  return incoming_->counters();
}

void impair::on_link_ready() noexcept {
  stuck_ = false;
  link_decorator::on_link_ready();
}

void impair::on_link_error(std::error_code why) noexcept {
  gone_ = true;
  outgoing_->clear();
  link_decorator::on_link_error(why);
}

void impair::push_out(time_point now) noexcept {
  // A link that is driven by hand gives no word.
  if (owner() == nullptr) stuck_ = false;
  while (!stuck_ && !gone_ && outgoing_->next_due() <= now) {
    const packet& next = outgoing_->front();
    const std::span<const std::byte> bytes = next.bytes();
    const tx_packet out{.pieces = {&bytes, 1},
                        .size = static_cast<std::uint32_t>(bytes.size()),
                        .offload = next->offload};
    const send_status status = inner().send(now, out);
    // The inner link may have said that it is gone, which empties the lane.
    if (gone_) return;
    if (status == send_status::would_block) {
      stuck_ = true;
    } else {
      outgoing_->pop();
    }
  }
}

send_status impair::send(time_point now, const tx_packet& what) noexcept {
  if (gone_) return send_status::gone;
  if (outgoing_->transparent()) {
    const send_status status = inner().send(now, what);
    if (status == send_status::sent) outgoing_->count_untouched();
    return status;
  }
  packet copy = detail::gather(pool(), what);
  if (copy) {
    copy->offload = what.offload;
    outgoing_->accept(now, pool(), std::move(copy));
  } else {
    outgoing_->count_overflow();
  }
  push_out(now);
  return gone_ ? send_status::gone : send_status::sent;
}

std::size_t impair::receive_plain(time_point now, std::span<packet> out) noexcept {
  const std::size_t count = inner().receive(now, out);
  // What the inner link had before it was told.
  for (const packet& one : out.first(count)) {
    if (one->offload.checksum == checksum_state::partial) wire::complete_checksum(one);
  }
  return count;
}

bool impair::pull_in(time_point now, std::size_t wanted) noexcept {
  std::array<packet, 64> burst;
  const auto asked = std::span(burst).first(std::min(wanted, burst.size()));
  const std::size_t count = receive_plain(now, asked);
  for (packet& one : asked.first(count)) incoming_->accept(now, pool(), std::move(one));
  return count == asked.size();
}

std::size_t impair::receive(time_point now, std::span<packet> out) noexcept {
  push_out(now);
  if (out.empty()) return 0;
  if (incoming_->transparent()) {
    const std::size_t count = receive_plain(now, out);
    for (std::size_t i = 0; i < count; ++i) incoming_->count_untouched();
    return count;
  }
  const bool more = pull_in(now, out.size());
  std::size_t count = 0;
  while (count < out.size() && incoming_->next_due() <= now) out[count++] = incoming_->pop();
  // The inner link promises no call when it filled its span; the client, whose span is not full,
  // waits for one.
  if (more && count < out.size() && owner() != nullptr) {
    client()->on_link_ready();
    owner()->request_turn();
  }
  return count;
}

time_point impair::deadline() const noexcept {
  const time_point out = stuck_ ? time_point::max() : outgoing_->next_due();
  return std::min({out, incoming_->next_due(), inner().deadline()});
}

}  // namespace runnel::net
