// Many short requests over the kernel's TCP from many addresses, none of which uses a port twice:
// the load of the tests that count what the server keeps. Each request says "Connection: close" and
// waits for the server's FIN, so that TIME-WAIT is the server's. A line every few seconds says how
// far it is; the last one is "done COUNT of COUNT in SECONDS s, COUNT failed: THE FIRST FAILURE".

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

using steady = std::chrono::steady_clock;

constexpr std::string_view request =
    "GET /hello HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
constexpr auto progress_interval = 5s;
/// A request that takes longer has failed.
constexpr timeval patience{.tv_sec = 30, .tv_usec = 0};

struct settings {
  std::string to = "10.77.0.2";
  std::uint16_t port = 80;
  std::string from = "10.77.0.10";
  unsigned addresses = 64;
  std::uint16_t first_port = 2000;
  /// From each address.
  unsigned requests = 100;
  unsigned threads = 64;
  unsigned seconds = 60;

  void add_to(CLI::App& app) {
    app.add_option("--to", to, "The server's address")->capture_default_str();
    app.add_option("--port", port, "The server's port")->capture_default_str();
    app.add_option("--from", from, "The first of our addresses")->capture_default_str();
    app.add_option("--addresses", addresses, "How many follow one another")
        ->capture_default_str()
        ->check(CLI::Range(1, 1024));
    app.add_option("--first-port", first_port, "The first local port of each address")
        ->capture_default_str();
    app.add_option("--requests", requests, "Requests from each address, each from the next port")
        ->capture_default_str()
        ->check(CLI::Range(1, 60'000));
    app.add_option("--threads", threads, "Requests at a time")
        ->capture_default_str()
        ->check(CLI::Range(1, 1024));
    app.add_option("--seconds", seconds, "No request begins later")->capture_default_str();
  }
};

std::string failure(const char* step) {
  return std::string(step) + ": " + std::strerror(errno);
}

sockaddr_in endpoint(std::uint32_t address, unsigned port) {
  sockaddr_in out = {};
  out.sin_family = AF_INET;
  out.sin_addr.s_addr = htonl(address);
  out.sin_port = htons(static_cast<std::uint16_t>(port));
  return out;
}

std::uint32_t address_from(const std::string& text) {
  in_addr out = {};
  if (inet_pton(AF_INET, text.c_str(), &out) != 1) {
    throw CLI::ValidationError("'" + text + "' is no IPv4 address; write it as in 10.77.0.10.");
  }
  return ntohl(out.s_addr);
}

/// One request over an open socket; what went wrong, or nothing.
std::string exchange(int fd, const sockaddr_in& from, const sockaddr_in& to) {
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof(from)) != 0) {
    return failure("bind");
  }
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return failure("connect");
  }
  const ssize_t sent = ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(request.size())) return failure("send");
  std::array<char, 1024> buffer;
  std::size_t held = 0;
  for (;;) {
    const ssize_t got = ::recv(fd, buffer.data() + held, buffer.size() - held, 0);
    if (got < 0) return failure("recv");
    if (got == 0) break;
    held += static_cast<std::size_t>(got);
    if (held == buffer.size()) return "the answer is too long";
  }
  const std::string_view answer(buffer.data(), held);
  if (!answer.starts_with("HTTP/1.1 200 ")) return "the answer was: " + std::string(answer);
  return {};
}

class crowd {
 public:
  explicit crowd(const settings& flags)
      : flags_(flags),
        first_address_(address_from(flags.from)),
        to_(endpoint(address_from(flags.to), flags.port)),
        total_(flags.addresses * flags.requests) {
    if (flags.first_port + flags.requests > 65'536) {
      throw CLI::ValidationError("there are not so many ports from --first-port on.");
    }
  }

  void run() {
    std::vector<std::thread> threads;
    running_ = flags_.threads;
    for (unsigned i = 0; i < flags_.threads; ++i) threads.emplace_back([this] { work(); });
    for (std::unique_lock lock(mutex_);
         !changed_.wait_for(lock, progress_interval, [this] { return running_ == 0; });) {
      print("so far");
    }
    for (std::thread& each : threads) each.join();
    print("done");
  }
  bool complete() const { return done_ == total_ && failed_ == 0; }

 private:
  void work() {
    const auto end = begin_ + std::chrono::seconds(flags_.seconds);
    while (steady::now() < end) {
      const unsigned number = next_++;
      if (number >= total_) break;
      request_from(number);
    }
    const std::lock_guard lock(mutex_);
    if (--running_ == 0) changed_.notify_one();
  }
  void request_from(unsigned number) {
    const sockaddr_in from = endpoint(first_address_ + number % flags_.addresses,
                                      flags_.first_port + number / flags_.addresses);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const std::string wrong = fd < 0 ? failure("socket") : exchange(fd, from, to_);
    if (fd >= 0) ::close(fd);
    ++done_;
    if (wrong.empty()) return;
    const std::lock_guard lock(mutex_);
    if (failed_++ == 0) first_failure_ = ": " + wrong;
  }
  void print(const char* what) const {
    const std::chrono::duration<double> taken = steady::now() - begin_;
    std::printf("%s %u of %u in %.1f s, %u failed%s\n", what, done_.load(), total_, taken.count(),
                failed_, first_failure_.c_str());
    std::fflush(stdout);
  }

  const settings& flags_;
  std::uint32_t first_address_;
  sockaddr_in to_;
  unsigned total_;
  steady::time_point begin_ = steady::now();
  std::atomic<unsigned> next_ = 0;
  std::atomic<unsigned> done_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned running_ = 0;
  unsigned failed_ = 0;
  std::string first_failure_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Many short requests from many addresses.", "crowd_client"};
  settings flags;
  flags.add_to(app);
  try {
    app.parse(argc, argv);
    crowd all(flags);
    all.run();
    return all.complete() ? 0 : 1;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
}
