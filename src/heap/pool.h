/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Pools: how much is out, and who waits for room
 *
 * What it is: the account of a pool.  Its buffers are malloc's own, so that they
 * are cached, age and are given back as everything else is; what a pool adds is
 * a bound on their bytes, and their number.  Nothing here touches a buffer.
 *
 * Model: pool->room is what may still be taken.  So that takes and returns need
 * no atomic, a thread has *credits*: room that it has drawn from a pool in
 * advance, in slots of its heap's front, and the number of buffers it has taken
 * less those it has returned meanwhile.  Who finds too little room *revokes* the
 * credits of all threads; who still finds too little waits in line.
 *
 * Protocol of a credit, as of the gate (heap/drain.h):
 *
 *	thread, no lock			revoker, with pool->lock and drain_lock
 *	tcb.pool_busy = key		slot->key = key | REVOKED
 *	load slot->key, change it	barrier_all()
 *	tcb.pool_busy = 0 (release)	pool_busy == key ? slot->key = key :
 *	load pool->nr_waiting		take what is in the slot, key = 0
 *
 * So either the thread sees the key gone and takes the lock, or the revoker sees
 * that it is busy and leaves its credit; then the thread, when it is through,
 * sees nr_waiting, which was raised before the barrier, and gives the credit
 * back itself.
 *
 * Invariants:
 * (1) limit == room + credits + bytes of buffers out, and no thread takes what
 *     is not in room or its own credit: what is out never passes the limit.
 * (2) slot->key becomes a pool's, and 0 again, under that pool's lock only; it
 *     becomes a pool's by its own thread only.
 * (3) While somebody waits no credit is granted, and who returns gives to
 *     room: so the line is served in order, the first one first, however large.
 * (4) A pool's place in the table is never unmapped, and its key never used
 *     again: a credit of a pool that is gone matches nothing.
 * (5) A waiter that was served is out of the line before it is told so.
 *
 * Locking: ebb_pool.lock (3), before drain_lock; several only in a fork, by
 * address.  table_lock (3) before it, for create and destroy.
 *
 * Fork: both are taken; in the child nobody waits but who forked in a handler, and
 * it takes back what vanished threads had as credit.  Their buffers stay out.
 */
#ifndef EBB_HEAP_POOL_H
#define EBB_HEAP_POOL_H

#include "base/lock.h"
#include "heap/heap.h"

#define POOL_NAME_MAX	24u	/* with the 0 at its end */
#define POOL_PLACES	4096u	/* of the table */
#define POOL_KEPT	8u
#define POOL_DEAD	(UINT64_C(1) << 63)	/* in a key: there is no pool */
#define POOL_REVOKED	(UINT64_C(1) << 62)	/* of a credit: it is closed */
#define POOL_FOR_EVER	(-1)

/* As ebb_pool_create() was asked for; set once. */
struct pool_wish {
	size_t max_bytes;	/* 0: no bound */
	size_t max_buffer;
	size_t align;
	int64_t timeout_ms;	/* 0: do not wait; POOL_FOR_EVER */
	uint32_t flags;		/* EBB_POOL_* */
	uint32_t level;		/* enum ebb_pool_leak_level */
	uint32_t sample;	/* one take in so many is remembered */
	uint32_t leak_scan;	/* takes between two scans; 0: none */
	char name[POOL_NAME_MAX];
};

struct pool_waiter;

struct ebb_pool {
	uint64_t key;		/* changes with each pool in this place */
	uint32_t credit_at;	/* offset of our slot in a heap's front */
	uint32_t nr_waiting;	/* changed under lock; read anywhere */
	size_t easy_max;	/* largest take that is nothing but a malloc */
	int64_t credit_max;	/* bytes a credit may grow to; 0: there is none */
	uint32_t level;		/* as in wish; what is above and this is all that
				 * fast paths read */
	struct pool_wish wish;

	struct lock lock;
	bool lock_taken;	/* the one who forks: by it, for that */
	bool granted;		/* some slot may have our key */
	int64_t limit;
	int64_t room;
	int64_t nr_out;		/* credits' numbers are to be added */
	uint64_t nr_waits;	/* takes that had to wait */
	struct pool_waiter *first, **end;

	/* What debug/leak.c keeps of it, under its lock. */
	uint64_t nr_takes;
	uint64_t nr_unknown;	/* takes that found no place */
	uint32_t kept[POOL_KEPT];	/* records of buffers returned last */
	uint32_t kept_at;
	uint32_t next_scan;	/* takes until then */
} __aligned_(64);

