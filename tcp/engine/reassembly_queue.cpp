#include "reassembly_queue.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace runnel::tcp::detail {

/// A run's node, at the front of its first block. The block's `tag` holds its first number and, in
/// the upper half, the priority that makes the tree a treap.
struct reassembly_queue::run {
  net::packet_buffer* left;
  net::packet_buffer* right;
  net::packet_buffer* last;
  sequence end;

  static run& of(net::packet_buffer& first) noexcept {
    return *std::launder(reinterpret_cast<run*>(first.storage()));
  }
};

namespace {

sequence seq_of(const net::packet_buffer& first) noexcept {
  return sequence(static_cast<std::uint32_t>(first.tag));
}
std::uint32_t priority_of(const net::packet_buffer& first) noexcept {
  return static_cast<std::uint32_t>(first.tag >> 32);
}

}  // namespace

net::packet_buffer* reassembly_queue::last_at_or_before(buffer_pool& pool,
                                                        sequence seq) const noexcept {
  net::packet_buffer* best = nullptr;
  for (net::packet_buffer* at = root_; at != nullptr;) {
    ++pool.reassembly_steps;
    if (after(seq_of(*at), seq)) {
      at = run::of(*at).left;
    } else {
      best = at;
      at = run::of(*at).right;
    }
  }
  return best;
}

net::packet_buffer* reassembly_queue::first_after(buffer_pool& pool, sequence seq) const noexcept {
  net::packet_buffer* best = nullptr;
  for (net::packet_buffer* at = root_; at != nullptr;) {
    ++pool.reassembly_steps;
    if (after(seq_of(*at), seq)) {
      best = at;
      at = run::of(*at).left;
    } else {
      at = run::of(*at).right;
    }
  }
  return best;
}

void reassembly_queue::link(net::packet_buffer* fresh) noexcept {
  const sequence seq = seq_of(*fresh);
  net::packet_buffer** place = &root_;
  while (*place != nullptr && priority_of(**place) >= priority_of(*fresh)) {
    run& node = run::of(**place);
    place = before(seq, seq_of(**place)) ? &node.left : &node.right;
  }
  // What was there is split by the new number into the two sides of the new node.
  net::packet_buffer* rest = *place;
  *place = fresh;
  net::packet_buffer** left = &run::of(*fresh).left;
  net::packet_buffer** right = &run::of(*fresh).right;
  while (rest != nullptr) {
    if (before(seq, seq_of(*rest))) {
      *right = rest;
      right = &run::of(*rest).left;
      rest = *right;
    } else {
      *left = rest;
      left = &run::of(*rest).right;
      rest = *left;
    }
  }
  *left = nullptr;
  *right = nullptr;
}

void reassembly_queue::unlink(net::packet_buffer* gone) noexcept {
  net::packet_buffer** place = &root_;
  while (*place != gone) {
    run& node = run::of(**place);
    place = before(seq_of(*gone), seq_of(**place)) ? &node.left : &node.right;
  }
  net::packet_buffer* left = run::of(*gone).left;
  net::packet_buffer* right = run::of(*gone).right;
  while (left != nullptr && right != nullptr) {
    if (priority_of(*left) >= priority_of(*right)) {
      *place = left;
      place = &run::of(*left).right;
      left = *place;
    } else {
      *place = right;
      place = &run::of(*right).left;
      right = *place;
    }
  }
  *place = left != nullptr ? left : right;
}

void reassembly_queue::count(net::packet_buffer* block) noexcept {
  block->next = nullptr;
  ++pieces_;
  size_ += block->size();
  held_ += block->truesize();
}

void reassembly_queue::drop_run(buffer_pool& pool, net::packet_buffer* first) noexcept {
  unlink(first);
  while (first != nullptr) {
    net::packet_buffer* gone = first;
    first = gone->next;
    --pieces_;
    size_ -= gone->size();
    held_ -= gone->truesize();
    pool.drop(gone);
  }
}

/// Drops the runs that the payload covers, and cuts off what the next one has already.
void reassembly_queue::cut_against(buffer_pool& pool, sequence seq, net::packet& payload) noexcept {
  const sequence end = seq + static_cast<std::uint32_t>(payload.size());
  for (;;) {
    net::packet_buffer* following = first_after(pool, seq);
    if (following == nullptr || !before(seq_of(*following), end)) return;
    if (after(run::of(*following).end, end)) {
      payload->end -= distance(seq_of(*following), end);
      return;
    }
    drop_run(pool, following);
  }
}

