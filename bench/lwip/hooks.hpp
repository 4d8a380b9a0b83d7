// What lwIP calls of ours (LWIP_HOOK_FILENAME), from C.
#pragma once

#include <lwip/ip_addr.h>
#include <lwip/prot/tcp.h>
#include <lwip/tcp.h>

#ifdef __cplusplus
extern "C" {
#endif

// The initial sequence number of RFC 6528: a clock and a keyed hash of the tuple.
u32_t bench_lwip_isn(const ip_addr_t* local, u16_t local_port, const ip_addr_t* remote,
                     u16_t remote_port);

// A segment for a tuple in TIME_WAIT, its header in host order. Not ERR_OK: lwIP drops it.
err_t bench_lwip_time_wait(struct tcp_pcb* pcb, const struct tcp_hdr* header);

#ifdef __cplusplus
}
#endif
