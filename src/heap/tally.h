/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The tally: who has what, at a glance
 *
 * What it is: one walk over the slabs in use that reads two words of each, the
 * count of free slots and the state of the pages, and sums them by size class
 * and by owner.  About 50 ns a slab; the exact walk, which looks at each bit,
 * is api/count.c.
 *
 * Slots in caches count as taken, and so do, for microseconds, those that a
 * pass has in hand.  Numbers are of no one moment while threads run.
 *
 * Locking: the sums by owner are kept in the heaps; one caller at a time.
 */
#ifndef EBB_HEAP_TALLY_H
#define EBB_HEAP_TALLY_H

#include "heap/heap.h"

struct class_tally {
	uint64_t nr_slabs;
	uint64_t nr_taken;	/* slots */
	uint64_t clean_bytes;	/* of pages */
	uint64_t lazy_bytes;
};

struct thread_tally {
	int tid;		/* 0: slabs of threads that have ended */
	uint64_t nr_slabs;
	uint64_t taken_bytes;	/* slots handed out from its slabs */
	uint64_t cached_bytes;
};

struct tally {
	/* The last: blocks of chunks, heap/chunk.h. */
	struct class_tally classes[NR_CLASSES + 1];
	unsigned int nr_threads;	/* filled in; with most taken first */
	uint64_t cached_bytes;		/* of all threads */
	uint64_t run_cache_bytes;	/* of all threads: runs they keep */
	uint64_t heap_bytes;		/* what their heaps take up */
};

/*
 * Fill @ret_tally, and up to @max of the threads with caches into @threads.
 * False: whoever holds drain_lock does not let go, and nothing is known of
 * threads.  Context: holds no lock of floor 3 or below.
 */
bool tally_take(struct tally *ret_tally, struct thread_tally *threads,
		unsigned int max) __must_check;

/* What can be added up without a walk: exact while nobody allocates. */
struct tally_sums {
	int64_t slots_handed;		/* bytes, the caches' included */
	int64_t slots_dirty;		/* bytes backed beside them */
	uint64_t cached_bytes;		/* of all threads: slots, ... */
	uint64_t run_cache_bytes;	/* ... runs they keep */
	uint64_t heap_bytes;		/* what their heaps take up */
};

/* Costs as much as there are threads.  Context, false: as tally_take(). */
bool tally_sum(struct tally_sums *ret_sums) __must_check;

/* Bytes of descriptors in use. */
uint64_t tally_table_bytes(void);

#endif
