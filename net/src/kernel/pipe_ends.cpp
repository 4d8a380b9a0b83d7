#include "channel.hpp"
#include "owned_fd.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/net/kernel/pipe.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

namespace runnel::net::kernel {
namespace {

using detail::last_error;
using detail::owned_fd;

result<detail::channel_ptr> channel_over(loop& owner, owned_fd fd) noexcept {
  if (owner.simulated()) return errc::not_supported;
  struct stat facts {};
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fstat(fd.get(), &facts) != 0) return last_error();
  const bool socket = S_ISSOCK(facts.st_mode);
  // Each call on a socket says itself that it must not block.
  if (!socket && (flags & O_NONBLOCK) == 0 && ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return last_error();
  }
  const auto kind = socket ? detail::medium::unix_socket : detail::medium::pipe;
  detail::channel_ptr made = detail::channel::make(owner, fd.get(), kind);
  if (!made) return std::make_error_code(std::errc::not_enough_memory);
  fd.release();
  return made;
}

// A description of its own, whose flags nobody else sees. A socket has none to be opened.
owned_fd open_anew(int fd, int how) noexcept {
  struct stat facts {};
  const bool known = ::fstat(fd, &facts) == 0;
  // A file that was opened anew would begin anew, and one never waits.
  if (known && (S_ISSOCK(facts.st_mode) || S_ISREG(facts.st_mode))) {
    return owned_fd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  }
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return owned_fd(::open(path.c_str(), how | O_NONBLOCK | O_CLOEXEC));
}

template <class End>
result<End> standard(loop& owner, int fd, int how) {
  if (owner.simulated()) return errc::not_supported;
  owned_fd fresh = open_anew(fd, how);
  if (fresh.get() < 0) return last_error();
  return End::adopt(owner, fresh.release());
}

detail::channel& used(const detail::channel_ptr& channel) noexcept {
  runnel::detail::check(channel != nullptr,
                        "runnel: an operation on an end of a pipe that holds none; it was moved "
                        "from or never opened.");
  return *channel;
}

}  // namespace

result<input_end> input_end::adopt(loop& owner, int fd) {
  auto made = channel_over(owner, owned_fd(fd));
  if (!made) return made.error();
  return input_end(std::move(*made));
}

result<output_end> output_end::adopt(loop& owner, int fd) {
  auto made = channel_over(owner, owned_fd(fd));
  if (!made) return made.error();
  return output_end(std::move(*made));
}

detail::channel& input_end::checked() const noexcept {
  return used(channel_);
}
void input_end::set_read_deadline(time_point when) noexcept {
  checked().read_deadline.set(when);
}
void input_end::close() noexcept {
  checked().drop();
}
int input_end::descriptor() const noexcept {
  return checked().fd();
}

detail::channel& output_end::checked() const noexcept {
  return used(channel_);
}
void output_end::set_write_deadline(time_point when) noexcept {
  checked().write_deadline.set(when);
}
void output_end::close() noexcept {
  checked().drop();
}
int output_end::descriptor() const noexcept {
  return checked().fd();
}

result<std::pair<input_end, output_end>> make_pipe(loop& owner) {
  if (owner.simulated()) return errc::not_supported;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return last_error();
  owned_fd write_end(ends[1]);
  auto from = input_end::adopt(owner, ends[0]);
  if (!from) return from.error();
  auto to = output_end::adopt(owner, write_end.release());
  if (!to) return to.error();
  return std::pair(std::move(*from), std::move(*to));
}

result<input_end> standard_input(loop& owner) {
  return standard<input_end>(owner, 0, O_RDONLY);
}
result<output_end> standard_output(loop& owner) {
  return standard<output_end>(owner, 1, O_WRONLY | O_APPEND);
}
result<output_end> standard_error(loop& owner) {
  return standard<output_end>(owner, 2, O_WRONLY | O_APPEND);
}

}  // namespace runnel::net::kernel
