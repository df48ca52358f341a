/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - CPUs that the process may use
 */
#include "base/atomic.h"
#include "base/bits.h"
#include "base/sys.h"
#include "os/cpus.h"

#define MASK_WORDS	128u	/* 8192 CPUs, the most that Linux is built for */

static unsigned int count_of(long pid)
{
	uint64_t mask[MASK_WORDS] = { 0 };
	unsigned int sum = 0;
	long len = sys_call3(SYS_sched_getaffinity, pid, sizeof(mask),
			     (long)mask);

	for (long i = 0; i < len / (long)sizeof(mask[0]); i++)
		sum += bits_count(mask[i]);
	return sum;
}

unsigned int cpus_allowed(void)
{
	static unsigned int nr;
	unsigned int first, own;

	if (load_relaxed(&nr))
		return load_relaxed(&nr);
	first = count_of(sys_getpid());
	own = max(count_of(0), 1u);
	store_relaxed(&nr, max(first, own));
	return max(first, own);
}
