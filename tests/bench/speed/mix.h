/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - The mix: sizes as real programs ask for, and places
 *
 * Where it is from: the sizes of all malloc, calloc and realloc calls of up to
 * 32 KiB (all but 2 in 1000) were counted in six programs: python3 3.11
 * (objects, JSON, regular expressions; PYTHONMALLOC=malloc), perl (hashes and
 * strings), git (log --stat), gcc's cc1 (a file of this project, -O2), sqlite3
 * (inserts, an index, groups) and redis-server (redis-benchmark: strings,
 * lists, sets, hashes).  Sizes were rounded up to 16 bytes up to 128, above
 * that to a quarter of the power of two below, and each program counts as
 * much as any other.  More than half of all are at most 48 bytes; the mean is
 * near 700, most of which is git's and cc1's buffers.
 */
#ifndef EBB_BENCH_MIX_H
#define EBB_BENCH_MIX_H

#include "bench/speed/speed.h"

#define MIX_SIZES	16384
#define MIX_PLACES	65536

extern uint16_t mix_sizes[MIX_SIZES];

/* Draw sizes; the same ones each time. */
void mix_prepare(void);

static inline size_t mix_size(uint64_t i)
{
	return mix_sizes[i % MIX_SIZES];
}

struct item {
	void *p;			/* NULL: none */
	uint32_t size;
	uint32_t tag;
};

/*
 * Items of which each operation replaces one.  Most die young: three of four
 * places are among the first 1 in 128.
 */
struct pool {
	struct item *items;
	uint32_t nr;			/* a power of two */
	uint32_t at;			/* next place and size */
	uint32_t pass;
};

/* Draw places, for pools of @nr items. */
void pool_prepare(uint32_t nr);
void pool_init(struct pool *pool, uint32_t nr);
void pool_fill(struct pool *pool);
void pool_churn(struct pool *pool, uint64_t operations);
void pool_free(struct pool *pool);

#endif
