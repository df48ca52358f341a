/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Runs of slabs
 */
#include <limits.h>

#include "acct/account.h"
#include "base/clock.h"
#include "base/err.h"
#include "os/map.h"
#include "os/name.h"
#include "vm/run.h"

/* Uncommitted memory (strict overcommit) is charged again before it is used. */
static bool run_recommit(struct slab *first, size_t nr)
{
	if (likely(!first->uncommitted))
		return true;
	if (map_commit(slab_base(first), nr << SLAB_SHIFT))
		return false;
	first->uncommitted = first[nr - 1].uncommitted = 0;
	return true;
}

/* One slab of @zone, dirty or part: that which comes nearest to @bytes. */
static struct slab *alloc_single(struct zone *zone, size_t bytes,
				 enum run_state *ret_was)
{
	unsigned int want = run_pages_used(bytes), least = UINT_MAX, off;
	struct slab *best = NULL;

	for (int state = RUN_DIRTY; state <= RUN_PART; state++) {
		struct slab *run = run_index_single(&zone->indexes[state], want,
						    &off);

		if (run && off < least) {
			best = run;
			least = off;
		}
	}
	if (!best)
		return NULL;
	*ret_was = (enum run_state)best->run_state;
	return run_index_carve(zone, best, 0, 1, RUN_USED);
}

/* What is asked for. */
struct request {
	size_t nr, align;	/* slabs */
	size_t bytes;		/* that will be used */
};

static struct slab *alloc_in_state(struct zone *zone,
				   const struct request *request,
				   enum run_state state)
{
	size_t nr = request->nr;
	struct slab *run = run_index_find(&zone->indexes[state], nr,
					  request->align, request->bytes);

	if (!run)
		return NULL;
	return run_index_carve(zone, run, run_skip_to(run, request->align), nr,
			       RUN_USED);
}

static struct slab *alloc_backed(struct zone *zone,
				 const struct request *request,
				 enum run_state *ret_was)
{
	struct slab *run = NULL;

	if (request->nr == 1 && request->align == 1)
		run = alloc_single(zone, request->bytes, ret_was);
	for (int state = RUN_DIRTY; !run && state < RUN_CLEAN; state++) {
		run = alloc_in_state(zone, request, (enum run_state)state);
		*ret_was = (enum run_state)state;
	}
	return run;
}

static struct slab *alloc_clean(struct zone *zone,
				const struct request *request)
{
	struct slab *run = alloc_in_state(zone, request, RUN_CLEAN);

	if (!run)
		return NULL;
	if (!run_recommit(run, request->nr)) {
		run_index_add(zone, run, request->nr, RUN_CLEAN,
			      clock_coarse_ms());
		return NULL;
	}
	zone_count(&zone->counters.retaken,
		   zone_reused(zone, run, request->nr) << SLAB_SHIFT);
	return run;
}

static size_t slabs_to_cut(const struct request *request)
{
	return request->nr + request->align - 1;
}

/* Fresh slabs of the first zone; what is skipped becomes clean runs. */
static struct slab *alloc_fresh(const struct request *request)
{
	size_t nr = request->nr, whole = slabs_to_cut(request), skip;
	struct slab *first = range_take_fresh(whole, true);

	if (!first)
		return NULL;
	skip = run_skip_to(first, request->align);
	run_set_ends(zone_first, first + skip, nr, RUN_USED);
	if (skip)
		run_index_add(zone_first, first, skip, RUN_CLEAN,
			      clock_coarse_ms());
	if (skip + nr < whole)
		run_index_add(zone_first, first + skip + nr, whole - skip - nr,
			      RUN_CLEAN, clock_coarse_ms());
	return first + skip;
}

/*
 * For @zone, which is not the first and is not locked.  Another thread may have
 * done so meanwhile, and then there is enough without this one.
 */
