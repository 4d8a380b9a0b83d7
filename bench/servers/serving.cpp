#include "serving.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <system_error>

namespace bench {

namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

/// A connection is a descriptor.
void raise_descriptor_limit() {
  rlimit limit{1'000'000, 1'000'000};
  if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
  // Who may not go beyond the hard limit may go up to it.
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

bool asks_for_close(std::string_view request) noexcept {
  // The first letter may be written either way.
  constexpr std::string_view wanted = "onnection: close\r\n";
  return ::memmem(request.data(), request.size(), wanted.data(), wanted.size()) != nullptr;
}

serving_options read_arguments(int argc, char** argv, path kind, const std::string& what) {
  CLI::App app{what};
  serving_options out;
  std::string address;
  double busy_poll_us = 0;
  app.add_option("--address", address, "IPv4 address to serve at")
      ->required()
      ->check(CLI::ValidIPV4);
  app.add_option("--port", out.port, "Port to serve at")->required()->check(CLI::Range(1, 65535));
  if (kind == path::tun) {
    app.add_option("--tun", out.tun, "The TUN device, which exists already")->required();
    app.add_option("--busy-poll", busy_poll_us, "Microseconds to ask the device before sleeping")
        ->check(CLI::Range(0.0, 1e6));
    app.add_flag("--vnet", out.vnet, "The device has virtio-net headers: leave checksums to it");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  ::inet_pton(AF_INET, address.c_str(), &out.address);
  out.busy_poll_ns = static_cast<std::int64_t>(busy_poll_us * 1e3);
  return out;
}

int listen_at(const serving_options& given, waiting how) {
  const int flags = SOCK_CLOEXEC | (how == waiting::fails ? SOCK_NONBLOCK : 0);
  const int fd = ::socket(AF_INET, SOCK_STREAM | flags, 0);
  const int yes = 1;
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(given.port);
  at.sin_addr = given.address;
  if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      // Accepted sockets inherit it.
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
      ::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      ::listen(fd, 4096) != 0) {
    throw std::system_error(errno, std::generic_category(),
                            "cannot listen at the address and port given");
  }
  return fd;
}

void catch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop.store(true, std::memory_order_relaxed); };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

bool stop_asked() noexcept {
  return stop.load(std::memory_order_relaxed);
}

void say_ready() {
  std::puts("ready");
  std::fflush(stdout);
}

int run_server(const char* name, void (*serve)(const serving_options&),
               const serving_options& given) {
  try {
    catch_stop_signals();
    raise_descriptor_limit();
    serve(given);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s.\n", name, error.what());
    return 1;
  }
}

}  // namespace bench
