#include "runnel/net/kernel/socket_stream.hpp"

#include "channel.hpp"
#include "departing.hpp"
#include "runnel/detail/check.hpp"

namespace runnel::net::kernel {

detail::channel& socket_stream::checked() const noexcept {
  runnel::detail::check(channel_ != nullptr,
                        "runnel: an operation on a kernel stream that holds no connection; it was "
                        "moved from or never connected.");
  return *channel_;
}

result<void> socket_stream::shutdown() noexcept {
  return checked().shutdown();
}
void socket_stream::abort() noexcept {
  checked().abort();
}
void socket_stream::leave(departure how, duration time) noexcept {
  checked();
  detail::departing::begin(std::move(channel_), how, time);
}
void socket_stream::set_read_deadline(time_point when) noexcept {
  checked().read_deadline.set(when);
}
void socket_stream::set_write_deadline(time_point when) noexcept {
  checked().write_deadline.set(when);
}
int socket_stream::descriptor() const noexcept {
  return checked().fd();
}

}  // namespace runnel::net::kernel