static struct slab *alloc_extent(struct zone *zone,
				 const struct request *request)
{
	size_t whole = ZONE_EXTENT;
	struct slab *first, *run;

	lock_take(&zone_first->lock);
	first = range_take_fresh(whole, true);
	if (!first) {
		whole = slabs_to_cut(request);
		first = range_take_fresh(whole, true);
	}
	/* Before others find it, as the last run's neighbour. */
	if (first)
		run_set_ends(zone, first, whole, RUN_USED);
	zone_release(zone_first);
	if (!first)
		return NULL;
	lock_take(&zone->lock);
	if (slab_index(first) != zone->unused_end)
		zone->unused = slab_index(first);
	zone->unused_end = slab_index(first) + whole;
	run_index_add(zone, first, whole, RUN_CLEAN, clock_coarse_ms());
	run = alloc_clean(zone, request);
	zone_release(zone);
	return run;
}

/*
 * Whether it may be worth it to look for @nr slabs that are backed in @zone.  Not
 * by its counters, which are on another CPU.
 */
static bool has_backed(const struct zone *zone, size_t nr)
{
	uint64_t told = load_relaxed(&zone->told.dirty);

	return told && told + ZONE_TELL_STEP >= nr << SLAB_SHIFT;
}

/* From any other than @own; nobody is waited for. */
static struct slab *alloc_elsewhere(const struct zone *own,
				    const struct request *request,
				    enum run_state *ret_was)
{
	struct slab *run = NULL;

	for (uint32_t i = 0; !run && i < load_acquire(&nr_zones); i++) {
		struct zone *zone = &zones[i];

		if (zone == own || !has_backed(zone, request->nr) ||
		    !lock_try(&zone->lock))
			continue;
		zone_drain(zone);
		run = alloc_backed(zone, request, ret_was);
		zone_release(zone);
	}
	return run;
}

/* There is nothing fresh any more: whatever any zone has. */
static struct slab *alloc_anywhere(const struct request *request,
				   enum run_state *ret_was)
{
	struct slab *run = NULL;

	for (uint32_t i = 0; !run && i < load_acquire(&nr_zones); i++) {
		struct zone *zone = &zones[i];

		lock_take(&zone->lock);
		zone_drain(zone);
		run = alloc_backed(zone, request, ret_was);
		if (!run) {
			*ret_was = RUN_CLEAN;
			run = alloc_clean(zone, request);
		}
		zone_release(zone);
	}
	return run;
}

/* In @zone, the thread's and locked, which it is no more in the end. */
static struct slab *alloc_in(struct zone *zone, const struct request *request,
			     enum run_state *ret_was)
{
	struct slab *run;

	zone_drain(zone);
	run = alloc_backed(zone, request, ret_was);
	if (!run)
		run = alloc_elsewhere(zone, request, ret_was);
	if (!run) {
		*ret_was = RUN_CLEAN;
		run = alloc_clean(zone, request);
	}
	if (!run && zone == zone_first)
		run = alloc_fresh(request);
	zone_release(zone);
	if (!run && zone != zone_first)
		run = alloc_extent(zone, request);
	if (!run && load_relaxed(&nr_zones) > 1)
		run = alloc_anywhere(request, ret_was);
	return run;
}

/* Below a handler that interrupted the holder of a lock: fresh ones alone. */
static struct slab *alloc_unlocked(const struct request *request)
{
	struct slab *run;

	if (request->align != 1)
		return NULL;
	run = range_take_fresh(request->nr, false);
	if (run)
		run_set_ends(zone_first, run, request->nr, RUN_USED);
	return run;
}

/* The zone for @request, locked. */
static struct zone *take_zone(const struct request *request)
{
	if (likely(slabs_to_cut(request) <= ZONE_EXTENT))
		return zone_take_own();
	lock_take(&zone_first->lock);
	return zone_first;
}

struct slab *run_alloc(size_t nr, size_t align, enum run_state *ret_was)
{
	return run_alloc_for(nr << SLAB_SHIFT, align, ret_was);
}

struct slab *run_alloc_for(size_t bytes, size_t align, enum run_state *ret_was)
{
	struct request request = {
		.nr = ALIGN_UP(bytes, SLAB_SIZE) >> SLAB_SHIFT,
		.align = align,
		.bytes = bytes,
	};
	enum run_state was = RUN_CLEAN;
	struct slab *run = NULL;

