#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include "runnel/wire/packet.hpp"

namespace runnel::net {

class owned_buffer;

/// Memory of the program's own that is sent from where it lies: a mapped file, an entry of a cache.
/// Owned buffers count themselves here, without synchronisation: they belong to one thread.
class buffer_owner {
 public:
  buffer_owner(const buffer_owner&) = delete;
  buffer_owner& operator=(const buffer_owner&) = delete;

 protected:
  buffer_owner() noexcept = default;
  ~buffer_owner() = default;

 private:
  friend class owned_buffer;
  /// Said once, when the last buffer with a share in it is gone; the owner may be destroyed in it.
  /// It comes like a destructor from inside whatever dropped that buffer, which may be a stack that
  /// takes an acknowledgement: it may wake tasks, and must not call a stack, host or stream.
  virtual void on_released() noexcept = 0;

  std::size_t shares_ = 0;
};

/// Bytes together with a share in whatever keeps them alive: a packet, a `buffer_owner`, or nothing
/// where they live for ever. Move-only; `share` makes another one, and neither copies a byte.
/// Nothing of it is synchronised.
///
/// Whoever gives one away must not change the bytes any more: they may be sent again later, and a
/// checksum is taken each time.
class owned_buffer {
 public:
  /// No bytes.
  owned_buffer() noexcept = default;
  /// The live bytes of a packet, which must not outlive its pool. A packet that nobody else holds
  /// is queued as it is; costs nothing.
  explicit owned_buffer(packet from) noexcept : packet_(std::move(from)) {
    if (packet_) bytes_ = packet_.bytes();
  }
  /// Bytes that `owner` keeps. An empty buffer takes no share.
  owned_buffer(std::span<const std::byte> bytes, buffer_owner& owner) noexcept : bytes_(bytes) {
    if (bytes.empty()) return;
    owner_ = &owner;
    ++owner.shares_;
  }
  /// Bytes that outlive every stack, such as constants.
  static owned_buffer permanent(std::span<const std::byte> bytes) noexcept {
    owned_buffer made;
    made.bytes_ = bytes;
    return made;
  }
  /// Takes a `std::string`, `std::vector` or the like; costs one allocation.
  template <std::ranges::contiguous_range Container>
  requires(std::movable<Container>&& std::ranges::sized_range<Container>) static owned_buffer
      holding(Container content);
  /// Calls `release()` once when the last share is gone, as `buffer_owner::on_released` says; at
  /// once when there are no bytes. Costs one allocation.
  template <std::invocable Release>
  static owned_buffer with_release(std::span<const std::byte> bytes, Release release);

  owned_buffer(owned_buffer&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})),
        packet_(std::move(other.packet_)),
        owner_(std::exchange(other.owner_, nullptr)) {}
  owned_buffer& operator=(owned_buffer&& other) noexcept {
    owned_buffer gone(std::move(*this));
    bytes_ = std::exchange(other.bytes_, {});
    packet_ = std::move(other.packet_);
    owner_ = std::exchange(other.owner_, nullptr);
    return *this;
  }
  ~owned_buffer() { drop(); }

  /// The bytes; they stay where they are as long as a share of them lives.
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// How many there are.
  std::size_t size() const noexcept { return bytes_.size(); }
  /// Whether there are none; such a buffer keeps nobody.
  bool empty() const noexcept { return bytes_.empty(); }

  /// The same bytes, or `count` of them from `offset` on, once more.
  owned_buffer share() const noexcept { return share(0, bytes_.size()); }
  /// The same of a part, which must lie inside.
  owned_buffer share(std::size_t offset, std::size_t count) const noexcept {
    owned_buffer made;
    if (count == 0) return made;
    made.bytes_ = bytes_.subspan(offset, count);
    made.packet_ = packet_;
    made.owner_ = owner_;
    if (owner_ != nullptr) ++owner_->shares_;
    return made;
  }
  /// Drops the first `count` bytes; with the last of them goes the share.
  void remove_prefix(std::size_t count) noexcept {
    bytes_ = bytes_.subspan(count);
    if (bytes_.empty()) drop();
  }
  /// Makes the first `count` bytes a buffer of their own.
  owned_buffer take_front(std::size_t count) noexcept {
    if (count == bytes_.size()) return std::move(*this);
    owned_buffer front = share(0, count);
    remove_prefix(count);
    return front;
  }

  /// The packet that the bytes lie in; null when it is none.
  const packet_buffer* in_packet() const noexcept { return packet_.get(); }
  /// The packet, with these bytes as its live ones, and this buffer is empty; only where nobody
  /// else holds it, else null and nothing changes.
  packet into_packet() noexcept {
    if (!packet_ || packet_->references != 1) return {};
    packet_->begin = static_cast<std::uint32_t>(bytes_.data() - packet_->storage());
    packet_->end = packet_->begin + static_cast<std::uint32_t>(bytes_.size());
    bytes_ = {};
    return std::move(packet_);
  }
  /// Whether `next` begins where this ends, and the same owner, not a packet, keeps both.
  bool continued_by(const owned_buffer& next) const noexcept {
    return !packet_ && !next.packet_ && owner_ == next.owner_ &&
           bytes_.data() + bytes_.size() == next.bytes_.data();
  }
  /// Takes the first `count` bytes of `next` in, which continues this.
  void extend(owned_buffer& next, std::size_t count) noexcept {
    bytes_ = {bytes_.data(), bytes_.size() + count};
    next.remove_prefix(count);
  }

 private:
  template <class Content>
  struct holder;
  template <class Release>
  struct caller;

  void drop() noexcept {
    bytes_ = {};
    packet_ = {};
    buffer_owner* const left = std::exchange(owner_, nullptr);
    if (left != nullptr && --left->shares_ == 0) left->on_released();
  }

  std::span<const std::byte> bytes_;
  packet packet_;
  buffer_owner* owner_ = nullptr;
};

/// Keeps the content of `holding`.
template <class Content>
struct owned_buffer::holder final : buffer_owner {
  explicit holder(Content from) : content(std::move(from)) {}
  void on_released() noexcept override { delete this; }
  Content content;
};

/// Calls what `with_release` was given.
template <class Release>
struct owned_buffer::caller final : buffer_owner {
  explicit caller(Release from) : release(std::move(from)) {}
  void on_released() noexcept override {
    release();
    delete this;
  }
  Release release;
};

template <std::ranges::contiguous_range Container>
requires(std::movable<Container>&& std::ranges::sized_range<Container>)
    owned_buffer owned_buffer::holding(Container content) {
  if (std::ranges::empty(content)) return {};
  auto* const kept = new holder<Container>(std::move(content));
  return {std::as_bytes(std::span(std::ranges::data(kept->content), kept->content.size())), *kept};
}

template <std::invocable Release>
owned_buffer owned_buffer::with_release(std::span<const std::byte> bytes, Release release) {
  if (bytes.empty()) {
    release();
    return {};
  }
  return {bytes, *new caller<Release>(std::move(release))};
}

}  // namespace runnel::net
