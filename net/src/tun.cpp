#include "runnel/net/tun.hpp"

#include "runnel/detail/check.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/detail/packet_queue.hpp"
#include "tun_device.hpp"

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace runnel::net {
namespace {

/// More pieces than this are gathered first; an engine's packet has two or three.
constexpr std::size_t max_pieces = 16;

/// One write(2) or writev(2); the result as the kernel gives it.
ssize_t write_pieces(int fd, std::span<const std::span<const std::byte>> pieces) noexcept {
  if (pieces.size() == 1) return ::write(fd, pieces.front().data(), pieces.front().size());
  std::array<iovec, max_pieces> vectors;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    vectors[i].iov_base = const_cast<std::byte*>(pieces[i].data());
    vectors[i].iov_len = pieces[i].size();
  }
  return ::writev(fd, vectors.data(), static_cast<int>(pieces.size()));
}

/// Whether the error means that there is no such device any more.
constexpr bool means_gone(int error) noexcept {
  return error == EBADFD || error == EBADF || error == ENODEV || error == ENXIO;
}

}  // namespace

tun::device::device(int descriptor, int number, link_info what, std::size_t pool_bytes,
                    detail::rtnetlink kernel) noexcept
    : fd(descriptor),
      index(number),
      info(std::move(what)),
      pool(pool_bytes),
      netlink(std::move(kernel)),
      room_needed_(std::size_t{info.mtu} + 1) {}

tun::device::~device() {
  detach();
  ::close(fd);
}

void tun::device::attach(loop& owner, link_client& user) {
  runnel::detail::check(client_ == nullptr,
                        "runnel: a tun was attached twice; a device serves one stack.");
  client_ = &user;
  incoming_.emplace(owner, fd, *this);
  outgoing_.emplace(owner, fd, *this);
  user.on_link_ready();
  if (gone_) user.on_link_error(std::make_error_code(std::errc::no_such_device));
}

void tun::device::detach() noexcept {
  incoming_.reset();
  outgoing_.reset();
  client_ = nullptr;
}

void tun::device::on_ready() noexcept {
  client_->on_link_ready();
}

void tun::device::fail() noexcept {
  if (std::exchange(gone_, true)) return;
  if (incoming_) incoming_->disarm();
  if (outgoing_) outgoing_->disarm();
  if (client_ != nullptr) {
    client_->on_link_error(std::make_error_code(std::errc::no_such_device));
  }
}

std::size_t tun::device::receive(std::span<packet> out) noexcept {
  std::size_t count = 0;
  for (std::size_t reads = 0; reads < out.size() && !gone_; ++reads) {
    const read_outcome outcome = read_one();
    if (outcome == read_outcome::nothing) break;
    if (outcome == read_outcome::packet) out[count++] = std::move(next_);
  }
  if (count < out.size() && !gone_ && incoming_) incoming_->arm(POLLIN);
  return count;
}

tun::device::read_outcome tun::device::read_one() noexcept {
  if (!next_) next_ = pool.allocate(room_needed_);
  // Without memory the packet is read and thrown away, as a network card would: left in the device
  // it would keep the poll ready and the loop spinning. A TUN device discards what does not fit.
  std::array<std::byte, 64> nowhere;
  const std::span<std::byte> room = next_ ? next_.room() : nowhere;
  ssize_t size = 0;
  do {
    size = ::read(fd, room.data(), room.size());
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (means_gone(errno)) fail();
    return read_outcome::nothing;
  }
  if (!next_) {
    ++counters.rx_dropped;
    return read_outcome::dropped;
  }
  if (static_cast<std::size_t>(size) == room.size()) {
    on_truncated();
    return read_outcome::dropped;
  }
  next_.resize(static_cast<std::size_t>(size));
  ++counters.rx_packets;
  counters.rx_bytes += static_cast<std::uint64_t>(size);
  return read_outcome::packet;
}

/// The packet did not fit: somebody has raised the device's MTU.
void tun::device::on_truncated() noexcept {
  ++counters.rx_dropped;
  const auto state = netlink.query(index);
  if (!state || state->mtu < room_needed_) return;
  room_needed_ = std::size_t{state->mtu} + 1;
  next_ = {};
}

send_status tun::device::send(const tx_packet& what) noexcept {
  if (gone_) return send_status::gone;
  if (outgoing_ && outgoing_->armed()) return wait_for_room();

  std::span<const std::span<const std::byte>> pieces = what.pieces;
  packet whole;
  std::span<const std::byte> whole_bytes;
  if (pieces.size() > max_pieces) {
    whole = detail::gather(pool, what);
    if (!whole) return on_send_error(ENOBUFS);
    whole_bytes = whole.bytes();
    pieces = {&whole_bytes, 1};
  }
  ssize_t size = 0;
  do {
    size = write_pieces(fd, pieces);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return on_send_error(errno);
  ++counters.tx_packets;
  counters.tx_bytes += what.size;
  return send_status::sent;
}

send_status tun::device::on_send_error(int error) noexcept {
  if (means_gone(error)) {
    fail();
    return send_status::gone;
  }
  // EIO: the device is down. The kernel says POLLOUT when it is up again, as when there is room.
  if (error == EAGAIN || error == EIO) return wait_for_room();
  ++counters.tx_dropped;
  return send_status::dropped;
}

send_status tun::device::wait_for_room() noexcept {
  ++counters.tx_blocked;
  if (outgoing_) outgoing_->arm(POLLOUT);
  return send_status::would_block;
}

tun::tun(std::unique_ptr<device> opened) noexcept : device_(std::move(opened)) {}
tun::tun(tun&&) noexcept = default;
tun& tun::operator=(tun&&) noexcept = default;
tun::~tun() = default;

const link_info& tun::info() const noexcept {
  return device_->info;
}
std::size_t tun::receive(time_point, std::span<packet> out) noexcept {
  return device_->receive(out);
}
send_status tun::send(time_point, const tx_packet& packet) noexcept {
  return device_->send(packet);
}
void tun::attach(loop& owner, link_client& client) {
  device_->attach(owner, client);
}
void tun::detach() noexcept {
  device_->detach();
}
packet_pool& tun::pool() noexcept {
  return device_->pool;
}
link_counters tun::counters() const noexcept {
  return device_->counters;
}

result<tun_drops> tun::drops() const {
  const auto state = device_->netlink.query(device_->index);
  if (!state) return state.error();
  return tun_drops{state->tx_dropped, state->rx_dropped};
}

}  // namespace runnel::net
