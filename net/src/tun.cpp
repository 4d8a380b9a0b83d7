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
#include <cstring>

namespace runnel::net {
namespace {

/// More pieces than this are gathered first; a super-segment of an engine has up to 25.
constexpr std::size_t max_pieces = 32;

/// As much of it as a super-segment's virtio-net header is made from.
constexpr std::size_t tcp_header_bytes = 20;

/// Where a read with a virtio-net header begins in its block, so that the IP header behind it is
/// aligned.
constexpr std::size_t wide_offset = 6;
constexpr std::size_t wide_begin = wide_offset + wire::vnet_header_bytes;

/// Whether the error means that there is no such device any more.
constexpr bool means_gone(int error) noexcept {
  return error == EBADFD || error == EBADF || error == ENODEV || error == ENXIO;
}

}  // namespace

tun::device::device(int descriptor, int number, link_info what,
                    const detail::offload_grant& granted, std::size_t pool_bytes,
                    detail::rtnetlink kernel) noexcept
    : fd(descriptor),
      index(number),
      info(std::move(what)),
      grant(granted),
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
  runnel::detail::check(!owner.simulated(),
                        "runnel: a tun was attached to a loop in virtual time, which cannot drive "
                        "it; use a loop on the real kernel.");
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
    const read_outcome outcome = grant.vnet_header ? read_wide() : read_one();
    if (outcome == read_outcome::nothing) break;
    if (outcome == read_outcome::packet) out[count++] = std::move(next_);
  }
  if (count < out.size() && !gone_ && incoming_) incoming_->arm(POLLIN);
  return count;
}

ssize_t tun::device::read_into(std::span<std::byte> room) noexcept {
  ssize_t size = 0;
  do {
    size = ::read(fd, room.data(), room.size());
  } while (size < 0 && errno == EINTR);
  if (size < 0 && means_gone(errno)) fail();
  return size;
}

