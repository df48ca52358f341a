/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Zones: parts of the window with a lock of their own
 */
#include "base/clock.h"
#include "base/err.h"
#include "os/cpus.h"
#include "vm/zone.h"

struct zone zones[ZONES_MAX];
uint32_t nr_zones = 1;

#define MOVES_MAX	7	/* after that waits are forgotten too soon */

/* Which one who moves next moves to. */
static uint32_t next_zone;

/* Of a thread. */
static __thread struct {
	uint8_t at;		/* its zone */
	uint8_t nr_moves;
	uint16_t nr_turns;	/* since waits were halved */
	uint32_t nr_waits;
} own __attribute__((tls_model("initial-exec")));

void zone_assert_unused(const struct slab *first, size_t nr)
{
	if (!IS_ENABLED(CONFIG_DEBUG))
		return;
	for (size_t i = 0; i < nr; i++)
		ebb_assert(slab_hot(first + i)->kind == SLAB_KIND_NONE);
}

bool zone_take_patiently(struct zone *zone)
{
	return !zone_is_any_mine() &&
	       lock_try_for(&zone->lock, load_relaxed(&zone->deferred) ?
					 0 : LOCK_PATIENCE_MS);
}

/* @first was USED or LEAVING, and is free from now on; holds the lock. */
static void put(struct zone *zone, struct slab *first, size_t nr,
		enum run_state state, uint64_t stamp_ms)
{
	uint64_t bytes = nr << SLAB_SHIFT;

	if (first->run_state == RUN_LEAVING) {
		zone_count(&zone->counters.in_state[RUN_LEAVING], -bytes);
	} else {
		zone_assert_unused(first, nr);
		sub_relaxed(&zone->counters.used, bytes);
	}
	run_index_add(zone, first, nr, state, stamp_ms);
}

/* To be put by who has the lock next. */
static void defer(struct zone *zone, struct slab *first, size_t nr,
		  enum run_state state, uint64_t stamp_ms)
{
	struct slab *head = load_relaxed(&zone->deferred);

	first->run_len = (uint32_t)nr;
	first->run_bytes = state;
	first->stamp_ms = stamp_ms;
	do
		first->avail_next = head;
	/* Pairs with zone_drain_all(). */
	while (!cas_acq_rel(&zone->deferred, &head, first));
}

void zone_drain_all(struct zone *zone)
{
	/* Pairs with defer(). */
	struct slab *slab = xchg_acquire(&zone->deferred, NULL);

	while (slab) {
		struct slab *next = slab->avail_next;

		put(zone, slab, slab->run_len, (enum run_state)slab->run_bytes,
		    slab->stamp_ms);
		slab = next;
	}
}

/* Take in what was left, by who has not the lock, if nobody has it. */
static void catch_up(struct zone *zone)
{
	fence_seq_cst();
	while (load_relaxed(&zone->deferred) && lock_try(&zone->lock)) {
		zone_drain(zone);
		zone_tell(zone);
		lock_release(&zone->lock);
		fence_seq_cst();
	}
}

void zone_release(struct zone *zone)
{
	zone_tell(zone);
	lock_release(&zone->lock);
	catch_up(zone);
}

void zone_put(struct slab *first, size_t nr, enum run_state state,
	      uint64_t stamp_ms)
{
	struct zone *zone = zone_of(first);

	if (unlikely(!zone_take_patiently(zone))) {
		defer(zone, first, nr, state, stamp_ms);
		catch_up(zone);
		return;
	}
	zone_drain(zone);
	put(zone, first, nr, state, stamp_ms);
	zone_release(zone);
}

static void make_until(uint32_t at)
{
	uint32_t nr;

	lock_take(&zone_first->lock);
	/* Not the word of the lock: who forks may have it. */
	for (nr = nr_zones; nr <= at; nr++) {
		zones[nr].lock.rank = zone_first->lock.rank;
		zones[nr].number = (uint8_t)nr;
	}
	/* Nothing is told while there is one only. */
	store_relaxed(&zone_first->told.dirty, zone_dirty(zone_first));
	/* Pairs with move_on(). */
	store_release(&nr_zones, nr);
	zone_release(zone_first);
}

static void move_on(void)
{
	uint32_t at = add_relaxed(&next_zone, 1) %
		      min(cpus_allowed(), ZONES_MAX);

	own.nr_waits = 0;
	if (own.nr_moves < MOVES_MAX)
		own.nr_moves++;
	/* Pairs with make_until(). */
	if (at >= load_acquire(&nr_zones))
		make_until(at);
	own.at = (uint8_t)at;
}

static void forget_waits(void)
{
	if (++own.nr_turns < ZONE_SPELL)
		return;
	own.nr_turns = 0;
	own.nr_waits /= 2;
}

struct zone *zone_take_own(void)
{
	struct zone *zone = &zones[own.at];

	if (unlikely(own.nr_waits))
		forget_waits();
	if (likely(lock_try(&zone->lock)))
		return zone;
	if (++own.nr_waits >= ZONE_WAITS << own.nr_moves)
		move_on();
	zone = &zones[own.at];
	lock_take(&zone->lock);
	return zone;
}

size_t zone_reused(struct zone *zone, const struct slab *first, size_t nr)
{
	size_t from = max(slab_index(first), zone->unused);
	size_t to = min(slab_index(first) + nr, zone->unused_end);

	if (from >= to)
		return nr;
	zone->unused = to;
	return nr - (to - from);
}

static bool taken[ZONES_MAX];	/* by who forks */

/*
 * In the order of their numbers, so that two who fork do not wait for each other.
 * Who was woken for one of them may be below a handler first, and wait for another
 * one that is taken already; so nobody sleeps for ever here.  Below a handler that
 * interrupted a holder others are waited for, too, but not for ever: no holder
 * waits for another lock.
 */
void zone_prefork(bool may_wait)
{
	uint32_t nr = ZONES_MAX;

	for (uint32_t i = 0; i < nr; i++) {
		struct lock *lock = &zones[i].lock;

		taken[i] = false;
		if (lock_is_mine(lock))
			continue;
		do
			taken[i] = lock_try_for(lock, LOCK_PATIENCE_MS);
		while (!taken[i] && may_wait);
		/* From here on no more are made. */
		if (!i && taken[i])
			nr = nr_zones;
	}
}

void zone_postfork(void)
{
	for (uint32_t i = ZONES_MAX; i-- > 0;) {
		if (!taken[i])
			continue;
		taken[i] = false;
		zone_release(&zones[i]);
	}
}