	/* So that their sum is no less than either. */
	if (request.nr > range.span >> SLAB_SHIFT ||
	    align > range.span >> SLAB_SHIFT)
		return NULL;
	if (likely(!zone_is_any_mine()))
		run = alloc_in(take_zone(&request), &request, &was);
	else
		run = alloc_unlocked(&request);
	if (run) {
		add_relaxed(&zone_of(run)->counters.used,
			    request.nr << SLAB_SHIFT);
		zone_assert_unused(run, request.nr);
	}
	if (ret_was)
		*ret_was = was;
	return run;
}

/* What was mapped anew can merge with what is around it. */
static void name_part(const struct slab *first, size_t nr)
{
	name_renewed(slab_base(first), nr << SLAB_SHIFT);
}

/*
 * A range that mremap put here is made ordinary again, which empties it.
 * False: the kernel failed, perhaps after it removed what was there.
 */
static bool settle_displaced(struct slab *first, size_t nr)
{
	if (map_renew(slab_base(first), nr << SLAB_SHIFT))
		return false;
	name_part(first, nr);
	first->displaced = 0;
	sub_relaxed(&zone_of(first)->counters.nr_displaced, 1);
	return true;
}

void run_free(struct slab *first, size_t nr, enum run_state state)
{
	ebb_assert(nr && first->run_state == RUN_USED);
	if (unlikely(first->displaced)) {
		/* What may be a hole is never handed out again. */
		if (!settle_displaced(first, nr))
			return;
		state = RUN_CLEAN;
	}
	zone_put(first, nr, state, clock_coarse_ms());
}

/* Whether there is a free run of @nr slabs in @zone that is backed. */
static bool backed_fits(struct zone *zone, size_t nr)
{
	for (int state = RUN_DIRTY; state < RUN_CLEAN; state++)
		if (run_index_find(&zone->indexes[state], nr, 1,
				   nr << SLAB_SHIFT))
			return true;
	return false;
}

static bool grow_in_place(struct slab *first, size_t nr, size_t more,
			  bool may_move)
{
	size_t end = slab_index(first) + nr;
	struct zone *zone = zone_of(first);
	struct slab *next = first + nr;
	bool last = end >= load_relaxed(&range.fresh) >> SLAB_SHIFT;

	/* Another zone's cannot be had: its lock is not ours.  See may_join(). */
	if (last ? zone != zone_first :
		   !run_is_indexed(next) || zone_of(next) != zone)
		return false;
	if (may_move && (last || next->run_state == RUN_CLEAN) &&
	    backed_fits(zone, nr + more))
		return false;
	if (last) {
		/* The last run of all: fresh space follows. */
		struct slab *got = range_take_fresh(more, true);

		if (got == next)
			return true;
		if (got)
			run_index_add(zone, got, more, RUN_CLEAN, clock_coarse_ms());
		return false;
	}
	if (next->run_len < more)
		return false;
	if (next->run_state == RUN_CLEAN)
		zone_reused(zone, next, more);
	next = run_index_carve(zone, next, 0, more, RUN_USED);
	if (run_recommit(next, more))
		return true;
	run_index_add(zone, next, more, RUN_CLEAN, clock_coarse_ms());
	return false;
}

bool run_resize(struct slab *first, size_t nr, size_t new_nr, bool may_move)
{
	struct zone *zone = zone_of(first);
	bool done = true;

	if (new_nr == nr)
		return true;
	if (zone_is_any_mine() || first->displaced)
		return false;
	lock_take(&zone->lock);
	zone_drain(zone);
	if (new_nr > nr) {
		done = grow_in_place(first, nr, new_nr - nr, may_move);
	} else {
		/* Both ends first: what joins neighbours looks at them. */
		run_set_ends(zone, first, new_nr, RUN_USED);
		run_set_ends(zone, first + new_nr, nr - new_nr, RUN_USED);
		first[new_nr - 1].uncommitted = 0;
		first[new_nr].uncommitted = first[nr - 1].uncommitted = 0;
		run_index_add(zone, first + new_nr, nr - new_nr, RUN_DIRTY,
			      clock_coarse_ms());
	}
	if (done) {
		run_set_ends(zone, first, new_nr, RUN_USED);
		add_relaxed(&zone->counters.used, (new_nr - nr) << SLAB_SHIFT);
	}
	zone_release(zone);
	return done;
}

