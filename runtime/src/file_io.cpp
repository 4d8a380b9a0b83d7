#include "file_io.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "runnel/file.hpp"

namespace runnel::detail {
namespace {

int result_of(ssize_t value) noexcept {
  return value < 0 ? -errno : static_cast<int>(value);
}

int move_bytes(const operation& op, std::uint64_t offset) noexcept {
  const op_request& r = op.request;
  const auto place = static_cast<off_t>(offset);
  if (r.kind == op_kind::read) {
    return result_of(offset == current_position ? ::read(r.fd, op.buffer.get(), r.length)
                                                : ::pread(r.fd, op.buffer.get(), r.length, place));
  }
  return result_of(offset == current_position ? ::write(r.fd, op.buffer.get(), r.length)
                                              : ::pwrite(r.fd, op.buffer.get(), r.length, place));
}

int move_bytes_now(const operation& op, std::uint64_t offset) noexcept {
  const op_request& r = op.request;
  const iovec piece{op.buffer.get(), r.length};
  const auto place = static_cast<off_t>(offset);
  return result_of(r.kind == op_kind::read ? ::preadv2(r.fd, &piece, 1, place, RWF_NOWAIT)
                                           : ::pwritev2(r.fd, &piece, 1, place, RWF_NOWAIT));
}

// A file without RWF_NOWAIT: what poll calls writable takes so much at once.
int move_little(operation& op, std::uint64_t offset) noexcept {
  if (op.request.kind == op_kind::write) {
    op.request.length = std::min<std::uint32_t>(op.request.length, PIPE_BUF);
  }
  return move_bytes(op, offset);
}

}  // namespace

int perform_blocking(operation& op) noexcept {
  const op_request& r = op.request;
  switch (r.kind) {
    case op_kind::read:
    case op_kind::write:
      return move_bytes(op, r.offset);
    case op_kind::open:
      return result_of(::open(op.path->c_str(), static_cast<int>(r.flags), r.mode));
    case op_kind::size:
      return result_of(::statx(r.fd, "", AT_EMPTY_PATH, STATX_SIZE,
                               reinterpret_cast<struct statx*>(op.buffer.get())));
    case op_kind::close:
      return result_of(::close(r.fd));
    default:
      return op_not_supported;
  }
}

int perform_ready(operation& op) noexcept {
  // Pipes and sockets have no offsets; the ring ignores them there.
  for (std::uint64_t offset : {op.request.offset, current_position}) {
    int result = move_bytes_now(op, offset);
    if (result == -EOPNOTSUPP || result == -ENOSYS) result = move_little(op, offset);
    if (result != -ESPIPE) return result;
  }
  return -ESPIPE;
}

}  // namespace runnel::detail
