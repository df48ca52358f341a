/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Zones: parts of the window with a lock of their own
 *
 * What it is: threads that allocate runs at the same time wait for each other,
 * and what one of them has freed comes, cold, to another one's CPU, if there is
 * one set of free runs.  A zone is a set with a lock; a thread takes from its
 * own, and what is freed goes back to that which it came from.
 *
 * Model: there is one, until a thread has found its lock taken ZONE_WAITS times
 * in a short while; then it moves on to the next, in turns with others, and after
 * that less readily.  At most as many as there are CPUs.  The first zone has what
 * no other one has: these take their part of the window in extents of ZONE_EXTENT
 * slabs, and who asks for more at once has it of the first one.  An extent stays
 * its zone's: what is free in several zones serves no request that is longer than
 * what one of them has side by side.
 *
 * What is free and backed is taken from another zone before pages are faulted in,
 * and whatever another one has before there is none.
 *
 * Invariants:
 * (1) Both ends of each run, used or free, bear the zone's number; slabs in
 *     between that or 0.  Those of an extent get it with the lock of the first
 *     zone, which it is taken from the window with.  Of a slab it is the same from
 *     then on.
 * (2) A run, used or free, lies in one zone.
 * (3) Nobody waits for the lock of a zone while he holds another one's, but who
 *     forks.
 *
 * Locking: zone->lock, for all but what is said to be atomic; that of the first
 * one is also for the window's growth (vm/range.h), and for making zones.
 *
 * A signal handler that interrupted the holder of one, and who finds that the
 * holder of the lock he wants is stopped, leaves runs on the zone's deferred
 * stack.  Who pushes looks whether the lock is free, who has released it whether
 * something was pushed; one of the two takes it in.
 *
 * Fork: zone_prefork().  An extent that a vanished thread was about to index is
 * lost in the child: addresses, no memory.
 *
 * Source: arenas of glibc's malloc, to which threads move that find a lock taken.
 */
#ifndef EBB_VM_ZONE_H
#define EBB_VM_ZONE_H

#include "base/lock.h"
#include "vm/run_index.h"

#define ZONES_MAX	8u
#define ZONE_EXTENT	64u	/* slabs: 4 MiB */
#define ZONE_WAITS	16u	/* within ZONE_SPELL turns, to move on */
#define ZONE_SPELL	1024u

/* Bytes, under the zone's lock; read anywhere, used also added to without. */
struct run_counters {
	uint64_t used;			/* runs handed out, slabs included */
	uint64_t in_state[RUN_NR_STATES];
	uint64_t part_clean;		/* of those in state PART: clean pages */
	uint64_t retaken;		/* clean runs handed out again */
	uint64_t tails;			/* atomic: on offer; see heap/tail.h */
	uint64_t tails_freed;		/* atomic: runs freed, tails LEAVING */
	uint64_t large;			/* atomic: promised to users of large
					 * objects, guarded ones included */
	uint64_t nr_displaced;		/* atomic */
};

struct zone {
	struct lock lock;
	uint8_t number;
	struct slab *deferred;		/* runs freed by who could not wait for
					 * the lock; pushed by CAS */
	struct run_counters counters;
	size_t unused, unused_end;	/* slabs of the last extent that were
					 * never handed out: their indexes */
	/* A line that others may read without the rest of it: zone_tell(). */
	struct {
		uint64_t dirty;		/* atomic */
	} __attribute__((aligned(64))) told;
	struct run_index indexes[RUN_CLEAN + 1];
} __attribute__((aligned(64)));

extern struct zone zones[ZONES_MAX] __attribute__((visibility("hidden")));

/* In use: the first ones.  Only grows. */
extern uint32_t nr_zones __attribute__((visibility("hidden")));

/* Where the lock of the window's growth is, and fresh slabs go by themselves. */
#define zone_first	(&zones[0])

static inline struct zone *zone_of(const struct slab *slab)
{
	return &zones[load_relaxed(&slab->zone)];
}

/*
 * That of the calling thread, locked.
 * Context: zone_is_any_mine() is false.
 */
struct zone *zone_take_own(void);

/*
 * Whether this thread, below a handler, holds the lock of one.  Who holds none at
 * all need not look at them: they are on other CPUs.
 */
static inline bool zone_is_any_mine(void)
{
	if (likely(!lock_holds_any()))
		return false;
	for (uint32_t i = 0; i < load_relaxed(&nr_zones); i++)
		if (lock_is_mine(&zones[i].lock))
			return true;
	return false;
}

/* Bytes of @zone's runs that are part, without their clean pages. */
static inline uint64_t zone_part_bytes(const struct zone *zone)
{
	uint64_t clean = load_relaxed(&zone->counters.part_clean);
	uint64_t part = load_relaxed(&zone->counters.in_state[RUN_PART]);

	return part - min(part, clean);
}

/* Bytes of @zone that are backed and free, or behind an object. */
static inline uint64_t zone_dirty(const struct zone *zone)
{
	return load_relaxed(&zone->counters.in_state[RUN_DIRTY]) +
	       zone_part_bytes(zone) +
	       load_relaxed(&zone->counters.in_state[RUN_LAZY]) +
	       load_relaxed(&zone->counters.tails);
}

/*
 * Where there are several: say what is dirty, in steps, so that who only wants to
 * know about how much it is does not take the counters from the CPU they are on.
 * What is told is off by a step at most, and 0 only if there is that or less, but
 * for what is changed without the lock at that moment.  Context: any.
 */
#define ZONE_TELL_STEP	(256 * KIB)

static inline void zone_tell(struct zone *zone)
{
	while (load_relaxed(&nr_zones) > 1) {
		uint64_t dirty = zone_dirty(zone);
		uint64_t told = load_relaxed(&zone->told.dirty);

		/* One unsigned compare: not further off, up or down. */
		if (dirty - told + ZONE_TELL_STEP <= 2 * ZONE_TELL_STEP &&
		    (dirty || !told))
			return;
		/* Nobody's later figure is overwritten. */
		cas_relaxed(&zone->told.dirty, &told, dirty);
	}
}

/* What of [@first, @first + @nr) was handed out before is; all of it is now. */
size_t zone_reused(struct zone *zone, const struct slab *first, size_t nr);

/* Counters that are the lock's holder's: nobody else stores. */
static inline void zone_count(uint64_t *counter, uint64_t delta)
{
	store_relaxed(counter, *counter + delta);
}

/*
 * Take the lock for what can be put off: false below a handler that interrupted
 * the holder of one, and where the holder seems to be stopped.  While something
 * waits to be taken in, nobody waits for it again.
 */
bool zone_take_patiently(struct zone *zone) __must_check;

/* The end of it; takes in what was left meanwhile. */
void zone_release(struct zone *zone);

/*
 * A run that was USED or LEAVING is free in @state, since @stamp_ms; at once, or
 * by who has the lock next.  Context: any; does not hold the lock, or interrupted
 * who does.
 */
void zone_put(struct slab *first, size_t nr, enum run_state state,
	      uint64_t stamp_ms);

/* Take in what was left; holds the lock. */
void zone_drain_all(struct zone *zone);

static inline void zone_drain(struct zone *zone)
{
	if (unlikely(load_relaxed(&zone->deferred)))
		zone_drain_all(zone);
}

/* Debug builds: nothing that is in use lies in [@first, @first + @nr). */
void zone_assert_unused(const struct slab *first, size_t nr);

/* All locks, in a fork; what was left for their holder is taken in after it. */
void zone_prefork(bool may_wait);
void zone_postfork(void);

#endif
