// An HTTP responder on lwIP's raw API over a TUN device: what a small, mature TCP in C does with
// the same wire, the same kernel on the other side, and callbacks instead of coroutines.
//
//   lwip_http --tun NAME --address A --port P [--busy-poll MICROSECONDS] [--time-wait-limit N]
//
// The device is there already (`ip tuntap add dev NAME mode tun`). A request that says
// "Connection: close" is answered with the response and the FIN in one segment. lwIP walks its
// connections in TIME_WAIT for each SYN: --time-wait-limit says how many of them are kept
// (lwipopts.hpp). 1,024 of them make up most of its cost; 64 cost next to nothing, and last for
// some milliseconds at full rate. The two bound what lwIP can do.

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include "http_wire.hpp"
#include "port.hpp"
#include "tun_netif.hpp"

namespace {

using bench_lwip::tun_netif;

volatile std::sig_atomic_t stopped = 0;

bench_lwip::time_wait_limit& closings(std::size_t limit = 0) {
  static bench_lwip::time_wait_limit only(limit);
  return only;
}

// What came of a request that has not come whole; most connections never have one. It is lwIP's
// argument for the connection's callbacks.
using beginning = std::string;

constexpr std::size_t request_bytes_max = 8192;

void forget(struct tcp_pcb* pcb, void* argument) {
  delete static_cast<beginning*>(argument);
  tcp_arg(pcb, nullptr);
}

// After this lwIP calls nothing of ours for the connection and frees it by itself.
err_t finish(struct tcp_pcb* pcb, void* argument) {
  forget(pcb, argument);
  tcp_recv(pcb, nullptr);
  tcp_err(pcb, nullptr);
  closings().closed();
  if (tcp_close(pcb) == ERR_OK) return ERR_OK;
  tcp_abort(pcb);
  return ERR_ABRT;
}

err_t abandon(struct tcp_pcb* pcb, void* argument) {
  forget(pcb, argument);
  tcp_recv(pcb, nullptr);
  tcp_err(pcb, nullptr);
  tcp_abort(pcb);
  return ERR_ABRT;
}

// lwIP has freed the connection when it calls this.
void failed(void* argument, err_t) {
  delete static_cast<beginning*>(argument);
}

// lwIP sends nothing while it is in a callback, so an answer and the FIN behind it leave together.
// Sets `rest` to what is not answered yet.
err_t answer_all(struct tcp_pcb* pcb, std::string_view& rest, bool& last) {
  for (;;) {
    const auto request = bench_lwip::find_request(rest);
    if (request.size == 0) return ERR_OK;
    const auto text = request.last ? bench_lwip::answer_last : bench_lwip::answer_kept;
    const auto written =
        tcp_write(pcb, text.data(), static_cast<u16_t>(text.size()), TCP_WRITE_FLAG_COPY);
    if (written != ERR_OK) return written;
    rest.remove_prefix(request.size);
    if (request.last) {
      last = true;
      return ERR_OK;
    }
  }
}

err_t received(void* argument, struct tcp_pcb* pcb, struct pbuf* packet, err_t) {
  if (packet == nullptr) return finish(pcb, argument);
  tcp_recved(pcb, packet->tot_len);
  auto* before = static_cast<beginning*>(argument);
  beginning joined;
  std::string_view text(static_cast<const char*>(packet->payload), packet->len);
  if (before != nullptr || packet->next != nullptr) {
    if (before != nullptr) joined = *before;
    for (const pbuf* piece = packet; piece != nullptr; piece = piece->next)
      joined.append(static_cast<const char*>(piece->payload), piece->len);
    text = joined;
  }
  bool last = false;
  const auto answered = answer_all(pcb, text, last);
  const std::string rest(text);
  pbuf_free(packet);
  if (answered != ERR_OK || rest.size() > request_bytes_max) return abandon(pcb, argument);
  if (last) return finish(pcb, argument);
  if (before != nullptr || !rest.empty()) {
    delete before;
    tcp_arg(pcb, rest.empty() ? nullptr : new beginning(rest));
  }
  return ERR_OK;
}

err_t accepted(void*, struct tcp_pcb* pcb, err_t error) {
  if (error != ERR_OK || pcb == nullptr) return ERR_VAL;
  tcp_arg(pcb, nullptr);
  tcp_nagle_disable(pcb);
  tcp_recv(pcb, received);
  tcp_err(pcb, failed);
  return ERR_OK;
}

void listen(const std::string& address, std::uint16_t port) {
  ip_addr_t own;
  (void)ipaddr_aton(address.c_str(), &own);
  struct tcp_pcb* pcb = tcp_new();
  if (pcb == nullptr || tcp_bind(pcb, &own, port) != ERR_OK)
    throw std::runtime_error("lwIP does not bind to " + address +
                             ": give an --address of its own.");
  pcb = tcp_listen(pcb);
  if (pcb == nullptr) throw std::runtime_error("lwIP has no memory for a listener.");
  tcp_accept(pcb, accepted);
}

void serve(tun_netif& device, std::chrono::microseconds busy_poll) {
  using clock = std::chrono::steady_clock;
  auto last_packet = clock::now();
  while (stopped == 0) {
    (void)bench_lwip::refresh_clock();
    const bool busy = device.read_burst();
    closings().trim();
    sys_check_timeouts();
    if (busy_poll.count() == 0) {
      if (!busy) device.wait();
      continue;
    }
    const auto now = clock::now();
    if (busy) last_packet = now;
    if (now - last_packet < busy_poll) continue;
    device.wait();
    last_packet = clock::now();
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("An HTTP responder on lwIP's raw API over a TUN device that is there already.");
  std::string tun;
  std::string address;
  std::uint16_t port = 80;
  std::int64_t busy_poll_us = 0;
  std::size_t time_wait_limit = 1024;
  app.add_option("--tun", tun, "the TUN device's name")->required();
  app.add_option("--address", address, "own IPv4 address")->required();
  app.add_option("--port", port, "port to serve")->required();
  app.add_option("--busy-poll", busy_poll_us, "microseconds to ask the device before sleeping")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--time-wait-limit", time_wait_limit, "connections kept in TIME_WAIT")
      ->check(CLI::Range(1, 60'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGTERM, [](int) { stopped = 1; });
  std::signal(SIGINT, [](int) { stopped = 1; });
  try {
    bench_lwip::start();
    (void)closings(time_wait_limit);
    tun_netif device(tun, address);
    listen(address, port);
    std::puts("ready");
    std::fflush(stdout);
    serve(device, std::chrono::microseconds(busy_poll_us));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lwip_http: %s\n", error.what());
    return 1;
  }
}
