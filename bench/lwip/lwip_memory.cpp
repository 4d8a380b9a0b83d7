// How many connections a second lwIP alone makes: two interfaces of one lwIP in one thread, every
// packet copied from one to the other in memory, as memory_link does with the engine. A connection
// is open, request, response with close by the server, close by the client; with --requests it is
// kept and asked again.
//
//   lwip_memory [--seconds S] [--connections N at once] [--checksums on|off] [--requests]
//               [--time-wait-limit N] [--idle N] | --sizes
//
// Prints one line of JSON. lwIP is one per process, so both ends are in the same lists: an entry of
// one end lies in the way of the other's look-ups, which two processes would not have. TIME_WAIT
// lasts for 2 * TCP_MSL, but only about --time-wait-limit entries are kept (lwipopts.hpp). --idle
// opens that many connections beforehand and leaves them alone, an object at each end. --sizes
// prints the bytes of lwIP's objects.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include "http_wire.hpp"
#include "port.hpp"

namespace {

using clock_type = std::chrono::steady_clock;

constexpr u16_t port = 80;
constexpr u16_t mtu_bytes = 1500;
// lwIP has 16,384 local ports, and packets of all that are busy lie in its 8,192 buffers at once.
constexpr unsigned connections_max = 4096;
constexpr unsigned idle_max = 12'000;

struct options {
  double seconds = 1;
  unsigned connections = 64;
  unsigned idle = 0;
  std::size_t time_wait_limit = 1024;
  bool checksums = true;
  bool requests = false;
};

/// Two hosts with an interface each: what is sent to an address arrives at its interface.
class exchange {
 public:
  explicit exchange(const options& wanted) : wanted_(wanted), closings_(wanted.time_wait_limit) {
    IP4_ADDR(&client_address_, 10, 0, 1, 1);
    IP4_ADDR(&server_address_, 10, 0, 2, 1);
    add(client_, client_address_);
    add(server_, server_address_);
    listen();
  }
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;

  void open_idle() {
    for (unsigned opened = 0; opened < wanted_.idle;) {
      for (unsigned i = 0; i < connections_max / 4 && opened < wanted_.idle; ++i, ++opened)
        open(left_alone);
      while (!link_.empty()) carry();
    }
  }

  void run() {
    const auto start = bench_lwip::refresh_clock();
    for (unsigned i = 0; i < wanted_.connections; ++i) open(connected);
    packets_ = 0;
    auto now = start;
    while (now - start < std::chrono::duration<double>(wanted_.seconds)) {
      carry();
      for (; to_open_ > 0; --to_open_) open(connected);
      closings_.trim();
      now = bench_lwip::refresh_clock();
      sys_check_timeouts();
    }
    print(std::chrono::duration<double>(now - start).count());
  }

 private:
  void add(netif& one, const ip4_addr_t& address) {
    ip4_addr_t mask;
    ip4_addr_t gateway;
    IP4_ADDR(&mask, 255, 255, 255, 0);
    ip4_addr_set_any(&gateway);
    netif_add(&one, &address, &mask, &gateway, this, set_up, ip_input);
    NETIF_SET_CHECKSUM_CTRL(
        &one, wanted_.checksums ? NETIF_CHECKSUM_ENABLE_ALL : NETIF_CHECKSUM_DISABLE_ALL);
    netif_set_up(&one);
    netif_set_link_up(&one);
  }

  static err_t set_up(netif* self) {
    self->name[0] = 'm';
    self->name[1] = 'm';
    self->mtu = mtu_bytes;
    self->output = send;
    return ERR_OK;
  }

  // lwIP keeps what it sends until it is acknowledged and changes what it is given, so each packet
  // is copied once.
  static err_t send(netif* self, pbuf* packet, const ip4_addr_t*) {
    auto& owner = *static_cast<exchange*>(self->state);
    pbuf* copy = pbuf_alloc(PBUF_RAW, packet->tot_len, PBUF_POOL);
    if (copy == nullptr) return ERR_MEM;
    (void)pbuf_copy(copy, packet);
    owner.link_.push_back({copy, self});
    return ERR_OK;
  }

  void carry() {
    arriving_.swap(link_);
    for (const auto& [packet, to] : arriving_) bench_lwip::input(packet, *to);
    packets_ += arriving_.size();
    arriving_.clear();
  }

  void listen() {
    tcp_pcb* pcb = tcp_new();
    if (pcb == nullptr || tcp_bind(pcb, &server_address_, port) != ERR_OK)
      throw std::runtime_error("lwIP does not bind to the server's address.");
    pcb = tcp_listen(pcb);
    if (pcb == nullptr) throw std::runtime_error("lwIP has no memory for a listener.");
    tcp_arg(pcb, this);
    tcp_accept(pcb, accepted);
  }

  void open(tcp_connected_fn then) {
    tcp_pcb* pcb = tcp_new();
    if (pcb == nullptr || tcp_bind(pcb, &client_address_, 0) != ERR_OK)
      throw std::runtime_error(
          "lwIP has no room for another connection: lower --connections, --idle or "
          "--time-wait-limit.");
    tcp_arg(pcb, this);
    tcp_err(pcb, failed);
    tcp_nagle_disable(pcb);
    if (tcp_connect(pcb, &server_address_, port, then) != ERR_OK)
      throw std::runtime_error("lwIP has no memory for another SYN: lower --connections.");
  }

  static err_t accepted(void*, tcp_pcb* pcb, err_t error) {
    if (error != ERR_OK || pcb == nullptr) return ERR_VAL;
    tcp_err(pcb, failed);
    tcp_recv(pcb, asked);
    tcp_nagle_disable(pcb);
    return ERR_OK;
  }

