#include "runnel/net/kernel/detail/awaiters.hpp"

#include "channel.hpp"
#include "runnel/detail/check.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace runnel::net::kernel::detail {
namespace {

// What one write moves before the loop's other work has its turn. A peer that reads as fast as this
// writes would let it go on until all is written.
constexpr std::size_t most_bytes_at_once = std::size_t{512} << 10;

}  // namespace

void channel_waiter::stand(channel_waiter*& place) noexcept {
  runnel::detail::check(place == nullptr,
                        "runnel: a second task reads, writes or closes a kernel stream while one "
                        "is waiting; one of each kind at a time.");
  place = this;
  place_ = &place;
}

// ---- read

bool read_awaiter::begin() noexcept {
  stand(channel_->reader);
  if ((error_ = channel_->read_error())) return true;
  if (try_again(false)) return true;
  channel_->await_input();
  return false;
}

bool read_awaiter::try_again(bool) noexcept {
  if (waiting() && channel_->has_input()) {
    // Taken only when the task goes on, so that everything that arrives until then is in it.
    wake();
    return true;
  }
  const attempt got = channel_->read(into_);
  if (got.blocked) return false;
  done_ = true;
  taken_ = got.count;
  error_ = got.error;
  if (waiting()) wake();
  return true;
}

result<std::size_t> read_awaiter::await_resume() noexcept {
  leave();
  if (!done_ && !error_ && !(error_ = channel_->read_error())) {
    const attempt got = channel_->read(into_);
    taken_ = got.count;
    error_ = got.error;
  }
  if (error_) return error_;
  return taken_;
}

// ---- readable

bool readable_awaiter::begin() noexcept {
  stand(channel_->reader);
  if ((error_ = channel_->read_error())) return true;
  if (channel_->has_input()) return true;
  channel_->await_input();
  return false;
}

bool readable_awaiter::try_again(bool ready) noexcept {
  if (!ready && !channel_->has_input()) return false;
  wake();
  return true;
}

result<void> readable_awaiter::await_resume() noexcept {
  leave();
  if (!error_ && channel_->ended() && !channel_->unread()) error_ = channel_->ended();
  if (error_) return error_;
  return {};
}

// ---- write

bool write_awaiter::begin() noexcept {
  stand(channel_->writer);
  if ((error_ = channel_->write_error())) return true;
  if (send_with_others()) return false;
  if (advance()) return true;
  if (channel_->await_output()) return false;
  error_ = std::make_error_code(std::errc::not_enough_memory);
  return true;
}

bool write_awaiter::try_again(bool) noexcept {
  if (!advance()) return false;
  wake();
  return true;
}

bool write_awaiter::advance() noexcept {
  constexpr std::size_t most_pieces = 64;
  std::size_t left = most_bytes_at_once;
  for (;;) {
    std::array<iovec, most_pieces> vector;
    std::size_t count = 0;
    std::size_t wanted = 0;
    const auto add = [&](std::span<const std::byte> piece) {
      piece = piece.first(std::min(piece.size(), left - wanted));
      if (piece.empty()) return;
      vector[count++] = {const_cast<std::byte*>(piece.data()), piece.size()};
      wanted += piece.size();
    };
    add(current_);
    for (std::size_t i = 0; i < pieces_.size() && count < most_pieces; ++i) add(pieces_[i]);
    // Otherwise it goes on when it hears of room, which is in another turn.
    if (wanted == 0) return all_taken();
    const attempt sent = channel_->write(std::span<const iovec>(vector.data(), count));
    took(sent.count);
    left -= sent.count;
    if (sent.blocked) return false;
    if (sent.error) {
      sent_nothing(sent.error);
      return true;
    }
  }
}

// A short count says nothing yet.
void write_awaiter::sent_nothing(std::error_code why) noexcept {
  error_ = why;
  if (taken_ == 0) channel_->writer_was_told();
}

bool write_awaiter::send_with_others() noexcept {
  if (!pieces_.empty() || current_.empty()) return false;
  sending_ = channel_->send_with_others(current_);
  return sending_;
}

void write_awaiter::take_back() noexcept {
  if (std::exchange(sending_, false) && place_ != nullptr) channel_->stop_sending();
}

void write_awaiter::on_sent(const attempt& sent) noexcept {
  sending_ = false;
  took(sent.count);
  // One that has failed meanwhile still says how much went.
  if (!waiting()) return;
  if (sent.error) {
    sent_nothing(sent.error);
  } else if (!all_taken()) {
    if (try_again(true) || channel_->await_output()) return;
    error_ = std::make_error_code(std::errc::not_enough_memory);
  }
  wake();
}

void write_awaiter::send_now() noexcept {
  if (!sending_ || !waiting()) return;
  take_back();
  if (advance()) return wake();
  if (channel_->await_output()) return;
  error_ = std::make_error_code(std::errc::not_enough_memory);
  wake();
}

bool write_awaiter::all_taken() const noexcept {
  return current_.empty() && std::ranges::all_of(pieces_, &std::span<const std::byte>::empty);
}

void write_awaiter::took(std::size_t count) noexcept {
  taken_ += count;
  for (;;) {
    const std::size_t from_current = std::min(count, current_.size());
    current_ = current_.subspan(from_current);
    count -= from_current;
    if (!current_.empty() || pieces_.empty()) return;
    current_ = pieces_.front();
    pieces_ = pieces_.subspan(1);
  }
}

result<std::size_t> write_awaiter::await_resume() noexcept {
  take_back();
  leave();
  if (error_ && taken_ == 0) return error_;
  return taken_;
}

// ---- drained and close

bool drained_awaiter::begin() noexcept {
  stand(channel_->drainer);
  if ((error_ = channel_->local_error()) || channel_->settled()) return true;
  channel_->await_settling();
  return false;
}

bool drained_awaiter::try_again(bool) noexcept {
  return false;
}

result<void> drained_awaiter::await_resume() noexcept {
  leave();
  if (!error_) error_ = channel_->ended();
  if (error_) return error_;
  return {};
}

bool close_awaiter::begin() noexcept {
  stand(channel_->closer);
  if (!channel_->begin_close()) return true;
  channel_->await_settling();
  return false;
}

bool close_awaiter::try_again(bool) noexcept {
  return false;
}

close_ending close_awaiter::await_resume() noexcept {
  leave();
  return channel_->finish_close(error_);
}

}  // namespace runnel::net::kernel::detail
