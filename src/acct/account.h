/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The account: running totals that decide when to reclaim
 *
 * Model: of the slabs that serve size classes,
 *
 *	dirty   = bytes of pages that are backed - bytes of slots handed out
 *	handed  = bytes of slots taken from slabs - bytes returned to them
 *
 * Part of dirty cannot be given back: free slots that share their page with a
 * live one.  What a pass found to be so is stranded, and not counted as dirty
 * again until the next pass.
 *
 * Each heap keeps both as plain deltas and tells them here once they pass
 * ACCOUNT_STEP, so the totals are late by at most that much per thread.  Exact
 * figures are derived from the slabs on demand (api/count.c); these are for
 * decisions.
 */
#ifndef EBB_ACCT_ACCOUNT_H
#define EBB_ACCT_ACCOUNT_H

#include "base/atomic.h"

#define ACCOUNT_STEP	(256 * (int64_t)KIB)

struct account_delta {
	int64_t dirty;
	int64_t handed;
};

struct account {
	int64_t slots_dirty;	/* atomic; may be below zero for a moment */
	int64_t slots_handed;	/* atomic */
	int64_t slots_stranded;	/* of slots_dirty, as the last pass left it */
	uint64_t large_bytes;	/* atomic: promised to users of large objects */
	uint64_t locked_bytes;	/* refused by the last pass: mlocked */
	uint64_t wake_level;	/* dirty bytes at which someone should look */
	uint32_t wanted;	/* 1: crossed, not yet seen to */
};

extern struct account account __attribute__((visibility("hidden")));

/* Tell @delta and clear it. */
void account_tell(struct account_delta *delta);

/* Set account.wanted if @dirty_elsewhere plus the slots' passes the level. */
void account_look(uint64_t dirty_elsewhere);

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
	/* One unsigned compare: dirty is outside [-STEP, STEP]. */
	return (uint64_t)(delta->dirty + ACCOUNT_STEP) > 2 * ACCOUNT_STEP ||
	       (uint64_t)(delta->handed + ACCOUNT_STEP) > 2 * ACCOUNT_STEP;
}

#endif
