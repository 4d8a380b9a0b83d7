#include "runnel/poll.hpp"

#include <cerrno>

namespace runnel {

result<std::uint32_t> detail::poll_awaiter::await_resume() const noexcept {
  if (result_ < 0) return kernel_error(result_);
  return static_cast<std::uint32_t>(result_);
}

void fd_watch::arm(std::uint32_t events) {
  if (busy()) return;
  if (watch_ == 0) watch_ = new_watch(*owner_);
  detail::operation& op = prepare(
      *owner_, {.kind = detail::op_kind::poll, .fd = fd_, .flags = events, .watch = watch_});
  // That of a watch which was disarmed is still with the kernel.
  op.kept = true;
  submit();
}

void fd_watch::on_complete(detail::operation&, int result) noexcept {
  if (result == -ECANCELED || result == detail::op_not_supported) return;
  client_->on_ready();
}

}  // namespace runnel
