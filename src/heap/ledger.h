/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The ledger: accounts as they stand
 *
 * What it is: the sums that heap/charge.h leaves to readers: of each account
 * what others have told it, what its own heap has counted, what heaps owe it,
 * and, off that, what lies in magazines and outboxes.
 *
 * Each heap is looked at twice, and again if its thread was inside the allocator
 * or anything has changed in between; and all of them again if accounts have.
 * So an account is exact if neither its thread nor one that frees for it does
 * anything meanwhile; else it may be off by what was under way.
 *
 * Locking: drain_lock, by which heaps stay and the scratch is the reader's.
 */
#ifndef EBB_HEAP_LEDGER_H
#define EBB_HEAP_LEDGER_H

#include "base/compiler.h"

/* Bytes; live + freed_self + by_others = allocated. */
struct ledger_row {
	uint64_t live;
	uint64_t allocated;
	uint64_t freed_self;
	uint64_t by_others;	/* freed of it by others */
	uint64_t for_others;	/* freed of others' by its thread */
	uint64_t cached;	/* free, in its thread's caches */
	unsigned int id;	/* of the account */
	int tid;		/* 0: of no thread */
	bool ended;
	char name[16];		/* of one that has ended; else empty */
};

/*
 * Call @fn for each account whose thread lives or that holds something, with
 * drain_lock held.  False: its holder does not let go, or there are no accounts;
 * nothing was called.  Context: holds no lock of floor 3 or below.
 */
#if IS_ENABLED(CONFIG_ACCOUNTS)
bool ledger_for_each(void (*fn)(const struct ledger_row *row, void *arg),
		     void *arg) __must_check;
#else
static inline bool ledger_for_each(void (*fn)(const struct ledger_row *row,
					      void *arg),
				   void *arg)
{
	(void)fn;
	(void)arg;
	return false;
}
#endif

#endif
