#include "port.hpp"

#include <sys/random.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <lwip/init.h>
#include <lwip/ip.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/sys.h>
#include <siphash.hpp>
#include "hooks.hpp"

namespace {

constexpr std::size_t ip_header_bytes = 20;
constexpr std::size_t protocol_at = 9;
constexpr std::size_t flags_at = ip_header_bytes + 13;
constexpr std::size_t syn_bytes_max = 120;

struct state {
  std::uint64_t now_ns = 0;
  std::array<std::uint64_t, 2> secret{};
  bool reopened = false;
};

state& shared() {
  static state only;
  return only;
}

void fill_with_random(void* place, std::size_t size) {
  if (getrandom(place, size, 0) == static_cast<ssize_t>(size)) return;
  std::fprintf(stderr, "lwip: the kernel gave no random bytes, so there are no secrets to use.\n");
  std::exit(1);
}

bool is_plain_syn(const std::uint8_t* bytes, std::size_t size) {
  return size >= ip_header_bytes + TCP_HLEN && size <= syn_bytes_max && bytes[0] == 0x45 &&
         bytes[protocol_at] == IP_PROTO_TCP && (bytes[flags_at] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

}  // namespace

// Declared as C by lwIP and by hooks.hpp.
u32_t sys_now(void) {
  return static_cast<u32_t>(shared().now_ns / 1'000'000);
}

unsigned bench_lwip_random(void) {
  unsigned value = 0;
  fill_with_random(&value, sizeof value);
  return value;
}

u32_t bench_lwip_isn(const ip_addr_t* local, u16_t local_port, const ip_addr_t* remote,
                     u16_t remote_port) {
  const std::uint64_t addresses = std::uint64_t{local->addr} << 32 | remote->addr;
  const std::uint64_t ports = std::uint64_t{local_port} << 16 | remote_port;
  const auto hash =
      runnel::tcp::detail::siphash_mac(shared().secret).add(addresses).add(ports).finish();
  return static_cast<u32_t>(hash + (shared().now_ns >> 6));
}

err_t bench_lwip_time_wait(struct tcp_pcb* pcb, const struct tcp_hdr* header) {
  const auto flags = TCPH_FLAGS(header);
  if ((flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN) return ERR_OK;
  if (!TCP_SEQ_GT(header->seqno, pcb->rcv_nxt)) return ERR_OK;
  tcp_abort(pcb);
  shared().reopened = true;
  return ERR_ABRT;
}

namespace bench_lwip {

void start() {
  fill_with_random(shared().secret.data(), sizeof shared().secret);
  (void)refresh_clock();
  lwip_init();
}

std::chrono::steady_clock::time_point refresh_clock() {
  const auto now = std::chrono::steady_clock::now();
  shared().now_ns = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count());
  return now;
}

void input(struct pbuf* packet, struct netif& from) {
  const auto* bytes = static_cast<const std::uint8_t*>(packet->payload);
  const std::size_t size = packet->len;
  if (!is_plain_syn(bytes, size)) {
    if (ip_input(packet, &from) != ERR_OK) pbuf_free(packet);
    return;
  }
  // lwIP changes the header in place, so the second try needs the bytes as they were.
  std::array<std::uint8_t, syn_bytes_max> original;
  std::memcpy(original.data(), bytes, size);
  shared().reopened = false;
  if (ip_input(packet, &from) != ERR_OK) pbuf_free(packet);
  if (!shared().reopened) return;
  pbuf* again = pbuf_alloc(PBUF_RAW, static_cast<u16_t>(size), PBUF_POOL);
  if (again == nullptr) return;
  (void)pbuf_take(again, original.data(), static_cast<u16_t>(size));
  if (ip_input(again, &from) != ERR_OK) pbuf_free(again);
}

std::size_t time_wait_count() {
  std::size_t count = 0;
  for (const tcp_pcb* pcb = tcp_tw_pcbs; pcb != nullptr; pcb = pcb->next) ++count;
  return count;
}

// The list's head is the youngest.
void time_wait_limit::cut() {
  closed_ = 0;
  tcp_pcb* kept = tcp_tw_pcbs;
  for (std::size_t i = 1; i < limit_ && kept != nullptr; ++i) kept = kept->next;
  while (kept != nullptr && kept->next != nullptr) tcp_abort(kept->next);
}

}  // namespace bench_lwip
