#include "runnel/net/pcap.hpp"

#include "pcap_writer.hpp"
#include "runnel/loop.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace runnel::net {
namespace {

/// Midnight UTC of 1 January 2020.
constexpr std::uint64_t virtual_epoch_ns = 1'577'836'800'000'000'000;

std::error_code code_of(int error) noexcept {
  return {error, std::generic_category()};
}

/// What to add to a point of the monotonic clock to get the wall clock's.
std::uint64_t wall_clock_epoch_ns() noexcept {
  using std::chrono::nanoseconds;
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  const auto monotonic = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(nanoseconds(wall).count() - nanoseconds(monotonic).count());
}

}  // namespace

result<std::unique_ptr<pcap>> pcap::open(link& inner, const std::string& path,
                                         const pcap_options& options) {
  // Without O_NONBLOCK opening a FIFO would wait for its reader.
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0) return code_of(errno);
  struct stat facts {};
  const bool known = ::fstat(fd, &facts) == 0;
  if (!known || S_ISFIFO(facts.st_mode) || S_ISSOCK(facts.st_mode)) {
    ::close(fd);
    return std::make_error_code(std::errc::not_supported);
  }
  if (S_ISREG(facts.st_mode) && ::ftruncate(fd, 0) != 0) {
    const int error = errno;
    ::close(fd);
    return code_of(error);
  }
  auto to = std::make_unique<writer>(fd, options);
  to->add_head(options.comment, inner.info().name);
  return std::unique_ptr<pcap>(new pcap(inner, std::move(to), options));
}

pcap::pcap(link& inner, std::unique_ptr<writer> to, const pcap_options& options) noexcept
    : link_decorator(inner),
      writer_(std::move(to)),
      flush_interval_(options.flush_interval),
      fixed_epoch_(options.epoch_ns.has_value()),
      epoch_ns_(options.epoch_ns.value_or(virtual_epoch_ns)) {}

pcap::~pcap() = default;

void pcap::flush() noexcept {
  writer_->flush();
  flush_at_ = time_point::max();
}

const pcap_counters& pcap::captured() const noexcept {
  return writer_->counters();
}
std::error_code pcap::error() const noexcept {
  return writer_->error();
}

void pcap::attach(loop& owner, link_client& client) {
  if (!fixed_epoch_) {
    epoch_ns_ = owner.simulated() ? virtual_epoch_ns : wall_clock_epoch_ns();
  }
  link_decorator::attach(owner, client);
}

void pcap::record(time_point now, const tx_packet& what, bool inbound) noexcept {
  const auto since = static_cast<std::uint64_t>(now.time_since_epoch().count());
  const bool kept = writer_->add_packet(epoch_ns_ + since, what, inbound);
  if (kept && flush_at_ == time_point::max()) flush_at_ = now + flush_interval_;
}

void pcap::flush_if_due(time_point now) noexcept {
  if (now >= flush_at_) flush();
}

std::size_t pcap::receive(time_point now, std::span<packet> out) noexcept {
  const std::size_t count = inner().receive(now, out);
  for (const packet& one : out.first(count)) {
    const std::span<const std::byte> bytes = one.bytes();
    record(now,
           {.pieces = {&bytes, 1},
            .size = static_cast<std::uint32_t>(bytes.size()),
            .offload = one->offload},
           true);
  }
  flush_if_due(now);
  return count;
}

send_status pcap::send(time_point now, const tx_packet& what) noexcept {
  const send_status status = inner().send(now, what);
  if (status == send_status::sent) record(now, what, false);
  flush_if_due(now);
  return status;
}

time_point pcap::deadline() const noexcept {
  return std::min(flush_at_, inner().deadline());
}

}  // namespace runnel::net
