#include <algorithm>
#include <system_error>
#include <utility>

#include "runnel/detail/check.hpp"
#include "runnel/file.hpp"
#include "runnel/tcp/detail/awaiters.hpp"
#include "runnel/tcp/error_code.hpp"
#include "runnel/tcp/loan.hpp"
#include "runnel/tcp/stream.hpp"
#include "stack_core.hpp"

// What a stream offers besides the copying calls: loans, owned buffers, files.

namespace runnel::tcp {

namespace detail {

// ---- borrow

bool borrow_awaiter::attempt() noexcept {
  runnel::detail::check(socket_->borrower == nullptr,
                        "runnel: a second loan of a tcp::stream is asked for while one is out; "
                        "consume all of it or drop it first.");
  if ((error_ = socket_->failure())) return true;
  host& engine = socket_->stack->engine();
  if (socket_->read_deadline.passed()) {
    error_ = errc::deadline_exceeded;
    return true;
  }
  if (most_ == 0 || any(engine.readiness(socket_->id) & events::readable)) return true;
  engine.start(socket_->id, socket_->stack->now());
  return false;
}

void borrow_awaiter::on_events(events) noexcept {
  wake();
}

result<loan> borrow_awaiter::await_resume() noexcept {
  leave();
  if (error_) return error_;
  if ((error_ = socket_->failure())) return error_;
  error told = error::none;
  loan lent(*socket_, most_, told);
  if ((error_ = socket_->remember(told))) return error_;
  if (lent.empty() && most_ != 0 && socket_->ended) return socket_->ended;
  return lent;
}

// ---- write

bool write_owned_awaiter::attempt() noexcept {
  if ((error_ = socket_->writer_failure())) return true;
  for (;;) {
    if (single_.empty() && pieces_.empty()) return true;
    net::owned_buffer& next = single_.empty() ? pieces_.front() : single_;
    if (next.empty()) {
      pieces_ = pieces_.subspan(1);
      continue;
    }
    const auto sent = socket_->stack->engine().send_owned(socket_->id, next, socket_->stack->now());
    taken_ += sent.value;
    if (sent.error == error::would_block) return false;
    if ((error_ = socket_->remember(sent.error))) {
      if (taken_ == 0) socket_->writer_told = true;
      return true;
    }
  }
}

void write_owned_awaiter::on_events(events) noexcept {
  if (attempt()) wake();
}

void write_owned_awaiter::forsake() noexcept {
  single_ = {};
  for (net::owned_buffer& each : pieces_) each = {};
}

bool allocate_awaiter::attempt() noexcept {
  if ((error_ = socket_->writer_failure())) return true;
  const auto room = socket_->stack->engine().send_room(socket_->id, socket_->stack->now());
  if (room.error == error::would_block) return false;
  if ((error_ = socket_->remember(room.error))) socket_->writer_told = true;
  return true;
}

void allocate_awaiter::on_events(events) noexcept {
  if (attempt()) wake();
}

result<net::packet> allocate_awaiter::await_resume() noexcept {
  leave();
  if (error_) return error_;
  if ((error_ = socket_->failure())) return error_;
  // Not before: what waits to go on holds no memory.
  net::packet fresh = socket_->stack->engine().allocate(socket_->id, bytes_);
  if (!fresh) return std::make_error_code(std::errc::no_buffer_space);
  return fresh;
}

// ---- files

namespace {

/// The block that `write_file` fills, for as long as it runs.
class file_block final : private lent {
 public:
  explicit file_block(socket& of) noexcept {
    runnel::detail::check(of.filler == nullptr,
                          "runnel: a second write_file of a tcp::stream begins while one is at "
                          "work; one writer at a time.");
    stand(of);
    of.filler = this;
  }
  file_block(const file_block&) = delete;
  file_block& operator=(const file_block&) = delete;
  ~file_block() {
    if (socket_ != nullptr) socket_->filler = nullptr;
  }

  net::packet packet;
  /// The same, once it is filled.
  net::owned_buffer filled;

 private:
  void forsake() noexcept override {
    packet = {};
    filled = {};
  }
};

/// What one read of a file gives at most.
constexpr std::size_t read_bytes = std::size_t{64} << 10;

/// Fills the first `wanted` bytes of the block, as far as the file has them.
task<std::error_code> fill(file_block& block, int fd, std::uint64_t offset, std::size_t wanted) {
  std::size_t filled = 0;
  std::error_code error;
  while (filled < wanted && !error) {
    const std::span<std::byte> room = block.packet.room().subspan(filled, wanted - filled);
    const auto got = co_await read_at(fd, room, offset + filled);
    if (!got) {
      error = got.error();
    } else if (*got == 0) {
      error = errc::file_too_short;
    } else {
      filled += *got;
    }
  }
  block.packet.resize(filled);
  block.filled = net::owned_buffer(std::move(block.packet));
  co_return error;
}

task<net::file_written> write_file(socket& to, int fd, std::uint64_t offset, std::uint64_t length) {
  net::file_written out;
  file_block block(to);
  while (out.bytes < length && !out.error) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(length - out.bytes, read_bytes));
    auto room = co_await allocate_awaiter(to, wanted);
    if (!room) {
      out.error = room.error();
      break;
    }
    block.packet = std::move(*room);
    const std::size_t fits = std::min(wanted, block.packet.room().size());
    const std::error_code unread = co_await fill(block, fd, offset + out.bytes, fits);
    const std::size_t size = block.filled.size();
    const auto sent = co_await write_owned_awaiter(to, std::span(&block.filled, 1));
    if (sent) out.bytes += *sent;
    if (!sent) {
      out.error = sent.error();
    } else if (*sent == size) {
      out.error = unread;
    }
  }
  co_return out;
}

}  // namespace

}  // namespace detail

detail::borrow_awaiter stream::borrow(std::size_t most) noexcept {
  return {checked(), most};
}

task<net::file_written> stream::write_file(const file& from, std::uint64_t offset,
                                           std::uint64_t length) {
  return detail::write_file(checked(), from.descriptor(), offset, length);
}

}  // namespace runnel::tcp
