#include "rtnetlink.hpp"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace runnel::net::detail {
namespace {

std::error_code code_of(int error) noexcept {
  return {error, std::generic_category()};
}

/// A request under construction.
template <class Head>
class request {
 public:
  request(std::uint16_t type, std::uint16_t flags) noexcept {
    header_.nlmsg_type = type;
    header_.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    size_ = NLMSG_SPACE(sizeof(Head));
  }
  Head& head() noexcept { return head_; }

  template <class Value>
  void add(std::uint16_t type, const Value& value) noexcept {
    add_bytes(type, std::as_bytes(std::span(&value, 1)));
  }
  void add_bytes(std::uint16_t type, std::span<const std::byte> value) noexcept {
    rtattr attribute;
    attribute.rta_type = type;
    attribute.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(value.size()));
    std::memcpy(bytes_.data() + size_, &attribute, sizeof attribute);
    std::memcpy(bytes_.data() + size_ + RTA_LENGTH(0), value.data(), value.size());
    size_ += RTA_SPACE(value.size());
  }
  std::span<const std::byte> finish() noexcept {
    header_.nlmsg_len = static_cast<std::uint32_t>(size_);
    std::memcpy(bytes_.data(), &header_, sizeof header_);
    std::memcpy(bytes_.data() + NLMSG_HDRLEN, &head_, sizeof head_);
    return std::span(bytes_).first(size_);
  }

 private:
  nlmsghdr header_{};
  Head head_{};
  std::array<std::byte, 256> bytes_{};
  std::size_t size_;
};

/// Calls `on_attribute(type, payload)` for each attribute.
template <class OnAttribute>
void for_each_nested(std::span<const std::byte> body, OnAttribute on_attribute) {
  rtattr attribute;
  while (body.size() >= sizeof attribute) {
    std::memcpy(&attribute, body.data(), sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > body.size()) return;
    on_attribute(attribute.rta_type, body.subspan(RTA_LENGTH(0), RTA_PAYLOAD(&attribute)));
    body = body.subspan(std::min<std::size_t>(body.size(), RTA_ALIGN(attribute.rta_len)));
  }
}

/// The same for what follows the family's own head.
template <class Head, class OnAttribute>
void for_each_attribute(std::span<const std::byte> body, OnAttribute on_attribute) {
  for_each_nested(body.subspan(std::min(body.size(), NLMSG_ALIGN(sizeof(Head)))), on_attribute);
}

template <class Value>
Value read_as(std::span<const std::byte> bytes) noexcept {
  Value value{};
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

/// What IFLA_LINKINFO says of a TUN device's queues.
std::uint32_t queues_of(std::span<const std::byte> link_info) {
  std::uint32_t queues = 0;
  for_each_nested(link_info, [&](auto kind, auto value) {
    if (kind != IFLA_INFO_DATA) return;
    for_each_nested(value, [&](auto inner_kind, auto inner) {
      if (inner_kind == IFLA_TUN_NUM_QUEUES) queues = read_as<std::uint32_t>(inner);
    });
  });
  return queues;
}

std::span<const std::byte> bytes_of(const address& what) noexcept {
  return std::as_bytes(what.bytes());
}

address address_of(unsigned char family, std::span<const std::byte> bytes) noexcept {
  if (family == AF_INET && bytes.size() == 4) {
    const auto raw = read_as<std::array<std::uint8_t, 4>>(bytes);
    return address::v4(raw[0], raw[1], raw[2], raw[3]);
  }
  if (family == AF_INET6 && bytes.size() == 16) {
    return address::v6(read_as<std::array<std::uint8_t, 16>>(bytes));
  }
  return {};
}

}  // namespace

result<rtnetlink> rtnetlink::open() {
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return code_of(errno);
  return rtnetlink{fd};
}

