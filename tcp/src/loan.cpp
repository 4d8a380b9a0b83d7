#include "runnel/tcp/loan.hpp"

#include <algorithm>
#include <utility>

#include "stack_core.hpp"

namespace runnel::tcp {

loan::loan(detail::socket& of, std::size_t most, error& told) noexcept {
  const auto shown = of.stack->engine().borrow(of.id, pieces_, most, of.stack->now());
  told = shown.error;
  end_ = shown.value;
  if (end_ == 0) return;
  for (const net::owned_buffer& each : pieces()) size_ += each.size();
  stand(of);
  of.borrower = this;
}

loan::loan(loan&& other) noexcept {
  take_place(other);
}

loan& loan::operator=(loan&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  take_place(other);
  return *this;
}

void loan::take_place(loan& other) noexcept {
  begin_ = std::exchange(other.begin_, 0);
  end_ = std::exchange(other.end_, 0);
  size_ = std::exchange(other.size_, 0);
  for (std::size_t i = begin_; i < end_; ++i) pieces_[i] = std::move(other.pieces_[i]);
  socket_ = std::exchange(other.socket_, nullptr);
  if (socket_ != nullptr) socket_->borrower = this;
  if (!other.linked()) return;
  insert_before(other);
  other.unlink();
}

void loan::consume(std::size_t bytes) noexcept {
  bytes = std::min(bytes, size_);
  if (bytes == 0) return;
  // Of the first ones some may have been taken out of the pieces already.
  std::size_t left = size_;
  for (const net::owned_buffer& each : pieces()) left -= each.size();
  left = bytes - std::min(bytes, left);
  for (; begin_ < end_; ++begin_) {
    net::owned_buffer& first = pieces_[begin_];
    const std::size_t part = std::min(left, first.size());
    first.remove_prefix(part);
    left -= part;
    if (!first.empty()) break;
  }
  size_ -= bytes;
  if (socket_ != nullptr && socket_->open) {
    const auto gone = socket_->stack->engine().consume(socket_->id, bytes, socket_->stack->now());
    static_cast<void>(gone);
  }
  if (size_ == 0) give_back();
}

void loan::give_back() noexcept {
  if (socket_ != nullptr) socket_->borrower = nullptr;
  socket_ = nullptr;
  unlink();
  for (net::owned_buffer& each : pieces()) each = {};
  begin_ = end_ = size_ = 0;
}

void loan::forsake() noexcept {
  give_back();
}

}  // namespace runnel::tcp
