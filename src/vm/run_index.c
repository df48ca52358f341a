/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Indexes of free runs, by length and by age
 */
#include <limits.h>

#include "os/map.h"
#include "vm/run_index.h"
#include "vm/zone.h"

/*
 * Runs of one slab have a bin for each number of pages that are backed.  Lengths
 * up to LINEAR slabs have a bin each, longer ones four bins for each doubling; the
 * last bin takes all that is longer still.
 */
#define SINGLES		(SLAB_PAGES_MAX + 1u)
#define LINEAR_BITS	5
#define LINEAR		(1u << LINEAR_BITS)
#define FIT_SEARCH	8	/* runs looked at in a bin of mixed lengths */

/* Made when they are first needed, so that they cost nobody else a page. */
static void make_ready(struct run_index *index)
{
	if (likely(index->by_age.next))
		return;
	list_init(&index->by_age);
	for (unsigned int bin = 0; bin < RUN_BINS; bin++)
		list_init(&index->bins[bin]);
}

struct slab *run_index_oldest(struct run_index *index)
{
	if (!index->by_age.next || list_empty(&index->by_age))
		return NULL;
	return list_first(&index->by_age, struct slab, age);
}

/* The first bin that may have runs of @nr slabs. */
static unsigned int bin_of(size_t nr)
{
	unsigned int high, bin;

	if (nr == 1)
		return 0;
	if (nr < LINEAR)
		return SINGLES + (unsigned int)nr;
	high = bit_highest(nr);
	bin = SINGLES + LINEAR + (high - LINEAR_BITS) * 4 +
	      (unsigned int)(nr >> (high - 2) & 3);
	return min(bin, RUN_BINS - 1);
}

/* Clean pages of a free run; 0 where its state says it all. */
static uint32_t count_holes(const struct slab *first, size_t nr,
			    enum run_state state)
{
	size_t clean, lazy;

	if (state != RUN_PART)
		return 0;
	run_count_holes(first, nr << SLAB_SHIFT, state, &clean, &lazy);
	return (uint32_t)(clean >> map_page_shift);
}

/* The bin the free run @first of @nr slabs, in @state, is kept in. */
static unsigned int bin_for(const struct slab *first, size_t nr,
			    enum run_state state)
{
	if (nr > 1)
		return bin_of(nr);
	return state == RUN_CLEAN ? 0 : slab_nr_pages() - first->run_holes;
}

void run_set_ends(const struct zone *zone, struct slab *first, size_t nr,
		  enum run_state state)
{
	struct slab *last = first + nr - 1;

	first->run_len = last->run_len = (uint32_t)nr;
	store_relaxed(&first->zone, zone->number);
	store_relaxed(&last->zone, zone->number);
	/* Pairs with may_join(): who sees it sees whose the slab is. */
	store_release(&first->run_state, (uint8_t)state);
	store_release(&last->run_state, (uint8_t)state);
}

/*
 * @after: the neighbour in age, or NULL for the youngest of all.  run_holes is
 * set.
 */
static void index_insert(struct zone *zone, struct slab *first, size_t nr,
			 enum run_state state, uint64_t stamp_ms,
			 struct list_head *after)
{
	struct run_index *index = &zone->indexes[state];
	unsigned int bin = bin_for(first, nr, state);

	make_ready(index);
	run_set_ends(zone, first, nr, state);
	first->stamp_ms = stamp_ms;
	list_add(&first->link, &index->bins[bin]);
	if (after)
		list_add(&first->age, after);
	else
		list_add_tail(&first->age, &index->by_age);
	index->filled[bin / 64] |= 1ULL << bin % 64;
	zone_count(&zone->counters.in_state[state], nr << SLAB_SHIFT);
	zone_count(&zone->counters.part_clean, run_hole_bytes(first));
}

static void index_remove(struct zone *zone, struct slab *first)
{
	struct run_index *index = &zone->indexes[first->run_state];
	unsigned int bin = bin_for(first, first->run_len, first->run_state);

	list_del(&first->link);
	list_del(&first->age);
	if (list_empty(&index->bins[bin]))
		index->filled[bin / 64] &= ~(1ULL << bin % 64);
	zone_count(&zone->counters.in_state[first->run_state],
		   -((uint64_t)first->run_len << SLAB_SHIFT));
	zone_count(&zone->counters.part_clean, -run_hole_bytes(first));
}

/*
 * Whether the free run at @slab, an end of it, may become one with @run in @state.
 * It may be another zone's, and then anything may happen to it meanwhile.
 */
static bool may_join(const struct zone *zone, const struct slab *slab,
		     const struct slab *run, enum run_state state)
{
	/* Pairs with run_set_ends(). */
	return load_acquire(&slab->run_state) == state &&
	       load_relaxed(&slab->zone) == zone->number &&
	       slab->uncommitted == run->uncommitted;
}