rtnetlink::rtnetlink(rtnetlink&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

rtnetlink& rtnetlink::operator=(rtnetlink&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

rtnetlink::~rtnetlink() {
  if (fd_ >= 0) ::close(fd_);
}

template <class OnMessage>
result<void> rtnetlink::exchange(std::span<const std::byte> request, OnMessage on_message) const {
  if (::send(fd_, request.data(), request.size(), 0) < 0) return code_of(errno);
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;
  for (;;) {
    const ssize_t received = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return code_of(errno);
    auto rest = std::span<const std::byte>(buffer).first(static_cast<std::size_t>(received));
    while (rest.size() >= sizeof(nlmsghdr)) {
      const auto header = read_as<nlmsghdr>(rest);
      if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > rest.size()) break;
      const auto body = rest.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
      if (header.nlmsg_type == NLMSG_DONE) return {};
      if (header.nlmsg_type == NLMSG_ERROR) {
        const int error = -read_as<nlmsgerr>(body).error;
        if (error != 0) return code_of(error);
        return {};
      }
      on_message(header.nlmsg_type, body);
      rest = rest.subspan(std::min<std::size_t>(rest.size(), NLMSG_ALIGN(header.nlmsg_len)));
    }
  }
}

result<device_state> rtnetlink::query(int index) const {
  request<ifinfomsg> ask(RTM_GETLINK, NLM_F_ACK);
  ask.head().ifi_index = index;
  device_state state;
  const auto done = exchange(ask.finish(), [&](auto type, auto body) {
    if (type != RTM_NEWLINK) return;
    state.up = (read_as<ifinfomsg>(body).ifi_flags & IFF_UP) != 0;
    for_each_attribute<ifinfomsg>(body, [&](auto kind, auto value) {
      if (kind == IFLA_MTU) state.mtu = read_as<std::uint32_t>(value);
      if (kind == IFLA_LINKINFO) state.open_queues = queues_of(value);
      if (kind == IFLA_TXQLEN) state.queue_length = read_as<std::uint32_t>(value);
      if (kind != IFLA_STATS64) return;
      const auto counts = read_as<rtnl_link_stats64>(value);
      state.tx_dropped = counts.tx_dropped;
      state.rx_dropped = counts.rx_dropped;
    });
  });
  if (!done) return done.error();
  return state;
}

result<std::vector<prefix>> rtnetlink::addresses(int index) const {
  request<ifaddrmsg> ask(RTM_GETADDR, NLM_F_DUMP);
  std::vector<prefix> found;
  const auto done = exchange(ask.finish(), [&](auto type, auto body) {
    const auto head = read_as<ifaddrmsg>(body);
    if (type != RTM_NEWADDR || head.ifa_index != static_cast<unsigned>(index)) return;
    prefix one;
    one.length = head.ifa_prefixlen;
    for_each_attribute<ifaddrmsg>(body, [&](auto kind, auto value) {
      // IFA_LOCAL is the device's own address and, where there is one, comes with IFA_ADDRESS,
      // which then is the far end of a point-to-point link.
      const bool better = kind == IFA_LOCAL || (kind == IFA_ADDRESS && one.address == address{});
      if (better) one.address = address_of(head.ifa_family, value);
    });
    found.push_back(one);
  });
  if (!done) return done.error();
  return found;
}

result<void> rtnetlink::change(int index, const device_change& what) const {
  request<ifinfomsg> ask(RTM_NEWLINK, NLM_F_ACK);
  ask.head().ifi_index = index;
  if (what.up) {
    ask.head().ifi_change = IFF_UP;
    ask.head().ifi_flags = *what.up ? IFF_UP : 0;
  }
  if (what.mtu) ask.add(IFLA_MTU, *what.mtu);
  if (what.queue_length) ask.add(IFLA_TXQLEN, *what.queue_length);
  return exchange(ask.finish(), [](auto, auto) {});
}

result<void> rtnetlink::add_address(int index, const prefix& what) const {
  request<ifaddrmsg> ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  ask.head().ifa_family = what.address.is_v4() ? AF_INET : AF_INET6;
  ask.head().ifa_prefixlen = what.length;
  ask.head().ifa_index = static_cast<unsigned>(index);
  // Nobody else is on the link who could have it.
  if (what.address.is_v6()) ask.head().ifa_flags = IFA_F_NODAD;
  ask.add_bytes(IFA_LOCAL, bytes_of(what.address));
  ask.add_bytes(IFA_ADDRESS, bytes_of(what.address));
  return exchange(ask.finish(), [](auto, auto) {});
}

bool rtnetlink::is_local(const address& what) const {
  request<rtmsg> ask(RTM_GETROUTE, NLM_F_ACK);
  ask.head().rtm_family = what.is_v4() ? AF_INET : AF_INET6;
  ask.head().rtm_dst_len = static_cast<unsigned char>(what.bytes().size() * 8);
  ask.add_bytes(RTA_DST, bytes_of(what));
  bool local = false;
  static_cast<void>(exchange(ask.finish(), [&](auto type, auto body) {
    if (type == RTM_NEWROUTE) local = read_as<rtmsg>(body).rtm_type == RTN_LOCAL;
  }));
  return local;
}

}  // namespace runnel::net::detail
