#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

#include "runnel/detail/channel_ring.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/detail/wait_list.hpp"
#include "runnel/result.hpp"

namespace runnel {

template <class T>
class channel;

namespace detail {

template <class T>
class channel_sender : public list_waiter {
 public:
  channel_sender(channel_sender&&) noexcept = default;

  result<void> await_resume() const noexcept {
    if (end_ == wait_end::served) return {};
    if (end_ == wait_end::closed) return errc::closed;
    return errc::cancelled;
  }

 protected:
  friend class channel<T>;

  explicit channel_sender(channel<T>& target) noexcept : target_(&target) {}
  ~channel_sender() override = default;

  /// The value, which is moved from when it is sent.
  virtual T& offered() noexcept = 0;
  bool begin() noexcept override { return target_->begin(*this); }
  wait_description describe() const override { return {"channel send"}; }

 private:
  channel<T>* target_;
};

// `Held` is T for a copy that it owns, or T&& for a value of the caller's.
template <class T, class Held>
class [[nodiscard]] channel_send final : public channel_sender<T> {
 public:
  channel_send(channel<T>& target, T&& value) noexcept
      : channel_sender<T>(target), value_(std::move(value)) {}
  channel_send(channel_send&& other) noexcept
      : channel_sender<T>(std::move(other)), value_(std::move(other.value_)) {}

 private:
  T& offered() noexcept override { return value_; }

  Held value_;
};

template <class T>
class [[nodiscard]] channel_receive final : public list_waiter {
 public:
  explicit channel_receive(channel<T>& source) noexcept : source_(&source) {}
  channel_receive(channel_receive&&) noexcept = default;
  ~channel_receive() override { give_back(); }

  result<T> await_resume() noexcept {
    // In place, as a T may be made from an error too.
    using boost::system::in_place_error;
    if (!promised()) {
      return {in_place_error, end_ == wait_end::closed ? errc::closed : errc::cancelled};
    }
    if (cancelled_meanwhile()) {
      give_back();
      return {in_place_error, errc::cancelled};
    }
    wait_hook::unlink();
    return {boost::system::in_place_value, source_->take(position_)};
  }

 private:
  friend class channel<T>;

  bool begin() noexcept override { return source_->begin(*this); }
  wait_description describe() const override { return {"channel receive"}; }
  // As long as it is in a list, the channel is alive.
  bool promised() const noexcept { return end_ == wait_end::served && wait_hook::linked(); }
  void give_back() noexcept {
    if (!promised()) return;
    wait_hook::unlink();
    source_->unpromise(position_);
  }

  channel<T>* source_;
  std::uint64_t position_ = 0;
};

}  // namespace detail

/// A bounded queue between tasks of one loop, with any number of senders and receivers, each side
/// served in the order it came. Its buffer is allocated by the constructor, and nothing after that.
/// T must be movable without throwing.
///
/// - Nothing is lost: a send that gives an error has not touched its value, one that gives success
///   has put it in the channel. A receive that is cancelled or destroyed before it went on has
///   taken nothing, even when a value was promised to it already; that value keeps its place in the
///   order.
/// - A value counts against the capacity until its receiver has gone on.
/// - With capacity 0 a send waits until a receiver waits. Should that receiver be cancelled before
///   it went on, the value lies in the channel for the next one.
/// - A channel that is closed, by either side, takes no more values and gives those it has.
template <class T>
class channel {
  static_assert(std::is_object_v<T> && std::is_nothrow_move_constructible_v<T>,
                "runnel: channel<T> needs a T that is moved without throwing.");

 public:
  /// Room for `capacity` values, allocated here for the next power of two.
  explicit channel(std::size_t capacity)
      : capacity_(capacity), ring_(std::max<std::size_t>(capacity, 1)) {}
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  /// Destroys the values it has. Nobody may wait for it any more; this is checked, except where it
  /// dies with the suspended frame that holds it.
  ~channel() {
    bool unused = senders_.empty() && receivers_.empty() && promised_.empty();
    detail::check(unused || detail::in_teardown(),
                  "runnel: a channel was destroyed while a task sends to it or receives from it; "
                  "close it and await those tasks first.");
  }

  /// Waits for room and puts `value` in: `result<void>`. `value` is moved from only when this
  /// succeeds and must live until then, so that after `errc::closed` or `errc::cancelled` the
  /// caller still has it.
  detail::channel_send<T, T&&> send(T&& value) noexcept { return {*this, std::move(value)}; }
  /// The same with a copy, made here.
  detail::channel_send<T, T> send(const T& value) requires std::copy_constructible<T> {
    return {*this, T(value)};
  }
  /// Waits for a value: `result<T>`. `errc::closed` once the channel is closed and empty,
  /// `errc::cancelled` when the scope is cancelled.
  detail::channel_receive<T> receive() noexcept { return detail::channel_receive<T>{*this}; }

