#include <algorithm>
#include <new>

#include "send_queue.hpp"

// Bytes that are queued where they lie: packets as they are, and views of everything else.

namespace runnel::tcp::detail {

namespace {

/// What a view remembers, at the front of its block.
struct view {
  net::owned_buffer share;
  /// Memory that the share holds, and of it what the pool counts no other way.
  std::uint32_t held;
  std::uint32_t charged;

  static view& of(net::packet_buffer& block) noexcept {
    return *std::launder(reinterpret_cast<view*>(block.storage()));
  }
};

static_assert(sizeof(view) <= net::packet_pool::block_bytes.front());
static_assert(sizeof(net::packet_buffer) % alignof(view) == 0);

/// No view has so many bytes that its counts could overflow.
constexpr std::uint32_t longest_view_bytes = std::uint32_t{1} << 30;

/// What the pool must count when a queue holds the packet: its own ones it counts anyway.
std::uint32_t charge_for(const buffer_pool& pool, const net::packet_buffer& packet) noexcept {
  return pool.owns(packet) ? 0 : packet.truesize();
}

/// Not worth its view, or from a pool, a link's, that needs its packets back soon.
bool is_copied(const buffer_pool& pool, const net::owned_buffer& from) noexcept {
  if (from.size() <= owned_copy_threshold_bytes) return true;
  const net::packet_buffer* packet = from.in_packet();
  return packet != nullptr && !pool.owns(*packet) && packet->pool->scarce();
}

}  // namespace

std::size_t send_queue::append_owned(buffer_pool& pool, net::owned_buffer& from,
                                     std::uint32_t limit) noexcept {
  if (held_ >= limit || from.empty()) return 0;
  const std::uint32_t room = limit - held_;
  if (const std::size_t taken = extend_view(pool, from, room); taken != 0) return taken;
  if (is_copied(pool, from)) {
    const std::size_t taken = append(pool, from.bytes(), limit);
    from.remove_prefix(taken);
    return taken;
  }
  const net::packet_buffer* packet = from.in_packet();
  if (packet != nullptr && !pool.has_room(charge_for(pool, *packet))) return 0;
  if (net::packet whole = from.into_packet()) return push_packet(pool, std::move(whole));
  return push_view(pool, from, room);
}

std::size_t send_queue::push_packet(buffer_pool& pool, net::packet whole) noexcept {
  net::packet_buffer* block = whole.detach();
  const std::uint32_t taken = block->size();
  block->tag = 0;
  pool.keep(*block);
  push(block);
  size_ += taken;
  return taken;
}

std::size_t send_queue::extend_view(buffer_pool& pool, net::owned_buffer& from,
                                    std::uint32_t room) noexcept {
  if (tail_ == nullptr || tail_->tag == 0) return 0;
  view& last = view::of(*tail_);
  if (!last.share.continued_by(from) || tail_->end >= longest_view_bytes) return 0;
  const auto count =
      static_cast<std::uint32_t>(std::min({from.size(), std::size_t{room}, pool.room()}));
  if (count == 0) return 0;
  last.share.extend(from, count);
  tail_->end += count;
  pool.hold(count);
  last.held += count;
  last.charged += count;
  held_ += count;
  size_ += count;
  return count;
}

std::size_t send_queue::push_view(buffer_pool& pool, net::owned_buffer& from,
                                  std::uint32_t room) noexcept {
  const net::packet_buffer* packet = from.in_packet();
  net::packet block = pool.allocate(sizeof(view));
  if (!block) return 0;
  auto count = static_cast<std::uint32_t>(from.size());
  std::uint32_t held = 0;
  std::uint32_t charged = 0;
  if (packet != nullptr) {
    held = packet->truesize();
    charged = charge_for(pool, *packet);
  } else {
    // A little more than there is room for, rather than a view of next to nothing.
    const std::size_t most =
        std::clamp(room, owned_copy_threshold_bytes, std::uint32_t{longest_view_bytes});
    count = static_cast<std::uint32_t>(std::min(from.size(), most));
    held = count;
    charged = count;
  }
  if (!pool.has_room(charged)) {
    if (packet != nullptr || pool.room() < owned_copy_threshold_bytes) return 0;
    count = held = charged = static_cast<std::uint32_t>(pool.room());
  }
  block->tag = reinterpret_cast<std::uintptr_t>(from.bytes().data());
  block->end = count;
  new (block->storage()) view{from.take_front(count), held, charged};
  pool.hold(charged);
  held_ += held;
  size_ += count;
  push(block.detach());
  return count;
}

void send_queue::forget(buffer_pool& pool, net::packet_buffer& block,
                        std::uint32_t count) noexcept {
  view& from = view::of(block);
  if (from.share.in_packet() != nullptr && count < block.size()) return;
  if (from.share.in_packet() != nullptr) count = from.held;
  const std::uint32_t credit = std::min(count, from.charged);
  from.held -= count;
  from.charged -= credit;
  held_ -= count;
  pool.let_go(credit);
}

void send_queue::drop(buffer_pool& pool, net::packet_buffer* gone) noexcept {
  held_ -= gone->truesize();
  if (gone->tag == 0) return pool.drop(gone);
  view& from = view::of(*gone);
  const net::owned_buffer share = std::move(from.share);
  from.~view();
  pool.drop(gone);
}

}  // namespace runnel::tcp::detail
