/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - One pass of giving memory back
 */
#ifndef EBB_RECLAIM_PURGE_H
#define EBB_RECLAIM_PURGE_H

#include "base/compiler.h"

#define PURGE_NEVER	UINT32_MAX

/* So much more time is a pass given where other threads have the CPU. */
#define PURGE_PATIENCE	10

/* What a pass shall do; made by policy, or by malloc_trim. */
struct purge_order {
	uint32_t lazy_age_ms;	/* free as long as this: MADV_FREE; NEVER: not */
	uint32_t clean_age_ms;	/* free as long as this: MADV_DONTNEED */
	uint64_t want_bytes;	/* stop when so many were taken; 0: take all */
	uint32_t budget_ms;	/* stop after so much of the CPU's time, or
				 * PURGE_PATIENCE times that; 0: no bound */
	bool drain;		/* take the caches of idle threads, too */
	uint32_t keep_bytes;	/* what a thread's cache keeps of each class,
				 * the newest of it */
	bool share;		/* threads get each other's free slots; with
				 * drain */
	bool force;		/* ages count as 0, every thread not inside
				 * malloc at this moment is drained */
	bool yields;		/* end early for who waits for a turn; no
				 * call was promised all of it */
	bool try;		/* wait for the pass in progress for budget_ms
				 * only, then -EBUSY */
	bool audit;		/* look for clean memory that is backed, from
				 * where the last pass that did so was cut */
	bool own_table;		/* this thread's file table is not the
				 * application's: descriptors may be held */
};

struct purge_result {
	uint64_t lazy_bytes;	/* made lazy by this pass */
	uint64_t clean_bytes;	/* given back by this pass; where it could not
				 * be told, with what had not been backed */
	uint64_t refused_bytes;	/* the kernel refused (locked, EAGAIN) */
	uint64_t dirty_left;	/* free and backed after it, lazy included */
	uint64_t cached_left;	/* account.cached, after caches were drained */
	uint64_t live_bytes;	/* estimate: in slots and runs handed out */
	bool shared;		/* threads have got free slots of others' */
	bool aging;		/* something will be old enough later */
	bool undrained;		/* caches of other threads cannot be taken */
	bool cut;		/* ended early, for who waited for a turn */
	bool audited;		/* the audit came to its end */
};

/*
 * Lazy bytes that the kernel took, an estimate: what is known never to have
 * been backed is left out, but a slot that was handed out counts as backed
 * though nobody may have touched it; what was used again before it was looked
 * at is not seen.
 */
uint64_t purge_lazy_taken(void);

/*
 * Run one pass.  Passes exclude each other: a second caller waits for the
 * pass in progress, which ends early if it yields, and then does its own, so
 * what was freed before the call is covered, unless it only tries: -EBUSY.
 * -EDEADLK where the calling thread is inside a pass already (a signal
 * handler), and nothing is done.
 */
int purge_run(const struct purge_order *order, struct purge_result *ret_result)
	__must_check;

/*
 * Bytes free here and backed, lazy ones included; cheap, approximate.  Whoever
 * makes memory free adds to what this reads before calling reclaimer_wake(),
 * so that between the two nothing is overlooked.  Context: any thread.
 */
uint64_t purge_dirty_estimate(void);

/* The same, with what may lie in the caches of threads at most. */
uint64_t purge_free_most(void);

/* Bytes in magazines and run caches of threads: a guess, by a walk over all. */
uint64_t purge_cached(void);

/* See batch.h: clean memory that was backed; huge pages split. */
uint64_t purge_strays(void);
uint64_t purge_splits(void);

/* Clean bytes of runs, and of slabs that gave some back, taken again so far. */
uint64_t purge_retaken(void);

/*
 * Keep passes away while the heap is counted: waits for the one in progress.
 * False: the calling thread is inside one itself, and may go on.
 */
bool purge_hold(void) __must_check;
void purge_release(void);

/*
 * Fork handlers: before waits for the batch in progress, if it @may_wait;
 * after in both.  @threaded: the parent had other threads.
 */
void purge_prefork(bool may_wait);
void purge_postfork_parent(void);
void purge_postfork_child(bool threaded);

#endif