/// Puts the payload behind a run that ends where it begins.
bool reassembly_queue::extend(buffer_pool& pool, net::packet_buffer* first,
                              net::packet payload) noexcept {
  run& node = run::of(*first);
  const auto length = static_cast<std::uint32_t>(payload.size());
  const bool keep = length > copy_threshold_bytes && pool.worth_keeping(*payload.get());
  if (!keep && node.last->capacity - node.last->end >= length) {
    std::memcpy(node.last->storage() + node.last->end, payload.bytes().data(), length);
    node.last->end += length;
    size_ += length;
  } else {
    if (!keep) {
      // Room for as much again: who sends small segments sends more of them.
      net::packet copy = pool.allocate(std::max<std::size_t>(length, 2 * copy_threshold_bytes));
      if (!copy) return false;
      std::memcpy(copy->storage(), payload.bytes().data(), length);
      copy.resize(length);
      payload = std::move(copy);
    }
    net::packet_buffer* block = payload.detach();
    pool.keep(*block);
    count(block);
    node.last->next = block;
    node.last = block;
  }
  node.end += length;
  return true;
}

bool reassembly_queue::begin_run(buffer_pool& pool, sequence seq, net::packet payload) noexcept {
  const auto length = static_cast<std::uint32_t>(payload.size());
  const bool keep = length > copy_threshold_bytes && payload->begin >= sizeof(run) &&
                    pool.worth_keeping(*payload.get());
  if (!keep) {
    net::packet copy = pool.allocate(sizeof(run) + length);
    if (!copy) return false;
    std::memcpy(copy->storage() + sizeof(run), payload.bytes().data(), length);
    copy->begin = sizeof(run);
    copy->end = static_cast<std::uint32_t>(sizeof(run)) + length;
    payload = std::move(copy);
  }
  net::packet_buffer* block = payload.detach();
  pool.keep(*block);
  count(block);
  block->tag = std::uint64_t{pool.random()} << 32 | seq.value();
  new (block->storage()) run{nullptr, nullptr, block, seq + length};
  link(block);
  return true;
}

reassembly_queue::verdict reassembly_queue::insert(buffer_pool& pool, sequence seq,
                                                   net::packet payload) noexcept {
  static_assert(sizeof(run) <= 40, "the shortest headers in front of a payload have 40 bytes");
  static_assert(sizeof(net::packet_buffer) % alignof(run) == 0);
  net::packet_buffer* previous = last_at_or_before(pool, seq);
  if (previous != nullptr && after(run::of(*previous).end, seq)) {
    const std::uint32_t known = distance(seq, run::of(*previous).end);
    if (known >= payload.size()) return verdict::duplicate;
    payload->begin += known;
    seq += known;
  }
  cut_against(pool, seq, payload);
  if (payload.size() == 0) return verdict::duplicate;
  if (pieces_ >= piece_limit) return verdict::refused;
  const sequence end = seq + static_cast<std::uint32_t>(payload.size());
  if (previous != nullptr && run::of(*previous).end == seq) {
    if (!extend(pool, previous, std::move(payload))) return verdict::refused;
  } else {
    if (!begin_run(pool, seq, std::move(payload))) return verdict::refused;
    previous = last_at_or_before(pool, seq);
  }
  // The hole behind it is filled: two runs are one.
  net::packet_buffer* following = first_after(pool, seq);
  if (following != nullptr && seq_of(*following) == end) {
    unlink(following);
    run& joined = run::of(*previous);
    const run& gone = run::of(*following);
    joined.last->next = following;
    joined.last = gone.last;
    joined.end = gone.end;
  }
  return verdict::stored;
}

std::uint32_t reassembly_queue::take(buffer_pool& pool, sequence next,
                                     receive_queue& into) noexcept {
  std::uint32_t moved = 0;
  while (root_ != nullptr) {
    net::packet_buffer* first = root_;
    while (run::of(*first).left != nullptr) first = run::of(*first).left;
    sequence at = seq_of(*first);
    if (after(at, next)) break;
    unlink(first);
    bool has_memory = true;
    while (first != nullptr) {
      net::packet_buffer* block = first;
      first = block->next;
      const std::uint32_t length = block->size();
      --pieces_;
      size_ -= length;
      held_ -= block->truesize();
      const std::uint32_t old = before(at, next) ? std::min(distance(at, next), length) : 0;
      at += length;
      if (old == length || !has_memory) {
        pool.drop(block);
        continue;
      }
      block->begin += old;
      const std::uint32_t fresh = length - old;
      // The queue counts it anew, or copies and gives it back.
      const std::uint32_t taken = into.append(pool, pool.hand_over(block));
      moved += taken;
      next += taken;
      has_memory = taken == fresh;
    }
    if (!has_memory) clear(pool);
  }
  return moved;
}

void reassembly_queue::clear(buffer_pool& pool) noexcept {
  while (root_ != nullptr) drop_run(pool, root_);
  *this = reassembly_queue();
}

}  // namespace runnel::tcp::detail
