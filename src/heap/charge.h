/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Charges: whose memory it is
 *
 * What it is: an account for each thread that has allocated.  It outlives the
 * thread until the last byte that was charged to it is freed, whoever frees it.
 *
 * Model: an account *holds* what was taken for its thread and neither returned
 * nor freed elsewhere:
 *
 *	held = taken - returned - freed - by_others
 *	live = held - its magazines - what of it lies in outboxes
 *
 * A slot in a thread's magazine is held by the thread, whosever slab it lies
 * in; one that lies in an outbox is held by who allocated it until it leaves.
 * So what hits a magazine is not counted, and free() to an outbox neither.  Who
 * holds a slot that is in use is the account of its slab (slab_hot.charge),
 * unless heap/stranger.h says otherwise; of a run, the same word.
 *
 * The heap's thread adds to its own counters (struct charge_own) without an
 * atomic, others to those of the account by atomics, and who frees for others
 * gathers a few (struct charge_owed).  Readers add all of it.
 *
 * Invariants:
 * (1) What an account holds is told before what leaves it, so it holds nothing
 *     only if nothing is owed to it either.
 * (2) An account is used again only if it holds nothing and is not pinned, and
 *     its thread is gone: until then that may charge it, past its destructor.
 *
 * Locking: charge_own and charge_owed are the heap's, as its magazines; they
 * are folded into the account with drain_lock held, as are all sums.  The rest
 * is atomic, and safe in handlers.
 *
 * With accounts=off all threads have one account, CHARGE_NOBODY, whose sums mean
 * nothing: so no slot is a stranger, and frees have no closer look to take.
 *
 * Fork: the child has copies.  What a vanished thread had cached, and was lost
 * with it (heap/orphan.h), stays charged to it.
 */
#ifndef EBB_HEAP_CHARGE_H
#define EBB_HEAP_CHARGE_H

#include "base/atomic.h"
#include "ebb/control.h"

struct heap;

/* Numbers of accounts.  0 is none, so that it can mean: as the slab says. */
enum charge_special {
	CHARGE_NOBODY = 1,	/* what no account could be had for */
	CHARGE_FIRST,		/* of a thread */
};

#define CHARGE_MAX	65536u

/* Bytes; of the thread that owns the heap. */
struct charge_own {
	uint64_t taken;		/* to magazines, and large objects */
	uint64_t returned;	/* from magazines to slabs */
	uint64_t pushed;	/* by free(), to magazines; counted with the
				 * accounts=totals only */
	uint64_t freed;		/* of its own, past magazines */
	uint64_t for_others;	/* freed of what is charged to others, ... */
	uint64_t moved;		/* ... and, not counted there nor as taken,
				 * kept in magazines */
};

/* What this heap's thread freed of @id's and has not told yet. */
struct charge_owed {
	uint64_t bytes;
	uint32_t id;
};

#define NR_OWED		4u	/* a power of two */

enum charge_state {
	CHARGE_FREE,
	CHARGE_BARE,		/* of a thread without a heap */
	CHARGE_OPEN,		/* of a thread with a heap */
	CHARGE_ENDED,		/* the thread has closed its heap */
};

/* What all threads may add to. */
struct charge {
	struct charge_own sum;	/* atomic; pushed: of closed heaps */
	uint64_t by_others;	/* atomic: freed of it by other threads */
	uint32_t pins;		/* atomic: who will charge it later */
	uint32_t state;		/* atomic: enum charge_state */
	int tid;
	char name[16];		/* of a thread that has ended; else empty */

	/* Scratch of a reader, with drain_lock: what heaps have not told. */
	struct charge_own seen;
	uint64_t seen_owed;
	uint64_t seen_kept;	/* in magazines of its thread */
	uint64_t seen_cached;	/* in the outbox of its thread, ... */
	uint64_t seen_out;	/* ... its own, */
	uint64_t seen_out_for;	/* ... of others */
	uint64_t seen_out_by;	/* its own, in outboxes of others */
} __aligned_(64);

#if IS_ENABLED(CONFIG_ACCOUNTS)

/* Option accounts: not off, and with totals; every free is counted then. */
extern bool charge_keeps_accounts __attribute__((visibility("hidden")));
extern bool charge_counts_frees __attribute__((visibility("hidden")));

/* Called once, before there is a slab. */
void charge_init(enum ebb_accounts accounts);

/* This thread's account, opened if need be; CHARGE_NOBODY: there is none. */
unsigned int charge_self(void);

/* The thread has a heap from now on.  Context: drain_lock held. */
void charge_open(struct heap *heap);

/*
 * Fold @heap's counters into its account; @ends: the thread that has it does.
 * Context: drain_lock held; its magazines are empty.
 */
void charge_close(struct heap *heap, bool ends);

/*
 * Charge @bytes to account @id, or take them off it, freed by this thread.  For
 * who gets its memory by other means than malloc(), or hands it on: what was
 * added has to be subtracted once.  Context: any, handlers included.
 */
void charge_add(unsigned int id, uint64_t bytes);
void charge_sub(unsigned int id, uint64_t bytes);

/* The heap's thread frees @bytes that @id holds. */
void charge_free(struct heap *heap, unsigned int id, uint64_t bytes);

/* What @owed has is told: it is for another account now. */
void charge_tell(struct charge_owed *owed);

/* Tell what is owed.  Context: heap's thread, or holder of its gate. */
void charge_settle(struct heap *heap);

/*
 * As long as an account is pinned no other thread gets it, so that it may be
 * charged when its thread has ended.  charge_pin() pins the calling thread's.
 */
unsigned int charge_pin(void);
void charge_unpin(unsigned int id);

/* The only thread of a forked child is left. */
void charge_after_fork(void);

/* Account @id, or NULL: there is none. */
struct charge *charge_at(unsigned int id);

/* No account has this number or a greater one. */
unsigned int charge_end(void);

#else

#define charge_keeps_accounts	false
#define charge_counts_frees	false

static inline void charge_init(enum ebb_accounts accounts)
{
	(void)accounts;
}

static inline unsigned int charge_self(void)
{
	return CHARGE_NOBODY;
}

static inline void charge_open(struct heap *heap)
{
	(void)heap;
}

static inline void charge_close(struct heap *heap, bool ends)
{
	(void)heap;
	(void)ends;
}

static inline void charge_add(unsigned int id, uint64_t bytes)
{
	(void)id;
	(void)bytes;
}

static inline void charge_sub(unsigned int id, uint64_t bytes)
{
	(void)id;
	(void)bytes;
}

static inline void charge_free(struct heap *heap, unsigned int id,
			       uint64_t bytes)
{
	(void)heap;
	(void)id;
	(void)bytes;
}

static inline void charge_tell(struct charge_owed *owed)
{
	(void)owed;
}

static inline void charge_settle(struct heap *heap)
{
	(void)heap;
}

static inline struct charge *charge_at(unsigned int id)
{
	(void)id;
	return NULL;
}

static inline unsigned int charge_pin(void)
{
	return CHARGE_NOBODY;
}

static inline void charge_unpin(unsigned int id)
{
	(void)id;
}

static inline void charge_after_fork(void)
{
}

#endif

#endif
