/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The account: running totals that decide when to reclaim
 */
#include "acct/account.h"

struct account account = { .wake_level = UINT64_MAX };

void account_tell(struct account_delta *delta)
{
	add_relaxed(&account.slots_dirty, delta->dirty);
	add_relaxed(&account.slots_handed, delta->handed);
	delta->dirty = 0;
	delta->handed = 0;
}

void account_look(uint64_t dirty_elsewhere)
{
	if (account_slots_dirty() + dirty_elsewhere >=
	    load_relaxed(&account.wake_level))
		store_relaxed(&account.wanted, 1);
}
