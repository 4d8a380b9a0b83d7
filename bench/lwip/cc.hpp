// What lwIP wants to know about the platform (its arch/cc.h): the rest it finds by itself.
#pragma once

#include <sys/time.h>

#ifdef __cplusplus
extern "C" {
#endif
unsigned bench_lwip_random(void);
#ifdef __cplusplus
}
#endif

#define LWIP_TIMEVAL_PRIVATE 0
#define LWIP_RAND() bench_lwip_random()
