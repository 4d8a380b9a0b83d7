// Floods one server with SYNs from many forged addresses, to see what it still does for honest
// clients. For the benchmark's own network namespace only: it sends to a private address in the
// network of a TUN or veth device, at a bounded rate for at most a minute, and refuses where there
// is a way out of the namespace.
//
//   syn_flood --device bench0 --address 10.77.0.2 --port 80 --rate 50000 --seconds 10
//
// SYNs look like those of Linux. --ramp FROM:TO lets the rate rise evenly. Prints one line of JSON:
// how many were sent, in how many seconds, at what rate, and how many the device did not take. What
// the device has no time for is left out, so that the rate is an upper bound. SIGTERM ends it
// early.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>

#include "clock.hpp"
#include "confinement.hpp"

namespace {

constexpr unsigned batch_max = 256;
/// So much may be caught up with after a delay; the rest is left out.
constexpr std::int64_t late_max_ns = 5'000'000;
constexpr std::size_t packet_bytes = 60;

std::atomic<bool> stop{false};

struct flags {
  std::string device;
  std::string address;
  std::uint16_t port = 0;
  double rate = 50'000;
  double seconds = 10;
  std::uint32_t sources = 65'536;
  std::string first_source = "198.18.0.0";
  std::string ramp;
};

/// The packet of one SYN, of which addresses, ports and numbers are exchanged.
class syn_packet {
 public:
  syn_packet() = default;
  syn_packet(in_addr target, std::uint16_t port) {
    bytes_[0] = 0x45;
    store16(2, packet_bytes);
    store16(6, 0x4000);
    bytes_[8] = 64;
    bytes_[9] = IPPROTO_TCP;
    std::memcpy(&bytes_[16], &target.s_addr, 4);
    store16(22, port);
    bytes_[32] = 10 << 4;
    bytes_[33] = 0x02;
    store16(34, 64'240);
    constexpr std::array<std::uint8_t, 20> options{2, 4, 5, 180, 4, 2, 8, 10, 0, 0,
                                                   0, 1, 0, 0,   0, 0, 1, 3,  3, 7};
    std::copy(options.begin(), options.end(), &bytes_[40]);
  }

  void change(std::uint32_t source, std::uint16_t source_port, std::uint32_t number) {
    store16(12, source >> 16);
    store16(14, source);
    store16(20, source_port);
    store16(24, number >> 16);
    store16(26, number);
    store16(36, 0);
    // The kernel writes the checksum of the IP header, and nobody that of TCP.
    std::uint32_t sum = IPPROTO_TCP + packet_bytes - 20;
    for (std::size_t at = 12; at < packet_bytes; at += 2) {
      sum += static_cast<std::uint32_t>(bytes_[at] << 8 | bytes_[at + 1]);
    }
    sum = (sum >> 16) + (sum & 0xffff);
    store16(36, ~((sum >> 16) + sum));
  }

  std::uint8_t* data() { return bytes_.data(); }

 private:
  void store16(std::size_t at, std::uint32_t value) {
    bytes_[at] = static_cast<std::uint8_t>(value >> 8);
    bytes_[at + 1] = static_cast<std::uint8_t>(value);
  }

  std::array<std::uint8_t, packet_bytes> bytes_{};
};

/// A rate that rises evenly.
struct schedule {
  double from = 0;
  double to = 0;
  double seconds = 0;

  /// How many are due after this time.
  double due(double after) const {
    return from * after + (to - from) * after * after / (2 * seconds);
  }
  double rate(double after) const { return from + (to - from) * after / seconds; }
};

struct counts {
  std::uint64_t sent = 0;
  std::uint64_t refused = 0;
  double seconds = 0;
};

class flood {
 public:
  flood(const flags& given, const schedule& rates)
      : rates_(rates), sources_(given.sources), socket_(open_socket(given.device)) {
    ::inet_pton(AF_INET, given.address.c_str(), &target_.sin_addr);
    target_.sin_family = AF_INET;
    in_addr first{};
    if (::inet_pton(AF_INET, given.first_source.c_str(), &first) != 1) {
      throw std::runtime_error("--first-source is no IPv4 address");
    }
    first_source_ = ntohl(first.s_addr);
    packets_.fill(syn_packet(target_.sin_addr, given.port));
    for (unsigned i = 0; i < batch_max; ++i) {
      pieces_[i] = {packets_[i].data(), packet_bytes};
      msghdr& header = messages_[i].msg_hdr;
      header.msg_name = &target_;
      header.msg_namelen = sizeof target_;
      header.msg_iov = &pieces_[i];
      header.msg_iovlen = 1;
    }
  }
  flood(const flood&) = delete;
  flood& operator=(const flood&) = delete;
  ~flood() { ::close(socket_); }

