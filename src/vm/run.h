/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Runs of slabs
 *
 * What it is: the allocator of whole slabs, one at a time for the size
 * classes or many for a large object.
 *
 * Model: free runs are indexed by length, apart for each state (dirty, part,
 * lazy, clean), and listed by age (vm/run_index.h).  A request takes the best fit
 * that is dirty, else part, else lazy, first in the thread's own zone, then in
 * others; else clean, else space never used: what is backed is reused first.
 * Neighbours in the same state coalesce; a run that is given back becomes clean
 * and coalesces then.
 *
 * Runs of one slab, which slabs and many large objects are, are also told apart
 * by how many of their pages are backed, and a request for one gets that, dirty
 * or part, which comes nearest to what it will use: what is backed beyond that
 * lies idle behind the object, and what is missing has to be faulted in.
 *
 * Invariants:
 * (1) The first and the last slab of every run, used or free, carry its
 *     state; a free one also its length, at both ends.
 * (2) A clean run reads as zero.
 * (3) A run in state LEAVING is in no index and nobody else's.
 * (4) The stamp of a free run is not later than the time its youngest part
 *     was freed: memory is given back early at most, never late.
 * (5) The page word (vm/pages.h) of each slab of a run that is part, free or
 *     cached, says which of its pages are clean, and which lazy; that of the
 *     last slab of a large object the same of what is behind the object.
 *     Nowhere else does it count for runs, since their state says it all.
 *
 * Locking: that of the zone (vm/zone.h), for everything but
 * range_take_fresh(nr, false).  A signal handler that interrupted the holder of
 * one must not wait: it takes fresh slabs only, and what it frees is left on the
 * zone's deferred stack, which the next holder empties.
 */
#ifndef EBB_VM_RUN_H
#define EBB_VM_RUN_H

#include "vm/pages.h"
#include "vm/zone.h"

/*
 * Slabs of large objects that can be part when they are freed, to be joined with
 * others: what is longer is dirty as soon as anything of it is backed, since page
 * words of its inner slabs would cost more than is known by them.
 */
#define RUN_PART_MAX	4u

/* A figure of all zones together. */
#define run_counted(field) run_sum(offsetof(struct run_counters, field))

static inline uint64_t run_sum(size_t offset)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < load_relaxed(&nr_zones); i++)
		sum += load_relaxed((uint64_t *)(void *)
				    ((char *)&zones[i].counters + offset));
	return sum;
}

/* By how many pages a run misses what is wanted. */
static inline unsigned int run_misfit(unsigned int backed, unsigned int want)
{
	return backed > want ? backed - want : want - backed;
}

static inline uint64_t run_clean_bytes(void)
{
	return run_counted(in_state[RUN_CLEAN]) + run_counted(part_clean);
}

/* Bytes of runs that are part, without their clean pages. */
static inline uint64_t run_part_bytes(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < load_relaxed(&nr_zones); i++)
		sum += zone_part_bytes(&zones[i]);
	return sum;
}

/* What is free, or behind an object, and backed. */
static inline uint64_t run_dirty_bytes(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < load_relaxed(&nr_zones); i++)
		sum += zone_dirty(&zones[i]);
	return sum;
}

/*
 * account_look(), for who has freed something.  Of several zones the counters are
 * looked at only where what they told, or a little more, reaches the level.
 */
void run_look(void);

/*
 * Hand out @nr slabs, the first at a multiple of @align slabs (a power of
 * two).  *@ret_was, if wanted: the state it was in, all of it; RUN_CLEAN also
 * for what was never used.
 * Returns the first descriptor or NULL.
 * Context: any; takes no lock where the caller's own thread holds it.
 */
struct slab *run_alloc(size_t nr, size_t align, enum run_state *ret_was);

/* The same, of slabs of which only the first @bytes will be used. */
struct slab *run_alloc_for(size_t bytes, size_t align,
			   enum run_state *ret_was);

/*
 * Return a run of @nr slabs.  @state: what it is from now on, RUN_CLEAN only if
 * all of it reads as zero and is not backed; RUN_PART only with the page words of
 * all of its slabs.
 * Context: any, as run_alloc(); a stopped holder of the lock is not waited for.
 */
void run_free(struct slab *first, size_t nr, enum run_state state);

/*
 * Have the used run @first, of @nr slabs, become @new_nr slabs in place.
 * @may_move: false rather than with slabs that are not backed, if there is a
 * free run, backed, that would hold all of it.
 */
bool run_resize(struct slab *first, size_t nr, size_t new_nr, bool may_move);

/*
 * For the reclaimer: take out of the index the oldest free run in @state
 * freed at or before @until_ms; at most @max_nr slabs of it.  It is LEAVING
 * until run_settle().  NULL also where whoever holds the lock does not let go.
 */
struct slab *run_claim(enum run_state state, uint64_t until_ms, size_t max_nr,
		       size_t *ret_nr);

/* The end of a claim: the run is now in @state, as old as @stamp_ms says. */
void run_settle(struct slab *first, size_t nr, enum run_state state,
		uint64_t stamp_ms);

/*
 * Under strict overcommit (vm.overcommit_memory=2): give the commit charge of
 * a claimed run back, too; it is charged again when the run is handed out.
 * Returns whether the run is clean now.
 */
bool run_uncommit(struct slab *first, size_t nr);

/*
 * When the oldest free run in @state was freed; UINT64_MAX: there is none, 0:
 * whoever holds a zone's lock does not let go.
 */
uint64_t run_oldest(enum run_state state);

#endif