tun::device::read_outcome tun::device::read_one() noexcept {
  if (!next_) next_ = pool.allocate(room_needed_);
  // Without memory the packet is read and thrown away, as a network card would: left in the device
  // it would keep the poll ready and the loop spinning. A TUN device discards what does not fit.
  std::array<std::byte, 64> nowhere;
  const std::span<std::byte> room = next_ ? next_.room() : nowhere;
  const ssize_t size = read_into(room);
  if (size < 0) return read_outcome::nothing;
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

tun::device::read_outcome tun::device::read_wide() noexcept {
  if (!wide_) wide_ = pool.allocate(packet_pool::block_bytes.back());
  std::array<std::byte, 64> nowhere;
  const std::span<std::byte> room = wide_ ? wide_.room().subspan(wide_offset) : nowhere;
  const ssize_t size = read_into(room);
  if (size < 0) return read_outcome::nothing;
  const auto bytes = static_cast<std::size_t>(size);
  if (!wide_ || bytes == room.size() || bytes < wire::vnet_header_bytes) {
    ++counters.rx_dropped;
    return read_outcome::dropped;
  }
  const auto content = room.first(bytes).subspan(wire::vnet_header_bytes);
  const auto facts = wire::parse_vnet(room.first(wire::vnet_header_bytes), content);
  if (!facts) {
    ++counters.rx_bad_offload;
    return read_outcome::dropped;
  }
  if (!take_wide(content, *facts)) {
    ++counters.rx_dropped;
    return read_outcome::dropped;
  }
  ++counters.rx_packets;
  counters.rx_bytes += content.size();
  return read_outcome::packet;
}

/// Makes a packet of what lies in the wide block: that block itself where the bytes fill a good
/// part of it and there is another one for the next read, a copy otherwise.
bool tun::device::take_wide(std::span<const std::byte> content,
                            const packet_offload& facts) noexcept {
  packet fresh;
  if (content.size() * 4 >= wide_->truesize()) fresh = pool.allocate(wide_->capacity);
  if (fresh) {
    next_ = std::exchange(wide_, std::move(fresh));
    next_->begin = wide_begin;
    next_->end = static_cast<std::uint32_t>(wide_begin + content.size());
  } else {
    next_ = pool.copy_of(content);
  }
  if (next_) next_->offload = facts;
  return static_cast<bool>(next_);
}

/// The packet did not fit: somebody has raised the device's MTU.
void tun::device::on_truncated() noexcept {
  ++counters.rx_dropped;
  const auto state = netlink.query(index);
  if (!state || state->mtu < room_needed_) return;
  room_needed_ = std::size_t{state->mtu} + 1;
  next_ = {};
}

/// One write(2) or writev(2) with the packet's pieces; the result as the kernel gives it.
ssize_t tun::device::write(const tx_packet& what) noexcept {
  // The virtio-net header is made from the packet's own, which must lie in one piece for that.
  const std::size_t own = std::size_t{what.offload.checksum_start} + tcp_header_bytes;
  const bool scattered = what.offload.gso_size != 0 && what.pieces.front().size() < own;
  if (what.pieces.size() <= max_pieces && !scattered) return write_pieces(what);
  const packet whole = detail::gather(pool, what);
  if (!whole) {
    errno = ENOBUFS;
    return -1;
  }
  const std::span<const std::byte> bytes = whole.bytes();
  return write_pieces({.pieces = {&bytes, 1}, .size = what.size, .offload = what.offload});
}

/// The packet as it is to be written. False when no virtio-net header can say what it is.
bool tun::device::copy(const tx_packet& what, std::span<std::byte> out) noexcept {
  const std::size_t head = out.size() - what.size;
  std::size_t used = head;
  for (const auto piece : what.pieces) {
    if (!piece.empty()) std::memcpy(out.data() + used, piece.data(), piece.size());
    used += piece.size();
  }
  return head == 0 || wire::emit_vnet(out, what.offload, out.subspan(head));
}

ssize_t tun::device::write_piece(std::span<const std::byte> bytes) noexcept {
  ssize_t size = 0;
  do {
    size = ::write(fd, bytes.data(), bytes.size());
  } while (size < 0 && errno == EINTR);
  return size;
}

ssize_t tun::device::write_pieces(const tx_packet& what) noexcept {
  std::array<iovec, max_pieces + 1> vectors;
  std::array<std::byte, wire::vnet_header_bytes> header;
  std::size_t count = 0;
  if (grant.vnet_header) {
    if (!wire::emit_vnet(header, what.offload, what.pieces.front())) {
      errno = EINVAL;
      return -1;
    }
    vectors[count++] = {header.data(), header.size()};
  }
  for (const auto piece : what.pieces) {
    vectors[count++] = {const_cast<std::byte*>(piece.data()), piece.size()};
  }
  ssize_t size = 0;
  do {
    size = ::writev(fd, vectors.data(), static_cast<int>(count));
  } while (size < 0 && errno == EINTR);
  return size;
}

send_status tun::device::send(const tx_packet& what) noexcept {
  if (gone_) return send_status::gone;
  if (outgoing_ && outgoing_->armed()) return wait_for_room();
  if (!flush()) return send_status::would_block;
  // What came before may have found the device gone.
  if (gone_) return send_status::gone;
  if (what.size > copied_bytes) return on_written(write(what), what.size);
  std::array<std::byte, wire::vnet_header_bytes + copied_bytes> whole;
  const auto bytes = std::span(whole).first(head_bytes() + what.size);
  if (!copy(what, bytes)) return on_refused();
  return on_written(write_piece(bytes), what.size);
}

send_status tun::device::enqueue(const tx_packet& what) noexcept {
  if (what.size > copied_bytes) return send(what);
  if (gone_) return send_status::gone;
  if (outgoing_ && outgoing_->armed()) return wait_for_room();
  const std::size_t size = head_bytes() + what.size;
  if (!batch_.has_room(size)) {
    if (!flush()) return send_status::would_block;
    if (gone_) return send_status::gone;
  }
  if (!copy(what, batch_.room(size))) return on_refused();
  batch_.push(size);
  return send_status::sent;
}

bool tun::device::flush() noexcept {
  if (outgoing_ && outgoing_->armed()) return batch_.empty();
  while (!batch_.empty() && !gone_) {
    const std::span<const std::byte> bytes = batch_.front();
    const send_status status = on_written(write_piece(bytes), bytes.size() - head_bytes());
    if (status == send_status::would_block) return false;
    batch_.pop_front();
  }
  return true;
}

send_status tun::device::on_refused() noexcept {
  ++counters.tx_dropped;
  return send_status::dropped;
}

/// What came of a write of a packet of that length.
send_status tun::device::on_written(ssize_t size, std::size_t packet_bytes) noexcept {
  if (size >= 0) {
    ++counters.tx_packets;
    counters.tx_bytes += packet_bytes;
    return send_status::sent;
  }
  const int error = errno;
  if (means_gone(error)) {
    fail();
    return send_status::gone;
  }
  // EIO: the device is down. The kernel says POLLOUT when it is up again, as when there is room.
  if (error == EAGAIN || error == EIO) return wait_for_room();
  return on_refused();
}

send_status tun::device::wait_for_room() noexcept {
  ++counters.tx_blocked;
  if (outgoing_) outgoing_->arm(POLLOUT);
  return send_status::would_block;
}

void tun::device::disable_offload() noexcept {
  detail::refuse_offload(fd, grant);
  detail::describe(grant, info);
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
send_status tun::enqueue(time_point, const tx_packet& packet) noexcept {
  return device_->enqueue(packet);
}
bool tun::send_queued(time_point) noexcept {
  return device_->flush();
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

void tun::disable_offload() noexcept {
  device_->disable_offload();
}

std::string tun::description() const {
  return device_->info.name + ", MTU " + std::to_string(device_->info.mtu) + ": " +
         detail::to_string(device_->grant);
}

result<tun_drops> tun::drops() const {
  const auto state = device_->netlink.query(device_->index);
  if (!state) return state.error();
  return tun_drops{state->tx_dropped, state->rx_dropped};
}

}  // namespace runnel::net
