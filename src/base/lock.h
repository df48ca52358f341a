/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Futex lock with an owner and a rank
 *
 * Model: one word, 0 while free, else the holder's number times two, plus one
 * if somebody may sleep on it.  Numbers are given to threads as they first
 * take a lock, and stay the same in a forked child.  Taking a lock and saying
 * whose it is are one store, so a signal handler that interrupted the holder
 * can tell at any instruction that it must not wait (lock_is_mine).
 *
 * Ranks equal floors (src/FLOORS): holding rank n, only a lower one, or
 * another of the same in the order its file gives, may be taken.
 *
 * Fork: the prefork handler takes each lock, so the child finds it held by
 * itself and releases it; see src/api/fork.c.
 */
#ifndef EBB_BASE_LOCK_H
#define EBB_BASE_LOCK_H

#include "base/compiler.h"

struct lock {
	uint32_t word;
	uint32_t rank;
};

#define LOCK_INIT(floor)	{ .rank = (floor) }

void lock_take(struct lock *lock);
bool lock_try(struct lock *lock) __must_check;

/*
 * Give up after @ms: for who can do without, where the holder may be a thread
 * that is stopped.  Locks are held for microseconds as a rule.
 */
bool lock_try_for(struct lock *lock, uint32_t ms) __must_check;

#define LOCK_PATIENCE_MS	100
void lock_release(struct lock *lock);

/* Whether this thread, perhaps below a signal handler, holds @lock. */
bool lock_is_mine(const struct lock *lock);

/*
 * Whether this thread, perhaps below a signal handler, holds any lock, or is
 * about to take or release one: then it waits for no other.
 */
bool lock_holds_any(void);

/*
 * Before a fork: false if this thread has it already, below a handler, or if it
 * is not to be had at once and @may_wait is false.
 */
bool lock_take_for_fork(struct lock *lock, bool may_wait) __must_check;

/* Make @lock free whatever it was: for the only thread of a forked child. */
void lock_reset(struct lock *lock);

/* Debug builds: stop unless this thread holds @lock. */
void lock_assert_held(const struct lock *lock);

#endif
