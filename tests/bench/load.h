/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Loads: many objects, patterned and checked
 *
 * What it is: a list of objects that one thread owns, kept outside malloc so
 * that no allocator has to hold it.  Sizes are log-uniform.  Each object is
 * filled when it is made and compared when it goes, so that a page which
 * vanished under live data is found (EXIT_CORRUPT).  Bytes are the requested
 * ones; what an allocator rounds up is its own affair.
 *
 * Everything follows from the seed.
 */
#ifndef EBB_BENCH_LOAD_H
#define EBB_BENCH_LOAD_H

#include "bench/crew.h"
#include "common.h"

struct object {
	void *p;
	uint32_t size;
	uint32_t seed;
};

struct load {
	struct object *list;
	size_t nr;
	size_t most;		/* what the list has room for */
	size_t nr_peak;		/* most that @nr ever was */
	size_t bytes;		/* of all objects */
	size_t peak;		/* most that @bytes ever was */
	uint64_t made;
	struct rng rng;
	unsigned int low;	/* sizes in [2^low, 2^high) */
	unsigned int high;
};

/* One for each thread of the crew. */
extern struct load loads[CREW_MAX];

/* Room for @bytes of objects of 2^low bytes and more. */
void load_init(struct load *load, size_t bytes, unsigned int low,
	       unsigned int high);

/* Have the first @nr places of the list backed, whether used or not. */
void load_back(struct load *load, size_t nr);
void load_seed(struct load *load, uint64_t seed);

/* One more object.  No memory: EXIT_NO_MEMORY. */
void load_add(struct load *load, size_t size);
void load_drop(struct load *load, size_t i);

/* Objects until the next one would pass @bytes. */
void load_grow(struct load *load, size_t bytes);

/* Objects chosen at random go until at most @bytes are left. */
void load_shrink(struct load *load, size_t bytes);

/* Of all objects only one in @one_of stays, chosen at random. */
void load_cull(struct load *load, unsigned int one_of);

/* Replace objects, @bytes in all, never passing @most. */
void load_churn(struct load *load, size_t bytes, size_t most);

/* Free @nr objects, then make all of them again with the same sizes. */
void load_replace(struct load *load, const size_t *which, size_t nr);

/* Compare all. */
void load_check(const struct load *load);

#endif