  counts run() {
    counts out;
    const std::int64_t begin = bench::now_ns();
    double left_out = 0;
    while (!stop) {
      const double after = static_cast<double>(bench::now_ns() - begin) / 1e9;
      if (after >= rates_.seconds) break;
      double due = rates_.due(after) - left_out - static_cast<double>(out.sent + out.refused);
      const double most =
          std::max(1.0, rates_.rate(after) * static_cast<double>(late_max_ns) / 1e9);
      if (due > most) {
        left_out += due - most;
        due = most;
      }
      if (due < 1) {
        const timespec nap{0, 500'000};
        ::nanosleep(&nap, nullptr);
        continue;
      }
      send(static_cast<unsigned>(std::min(due, static_cast<double>(batch_max))), out);
    }
    out.seconds = static_cast<double>(bench::now_ns() - begin) / 1e9;
    return out;
  }

 private:
  static int open_socket(const std::string& device) {
    const int fd = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                               static_cast<socklen_t>(device.size())) != 0) {
      throw std::system_error(
          errno, std::generic_category(),
          "no raw socket on '" + device + "' can be had (it needs CAP_NET_RAW)");
    }
    return fd;
  }

  void send(unsigned count, counts& out) {
    for (unsigned i = 0; i < count; ++i) {
      const std::uint64_t number = next_++;
      random_ = random_ * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
      const auto port = static_cast<std::uint16_t>(1'024 + (random_ >> 40) % 64'512);
      packets_[i].change(first_source_ + static_cast<std::uint32_t>(number % sources_), port,
                         static_cast<std::uint32_t>(random_ >> 32));
    }
    const int sent = ::sendmmsg(socket_, messages_.data(), count, 0);
    if (sent > 0) {
      out.sent += static_cast<unsigned>(sent);
    } else if (errno == ENOBUFS || errno == EAGAIN) {
      ++out.refused;
    } else if (errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "a SYN cannot be sent");
    }
  }

  const schedule& rates_;
  std::uint32_t sources_;
  std::uint32_t first_source_ = 0;
  int socket_;
  sockaddr_in target_{};
  std::uint64_t next_ = 0;
  std::uint64_t random_ = static_cast<std::uint64_t>(bench::now_ns());
  std::array<syn_packet, batch_max> packets_{};
  std::array<iovec, batch_max> pieces_{};
  std::array<mmsghdr, batch_max> messages_{};
};

schedule read_rates(const flags& given) {
  schedule out{given.rate, given.rate, given.seconds};
  int used = 0;
  if (given.ramp.empty()) return out;
  if (std::sscanf(given.ramp.c_str(), "%lf:%lf%n", &out.from, &out.to, &used) != 2 ||
      static_cast<std::size_t>(used) != given.ramp.size() || !(out.from >= 0) || !(out.to >= 0) ||
      std::max(out.from, out.to) > 1e6) {
    throw std::runtime_error("--ramp '" + given.ramp +
                             "' is no FROM:TO of up to 1,000,000 a second, such as 0:200000");
  }
  return out;
}

int run(const flags& given) {
  const schedule rates = read_rates(given);
  bench::confine(given.device, given.address);
  const auto stopped = [](int) { stop = true; };
  ::signal(SIGTERM, stopped);
  ::signal(SIGINT, stopped);
  const counts made = flood(given, rates).run();
  std::printf("{\"sent\": %llu, \"seconds\": %.6f, \"rate\": %.3f, \"refused_by_device\": %llu}\n",
              static_cast<unsigned long long>(made.sent), made.seconds,
              static_cast<double>(made.sent) / made.seconds,
              static_cast<unsigned long long>(made.refused));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Sends SYNs from forged addresses to a server in the benchmark's own network namespace.",
      "syn_flood"};
  flags given;
  app.add_option("--device", given.device, "The TUN or veth device to send by")->required();
  app.add_option("--address", given.address, "The server's IPv4 address, a private one")
      ->required()
      ->check(CLI::ValidIPV4);
  app.add_option("--port", given.port, "The server's port")
      ->required()
      ->check(CLI::Range(1, 65535));
  app.add_option("--rate", given.rate, "SYNs a second")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1e6));
  app.add_option("--seconds", given.seconds, "How long, at most a minute")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 60.0));
  app.add_option("--sources", given.sources, "How many addresses to forge")
      ->capture_default_str()
      ->check(CLI::Range(1, 131'072));
  app.add_option("--first-source", given.first_source, "The first of them")->capture_default_str();
  app.add_option("--ramp", given.ramp, "FROM:TO, a rate that rises instead of --rate");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(given);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "syn_flood: %s.\n", error.what());
    return 1;
  }
}