  static err_t left_alone(void*, tcp_pcb*, err_t) { return ERR_OK; }

  static err_t connected(void* argument, tcp_pcb* pcb, err_t) {
    tcp_recv(pcb, answered);
    return static_cast<exchange*>(argument)->ask(pcb);
  }

  err_t ask(tcp_pcb* pcb) {
    return write(pcb, wanted_.requests ? bench_lwip::request_kept : bench_lwip::request_last);
  }

  static err_t write(tcp_pcb* pcb, std::string_view text) {
    return tcp_write(pcb, text.data(), static_cast<u16_t>(text.size()), TCP_WRITE_FLAG_COPY);
  }

  // Every read is one request: what parsing costs is not the question here.
  static err_t asked(void* argument, tcp_pcb* pcb, pbuf* packet, err_t) {
    auto& owner = *static_cast<exchange*>(argument);
    if (packet == nullptr) return owner.close(pcb);
    tcp_recved(pcb, packet->tot_len);
    pbuf_free(packet);
    if (owner.wanted_.requests) return write(pcb, bench_lwip::answer_kept);
    (void)write(pcb, bench_lwip::answer_last);
    owner.closings_.closed();
    return owner.close(pcb);
  }

  static err_t answered(void* argument, tcp_pcb* pcb, pbuf* packet, err_t) {
    auto& owner = *static_cast<exchange*>(argument);
    if (packet != nullptr) {
      tcp_recved(pcb, packet->tot_len);
      pbuf_free(packet);
      if (!owner.wanted_.requests) return ERR_OK;
      ++owner.done_;
      return owner.ask(pcb);
    }
    if (owner.wanted_.requests) {
      ++owner.errors_;
    } else {
      ++owner.done_;
    }
    ++owner.to_open_;
    return owner.close(pcb);
  }

  err_t close(tcp_pcb* pcb) {
    tcp_recv(pcb, nullptr);
    tcp_err(pcb, nullptr);
    if (tcp_close(pcb) == ERR_OK) return ERR_OK;
    ++errors_;
    tcp_abort(pcb);
    return ERR_ABRT;
  }

  static void failed(void* argument, err_t) { ++static_cast<exchange*>(argument)->errors_; }

  void print(double seconds) const {
    const auto count = static_cast<double>(done_);
    std::printf(
        "{\"rate\": %.0f, \"ns_each\": %.1f, \"packets_each\": %.2f, \"time_wait\": %zu, "
        "\"errors\": %llu, \"mode\": \"%s\", \"connections\": %u, \"idle\": %u, "
        "\"checksums\": %s, \"seconds\": %.3f}\n",
        count / seconds, done_ > 0 ? seconds * 1e9 / count : 0,
        done_ > 0 ? static_cast<double>(packets_) / count : 0, bench_lwip::time_wait_count(),
        static_cast<unsigned long long>(errors_), wanted_.requests ? "requests" : "connections",
        wanted_.connections, wanted_.idle, wanted_.checksums ? "true" : "false", seconds);
  }

  const options wanted_;
  bench_lwip::time_wait_limit closings_;
  ip4_addr_t client_address_{};
  ip4_addr_t server_address_{};
  netif client_{};
  netif server_{};
  std::vector<std::pair<pbuf*, netif*>> link_;
  std::vector<std::pair<pbuf*, netif*>> arriving_;
  std::uint64_t done_ = 0;
  std::uint64_t packets_ = 0;
  std::uint64_t errors_ = 0;
  unsigned to_open_ = 0;
};

// A half-open connection is a whole one, and its SYN-ACK until that is acknowledged.
void print_sizes() {
  constexpr std::size_t syn_ack_buffer = 128 + 8;
  std::printf(
      "{\"connection_bytes\": %zu, \"half_open_bytes\": %zu, \"time_wait_bytes\": %zu, "
      "\"listener_bytes\": %zu, \"segment_bytes\": %zu, \"packet_bytes\": %zu}\n",
      sizeof(tcp_pcb), sizeof(tcp_pcb) + sizeof(tcp_seg) + syn_ack_buffer, sizeof(tcp_pcb),
      sizeof(tcp_pcb_listen), sizeof(tcp_seg), sizeof(pbuf));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What lwIP's TCP costs alone, both ends in one thread. Prints one line of JSON.");
  options wanted;
  std::string checksums = "on";
  bool sizes = false;
  app.add_option("--seconds", wanted.seconds, "how long to measure")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  app.add_option("--connections", wanted.connections, "connections at once")
      ->check(CLI::Range(1U, connections_max))
      ->capture_default_str();
  app.add_option("--checksums", checksums, "computed and checked, or left out")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  app.add_flag("--requests", wanted.requests, "requests on connections that are kept");
  app.add_option("--time-wait-limit", wanted.time_wait_limit, "connections kept in TIME_WAIT")
      ->check(CLI::Range(1, 16'000))
      ->capture_default_str();
  app.add_option("--idle", wanted.idle, "connections that are open and do nothing")
      ->check(CLI::Range(0U, idle_max))
      ->capture_default_str();
  app.add_flag("--sizes", sizes, "print the bytes of lwIP's objects and end");
  CLI11_PARSE(app, argc, argv);
  if (sizes) {
    print_sizes();
    return 0;
  }
  wanted.checksums = checksums == "on";
  try {
    bench_lwip::start();
    exchange both(wanted);
    both.open_idle();
    both.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lwip_memory: %s\n", error.what());
    return 1;
  }
}
