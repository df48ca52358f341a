/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The monotonic clock
 *
 * glibc answers from the vDSO: no system call that a filter could see (but for
 * clock_cpu_us()), no errno, no cancellation point.  Context: any, signal
 * handlers too.
 */
#ifndef EBB_BASE_CLOCK_H
#define EBB_BASE_CLOCK_H

#include <time.h>
#include "base/compiler.h"

static inline uint64_t clock_ns_of(clockid_t clock)
{
	struct timespec now = { 0 };

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_ns(void)
{
	return clock_ns_of(CLOCK_MONOTONIC);
}

static inline uint64_t clock_us(void)
{
	return clock_ns() / 1000;
}

static inline uint64_t clock_ms(void)
{
	return clock_ns() / 1000000;
}

/* What the calling thread had of the CPU: a system call, unlike the others. */
static inline uint64_t clock_cpu_us(void)
{
	return clock_ns_of(CLOCK_THREAD_CPUTIME_ID) / 1000;
}

/* Milliseconds since 1970: what is shown to others. */
static inline uint64_t clock_realtime_ms(void)
{
	return clock_ns_of(CLOCK_REALTIME) / 1000000;
}

/* As of the kernel's last tick: up to 10 ms old, and the cheapest. */
static inline uint64_t clock_coarse_ms(void)
{
	return clock_ns_of(CLOCK_MONOTONIC_COARSE) / 1000000;
}

#endif
