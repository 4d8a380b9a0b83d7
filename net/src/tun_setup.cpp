#include "rtnetlink.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/tun.hpp"
#include "runnel/wire/ip.hpp"
#include "tun_device.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <utility>

namespace runnel::net {
namespace {

std::error_code code_of(int error) noexcept {
  return {error, std::generic_category()};
}

std::string reason(int error) {
  return code_of(error).message();
}

/// `sentence` comes without its full stop.
tun_error refuse(int error, const std::string& sentence) {
  return {code_of(error), sentence + "."};
}

/// A descriptor that is closed unless it is taken.
class descriptor {
 public:
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(other.take()) {}
  descriptor& operator=(descriptor&&) = delete;
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  void reset(int fd) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  int take() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// The kernel's own rules for device names, and at most one "%d".
bool good_name(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
  const auto bad = [](unsigned char c) { return c <= ' ' || c == '/' || c == ':' || c == 0x7f; };
  if (std::any_of(name.begin(), name.end(), bad)) return false;
  const std::size_t percent = name.find('%');
  if (percent == std::string::npos) return true;
  return name.compare(percent, 2, "%d") == 0 && name.find('%', percent + 1) == std::string::npos;
}

std::optional<tun_error> check_address(const tun_options& options, const std::string& address,
                                       bool only_v6) {
  if (address.empty()) return std::nullopt;
  const auto parsed = prefix::parse(address);
  const bool good = parsed && address.find('/') != std::string::npos && !parsed->address.is_any();
  if (!good || (only_v6 && !parsed->address.is_v6())) {
    return refuse(EINVAL, "\"" + address + "\" is no " + (only_v6 ? "IPv6 " : "") +
                              "address for the TUN device " + options.name +
                              ": give the host's own address on it and the length of its "
                              "network, as in " +
                              (only_v6 ? "fd77::1/64" : "10.77.0.1/24"));
  }
  if (parsed->address.is_v6() && options.mtu != 0 && options.mtu < wire::min_mtu_v6) {
    return refuse(EINVAL, "IPv6 needs an MTU of 1280 bytes at least, and the TUN device " +
                              options.name + " is to have " + std::to_string(options.mtu) +
                              ": raise it, or leave out the address " + address);
  }
  return std::nullopt;
}

std::optional<tun_error> check_loop(const loop& owner) {
  if (!owner.simulated()) return std::nullopt;
  return refuse(ENOTSUP,
                "A loop in virtual time cannot drive a TUN device: use a loop on the real "
                "kernel, or net::link_pair in place of the device");
}

std::optional<tun_error> check_count(std::uint32_t count, const std::string& name) {
  if (count >= 1 && count <= tun::most_queues) return std::nullopt;
  return refuse(EINVAL, "A TUN device has 1 to " + std::to_string(tun::most_queues) +
                            " queues, and " + name + " was to have " + std::to_string(count) +
                            ": ask for as many as loops will read them");
}

std::optional<tun_error> check_options(const tun_options& options) {
  if (!good_name(options.name)) {
    return refuse(EINVAL, "\"" + options.name +
                              "\" cannot name a network device: use 1 to 15 letters and digits, "
                              "with \"%d\" where the kernel shall put a number");
  }
  if (auto refused = check_address(options, options.address, false)) return refused;
  return check_address(options, options.address_v6, true);
}

tun_error node_error(const std::string& node, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return refuse(error, node +
                               " does not exist: load the kernel's module (modprobe tun), or, in a "
                               "container, pass the device in (--device " +
                               node + ")");
    case ENODEV:
    case ENXIO:
      return refuse(error,
                    node + " has no driver behind it: load the kernel's module (modprobe tun)");
    case EACCES:
    case EPERM:
      return refuse(error, "This user may not open " + node +
                               ": run as root, or let root allow it (chmod 0666 " + node +
                               ", and in a container the device's cgroup rule)");
    default:
      return refuse(error, node + " cannot be opened (" + reason(error) +
                               "): check that it is the TUN driver's node");
  }
}

tun_error queues_taken(const std::string& name, int error) {
  return refuse(error, "Queues of the TUN device " + name +
                           " are in use by another program, which would get a part of the packets: "
                           "stop that program or choose another name");
}

tun_error attach_error(const std::string& name, bool many_queues, int error) {
  const bool exists = ::if_nametoindex(name.c_str()) != 0;
  switch (error) {
    case EPERM:
    case EACCES:
      if (exists) {
        return refuse(error,
                      "The TUN device " + name +
                          " belongs to another user: run as that user or as root, or let "
                          "root make one for this user (ip tuntap add dev NAME mode tun user "
                          "USER)");
      }
      return refuse(error, "Making the TUN device " + name +
                               " needs CAP_NET_ADMIN: run as root, or let root make it once for "
                               "this user (ip tuntap add dev " +
                               name + " mode tun user USER) and name it");
    case EBUSY:
      return refuse(error, "The TUN device " + name +
                               " is in use by another program: stop that program or choose another "
                               "name");
    case EINVAL:
      if (exists) {
        return refuse(
            error,
            "The network device " + name + " exists and is not a TUN device with " +
                (many_queues ? "many queues: let root make it anew (ip tuntap add dev NAME mode "
                               "tun multi_queue), ask for one queue, or choose another name"
                             : "one queue: open its queues (tun::open_queues), or choose "
                               "another name"));
      }
      break;
    case E2BIG:
      return queues_taken(name, error);
    case ENOTTY:
    case EBADFD:
      return refuse(error, "The node opened for the TUN device " + name +
                               " is not the TUN driver's: use /dev/net/tun");
    default:
      break;
  }
  return refuse(error, "The TUN device " + name + " cannot be opened (" + reason(error) + ")");
}

tun_error change_error(const std::string& what, const std::string& name, const std::string& by_hand,
                       int error) {
  if (error == EPERM || error == EACCES) {
    return refuse(error, "Changing " + what + " of the TUN device " + name +
                             " needs CAP_NET_ADMIN: run as root, or let root do it once (" +
                             by_hand + ")");
  }
  return refuse(error, "Setting " + what + " of the TUN device " + name + " failed (" +
                           reason(error) + "): try \"" + by_hand + "\" to see why");
}

/// Whether the kernel has been told to do without IPv6 on the device.
bool v6_switched_off(const std::string& name) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
  const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char digit = '0';
  return file.get() >= 0 && ::read(file.get(), &digit, 1) == 1 && digit != '0';
}

std::optional<tun_error> add_address(const detail::rtnetlink& netlink, int index,
                                     const std::string& name, const std::string& address) {
  if (address.empty()) return std::nullopt;
  const prefix wanted = *prefix::parse(address);
  const auto present = netlink.addresses(index);
  if (present && std::find(present->begin(), present->end(), wanted) != present->end()) {
    return std::nullopt;
  }
  const auto done = netlink.add_address(index, wanted);
  if (done) return std::nullopt;
  const int error = done.error().value();
  if (wanted.address.is_v6() && v6_switched_off(name)) {
    return refuse(error, "The TUN device " + name + " cannot have the address " + address +
                             ", because IPv6 is switched off for it: let root switch it on "
                             "(sysctl -w net.ipv6.conf." +
                             name + ".disable_ipv6=0), or leave the address out");
  }
  return change_error("the address " + address, name, "ip address add " + address + " dev " + name,
                      error);
}

/// The kernel puts an IPv6 address into use from a thread of its own; until then what is sent to it
/// is lost.
void await_v6_addresses(const detail::rtnetlink& netlink, const tun_options& options) {
  if (!options.up) return;
  for (const std::string& each : {options.address, options.address_v6}) {
    const auto wanted = prefix::parse(each);
    if (!wanted || !wanted->address.is_v6()) continue;
    constexpr timespec moment{0, 1'000'000};
    for (int i = 0; i < 1000 && !netlink.is_local(wanted->address); ++i) {
      ::nanosleep(&moment, nullptr);
    }
  }
}

/// Sets what is not yet as wanted, one thing at a time so that a refusal has a name.
std::optional<tun_error> configure(const detail::rtnetlink& netlink, int index,
                                   const std::string& name, const tun_options& options) {
  const auto state = netlink.query(index);
  if (!state) return change_error("the state", name, "ip link show " + name, state.error().value());
  if (options.mtu != 0 && state->mtu != options.mtu) {
    const auto done = netlink.change(index, {.mtu = options.mtu});
    const std::string number = std::to_string(options.mtu);
    if (!done) {
      return change_error("the MTU " + number, name, "ip link set " + name + " mtu " + number,
                          done.error().value());
    }
  }
  if (options.queue_length != 0 && state->queue_length != options.queue_length) {
    const auto done = netlink.change(index, {.queue_length = options.queue_length});
    const std::string number = std::to_string(options.queue_length);
    if (!done) {
      return change_error("the queue length " + number, name,
                          "ip link set " + name + " txqueuelen " + number, done.error().value());
    }
  }
  for (const std::string& address : {options.address, options.address_v6}) {
    if (auto refused = add_address(netlink, index, name, address)) return refused;
  }
  if (options.up && !state->up) {
    const auto done = netlink.change(index, {.up = true});
    if (!done) {
      return change_error("the state \"up\"", name, "ip link set " + name + " up",
                          done.error().value());
    }
  }
  await_v6_addresses(netlink, options);
  return std::nullopt;
}

/// Received super-segments need a pool that has large blocks beside small ones.
constexpr std::size_t least_offload_pool = std::size_t{1} << 20;

/// A device stays taken for a moment after its program was killed: the kernel takes a ring down,
/// and with it what the ring waits for, when it finds the time.
bool attach(int fd, ifreq& request) noexcept {
  constexpr timespec moment{0, 5'000'000};
  for (int tries = 0; tries < 200; ++tries) {
    if (::ioctl(fd, TUNSETIFF, &request) == 0) return true;
    if (errno != EBUSY) return false;
    ::nanosleep(&moment, nullptr);
  }
  errno = EBUSY;
  return false;
}

/// Opens the node and one queue of the device, with virtio-net headers where they are wanted and to
/// be had.
std::optional<tun_error> open_device(const tun_options& options, bool many_queues, descriptor& fd,
                                     std::string& name, detail::offload_grant& grant) {
  bool vnet = options.offload != tun_offload::off && options.pool_bytes >= least_offload_pool;
  for (;;) {
    fd.reset(::open(options.node.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (fd.get() < 0) return node_error(options.node, errno);
    vnet = vnet && detail::knows_vnet_header(fd.get());
    ifreq request{};
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (vnet) request.ifr_flags |= IFF_VNET_HDR;
    if (many_queues) request.ifr_flags |= IFF_MULTI_QUEUE;
    std::memcpy(request.ifr_name, options.name.data(), options.name.size());
    if (!attach(fd.get(), request)) return attach_error(options.name, many_queues, errno);
    name = request.ifr_name;
    if (!vnet) break;
    grant = detail::negotiate_offload(fd.get(), options.offload);
    if (grant.vnet_header) break;
    vnet = false;
  }
  // Who had the device before may have left it with super-segments that nobody could read.
  if (!vnet) detail::refuse_offload(fd.get(), grant);
  if (detail::satisfies(grant, options.offload)) return std::nullopt;
  const int error = grant.refusal != 0 ? grant.refusal : ENOTSUP;
  return refuse(error, "The TUN device " + name + " cannot have the offload that was asked for (" +
                           reason(error) + "): ask for tun_offload::automatic, and give the pool " +
                           std::to_string(least_offload_pool) + " bytes at least");
}

/// One queue of a device, opened and not yet set up.
struct queue {
  descriptor fd{-1};
  std::string name;
  detail::offload_grant grant;
};

std::optional<tun_error> open_all(std::uint32_t count, const tun_options& options,
                                  std::vector<queue>& out) {
  tun_options wanted = options;
  while (out.size() < count) {
    queue next;
    auto refused = open_device(wanted, count > 1, next.fd, next.name, next.grant);
    if (refused) return refused;
    // The name that the kernel has made of "%d" is that of the others too.
    wanted.name = next.name;
    const bool differs = !out.empty() && next.grant.vnet_header != out.front().grant.vnet_header;
    out.push_back(std::move(next));
    if (differs) {
      return refuse(ENOTSUP, "The queues of the TUN device " + wanted.name +
                                 " cannot have the same offloads: ask for tun_offload::off");
    }
  }
  return std::nullopt;
}

/// Whether more queues are open than ours. Those of a program that was killed stay for a moment,
/// and nobody reads them.
bool others_have_queues(const detail::rtnetlink& netlink, int index, std::uint32_t count) {
  constexpr timespec moment{0, 5'000'000};
  for (int tries = 0; tries < 200; ++tries) {
    const auto state = netlink.query(index);
    if (!state || state->open_queues <= count) return false;
    ::nanosleep(&moment, nullptr);
  }
  return true;
}

}  // namespace

void throw_exception_from_error(const tun_error& error, const boost::source_location&) {
  throw startup_error(error.code(), error.message());
}

boost::system::result<tun, tun_error> tun::open(loop& owner, const tun_options& options) {
  if (auto refused = check_loop(owner)) return *std::move(refused);
  auto opened = open_queues(1, options);
  if (!opened) return opened.error();
  return std::move(opened->front());
}

boost::system::result<std::vector<tun>, tun_error> tun::open_queues(std::uint32_t count,
                                                                    const tun_options& options) {
  if (auto refused = check_count(count, options.name)) return *std::move(refused);
  if (auto refused = check_options(options)) return *std::move(refused);

  std::vector<queue> queues;
  if (auto refused = open_all(count, options, queues)) return *std::move(refused);
  const std::string& name = queues.front().name;
  const auto index = static_cast<int>(::if_nametoindex(name.c_str()));
  std::vector<tun> out;
  for (queue& each : queues) {
    auto netlink = detail::rtnetlink::open();
    if (index == 0 || !netlink) {
      const int error = index == 0 ? ENODEV : netlink.error().value();
      return refuse(error, "The TUN device " + name + " cannot be set up (" + reason(error) + ")");
    }
    if (out.empty()) {
      if (count > 1 && others_have_queues(*netlink, index, count)) return queues_taken(name, EBUSY);
      if (auto refused = configure(*netlink, index, name, options)) return *std::move(refused);
    }
    const auto state = netlink->query(index);
    link_info info;
    info.name = name;
    if (state) info.mtu = state->mtu;
    detail::describe(each.grant, info);
    out.push_back(tun{std::make_unique<device>(each.fd.take(), index, std::move(info), each.grant,
                                               options.pool_bytes, std::move(*netlink))});
  }
  return out;
}

}  // namespace runnel::net
