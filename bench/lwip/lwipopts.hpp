// How lwIP is built for the benchmarks: as its users build it who want it fast, and as complete as
// what it is compared with. lwIP's own files include this from C.
//
// Favours, things that lwIP does not do as it comes or that cost it nothing here:
//   - every object comes from a pool of its size; nothing is allocated while it runs
//   - assertions are compiled out, statistics and debug output are off
//   - the clock is read once for a burst of packets and not for each segment (port.cpp)
//   - a newer SYN for a tuple in TIME_WAIT opens it anew, RFC 1122 4.2.2.13 (port.cpp): lwIP alone
//     answers such a SYN with an ACK, ignores the reset that follows, and the client tries again
//     after a second
// Handicaps, things that it is made to do because the others do them as well:
//   - sequence numbers of RFC 6528 (port.cpp); its own are a counter that anybody can guess
//   - timestamps and outgoing SACK, which are off by default
// What it does instead of full TIME_WAIT: it stays there for 2 * TCP_MSL = 120 s, but where the
// pool of connections is empty, the oldest TIME_WAIT makes room for the next SYN. lwIP walks the
// whole list of them for each SYN, so that a large pool makes it slow, and a small one turns
// clients away. The programs therefore have a large pool, and keep --time-wait-limit of the entries
// (port.hpp): the figure to quote beside any rate.
#pragma once

// One thread and no operating system's layer.
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0

// IPv4 and TCP; ICMP because a host without is none.
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 0
#define LWIP_ETHERNET 0
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_UDP 0
#define LWIP_DHCP 0
#define LWIP_DNS 0
#define LWIP_IGMP 0
#define IP_FORWARD 0
#define IP_REASSEMBLY 1
#define IP_FRAG 1
#define LWIP_TCP 1

// Pools. Their counts are 16 bits wide, which bounds them all.
#define MEM_ALIGNMENT 8
#define MEM_USE_POOLS 1
#define MEMP_USE_CUSTOM_POOLS 1
#define MEM_USE_POOLS_TRY_BIGGER_POOL 1
#define MEMP_NUM_TCP_PCB 65000
#define MEMP_NUM_TCP_PCB_LISTEN 4
#define MEMP_NUM_TCP_SEG 32768
#define MEMP_NUM_PBUF 16384
#define PBUF_POOL_SIZE 8192
#define PBUF_LINK_HLEN 0
#define PBUF_LINK_ENCAPSULATION_HLEN 0
#define PBUF_POOL_BUFSIZE 1504

// Connections: 256 KiB each way, as the others have. Segments of an MTU of 1,500.
#define TCP_MSS 1460
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 3
#define TCP_WND (256 * 1024)
#define TCP_SND_BUF (256 * 1024)
#define TCP_SNDLOWAT (32 * 1024)
#define TCP_OVERSIZE TCP_MSS
#define TCP_QUEUE_OOSEQ 1
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_TIMESTAMPS 1
#define LWIP_TCP_PCB_NUM_EXT_ARGS 0
// A backlog is one byte for lwIP, half-open connections count for it, and a SYN beyond is dropped:
// a burst of 512 clients would wait for a second. Without one only the pool bounds them.
#define TCP_LISTEN_BACKLOG 0

// Computed and checked, unless a link says that its packets need neither (lwip_memory). Of lwIP's
// three algorithms this one reads the most bytes at once.
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_CHKSUM_ALGORITHM 3

#define LWIP_NETIF_LOOPBACK 0
#define LWIP_HAVE_LOOPIF 0
#define LWIP_STATS 0
#define LWIP_NOASSERT 1

#define LWIP_HOOK_FILENAME "hooks.hpp"
#define LWIP_HOOK_TCP_ISN bench_lwip_isn
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, header, length, length_1, options_2, packet) \
  ((pcb)->state == TIME_WAIT ? bench_lwip_time_wait((pcb), (header)) : ERR_OK)
