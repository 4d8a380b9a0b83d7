#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "packet_ring.hpp"
#include "runnel/loop.hpp"
#include "runnel/poll.hpp"
#include "runnel/tcp/shard_group.hpp"

namespace runnel::tcp::detail {

/// Who has a place.
class shard_member {
 public:
  /// On its loop's thread: something has come from other shards, or will be there when the next
  /// turn looks. Sets a flag.
  virtual void on_handed() noexcept = 0;

 protected:
  ~shard_member() = default;
};

/// Wakes a loop that belongs to another thread.
class shard_bell final : public fd_watch::client {
 public:
  /// Throws `std::system_error` where the kernel refuses.
  shard_bell(loop& owner, shard_member& told);
  shard_bell(const shard_bell&) = delete;
  shard_bell& operator=(const shard_bell&) = delete;
  /// On any thread, after `retire`.
  ~shard_bell();

  /// On any thread.
  void ring() noexcept;
  /// On the loop's thread: from now on the next ring is told.
  void arm() { watch_->arm(); }
  /// On the loop's thread, for good: rings are heard by nobody.
  void retire() noexcept { watch_.reset(); }

 private:
  class watch final : public fd_watch {
   public:
    using fd_watch::fd_watch;
  };

  void on_ready() noexcept override;

  int fd_;
  shard_member* told_;
  std::optional<watch> watch_;
};

/// What one thread has to say to another's shard.
class letter {
 public:
  virtual ~letter() = default;
  /// On the shard's thread with its engine; with null, on any, where there is none any more, and
  /// then it throws nothing. Else it may throw `std::bad_alloc`, and is read again later.
  virtual void read(host* engine) = 0;

 private:
  friend class letter_queue;

  letter* next_ = nullptr;
};

/// Letters in their order. None of this needs memory.
class letter_queue {
 public:
  letter_queue() noexcept = default;
  letter_queue(letter_queue&& other) noexcept { swap(other); }
  letter_queue& operator=(letter_queue&&) = delete;
  ~letter_queue() {
    while (!empty()) pop_front();
  }

  bool empty() const noexcept { return first_ == nullptr; }
  letter& front() const noexcept { return *first_; }
  void push_back(std::unique_ptr<letter> what) noexcept {
    letter* const added = what.release();
    (first_ == nullptr ? first_ : last_->next_) = added;
    last_ = added;
  }
  std::unique_ptr<letter> pop_front() noexcept {
    std::unique_ptr<letter> taken(first_);
    first_ = std::exchange(taken->next_, nullptr);
    return taken;
  }
  void swap(letter_queue& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
  }

 private:
  letter* first_ = nullptr;
  letter* last_ = nullptr;
};

template <class Fn>
std::unique_ptr<letter> make_letter(Fn fn) {
  class letter_of final : public letter {
   public:
    explicit letter_of(Fn what) : what_(std::move(what)) {}
    void read(host* engine) override { what_(engine); }

   private:
    Fn what_;
  };
  return std::make_unique<letter_of>(std::move(fn));
}

/// What the stacks of a group share: where packets go from one to another, letters, and keys.
class shard_hub {
 public:
  /// What a stack of the group is made with, the same for all but for the clock.
  struct terms {
    std::vector<net::address> addresses;
    std::uint16_t port_first;
    std::uint16_t port_last;
    policy_keys shared_keys;
    duration clock_offset;
  };
  /// What it gets.
  struct grant {
    shard_options place;
    host_keys keys;
    duration clock_offset;
  };
  shard_hub(std::uint32_t count, const shard_group_options& options);
  ~shard_hub();

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(seats_.size()); }

  /// Throws `std::invalid_argument` when somebody has the place or the terms are not the others'.
  grant reserve(std::uint32_t index, const terms& wanted);
  /// Whoever has reserved it can be woken from now on.
  void open(std::uint32_t index, loop& owner, shard_member& member);
  /// The place is empty for good, or, when it was not opened, again.
  void leave(std::uint32_t index) noexcept;