/*
 * Since when the oldest free run of @zone, which is locked, in @state is free;
 * UINT64_MAX: there is none.
 */
static uint64_t oldest_in(struct zone *zone, enum run_state state)
{
	struct slab *run = run_index_oldest(&zone->indexes[state]);

	return run ? run->stamp_ms : UINT64_MAX;
}

/*
 * The zone with the oldest free run in @state; *@ret_old: that is as old as
 * @until_ms.  Who is at it is not waited for, since that would be anew for each
 * run of a pass; but where no other zone has any it is he who may.
 */
static struct zone *zone_with_oldest(enum run_state state, uint64_t until_ms,
				     bool *ret_old)
{
	uint32_t nr = load_acquire(&nr_zones);
	struct zone *ret = zone_first, *busy = NULL;
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; nr > 1 && i < nr; i++) {
		uint64_t stamp_ms;

		if (!lock_try_for(&zones[i].lock, 0)) {
			busy = &zones[i];
			continue;
		}
		stamp_ms = oldest_in(&zones[i], state);
		zone_release(&zones[i]);
		if (stamp_ms >= least)
			continue;
		least = stamp_ms;
		ret = &zones[i];
	}
	*ret_old = least != UINT64_MAX && least <= until_ms;
	return *ret_old || !busy ? ret : busy;
}

/* Claim the oldest in @zone, as run_claim(). */
static struct slab *claim_in(struct zone *zone, enum run_state state,
			     uint64_t until_ms, size_t max_nr, size_t *ret_nr)
{
	struct slab *run;
	size_t nr;

	if (!zone_take_patiently(zone))
		return NULL;
	zone_drain(zone);
	run = run_index_oldest(&zone->indexes[state]);
	if (run && run->stamp_ms > until_ms)
		run = NULL;
	if (run) {
		uint64_t stamp_ms = run->stamp_ms;

		nr = min((size_t)run->run_len, max_nr);
		run = run_index_carve(zone, run, 0, nr, RUN_LEAVING);
		run->stamp_ms = stamp_ms;
		zone_count(&zone->counters.in_state[RUN_LEAVING],
			   nr << SLAB_SHIFT);
		*ret_nr = nr;
	}
	zone_release(zone);
	return run;
}

struct slab *run_claim(enum run_state state, uint64_t until_ms, size_t max_nr,
		       size_t *ret_nr)
{
	struct slab *run = NULL;
	bool old = true;

	if (zone_is_any_mine())
		return NULL;
	/* Somebody may take the one run that was old: there may be others. */
	for (unsigned int i = 0; !run && old && i < ZONES_MAX; i++) {
		struct zone *zone = zone_with_oldest(state, until_ms, &old);

		run = claim_in(zone, state, until_ms, max_nr, ret_nr);
	}
	return run;
}

void run_settle(struct slab *first, size_t nr, enum run_state state,
		uint64_t stamp_ms)
{
	zone_put(first, nr, state, stamp_ms);
}

bool run_uncommit(struct slab *first, size_t nr)
{
	if (map_uncommit(slab_base(first), nr << SLAB_SHIFT))
		return false;
	name_part(first, nr);
	first->uncommitted = first[nr - 1].uncommitted = 1;
	return true;
}

uint64_t run_oldest(enum run_state state)
{
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < load_acquire(&nr_zones); i++) {
		struct zone *zone = &zones[i];

		if (!zone_take_patiently(zone))
			return 0;
		least = min(least, oldest_in(zone, state));
		zone_release(zone);
	}
	return least;
}

void run_look(void)
{
	uint32_t nr = load_relaxed(&nr_zones);

	if (nr > 1) {
		uint64_t most = (uint64_t)nr * ZONE_TELL_STEP;

		/* Pairs with run_look() of another one: it sees what is told. */
		fence_seq_cst();
		for (uint32_t i = 0; i < nr; i++)
			most += load_relaxed(&zones[i].told.dirty);
		if (!account_is_reached(most))
			return;
	}
	account_look(run_dirty_bytes());
}
