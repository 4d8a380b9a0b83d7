#include "runnel/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace runnel {
namespace detail {
namespace {

std::uint32_t length_of(std::size_t size) noexcept {
  return static_cast<std::uint32_t>(std::min<std::size_t>(size, op_buffer_size));
}

void need_buffer(operation& op) {
  if (!op.buffer) op.buffer = std::make_unique_for_overwrite<std::byte[]>(op_buffer_size);
}

result<std::size_t> count_or_error(int value) noexcept {
  if (value < 0) return kernel_error(value);
  return static_cast<std::size_t>(value);
}

}  // namespace

read_awaiter::read_awaiter(int fd, std::span<std::byte> into, std::uint64_t offset) noexcept
    : op_awaiter(
          {.kind = op_kind::read, .fd = fd, .length = length_of(into.size()), .offset = offset}),
      into_(into) {}

// RWF_NOWAIT answers from the page cache or says EAGAIN, without the copy and the ring.
bool read_awaiter::finished_now(cancel_scope& scope) noexcept {
  if (scope.cancelled() || scope.owner().simulated() || observed(scope.owner())) return false;
  iovec piece{into_.data(), request_.length};
  ssize_t count =
      ::preadv2(request_.fd, &piece, 1, static_cast<off_t>(request_.offset), RWF_NOWAIT);
  if (count < 0) return false;
  result_ = static_cast<int>(count);
  return true;
}

void read_awaiter::fill(operation& op) {
  need_buffer(op);
}

void read_awaiter::on_complete(operation& op, int result) noexcept {
  if (result > 0) std::memcpy(into_.data(), op.buffer.get(), static_cast<std::size_t>(result));
  op_awaiter::on_complete(op, result);
}

result<std::size_t> read_awaiter::await_resume() const noexcept {
  return count_or_error(result_);
}

write_awaiter::write_awaiter(int fd, std::span<const std::byte> from, std::uint64_t offset) noexcept
    : op_awaiter(
          {.kind = op_kind::write, .fd = fd, .length = length_of(from.size()), .offset = offset}),
      from_(from) {}

void write_awaiter::fill(operation& op) {
  need_buffer(op);
  std::memcpy(op.buffer.get(), from_.data(), request_.length);
}

result<std::size_t> write_awaiter::await_resume() const noexcept {
  return count_or_error(result_);
}

open_awaiter::open_awaiter(std::string path, int flags, unsigned mode) noexcept
    : op_awaiter({.kind = op_kind::open,
                  .flags = static_cast<std::uint32_t>(flags | O_CLOEXEC),
                  .mode = mode}),
      path_(std::move(path)) {}

open_awaiter::~open_awaiter() {
  if (opened_ >= 0) ::close(opened_);
}

void open_awaiter::fill(operation& op) {
  op.path = std::make_unique<std::string>(std::move(path_));
}

void open_awaiter::on_complete(operation& op, int result) noexcept {
  opened_ = result;
  op_awaiter::on_complete(op, result);
}

result<file> open_awaiter::await_resume() noexcept {
  if (result_ < 0) return kernel_error(result_);
  return file{std::exchange(opened_, -1)};
}

// What the inode says needs no thread of the kernel, which a statx through the ring always takes.
bool size_awaiter::finished_now(cancel_scope& scope) noexcept {
  if (scope.cancelled() || scope.owner().simulated() || observed(scope.owner())) return false;
  struct statx facts;
  if (::statx(request_.fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &facts) != 0) {
    return false;
  }
  size_ = facts.stx_size;
  return true;
}

void size_awaiter::fill(operation& op) {
  need_buffer(op);
}

void size_awaiter::on_complete(operation& op, int result) noexcept {
  if (result == 0) size_ = reinterpret_cast<const struct statx*>(op.buffer.get())->stx_size;
  op_awaiter::on_complete(op, result);
}

result<std::uint64_t> size_awaiter::await_resume() const noexcept {
  if (result_ < 0) return kernel_error(result_);
  return size_;
}

close_awaiter::~close_awaiter() {
  if (unclosed_ && request_.fd >= 0) ::close(request_.fd);
}

// Even in a cancelled scope: the descriptor has to go.
void close_awaiter::begin_close() noexcept {
  unclosed_ = false;
  try {
    prepare(owner(), request_);
  } catch (const std::bad_alloc&) {
    result_ = ::close(request_.fd) == 0 ? 0 : -errno;
    wake();
    return;
  }
  submit();
}

result<void> close_awaiter::await_resume() const noexcept {
  if (result_ < 0) return kernel_error(result_);
  return {};
}

}  // namespace detail

file& file::operator=(file&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

file::~file() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace runnel
