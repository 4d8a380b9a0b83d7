#pragma once

#include <runnel/fiber.hpp>
#include <runnel/net/stream.hpp>

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <memory>
#include <span>
#include <streambuf>
#include <system_error>
#include <utility>

namespace runnel::net {

/// A std::streambuf over a stream, in a fiber: code written for std::istream and std::ostream runs
/// unchanged and blocks nobody but its fiber. It has a buffer of fixed size for each direction, and
/// what it reads or writes waits as the stream's own operations do.
///
/// - The end of the stream is the end of the file. Any other failure is thrown as
///   `std::system_error`, which std::istream and std::ostream turn into badbit (and pass on when
///   `exceptions()` says so), and can be asked for: `read_error()`, `write_error()`. After a
///   deadline nothing is lost, so clear both and go on.
/// - What was written is sent when the buffer is full, on flush, and before a read has to wait, so
///   that a question leaves before its answer is waited for. A failure of that last kind is
///   kept as `write_error()`, and the next flush meets it again.
/// - The destructor does not wait: what was not flushed is lost. It does not close the stream.
/// - Cancellation ends the wait with `errc::cancelled`, a failure as any other. When the fiber is
///   destroyed while it waits here, `fiber_iostream` lets the unwinding pass. Another std stream
///   over this buffer swallows it and sets badbit, and every later wait throws again: leave the
///   loop when a stream has failed.
///
/// The fiber and the stream must outlive it; the stream may not be moved. For one fiber; another
/// one may have a buffer of its own over the same stream to use in the other direction. Costs two
/// allocations.
template <stream Stream>
class fiber_streambuf final : public std::streambuf {
 public:
  /// `buffer_bytes` is the size of each of the two buffers, from 1 to 1 GiB.
  fiber_streambuf(fiber& self, Stream& on, std::size_t buffer_bytes = 8 * 1024)
      : self_(&self),
        stream_(&on),
        capacity_(std::clamp<std::size_t>(buffer_bytes, 1, std::size_t{1} << 30)),
        in_(std::make_unique<char[]>(capacity_)),
        out_(std::make_unique<char[]>(capacity_)) {
    setg(in_.get(), in_.get(), in_.get());
    setp(out_.get(), out_.get() + capacity_);
  }
  fiber_streambuf(const fiber_streambuf&) = delete;
  fiber_streambuf& operator=(const fiber_streambuf&) = delete;
  ~fiber_streambuf() override = default;

  /// Why the last read failed; none when it did not.
  std::error_code read_error() const noexcept { return read_error_; }
  /// Why the last write failed; none when it did not.
  std::error_code write_error() const noexcept { return write_error_; }
  /// Bytes that were written here and not yet taken by the stream.
  std::size_t unflushed_bytes() const noexcept {
    return static_cast<std::size_t>(pptr() - pbase());
  }

 protected:
  int_type underflow() override {
    if (gptr() != egptr()) return traits_type::to_int_type(*gptr());
    flush_before_waiting();
    read_error_ = {};
    const auto got = wait(stream_->read(std::as_writable_bytes(std::span(in_.get(), capacity_))));
    if (!got) {
      read_error_ = got.error();
      throw std::system_error(got.error(), "runnel: a stream could not be read");
    }
    setg(in_.get(), in_.get(), in_.get() + *got);
    return *got == 0 ? traits_type::eof() : traits_type::to_int_type(*gptr());
  }

  int_type overflow(int_type next) override {
    send_all();
    if (traits_type::eq_int_type(next, traits_type::eof())) return traits_type::not_eof(next);
    return sputc(traits_type::to_char_type(next));
  }

  int sync() override {
    send_all();
    return 0;
  }

 private:
  template <stream>
  friend class fiber_iostream;

  template <class Awaitable>
  auto wait(Awaitable&& operation) {
    try {
      return self_->await(std::forward<Awaitable>(operation));
    } catch (const runnel::detail::fiber_unwind&) {
      pass_unwinding();
      throw;
    }
  }

  // A std stream hands an exception of its buffer on only where it was told to, and must not be
  // told of a state that it is in.
  void pass_unwinding() {
    if (face_ == nullptr) return;
    face_->exceptions((std::ios::badbit | std::ios::failbit) & ~face_->rdstate());
  }

  void flush_before_waiting() {
    if (unflushed_bytes() == 0 || write_error_) return;
    write_error_ = send();
  }

  void send_all() {
    write_error_ = send();
    if (write_error_)
      throw std::system_error(write_error_, "runnel: a stream could not be written");
  }

  /// Writes what is buffered. What the stream did not take stays.
  std::error_code send() {
    std::size_t sent = 0;
    std::error_code failure;
    while (!failure && sent < unflushed_bytes()) {
      const auto all = std::as_bytes(std::span(pbase(), pptr()));
      const auto taken = wait(stream_->write(all.subspan(sent)));
      if (taken) sent += *taken;
      if (!taken) failure = taken.error();
    }
    const std::size_t left = unflushed_bytes() - sent;
    std::copy_n(pbase() + sent, left, pbase());
    setp(out_.get(), out_.get() + capacity_);
    pbump(static_cast<int>(left));
    return failure;
  }

  fiber* self_;
  Stream* stream_;
  std::ios* face_ = nullptr;
  std::size_t capacity_;
  std::unique_ptr<char[]> in_;
  std::unique_ptr<char[]> out_;
  std::error_code read_error_;
  std::error_code write_error_;
};

/// A std::iostream with a `fiber_streambuf` of its own; see there.
template <stream Stream>
class fiber_iostream final : public std::iostream {
 public:
  /// As `fiber_streambuf`.
  fiber_iostream(fiber& self, Stream& on, std::size_t buffer_bytes = 8 * 1024)
      : std::iostream(nullptr), buffer_(self, on, buffer_bytes) {
    init(&buffer_);
    buffer_.face_ = this;
  }
  fiber_iostream(const fiber_iostream&) = delete;
  fiber_iostream& operator=(const fiber_iostream&) = delete;
  ~fiber_iostream() override = default;

  /// See `fiber_streambuf`.
  std::error_code read_error() const noexcept { return buffer_.read_error(); }
  /// See `fiber_streambuf`.
  std::error_code write_error() const noexcept { return buffer_.write_error(); }

 private:
  fiber_streambuf<Stream> buffer_;
};

}  // namespace runnel::net
