/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The account: running totals that decide when to reclaim
 */
#include "acct/account.h"
#include "base/clock.h"

struct account account = {
	.wake_level = UINT64_MAX,
	.room = ACCOUNT_NO_ROOM_LIMIT,
	.step = ACCOUNT_STEP,
	.show_ms = UINT64_MAX,
};

void account_take(int64_t clean, int64_t lazy)
{
	if (lazy)
		add_relaxed(&account.lazy_reused, (uint64_t)lazy);
	if (sub_relaxed(&account.room, clean + lazy) < clean + lazy)
		or_relaxed(&account.wanted, WANTED_ROOM);
}

void account_dirty(int64_t bytes)
{
	int64_t dirty = add_relaxed(&account.slots_dirty, bytes) + bytes;

	/* Stranded slots that are taken again are stranded no more. */
	if (dirty < load_relaxed(&account.slots_stranded))
		store_relaxed(&account.slots_stranded, dirty);
}

void account_tell(struct account_delta *delta)
{
	account_dirty(delta->dirty);
	add_relaxed(&account.slots_handed, delta->handed);
	if (delta->fresh || delta->lazy)
		account_take(delta->fresh, delta->lazy);
	if (delta->retaken)
		add_relaxed(&account.retaken, (uint64_t)delta->retaken);
	*delta = (struct account_delta){ 0 };
	if (load_relaxed(&account.show_ms) != UINT64_MAX &&
	    clock_coarse_ms() >= load_relaxed(&account.show_ms))
		or_relaxed(&account.wanted, WANTED_SHOW);
}

bool account_is_reached(uint64_t dirty_elsewhere)
{
	/*
	 * Pairs with go_to_sleep(): what the caller has added is visible before
	 * the level is read, so that one of the two sees the other's.
	 */
	fence_seq_cst();
	return account_slots_dirty() + load_relaxed(&account.cached) +
		       dirty_elsewhere >=
	       load_relaxed(&account.wake_level);
}

void account_look(uint64_t dirty_elsewhere)
{
	if (account_is_reached(dirty_elsewhere))
		or_relaxed(&account.wanted, WANTED_PASS);
}

uint64_t account_slots_backed(void)
{
	int64_t slots = load_relaxed(&account.slots_dirty) +
			load_relaxed(&account.slots_handed);

	return (uint64_t)max(slots, (int64_t)0);
}
