#include "departing.hpp"

#include "runnel/detail/check.hpp"

#include <array>
#include <cstddef>
#include <new>
#include <utility>

namespace runnel::net::kernel::detail {
namespace {

// How long the peer may go on sending after it let the time pass in which it was to end first.
constexpr duration own_linger_time = std::chrono::seconds{5};
// What is thrown away at a time, and how often in a row: more than a connection may keep of the
// shared buffers.
constexpr std::size_t piece = 4 * 1024;
constexpr int pieces_at_once = 64;

}  // namespace

void departing::begin(channel_ptr gone, departure how, duration time) noexcept {
  runnel::detail::check(gone->reader == nullptr && gone->writer == nullptr &&
                            gone->drainer == nullptr && gone->closer == nullptr,
                        "runnel: leave was called on a kernel stream while an operation on it is "
                        "awaited; cancel it first.");
  if (how == departure::graceful || !gone->may_leave()) return;
  gone->read_deadline.cancel();
  gone->write_deadline.cancel();
  auto* const made = new (std::nothrow) departing(std::move(gone), how);
  if (made != nullptr) made->start(time);
}

departing::departing(channel_ptr gone, departure how) noexcept
    : resident(gone->owner()),
      timer(gone->owner()),
      channel_(std::move(gone)),
      phase_(how == departure::peer_first ? phase::peer_first : phase::lingering) {
  channel_->heir = this;
}

void departing::start(duration time) noexcept {
  if (phase_ == phase::lingering) {
    linger(time);
  } else {
    arm(after(timer::owner().now(), time));
  }
  on_input();
}

void departing::linger(duration time) noexcept {
  phase_ = phase::lingering;
  const auto said = channel_->shutdown();
  if (!said) return finish();
  arm(after(timer::owner().now(), time));
}

// Later, and not from inside of what the channel does.
void departing::finish() noexcept {
  phase_ = phase::done;
  arm(timer::owner().now());
}

void departing::on_input() noexcept {
  std::array<std::byte, piece> waste;
  for (int n = 0; n < pieces_at_once && phase_ != phase::done; ++n) {
    const attempt got = channel_->read(waste);
    if (got.blocked) break;
    if (got.error || got.count == 0) finish();
  }
  if (phase_ != phase::done) channel_->await_input();
}

void departing::on_expire() noexcept {
  if (phase_ == phase::peer_first) return linger(own_linger_time);
  delete this;
}

}  // namespace runnel::net::kernel::detail
