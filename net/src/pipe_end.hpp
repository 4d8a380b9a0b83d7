#pragma once

#include "runnel/detail/list.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/pipe.hpp"
#include "runnel/timer.hpp"

#include <memory>

namespace runnel::net::detail {

/// A ring of bytes that is allocated when the first byte comes.
class pipe_buffer {
 public:
  explicit pipe_buffer(std::size_t capacity) noexcept : capacity_(capacity) {}

  std::size_t size() const noexcept { return size_; }
  std::size_t room() const noexcept { return capacity_ - size_; }
  /// False when there is no memory for it.
  bool prepare() noexcept;
  /// Both return how many bytes were moved.
  std::size_t push(std::span<const std::byte> bytes) noexcept;
  std::size_t pop(std::span<std::byte> into) noexcept;
  void discard() noexcept;

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t capacity_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

class pipe_pair;

/// One end: what arrived for it, how its two directions stand, and who waits in them. Its hook is
/// for a listener's backlog.
class pipe_end : public runnel::detail::list_hook {
 public:
  pipe_end(pipe_pair& pair, loop& owner, std::size_t capacity, const endpoint& local) noexcept;

  result<void> shutdown() noexcept;
  pipe_ending close() noexcept;
  void abort() noexcept;
  void set_read_deadline(time_point when) noexcept { read_alarm.set(when); }
  void set_write_deadline(time_point when) noexcept { write_alarm.set(when); }

  /// What an operation of that direction would say at once, apart from bytes; zero for nothing.
  std::error_code read_error() const noexcept;
  std::error_code write_error() const noexcept;
  /// What every operation says once this end is closed or aborted.
  std::error_code local_error() const noexcept;
  bool read_ready() const noexcept;
  std::size_t take(std::span<std::byte> into) noexcept;

  /// A standing deadline of one direction.
  class alarm final : public timer {
   public:
    alarm(loop& owner, pipe_op*& waiting) noexcept : timer(owner), waiting_(&waiting) {}
    void set(time_point when) noexcept;
    bool expired() const noexcept { return expired_; }

   private:
    void on_expire() noexcept override;

    pipe_op** waiting_;
    bool expired_ = false;
  };

  pipe_pair* pair;
  pipe_end* peer = nullptr;
  endpoint local;
  pipe_buffer inbound;
  bool closed = false;
  bool aborted = false;
  bool reset = false;
  /// The peer's end of stream lies behind the bytes of `inbound`.
  bool finished = false;
  bool shut = false;
  /// Why closing was not clean.
  std::error_code ending;
  pipe_op* reader = nullptr;
  pipe_op* writer = nullptr;
  alarm read_alarm;
  alarm write_alarm;

 private:
  void on_reset() noexcept;
  void on_finish() noexcept;
  void fail_waiters(std::error_code why) noexcept;
};

/// Both ends, alive while anything refers to one of them.
class pipe_pair {
 public:
  pipe_pair(loop& owner, std::size_t capacity, const endpoint& name_of_first,
            const endpoint& name_of_second) noexcept
      : first(*this, owner, capacity, name_of_first),
        second(*this, owner, capacity, name_of_second) {
    first.peer = &second;
    second.peer = &first;
  }

  unsigned references = 0;
  pipe_end first;
  pipe_end second;
};

/// What a listener and its connectors share.
class pipe_queue {
 public:
  pipe_queue(loop& owner, const pipe_listener_options& options) noexcept
      : owner_(&owner), options_(options) {}
  pipe_queue(const pipe_queue&) = delete;
  pipe_queue& operator=(const pipe_queue&) = delete;
  ~pipe_queue() {
    while (!backlog_.empty()) take_first();
  }

  const endpoint& local() const noexcept { return options_.local; }
  std::size_t pending() const noexcept { return backlog_size_; }

  /// True when it is finished, with a connection or an error.
  bool begin(pipe_accept& who) noexcept;
  bool begin(pipe_connect& who) noexcept;
  /// Takes back a connection that was given to an acceptor which went away.
  void put_back(pipe_ref child) noexcept;
  void close() noexcept;
  static pipe_stream stream_of(pipe_ref end) noexcept { return pipe_stream{std::move(end)}; }

  unsigned references = 0;

 private:
  bool full() const noexcept { return backlog_size_ >= options_.backlog; }
  bool establish(pipe_connect& who) noexcept;
  /// The backlog holds a reference to each of its ends. Neither call allocates.
  void keep(pipe_end& child, bool in_front) noexcept;
  pipe_ref take_first() noexcept;
  void admit_waiting() noexcept;

  loop* owner_;
  pipe_listener_options options_;
  bool closed_ = false;
  std::uint16_t next_port_ = 0;
  runnel::detail::list<pipe_end> backlog_;
  std::size_t backlog_size_ = 0;
  runnel::detail::list<pipe_accept, pipe_accept::hook> acceptors_;
  runnel::detail::list<pipe_connect, pipe_connect::hook> connectors_;
};

}  // namespace runnel::net::detail
