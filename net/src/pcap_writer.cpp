#include "pcap_writer.hpp"

#include "runnel/wire/bytes.hpp"
#include "runnel/wire/offload.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace runnel::net {
namespace {

/// Block types, option codes and link types of pcapng.
constexpr std::uint32_t section_header_block = 0x0a0d0d0a;
constexpr std::uint32_t interface_block = 1;
constexpr std::uint32_t enhanced_packet_block = 6;
constexpr std::uint32_t byte_order_magic = 0x1a2b3c4d;
constexpr std::uint16_t linktype_raw = 101;

constexpr std::uint16_t opt_end = 0;
constexpr std::uint16_t opt_comment = 1;
constexpr std::uint16_t shb_user_application = 4;
constexpr std::uint16_t if_name = 2;
constexpr std::uint16_t if_time_resolution = 9;
constexpr std::uint16_t epb_flags = 2;

constexpr std::uint32_t flag_inbound = 1;
constexpr std::uint32_t flag_outbound = 2;

constexpr std::size_t padded(std::size_t bytes) noexcept {
  return (bytes + 3) / 4 * 4;
}

/// What an enhanced packet block needs besides the packet: 28 bytes of head, 12 of options, the
/// length again.
constexpr std::size_t packet_overhead = 28 + 12 + 4;

/// Room for the largest packet and the head of the file.
constexpr std::size_t least_buffer = std::size_t{128} << 10;

/// The longest text that is put into the file's head.
constexpr std::size_t longest_text = 4096;

std::span<const std::byte> bytes_of(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.substr(0, longest_text)));
}

}  // namespace

pcap::writer::writer(int fd, const pcap_options& options)
    : fd_(fd), snap_bytes_(options.snap_bytes) {
  buffer_.resize(std::max(options.buffer_bytes, least_buffer));
}

pcap::writer::~writer() {
  flush();
  ::close(fd_);
}

void pcap::writer::put_bytes(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  std::memcpy(buffer_.data() + used_, bytes.data(), bytes.size());
  used_ += bytes.size();
}

void pcap::writer::pad() noexcept {
  while (used_ % 4 != 0) buffer_[used_++] = std::byte{0};
}

void pcap::writer::put_option(std::uint16_t code, std::span<const std::byte> value) noexcept {
  put(code);
  put(static_cast<std::uint16_t>(value.size()));
  put_bytes(value);
  pad();
}

void pcap::writer::begin_block(std::uint32_t type) noexcept {
  block_start_ = used_;
  put(type);
  put(std::uint32_t{0});
}

/// A block says its length at both ends.
void pcap::writer::end_block() noexcept {
  const auto length = static_cast<std::uint32_t>(used_ + 4 - block_start_);
  put(length);
  std::memcpy(buffer_.data() + block_start_ + 4, &length, sizeof length);
}

void pcap::writer::add_head(std::string_view comment, std::string_view link_name) {
  constexpr std::int64_t unknown_length = -1;
  begin_block(section_header_block);
  put(byte_order_magic);
  put(std::uint16_t{1});
  put(std::uint16_t{0});
  put(unknown_length);
  if (!comment.empty()) put_option(opt_comment, bytes_of(comment));
  put_option(shb_user_application, bytes_of("runnel " RUNNEL_VERSION));
  put_option(opt_end, {});
  end_block();

  constexpr std::byte nanoseconds{9};
  begin_block(interface_block);
  put(linktype_raw);
  put(std::uint16_t{0});
  put(snap_bytes_);
  put_option(if_name, bytes_of(link_name));
  put_option(if_time_resolution, {&nanoseconds, 1});
  put_option(opt_end, {});
  end_block();
}

bool pcap::writer::add_packet(std::uint64_t time_ns, const tx_packet& what, bool inbound) noexcept {
  const std::uint32_t kept = snap_bytes_ == 0 ? what.size : std::min(what.size, snap_bytes_);
  if (!make_room(packet_overhead + padded(kept))) {
    ++counters_.dropped;
    return false;
  }
  begin_block(enhanced_packet_block);
  put(std::uint32_t{0});
  put(static_cast<std::uint32_t>(time_ns >> 32));
  put(static_cast<std::uint32_t>(time_ns));
  put(kept);
  put(what.size);
  const std::size_t start = used_;
  std::size_t left = kept;
  for (const auto piece : what.pieces) {
    const auto part = piece.first(std::min(piece.size(), left));
    put_bytes(part);
    left -= part.size();
  }
  // A reader of the file cannot know that a checksum is still to be completed.
  const std::size_t field = std::size_t{what.offload.checksum_start} + what.offload.checksum_offset;
  if (wire::has_checksum_place(what.offload, what.size) && field + 2 <= kept) {
    wire::store16(&buffer_[start + field], wire::completed_checksum(what.pieces, what.offload));
  }
  pad();
  const std::uint32_t flags = inbound ? flag_inbound : flag_outbound;
  put_option(epb_flags, std::as_bytes(std::span(&flags, 1)));
  put_option(opt_end, {});
  end_block();
  ++counters_.packets;
  ++packets_in_buffer_;
  return true;
}

bool pcap::writer::make_room(std::size_t bytes) noexcept {
  if (error_ || bytes > buffer_.size()) return false;
  if (buffer_.size() - used_ < bytes) flush();
  return !error_;
}

void pcap::writer::flush() noexcept {
  std::size_t done = 0;
  while (done < used_) {
    const ssize_t size = ::write(fd_, buffer_.data() + done, used_ - done);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      give_up(size < 0 ? errno : ENOSPC);
      return;
    }
    done += static_cast<std::size_t>(size);
  }
  counters_.bytes += used_;
  used_ = 0;
  packets_in_buffer_ = 0;
}

void pcap::writer::give_up(int error) noexcept {
  error_ = {error, std::generic_category()};
  ++counters_.errors;
  counters_.packets -= packets_in_buffer_;
  counters_.dropped += packets_in_buffer_;
  packets_in_buffer_ = 0;
  used_ = 0;
  // A block cut in the middle would make readers complain of the whole file.
  static_cast<void>(::ftruncate(fd_, static_cast<off_t>(counters_.bytes)) == 0);
}

}  // namespace runnel::net