  /// From one shard's thread: a copy of the packet is on its way; false when it is lost. It is
  /// looked at when `wake` was called.
  bool send(std::uint32_t from, std::uint32_t to, const net::packet& what) noexcept;
  void wake(std::uint32_t to) noexcept;

  /// On the shard's thread, before it takes what has come.
  void begin_taking(std::uint32_t index);
  bool take(std::uint32_t from, std::uint32_t to, net::packet_pool& pool,
            net::packet& out) noexcept {
    return ring_of(from, to).pop(pool, out);
  }
  /// Reads what has come, in its order. False when there was no memory to do what a letter says:
  /// that and those behind it stay for the next call.
  bool read_letters(std::uint32_t index, host& engine);

  /// On any thread. The letter is read on the shard's, or here when there is nobody.
  void post(std::uint32_t to, std::unique_ptr<letter> what) noexcept;
  /// What `host` has under these names, for those that are there and those to come. On any thread.
  void rotate_cookie_key(const secret_key& fresh);
  void set_cookie_keys(const secret_key& current, const secret_key& previous);
  void rotate_fastopen_key(const secret_key& fresh);
  void set_fastopen_keys(const secret_key& current, const secret_key& previous);
  /// `host::set_policies` of those that are there.
  void set_policies(const policy_set& all);

 private:
  enum class seat_state : std::uint8_t { empty, reserved, open, left };

  struct seat {
    std::atomic<seat_state> state{seat_state::empty};
    std::thread::id thread{};
    loop* owner = nullptr;
    shard_member* member = nullptr;
    /// None on a simulated loop.
    std::optional<shard_bell> bell{};
    /// Rung, and nobody has come yet.
    alignas(64) std::atomic<bool> rung{false};
    std::atomic<bool> has_letters{false};
    letter_queue letters{};
  };

  /// A letter to each shard that says `change(host&)`. They are made before anything is changed, so
  /// that without memory nothing is.
  template <class Change>
  letter_queue letters_to_all(const Change& change) const {
    letter_queue all;
    for (std::uint32_t i = 0; i < size(); ++i) {
      all.push_back(make_letter([change](host* engine) {
        if (engine != nullptr) change(*engine);
      }));
    }
    return all;
  }
  void post_to_all(letter_queue letters) noexcept;

  packet_ring& ring_of(std::uint32_t from, std::uint32_t to) noexcept {
    return *rings_[from * seats_.size() + to];
  }

  std::mutex mutex_;
  /// One change after the other, so that all shards see them in one order.
  std::mutex change_order_;
  host_keys keys_;
  std::optional<terms> terms_;
  std::vector<std::unique_ptr<seat>> seats_;
  std::vector<std::unique_ptr<packet_ring>> rings_;
};

/// A stack's place, given back with it.
class held_shard {
 public:
  held_shard() noexcept = default;
  held_shard(std::shared_ptr<shard_hub> hub, std::uint32_t index) noexcept
      : hub_(std::move(hub)), index_(index) {}
  held_shard(held_shard&& other) noexcept
      : hub_(std::move(other.hub_)), index_(other.index_), held_(other.held_) {}
  held_shard& operator=(held_shard&&) = delete;
  ~held_shard() { leave(); }

  explicit operator bool() const noexcept { return hub_ != nullptr; }
  shard_hub* operator->() const noexcept { return hub_.get(); }
  const std::shared_ptr<shard_hub>& hub() const noexcept { return hub_; }
  std::uint32_t index() const noexcept { return index_; }
  /// The seat was granted: until then it may be another stack's, and is not given back.
  void hold() noexcept { held_ = true; }
  void leave() noexcept {
    const auto from = std::exchange(hub_, nullptr);
    if (from && held_) from->leave(index_);
  }

 private:
  std::shared_ptr<shard_hub> hub_;
  std::uint32_t index_ = 0;
  bool held_ = false;
};

}  // namespace runnel::tcp::detail
