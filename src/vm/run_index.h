/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Indexes of free runs, by length and by age
 *
 * What it is: the free runs of a zone (vm/zone.h) that are in one state, to be
 * found by length, or the oldest first.  Runs of one state that lie side by side
 * in a zone are one.
 *
 * Locking: that of the run's zone, for everything here but run_set_ends() of
 * what is nobody else's yet.
 */
#ifndef EBB_VM_RUN_INDEX_H
#define EBB_VM_RUN_INDEX_H

#include "vm/pages.h"

struct zone;

#define RUN_BINS	128u		/* by length and pages that are backed */

/* The free runs in one state. */
struct run_index {
	uint64_t filled[RUN_BINS / 64];	/* which bins have runs */
	struct list_head bins[RUN_BINS];
	struct list_head by_age;	/* oldest first */
};

/* The oldest run of @index, or NULL. */
struct slab *run_index_oldest(struct run_index *index);

/*
 * A run that has @nr slabs from a multiple of @align slabs on, the shortest; of
 * equal ones that which served about @bytes.  NULL: none.
 */
struct slab *run_index_find(struct run_index *index, size_t nr, size_t align,
			    size_t bytes);

/* A run of one slab of which about @want pages are backed; *@ret_off: misfit. */
struct slab *run_index_single(struct run_index *index, unsigned int want,
			      unsigned int *ret_off);

/*
 * Put a free run of @zone into the index, joined with its neighbours in the same
 * state.  The older stamp holds for the whole, at the older one's place.
 */
void run_index_add(struct zone *zone, struct slab *first, size_t nr,
		   enum run_state state, uint64_t stamp_ms);

/*
 * Cut [@skip, @skip + @nr) out of the indexed @run of @zone; the rest stays
 * indexed.
 */
struct slab *run_index_carve(struct zone *zone, struct slab *run, size_t skip,
			     size_t nr, enum run_state new_state);

/* What both ends of a run say of it, and whose it is. */
void run_set_ends(const struct zone *zone, struct slab *first, size_t nr,
		  enum run_state state);

/* Of the run @first, free and part, or LEAVING from that: its clean bytes. */
static inline uint64_t run_hole_bytes(const struct slab *first)
{
	return (uint64_t)first->run_holes << map_page_shift;
}

/* Whether @slab, an end of a run, is free; what is said before that is seen then. */
static inline bool run_is_indexed(const struct slab *slab)
{
	uint8_t state = load_acquire(&slab->run_state);

	return state >= RUN_DIRTY && state <= RUN_CLEAN;
}

/* Slabs from @run to the first whose address is a multiple of @align. */
static inline size_t run_skip_to(const struct slab *run, size_t align)
{
	size_t at = (uintptr_t)slab_base(run) >> SLAB_SHIFT;

	return ALIGN_UP(at, align) - at;
}

#endif
