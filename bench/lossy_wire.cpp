// One transfer from the kernel's TCP to the kernel's TCP over the lossy path of tests/sim, in real
// time. Each end has a network namespace of its own, without a name, and a TUN device in it without
// offloads, so that every packet is one segment; all of them go when the process ends, however it
// ends. Between the devices lies impaired_path with the seeds and options of a transfer of
// test_throughput.cpp. Prints one line of key=value; kernel_loss.py makes a table of many.
//
//   lossy_wire RTT_MS LOSS_PERCENT BYTES SEED [SECONDS_AT_MOST]

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "sim/path.hpp"

using namespace runnel;
using tcp::sim::impaired_path;
using tcp::sim::path_options;

namespace {

constexpr std::uint16_t port = 80;
constexpr const char* algorithm = "cubic";
constexpr std::size_t block_bytes = 64 << 10;

time_point now() {
  return std::chrono::steady_clock::now();
}
double seconds_of(duration span) {
  return std::chrono::duration<double>(span).count();
}

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

class descriptor {
 public:
  explicit descriptor(int number = -1) : number_(number) {}
  descriptor(descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  operator int() const { return number_; }

 private:
  int number_;
};

/// One end: everything here belongs to its namespace and keeps it alive.
struct host_end {
  descriptor device;
  descriptor socket;
  descriptor counters;
  descriptor devices;
};

sockaddr_in address(std::uint8_t last_byte) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(0x0a000000U | last_byte);
  return out;
}
template <class Address>
sockaddr* generic(Address& of) {
  return reinterpret_cast<sockaddr*>(&of);
}

/// Gives the device its address and brings it up, with room for whatever a window sends at once.
void configure(int control, ifreq request, std::uint8_t last_byte) {
  request.ifr_qlen = 20'000;
  checked(::ioctl(control, SIOCSIFTXQLEN, &request), "SIOCSIFTXQLEN");
  const sockaddr_in own = address(last_byte);
  std::memcpy(&request.ifr_addr, &own, sizeof own);
  checked(::ioctl(control, SIOCSIFADDR, &request), "SIOCSIFADDR");
  sockaddr_in mask = own;
  mask.sin_addr.s_addr = htonl(0xffffff00U);
  std::memcpy(&request.ifr_netmask, &mask, sizeof mask);
  checked(::ioctl(control, SIOCSIFNETMASK, &request), "SIOCSIFNETMASK");
  checked(::ioctl(control, SIOCGIFFLAGS, &request), "SIOCGIFFLAGS");
  request.ifr_flags |= IFF_UP;
  checked(::ioctl(control, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS");
}

host_end make_end(std::uint8_t last_byte) {
  checked(::unshare(CLONE_NEWNET), "unshare");
  // Neighbours and routers are looked for with packets that nobody wants on the path.
  const descriptor ipv6(::open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY));
  if (ipv6 >= 0 && ::write(ipv6, "1", 1) != 1) std::fprintf(stderr, "IPv6 stays on\n");
  host_end out;
  out.device = descriptor(checked(::open("/dev/net/tun", O_RDWR | O_NONBLOCK), "/dev/net/tun"));
  ifreq request{};
  std::strcpy(request.ifr_name, "wire");
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  checked(::ioctl(out.device, TUNSETIFF, &request), "TUNSETIFF");
  out.socket = descriptor(checked(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  configure(out.socket, request, last_byte);
  checked(::setsockopt(out.socket, IPPROTO_TCP, TCP_CONGESTION, algorithm,
                       static_cast<socklen_t>(std::strlen(algorithm))),
          "TCP_CONGESTION");
  // The process's namespace when they are opened is the one that they tell of.
  out.counters = descriptor(checked(::open("/proc/self/net/netstat", O_RDONLY), "netstat"));
  out.devices = descriptor(checked(::open("/proc/self/net/dev", O_RDONLY), "dev"));
  return out;
}

std::string all_of(int file) {
  std::string out(32 << 10, '\0');
  std::size_t size = 0;
  ssize_t got = 0;
  while ((got = ::pread(file, out.data() + size, out.size() - size, static_cast<off_t>(size))) >
         0) {
    size += static_cast<std::size_t>(got);
  }
  out.resize(size);
  return out;
}

/// A counter of the namespace, from the two lines that name and give them.
std::uint64_t tcp_counter(const host_end& of, const std::string& name) {
  std::istringstream text(all_of(of.counters));
  std::string names;
  std::string values;
  while (std::getline(text, names) && std::getline(text, values)) {
    if (names.rfind("TcpExt:", 0) != 0) continue;
    std::istringstream name_words(names);
    std::istringstream value_words(values);
    std::string one_name;
    std::string one_value;
    while (name_words >> one_name && value_words >> one_value) {
      if (one_name == name) return std::stoull(one_value);
    }
  }
  throw std::runtime_error("the kernel has no counter " + name);
}

/// Packets that the device itself dropped, which the path knows nothing of.
std::uint64_t dropped_by_device(const host_end& of) {
  const std::string text = all_of(of.devices);
  std::istringstream words(text.substr(text.find("wire:") + 5));
  std::array<std::uint64_t, 16> columns{};
  for (std::uint64_t& each : columns) words >> each;
  return columns[3] + columns[11];
}

/// Carries packets between the two devices, in a thread of its own.
class wire {
 public:
  wire(const host_end& sender, const host_end& receiver, const path_options& path,
       std::uint64_t seed)
      : directions_{direction(sender.device, receiver.device, clean(path), seed * 4 + 1),
                    direction(receiver.device, sender.device, clean(path), seed * 4 + 3)},
        troubled_(path),
        thread_([this] { carry(); }) {}
  ~wire() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  wire(const wire&) = delete;
  wire& operator=(const wire&) = delete;

  /// From the next packet on.
  void begin_trouble() { trouble_ = true; }
  /// Ends it; what is told below is told afterwards.
  void finish() {
    stop_ = true;
    thread_.join();
  }
  std::uint64_t packets() const { return directions_[0].packets + directions_[1].packets; }
  std::uint64_t lost() const { return directions_[0].lost + directions_[1].lost; }
  std::uint64_t overflows() const { return directions_[0].path.overflows(); }
  std::size_t largest() const { return std::max(directions_[0].largest, directions_[1].largest); }
  /// How much later than the path said packets were handed over.
  duration mean_lateness() const {
    return lateness_ / static_cast<std::int64_t>(std::max<std::uint64_t>(delivered_, 1));
  }
  duration most_lateness() const { return most_lateness_; }

 private:
  struct flight {
    time_point at;
    std::vector<char> content;
  };
  struct direction {
    direction(int source, int target, const path_options& options, std::uint64_t seed)
        : from(source), to(target), path(options, seed) {}
    int from;
    int to;
    impaired_path path;
    std::deque<flight> flying;
    std::uint64_t packets = 0;
    std::uint64_t lost = 0;
    std::size_t largest = 0;
  };

  static path_options clean(path_options of) {
    of.loss = 0;
    return of;
  }
  void carry() {
    bool troubled = false;
    while (!stop_) {
      wait();
      if (!troubled && trouble_) {
        troubled = true;
        for (direction& each : directions_) each.path.change(troubled_);
      }
      for (direction& each : directions_) take(each);
      for (direction& each : directions_) hand_over(each);
    }
  }
  void wait() {
    time_point next = now() + std::chrono::milliseconds(10);
    for (const direction& each : directions_) {
      if (!each.flying.empty()) next = std::min(next, each.flying.front().at);
    }
    const auto left = std::max<std::int64_t>((next - now()).count(), 0);
    const timespec span{left / 1'000'000'000, left % 1'000'000'000};
    pollfd both[] = {{directions_[0].from, POLLIN, 0}, {directions_[1].from, POLLIN, 0}};
    if (::ppoll(both, 2, &span, nullptr) < 0 && errno != EINTR) checked(-1, "ppoll");
  }
  /// No more than so many at once, or else a burst would make those late that are due meanwhile.
  void take(direction& way) {
    std::array<char, 2048> room;
    for (int i = 0; i < 32; ++i) {
      const ssize_t got = ::read(way.from, room.data(), room.size());
      if (got <= 0) return;
      const auto size = static_cast<std::size_t>(got);
      if (room[0] >> 4 != 4 || room[9] != IPPROTO_TCP) continue;
      ++way.packets;
      way.largest = std::max(way.largest, size);
      if (const auto at = way.path.pass(size, now())) {
        way.flying.push_back({*at, std::vector<char>(room.data(), room.data() + size)});
      } else {
        ++way.lost;
      }
    }
  }
  void hand_over(direction& way) {
    while (!way.flying.empty() && way.flying.front().at <= now()) {
      const flight& due = way.flying.front();
      const duration late = now() - due.at;
      lateness_ += late;
      most_lateness_ = std::max(most_lateness_, late);
      ++delivered_;
      if (::write(way.to, due.content.data(), due.content.size()) < 0) ++way.lost;
      way.flying.pop_front();
    }
  }

  std::array<direction, 2> directions_;
  path_options troubled_;
  duration lateness_{};
  duration most_lateness_{};
  std::uint64_t delivered_ = 0;
  std::atomic<bool> trouble_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// Makes the connection; the receiver's end of it is returned.
descriptor connect(const host_end& sender, const host_end& receiver) {
  sockaddr_in to = address(2);
  checked(::bind(receiver.socket, generic(to), sizeof to), "bind");
  checked(::listen(receiver.socket, 1), "listen");
  checked(::connect(sender.socket, generic(to), sizeof to), "connect");
  return descriptor(checked(::accept(receiver.socket, nullptr, nullptr), "accept"));
}

void send_all(int socket, std::uint64_t bytes) {
  const std::vector<char> block(block_bytes, 'x');
  while (bytes > 0) {
    const ssize_t sent =
        ::send(socket, block.data(), std::min<std::uint64_t>(bytes, block.size()), MSG_NOSIGNAL);
    if (sent < 0) return;
    bytes -= static_cast<std::uint64_t>(sent);
  }
}

/// How many bytes came before it was too late.
std::uint64_t receive_all(int socket, std::uint64_t bytes, time_point at_most) {
  std::vector<char> block(block_bytes);
  std::uint64_t received = 0;
  while (received < bytes && now() < at_most) {
    pollfd one{socket, POLLIN, 0};
    if (::poll(&one, 1, 100) <= 0) continue;
    const ssize_t got = ::recv(socket, block.data(), block.size(), 0);
    if (got <= 0) return received;
    received += static_cast<std::uint64_t>(got);
  }
  return received;
}

path_options lossy_path(double rtt_ms, double loss_percent) {
  path_options out;
  out.rate = 125'000'000;
  out.queue = 512 << 10;
  out.delay = duration(static_cast<std::int64_t>(rtt_ms * 500'000));
  out.loss = loss_percent / 100;
  return out;
}

void measure(const path_options& path, std::uint64_t bytes, std::uint64_t seed, double at_most) {
  const host_end sender = make_end(1);
  const host_end receiver = make_end(2);
  wire between(sender, receiver, path, seed);
  const descriptor accepted = connect(sender, receiver);
  between.begin_trouble();

  const time_point start = now();
  std::thread writer([&] { send_all(sender.socket, bytes); });
  const std::uint64_t received = receive_all(
      accepted, bytes, start + duration(static_cast<std::int64_t>(at_most * 1'000'000'000)));
  const double seconds = seconds_of(now() - start);
  const std::uint64_t timeouts = tcp_counter(sender, "TCPTimeouts");
  tcp_info info{};
  socklen_t size = sizeof info;
  checked(::getsockopt(sender.socket, IPPROTO_TCP, TCP_INFO, &info, &size), "TCP_INFO");
  char used[16] = {};
  size = sizeof used - 1;
  checked(::getsockopt(sender.socket, IPPROTO_TCP, TCP_CONGESTION, used, &size), "TCP_CONGESTION");
  ::shutdown(sender.socket, SHUT_RDWR);
  writer.join();
  between.finish();
  std::printf(
      "mbit=%.4f seconds=%.4f received=%llu retransmitted=%u timeouts=%llu packets=%llu lost=%llu "
      "overflows=%llu device_drops=%llu largest=%zu late_mean_us=%.1f late_most_us=%.1f "
      "congestion=%s\n",
      static_cast<double>(received) * 8 / 1e6 / seconds, seconds,
      static_cast<unsigned long long>(received), info.tcpi_total_retrans,
      static_cast<unsigned long long>(timeouts), static_cast<unsigned long long>(between.packets()),
      static_cast<unsigned long long>(between.lost()),
      static_cast<unsigned long long>(between.overflows()),
      static_cast<unsigned long long>(dropped_by_device(sender) + dropped_by_device(receiver)),
      between.largest(), seconds_of(between.mean_lateness()) * 1e6,
      seconds_of(between.most_lateness()) * 1e6, used);
}

}  // namespace

int main(int count, char** given) {
  if (count < 5) {
    std::fprintf(stderr, "lossy_wire RTT_MS LOSS_PERCENT BYTES SEED [SECONDS_AT_MOST]\n");
    return 2;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_TIMERSLACK, 1);
  // Where it may: what else runs on the machine then does not lengthen the path.
  sched_param priority{};
  priority.sched_priority = 1;
  ::sched_setscheduler(0, SCHED_RR, &priority);
  try {
    measure(lossy_path(std::atof(given[1]), std::atof(given[2])),
            std::strtoull(given[3], nullptr, 10), std::strtoull(given[4], nullptr, 10),
            count > 5 ? std::atof(given[5]) : 120);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "lossy_wire: %s\n", failure.what());
    return 1;
  }
  return 0;
}
