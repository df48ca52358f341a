/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Tails: whole pages behind what is used of a run
 *
 * What it is: who may give the kernel pages that belong to somebody's large
 * object, and that nobody will touch as long as it is one: those between its
 * last byte and the end of its run.  They are backed where the memory served
 * something longer before.
 *
 * Model: slab->tail, of the run's first slab.
 *
 *	           tail_offer()             tail_claim()
 *	TAIL_NONE ─────────────► DIRTY ─► IDLE ─────────► LEAVING
 *	  ▲  ▲                     │       │                 │ │ tail_free()
 *	  │  └─────────────────────┴───────┘                 │ ▼
 *	  │             tail_take()                          │ FREED
 *	  └──────────────────────────────────────────────────┴──┘
 *	                          tail_settle()
 *
 * and from LEAVING back to DIRTY by tail_refused(), which also puts it back on
 * the list of what a pass has to see.
 *
 * Invariants:
 * (1) While the word is LEAVING the run is not freed, resized or moved: its
 *     last pages are in the reclaimer's hand.  Who frees it leaves that to the
 *     reclaimer (FREED) and waits for nobody.
 * (2) run_bytes and run_len of a large object change only while the word is
 *     NONE.
 * (3) The page word of its last slab (vm/pages.h) is the owner's while the word
 *     is NONE, and the reclaimer's while it is LEAVING or FREED; on offer it is
 *     read only.
 */
#ifndef EBB_HEAP_TAIL_H
#define EBB_HEAP_TAIL_H

#include "heap/slab.h"
#include "os/map.h"
#include "vm/run.h"

enum tail_state {
	TAIL_NONE,
	TAIL_DIRTY,	/* backed, perhaps; not seen by a sweep yet */
	TAIL_IDLE,	/* the same, seen at idle_ms */
	TAIL_LEAVING,	/* on its way to the kernel */
	TAIL_FREED,	/* the same, and the object was freed meanwhile */
};

/* Bytes behind the large object @run. */
static inline size_t tail_bytes(const struct slab *run)
{
	return ((size_t)run->run_len << SLAB_SHIFT) - run->run_bytes;
}

/* They as a mask, of the last slab. */
static inline unsigned int tail_pages(const struct slab *run)
{
	unsigned int end = slab_nr_pages();

	return (unsigned int)bits_range(end - (unsigned int)
					(tail_bytes(run) >> map_page_shift),
					end);
}

static inline struct slab *tail_slab(const struct slab *run)
{
	return (struct slab *)(uintptr_t)(run + run->run_len - 1);
}

/* It was given back.  Context: the reclaimer, before it settles the claim. */
static inline void tail_gone(struct slab *run)
{
	store_relaxed(&tail_slab(run)->pages,
		      (uint64_t)tail_pages(run) << PAGES_CLEAN);
}

/* What a large object's run becomes when it is free, with its page words. */
static inline enum run_state tail_run_state(struct slab *run)
{
	struct slab *last = tail_slab(run);

	if (run->run_len > RUN_PART_MAX || !run_page_word(last, RUN_PART))
		return RUN_DIRTY;
	while (run < last)
		store_relaxed(&(run++)->pages, 0);
	return RUN_PART;
}

/* @more bytes of the tail of @run are on offer. */
static inline void tail_count(const struct slab *run, size_t more)
{
	add_relaxed(&zone_of(run)->counters.tails, more);
	zone_tell(zone_of(run));
}

/* The large object @run is the caller's: its tail may be given back. */
static inline void tail_offer(struct slab *run)
{
	if (!tail_bytes(run))
		return;
	tail_count(run, tail_bytes(run));
	/* Pairs with tail_claim(): run_bytes and run_len first. */
	store_release(&run->tail, TAIL_DIRTY);
	slab_dirty_push(run);
}

/*
 * The owner wants to change @run: false while its tail is being given back.
 * *@ret_offered: it was on offer.
 */
static inline bool tail_take(struct slab *run, bool *ret_offered)
{
	uint8_t state = load_acquire(&run->tail);

	while (state == TAIL_DIRTY || state == TAIL_IDLE) {
		if (!cas_acq_rel(&run->tail, &state, TAIL_NONE))
			continue;
		tail_count(run, -tail_bytes(run));
		*ret_offered = true;
		return true;
	}
	*ret_offered = false;
	return state == TAIL_NONE;
}

/* The owner frees @run; false: the reclaimer will do that. */
static inline bool tail_free(struct slab *run)
{
	size_t bytes = (size_t)run->run_len << SLAB_SHIFT;
	bool offered;

	/* What the kernel refuses may be on offer again at any time. */
	while (!tail_take(run, &offered)) {
		uint8_t leaving = TAIL_LEAVING;

		/* First: from then on the run may be anybody's. */
		add_relaxed(&zone_of(run)->counters.tails_freed, bytes);
		if (cas_acq_rel(&run->tail, &leaving, TAIL_FREED))
			return false;
		sub_relaxed(&zone_of(run)->counters.tails_freed, bytes);
	}
	return true;
}

/* For the reclaimer: false, where it is not in @state any more. */
static inline bool tail_claim(struct slab *run, uint8_t state)
{
	if (!cas_acq_rel(&run->tail, &state, TAIL_LEAVING))
		return false;
	tail_count(run, -tail_bytes(run));
	return true;
}

/* The end of a claim; true: @run was freed, the caller has to do it. */
static inline bool tail_settle(struct slab *run)
{
	uint8_t leaving = TAIL_LEAVING;

	if (cas_acq_rel(&run->tail, &leaving, TAIL_NONE) ||
	    leaving != TAIL_FREED)
		return false;
	store_release(&run->tail, TAIL_NONE);
	return true;
}

/* The same, of a tail that the kernel did not take: it is on offer again. */
static inline bool tail_refused(struct slab *run)
{
	uint8_t leaving = TAIL_LEAVING;
	size_t bytes = tail_bytes(run);

	tail_count(run, bytes);
	if (cas_acq_rel(&run->tail, &leaving, TAIL_DIRTY)) {
		/* It is on no list any more. */
		slab_dirty_push(run);
		return false;
	}
	tail_count(run, -bytes);
	return tail_settle(run);
}

#endif