void run_index_add(struct zone *zone, struct slab *first, size_t nr,
		   enum run_state state, uint64_t stamp_ms)
{
	size_t end = slab_index(first) + nr;
	uint32_t holes = count_holes(first, nr, state);
	struct list_head *after = NULL;

	if (end < load_relaxed(&range.fresh) >> SLAB_SHIFT &&
	    may_join(zone, first + nr, first, state)) {
		struct slab *next = first + nr;

		after = next->age.prev;
		stamp_ms = min(stamp_ms, next->stamp_ms);
		nr += next->run_len;
		holes += next->run_holes;
		index_remove(zone, next);
	}
	if (slab_index(first) && may_join(zone, first - 1, first, state)) {
		struct slab *prev = first - first[-1].run_len;

		if (!after || prev->stamp_ms <= stamp_ms)
			after = prev->age.prev;
		if (after == &prev->age)
			after = prev->age.prev;
		stamp_ms = min(stamp_ms, prev->stamp_ms);
		nr += prev->run_len;
		holes += prev->run_holes;
		first = prev;
		index_remove(zone, prev);
	}
	first->run_holes = holes;
	index_insert(zone, first, nr, state, stamp_ms, after);
}

/* Whether a run of @nr slabs at a multiple of @align fits into @run. */
static bool run_fits(const struct slab *run, size_t nr, size_t align)
{
	return run_skip_to(run, align) + nr <= run->run_len;
}

/*
 * Of two runs of one length that which served @bytes, or a little more, before:
 * then nothing that is backed is left behind, and nothing has to be backed.
 */
static bool fits_better(const struct slab *run, const struct slab *best,
			size_t bytes)
{
	if (run->run_len != best->run_len)
		return run->run_len < best->run_len;
	if (best->run_bytes < bytes)
		return run->run_bytes > best->run_bytes;
	return run->run_bytes >= bytes && run->run_bytes < best->run_bytes;
}

static struct slab *bin_find(struct list_head *bin, size_t nr, size_t align,
			     size_t bytes)
{
	struct slab *run, *tmp, *best = NULL;
	int left = FIT_SEARCH;

	list_for_each_entry_safe(run, tmp, bin, link) {
		if (run_fits(run, nr, align) &&
		    (!best || fits_better(run, best, bytes)))
			best = run;
		if (best && ((best->run_len == nr &&
			      best->run_bytes == bytes) || !--left))
			break;
	}
	return best;
}

struct slab *run_index_find(struct run_index *index, size_t nr, size_t align,
			    size_t bytes)
{
	unsigned int bin = bin_of(nr);

	while (bin < RUN_BINS) {
		uint64_t filled = index->filled[bin / 64] >> bin % 64;
		struct slab *run;

		if (!filled) {
			bin = ALIGN_DOWN(bin, 64u) + 64;
			continue;
		}
		bin += bit_lowest(filled);
		run = bin_find(&index->bins[bin], nr, align, bytes);
		if (run)
			return run;
		bin++;
	}
	return NULL;
}

struct slab *run_index_carve(struct zone *zone, struct slab *run, size_t skip,
			     size_t nr, enum run_state new_state)
{
	enum run_state state = run->run_state;
	uint64_t stamp_ms = run->stamp_ms;
	struct list_head *after = run->age.prev;
	size_t len = run->run_len;
	bool uncommitted = run->uncommitted;
	uint32_t taken = count_holes(run + skip, nr, state);
	uint32_t holes = run->run_holes - taken;

	index_remove(zone, run);
	if (skip) {
		run->run_holes = count_holes(run, skip, state);
		holes -= run->run_holes;
		index_insert(zone, run, skip, state, stamp_ms, after);
		run[skip - 1].uncommitted = uncommitted;
	}
	if (skip + nr < len) {
		run[skip + nr].run_holes = holes;
		run[skip + nr].uncommitted = uncommitted;
		index_insert(zone, run + skip + nr, len - skip - nr, state,
			     stamp_ms, after);
	}
	run += skip;
	run->run_holes = taken;
	run->uncommitted = run[nr - 1].uncommitted = uncommitted;
	run_set_ends(zone, run, nr, new_state);
	return run;
}

struct slab *run_index_single(struct run_index *index, unsigned int want,
			      unsigned int *ret_off)
{
	uint64_t filled = index->filled[0] & bits_range(0, SINGLES);
	uint64_t below = filled & bits_range(0, want);
	unsigned int more = UINT_MAX, less = UINT_MAX, bin;

	if (!filled)
		return NULL;
	if (filled != below)
		more = bit_lowest(filled ^ below) - want;
	if (below)
		less = want - bit_highest(below);
	bin = more <= less ? want + more : want - less;
	*ret_off = min(more, less);
	return list_first(&index->bins[bin], struct slab, link);
}