struct pool_counts {
	uint64_t bytes_out;
	uint64_t nr_out;
	uint64_t nr_waiting;
	uint64_t nr_waits;
};

/*
 * A pool as @wish says.  Returns 0, -ENOMEM or -ENOSPC (too many pools).
 * Context: any but handlers; no lock held.
 */
int pool_create(const struct pool_wish *wish, struct ebb_pool **ret_pool)
	__must_check;

/*
 * The pool ends.  -EBUSY: buffers are out, or somebody waits; not with @force,
 * which has those who wait return -ECANCELED.  -EINVAL: there is no such pool.
 * *@ret_nr_out: buffers that are out.
 */
int pool_destroy(struct ebb_pool *pool, bool force, uint64_t *ret_nr_out)
	__must_check;

bool pool_is_alive(const struct ebb_pool *pool);

/* Returns 0, -EINVAL, -EDEADLK below a handler that interrupted the like. */
int pool_count(struct ebb_pool *pool, struct pool_counts *ret_counts)
	__must_check;

/*
 * @bytes are going to be taken.  Returns 0, -EAGAIN (too little room, and the
 * pool does not wait), -ETIMEDOUT, -ECANCELED (destroyed meanwhile), -EINVAL,
 * -EDEADLK.
 */
int pool_charge_slow(struct ebb_pool *pool, int64_t bytes) __must_check;

/* They were returned, or not to be had.  0, -EINVAL or -EDEADLK. */
int pool_uncharge_slow(struct ebb_pool *pool, int64_t bytes);

/* Somebody waits: what this thread has as credit goes back. */
void pool_give_back(struct ebb_pool *pool);

/* @heap's credit, if it is one of @pool. */
static inline struct pool_credit *credit_of(struct heap *heap,
					    const struct ebb_pool *pool)
{
	return (struct pool_credit *)((char *)heap + pool->credit_at);
}

/* Begin with the credit of @pool; NULL: not now.  Ends with credit_leave(). */
__always_inline_ struct pool_credit *credit_enter(const struct ebb_pool *pool,
						  uint64_t key)
{
	/* A handler that interrupted the like. */
	if (unlikely(load_relaxed(&tcb.pool_busy)))
		return NULL;
	store_relaxed(&tcb.pool_busy, key);
	barrier();
	return credit_of(load_dependent(&tcb.heap), pool);
}

__always_inline_ void credit_leave(void)
{
	barrier();
	/* Pairs with revoke_from(). */
	store_release(&tcb.pool_busy, 0);
	barrier();
}

/* By @bytes and by @nr buffers, if it is then between 0 and @most. */
__always_inline_ bool credit_change(struct ebb_pool *pool, int64_t bytes,
				    int64_t nr, int64_t most)
{
	uint64_t key = load_relaxed(&pool->key);
	struct pool_credit *credit = credit_enter(pool, key);
	bool ok = false;

	if (unlikely(!credit))
		return false;
	if (likely(load_relaxed(&credit->key) == key)) {
		int64_t left = credit->bytes + bytes;

		ok = (uint64_t)left <= (uint64_t)most;
		if (likely(ok)) {
			credit->bytes = left;
			credit->nr += nr;
		}
	}
	credit_leave();
	/* Pairs with wait_in_line(), which raised it before the barrier. */
	if (unlikely(ok && load_relaxed(&pool->nr_waiting)))
		pool_give_back(pool);
	return ok;
}

__always_inline_ bool pool_charge_fast(struct ebb_pool *pool, int64_t bytes)
{
	return credit_change(pool, -bytes, 1, INT64_MAX);
}

__always_inline_ int pool_charge(struct ebb_pool *pool, int64_t bytes)
{
	return likely(pool_charge_fast(pool, bytes)) ? 0 :
	       pool_charge_slow(pool, bytes);
}

__always_inline_ int pool_uncharge(struct ebb_pool *pool, int64_t bytes)
{
	return likely(credit_change(pool, bytes, -1, pool->credit_max)) ? 0 :
	       pool_uncharge_slow(pool, bytes);
}

/* This thread is about to end: its credits go back.  Context: in the bracket. */
void pool_leave(void);

/* Around a fork; the child calls the last before drain_after_fork(). */
void pool_prefork(bool may_wait);
void pool_postfork(void);
void pool_after_fork(void);

/* The pool in place @index of the table, alive or not; NULL: there are no more. */
struct ebb_pool *pool_at(size_t index);

#endif
