/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - In-band reclaim: a thread looks before it leaps
 *
 * What it is: the line of defence that needs no signal in time.  A thread
 * that is about to hand out memory without a page behind it takes the bytes
 * from account.room first.  When that is used up it comes here, on its way out
 * of malloc: reads how far the limit is, and where the next step would cross
 * it, gives free memory of this process back, waits a moment for others to do
 * the same, and goes on.  What to do in the end is the kernel's decision:
 * malloc fails only beyond the admin's own bound (option limit).
 *
 * Model:	room = (headroom - margin) / 2, margin = margin_cpu for each CPU, by
 * which the kernel's own count may be off, and margin_thread for each, which
 * may have taken what it has not touched; but at most 1/8 of the limit.  The
 * other half is for page tables, for what malloc does not hand out, and for
 * the cgroup's other processes; the nearer the limit, the more often we look.
 * Below twice the margin own memory is given back, below one others are
 * waited for.
 * Every sample, of the reclaimer and of a thread that comes here, sets room
 * anew; what was taken while it was read stays taken.
 *
 * Invariants:
 * (1) The bytes of a sample are granted once, whoever spends them.
 * (2) A thread stays here for inband_ms and what one batch of advice takes,
 *     once it has the lock; PURGE_PATIENCE times as long where it has no CPU
 *     for its purge.  Who comes meanwhile finds the room it made, or does the
 *     same after it.
 * (3) Waiting for others that did not help is not repeated for a while that
 *     doubles, from tick_min_ms to a second.  A pass of our own is waited for
 *     each time, and little is granted then: its thread may have no CPU.
 * (4) Until memory was dirty or `limit' is set nothing is read.
 *
 * Locking: inband_lock (rank 5, before pass_lock), held while one thread
 * looks, purges and waits; others that used up their room wait for it.  A
 * handler that interrupted a thread with any lock of ours waits for nothing.
 *
 * Fork: the child finds the lock free and looks for its cgroup anew.
 */
#ifndef EBB_RECLAIM_INBAND_H
#define EBB_RECLAIM_INBAND_H

#include "base/compiler.h"
#include "reclaim/cgroup.h"

/* One writer at a time; read anywhere. */
struct inband_stats {
	uint64_t nr_looks;	/* headroom was read */
	uint64_t nr_near;	/* there was not enough */
	uint64_t nr_purges;	/* memory of our own was given back */
	uint64_t purged_bytes;
	uint64_t nr_waits;	/* others were waited for */
	uint64_t nr_helped;	/* there was enough in the end */
	uint64_t spent_us;	/* in all of these */
	uint64_t worst_us;	/* by one thread at one time */
	uint64_t nr_refused;	/* requests refused because of `limit' */
	uint64_t limit;		/* of the last look; 0: none, or no look yet */
	uint64_t headroom;
};

/* At start, once options are known. */
void inband_init(void);

/*
 * The options behind it were changed: `limit' is in force at once, or when the
 * next thread looks.  Context: holds no lock of floor 5 or below.
 */
void inband_option_changed(void);

/*
 * WANTED_ROOM was set.  Context: an application thread outside of the
 * allocator and of its locks; may take inband_ms; keeps no errno.
 */
void inband_look(void);

/*
 * A request for @size bytes found no memory.  Returns whether trying again is
 * worth it: memory was given back, and it might have been that which is
 * missing below `limit' or, under strict overcommit, the kernel's; or there is
 * no limit, and a pass may have had in hand what is free by now.
 * Context: as inband_look().
 */
bool inband_make_room(size_t size);

/* How things stood before a sample was taken. */
struct inband_mark {
	int64_t room;
	uint32_t nr_grants;
};

struct inband_mark inband_mark(void);

/*
 * The reclaimer's sample says @headroom below @limit.  Dropped where a thread
 * looked since @mark, or looks just now: what is there is granted once.
 */
void inband_sampled(uint64_t limit, uint64_t headroom, struct inband_mark mark);

/* The process may have been moved: the cgroup is looked for again. */
void inband_forget(void);

void inband_stats(struct inband_stats *ret_stats);

void inband_postfork_child(void);

#endif