  /// Puts `value` in if there is room, with capacity 0 if a receiver waits. Else `value` is not
  /// touched and this gives `errc::closed`, or `std::errc::resource_unavailable_try_again`.
  result<void> try_send(T&& value) noexcept {
    if (closed_) return errc::closed;
    if (!senders_.empty() || !room()) return would_wait();
    ring_.push(std::move(value));
    settle();
    return {};
  }
  /// The same with a copy.
  result<void> try_send(const T& value) requires std::copy_constructible<T> {
    T copy(value);
    return try_send(std::move(copy));
  }
  /// Takes the oldest value that is promised to nobody. Else `errc::closed` when closed, or
  /// `std::errc::resource_unavailable_try_again`.
  result<T> try_receive() noexcept {
    using boost::system::in_place_error;
    using boost::system::in_place_value;
    if (ring_.has_free()) return {in_place_value, take_early(ring_.promise())};
    if (receivers_.empty() && !senders_.empty()) {
      detail::channel_sender<T>& next = senders_.front();
      result<T> value(in_place_value, std::move(next.offered()));
      next.finish(detail::wait_end::served);
      return value;
    }
    if (closed_) return {in_place_error, errc::closed};
    return {in_place_error, would_wait()};
  }

  /// No more values: pending and later sends give `errc::closed`, and receives too once the channel
  /// is empty. Later calls do nothing.
  void close() noexcept {
    closed_ = true;
    while (!senders_.empty()) senders_.front().finish(detail::wait_end::closed);
    settle();
  }

  /// Whether `close()` was called.
  bool closed() const noexcept { return closed_; }
  /// How many values are sent and not received.
  std::size_t size() const noexcept { return ring_.size(); }
  /// Whether there are none.
  bool empty() const noexcept { return size() == 0; }
  /// What the constructor was given.
  std::size_t capacity() const noexcept { return capacity_; }

 private:
  friend class detail::channel_sender<T>;
  friend class detail::channel_receive<T>;

  static std::error_code would_wait() noexcept {
    return std::make_error_code(std::errc::resource_unavailable_try_again);
  }

  bool room() const noexcept {
    if (capacity_ == 0) return ring_.span() == 0 && !receivers_.empty();
    return ring_.span() < capacity_;
  }

  bool begin(detail::channel_sender<T>& who) noexcept {
    if (closed_) {
      who.end_ = detail::wait_end::closed;
      return true;
    }
    senders_.push_back(who);
    settle();
    return who.end_ == detail::wait_end::served;
  }
  bool begin(detail::channel_receive<T>& who) noexcept {
    receivers_.push_back(who);
    settle();
    return who.end_ != detail::wait_end::none;
  }

  // Lets in the senders that fit, then promises values to the receivers that wait.
  void settle() noexcept {
    while (!senders_.empty() && room()) {
      detail::channel_sender<T>& next = senders_.front();
      ring_.push(std::move(next.offered()));
      next.finish(detail::wait_end::served);
    }
    while (!receivers_.empty() && ring_.has_free()) {
      detail::channel_receive<T>& next = receivers_.front();
      next.position_ = ring_.promise();
      next.finish(detail::wait_end::served);
      promised_.push_back(next);
    }
    // A value that is promised comes back when its receiver is cancelled before it goes on.
    if (!closed_ || !promised_.empty()) return;
    while (!receivers_.empty()) receivers_.front().finish(detail::wait_end::closed);
  }

  T take(std::uint64_t position) noexcept {
    T value = ring_.take(position);
    settle();
    return value;
  }
  // Takes a value before older ones that are promised already.
  T take_early(std::uint64_t position) noexcept {
    T value = ring_.take(position);
    if (!promised_.empty()) {
      ring_.close_gap(position);
      auto* each = &promised_.front();
      for (; each != nullptr; each = promised_.after(*each)) {
        if (each->position_ < position) ++each->position_;
      }
    }
    settle();
    return value;
  }
  void unpromise(std::uint64_t position) noexcept {
    ring_.unpromise(position);
    settle();
  }

  std::size_t capacity_;
  bool closed_ = false;
  detail::channel_ring<T> ring_;
  detail::wait_list<detail::channel_sender<T>> senders_;
  detail::wait_list<detail::channel_receive<T>> receivers_;
  /// Receivers that have not gone on yet, each with a promised value in the ring.
  detail::wait_list<detail::channel_receive<T>> promised_;
};

}  // namespace runnel
