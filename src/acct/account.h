/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The account: running totals that decide when to reclaim
 *
 * Model: of the slabs that serve size classes,
 *
 *	dirty   = bytes of pages that are backed - bytes of slots handed out
 *	handed  = bytes of slots taken from slabs - bytes returned to them
 *
 * Handed out are also the slots that lie in a thread's magazines: nothing is
 * counted where they come and go.  What they may come to at most is cached, the
 * room of those that have grown since they were emptied last; so that what a
 * thread keeps for itself is seen to as well.
 *
 * Part of dirty cannot be given back: free slots that share their page with a
 * live one.  What a pass found to be so is stranded, and not counted as dirty
 * again until the next pass.
 *
 * Each heap keeps both as plain deltas and tells them here once they pass
 * account.step, so the totals are late by at most that much per thread.  Exact
 * figures are derived from the slabs on demand (api/count.c); these are for
 * decisions.
 *
 * Room: bytes of memory without a page behind it that may still be handed out
 * before someone has to look how far the cgroup's limit is.  Handing out takes
 * from it first and for all threads alike, so that no two of them spend the
 * same headroom; reclaim/inband.c gives anew.
 *
 * Bound: backed_max is the admin's own (option limit); what would exceed it
 * is not handed out.
 */
#ifndef EBB_ACCT_ACCOUNT_H
#define EBB_ACCT_ACCOUNT_H

#include "base/atomic.h"

#define ACCOUNT_STEP	(256 * (int64_t)KIB)
#define ACCOUNT_NO_ROOM_LIMIT	(INT64_MAX / 2)

struct account_delta {
	int64_t dirty;
	int64_t handed;
	int64_t fresh;		/* taken from pages that were clean */
	int64_t lazy;		/* taken from pages that were lazy */
	int64_t retaken;	/* of fresh, from pages given back before */
};

/* What somebody outside of the allocator's locks should see to. */
enum account_wanted {
	WANTED_PASS = 1,	/* dirty memory has reached wake_level */
	WANTED_ROOM = 2,	/* room is used up */
	WANTED_SHOW = 4,	/* show_ms has come */
	WANTED_HOOK = 8,	/* as long as there is one, api/hook.c */
	WANTED_NOTICE = 16,	/* the program is to be told of pressure */
};

struct account {
	int64_t slots_dirty;	/* atomic; may be below zero for a moment */
	int64_t slots_handed;	/* atomic */
	int64_t slots_stranded;	/* of slots_dirty, as the last pass left it */
	uint64_t cached;	/* atomic: room of the magazines that have grown */
	uint64_t locked_bytes;	/* refused by the last pass: mlocked */
	uint32_t nr_heaps;	/* atomic: threads with caches */
	uint64_t wake_level;	/* bytes, dirty or cached, at which someone
				 * should look */
	int64_t room;		/* atomic: see above; may be below zero */
	uint64_t backed_max;	/* see above; 0: no bound */
	bool frugal;		/* objects are cut to measure, of what serves any
				 * size; see option frugal */
	bool tight;		/* and none of these are cached */
	int64_t step;		/* a heap's untold bytes, at most */
	uint64_t retaken;	/* atomic: bytes given back and taken again */
	uint64_t lazy_reused;	/* atomic: bytes made lazy and taken again */
	uint64_t lazy_empty;	/* atomic: made lazy without being backed */
	uint32_t wanted;	/* atomic: enum account_wanted, not seen to */
	uint64_t show_ms;	/* atomic: from this time on, as
				 * clock_coarse_ms(), the numbers are to be
				 * shown anew; UINT64_MAX: not */
};

extern struct account account __attribute__((visibility("hidden")));

/* @bytes more of slabs are dirty, or less. */
void account_dirty(int64_t bytes);

/* Tell @delta and clear it. */
void account_tell(struct account_delta *delta);

/*
 * Set WANTED_PASS if @dirty_elsewhere, the slots', and what may be cached reach
 * the level.
 */
void account_look(uint64_t dirty_elsewhere);

/* Whether that is so; for who knows @dirty_elsewhere only about. */
bool account_is_reached(uint64_t dirty_elsewhere);

/*
 * Bytes that were @clean, and @lazy ones, which the kernel may have taken, are
 * handed out: WANTED_ROOM when room is used up.
 */
void account_take(int64_t clean, int64_t lazy);

/* Bytes of slabs that are backed, in use or free. */
uint64_t account_slots_backed(void);

/* Bytes in slabs that are free, backed, and perhaps to be given back. */
static inline uint64_t account_slots_dirty(void)
{
	int64_t dirty = load_relaxed(&account.slots_dirty) -
			load_relaxed(&account.slots_stranded);

	return dirty > 0 ? (uint64_t)dirty : 0;
}

static inline uint64_t account_slots_handed(void)
{
	int64_t handed = load_relaxed(&account.slots_handed);

	return handed > 0 ? (uint64_t)handed : 0;
}

static inline bool account_is_due(const struct account_delta *delta)
{
	int64_t step = load_relaxed(&account.step);

	/* One unsigned compare: dirty is outside [-step, step]. */
	return (uint64_t)(delta->dirty + step) > 2 * (uint64_t)step ||
	       (uint64_t)(delta->handed + step) > 2 * (uint64_t)step ||
	       delta->fresh + delta->lazy > step;
}

#endif
