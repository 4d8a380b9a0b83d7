#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "runnel/tcp/detail/socket.hpp"
#include "runnel/tcp/engine/error.hpp"
#include "runnel/wire/owned_buffer.hpp"

namespace runnel::tcp {

namespace detail {
class borrow_awaiter;
}

/// Received bytes of a `stream`, shown where they lie: what `stream::borrow` gives. Move-only.
///
/// The bytes stay the stream's, and count against its receive buffer and window, until `consume`
/// says that they are done with; a loan that is dropped has consumed nothing more, and the next
/// read gives the rest again. A slow borrower so closes the window, as a slow reader does.
///
/// A stream has one loan at a time, and is not read while it is out: that is a checked error. A
/// loan may outlive its stream, and then keeps showing its bytes; it must be gone before the stack
/// is. No packet is copied, and nothing allocated.
class [[nodiscard]] loan final : private detail::lent {
 public:
  /// The most pieces that one loan has.
  static constexpr std::size_t max_pieces = 16;

  /// Nothing; the end of the stream.
  loan() noexcept = default;
  loan(loan&& other) noexcept;
  loan& operator=(loan&& other) noexcept;
  ~loan() { give_back(); }

  /// The bytes that are not consumed yet and were not taken out of `pieces`, in order. They are
  /// valid until they are consumed; a share of a piece (`net::owned_buffer::share`) as long as it
  /// lives. `stream::write(pieces())` sends them without a copy and takes out what was sent, which
  /// is then still to be consumed: so the stream that they came from waits for the other one.
  std::span<net::owned_buffer> pieces() noexcept {
    return std::span(pieces_).subspan(begin_, end_ - begin_);
  }
  /// The same, to look at.
  std::span<const net::owned_buffer> pieces() const noexcept {
    return std::span(pieces_).subspan(begin_, end_ - begin_);
  }
  /// Bytes that are not consumed yet.
  std::size_t size() const noexcept { return size_; }
  /// Whether all is consumed; of a loan just given, the end of the stream.
  bool empty() const noexcept { return size_ == 0; }
  /// The first `bytes` are done with, all by default: makes room for more. No more than `size()`.
  void consume(std::size_t bytes) noexcept;
  /// All of them are done with.
  void consume() noexcept { consume(size_); }

 private:
  friend class detail::borrow_awaiter;

  loan(detail::socket& of, std::size_t most, error& told) noexcept;
  void take_place(loan& other) noexcept;
  void give_back() noexcept;
  void forsake() noexcept override;

  std::array<net::owned_buffer, max_pieces> pieces_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t size_ = 0;
};

}  // namespace runnel::tcp
