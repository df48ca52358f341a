/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Batches of claimed memory on its way to the kernel
 *
 * What it is: claims what a pass has chosen (pages of slabs, whole runs),
 * advises it in one go, stores what became of it and lets it go again.
 *
 * Invariants:
 * (1) A page is advised only while all slots that touch it are claimed by us;
 *     its clean or lazy bit is set before they are published.
 * (2) A batch holds its claims for the time of its kernel calls and no
 *     longer; no lock that an application thread takes is held meanwhile.
 *
 * Locking: pass_lock (purge.c) for all of it; batch_lock (rank 5, after
 * pass_lock) from a batch's first claim to its last settling, so that a fork
 * finds no claimed slot.
 */
#ifndef EBB_RECLAIM_BATCH_H
#define EBB_RECLAIM_BATCH_H

#include "os/advise.h"
#include "reclaim/claim.h"
#include "reclaim/purge.h"
#include "vm/run.h"

/* A pass, and what its batches tell it. */
struct pass {
	const struct purge_order *order;
	struct purge_result *result;
	uint64_t now_ms;
	uint64_t start_us;	/* by the clock, */
	uint64_t start_cpu_us;	/* and of the CPU; both only with a budget */
	uint64_t claimed_bytes;	/* in the batch */
	uint64_t young_bytes;	/* free pages of slabs that stay backed */
	int64_t slots_cleaned;	/* bytes of slabs given back */
	bool refused;		/* by the kernel, in the last batches */
	bool enough;		/* the order is filled, or its time is up */
	bool auditing;		/* what is claimed should be clean already */
};

/* Begin and end of a pass. */
void batch_open(struct pass *pass);
void batch_close(void);

/*
 * Claim @pages, all slots of them, for @kind; what was claimed of those that
 * could not be had whole goes back at once.  Returns those that were had.  May
 * run the batch.
 */
unsigned int batch_take_pages(struct pass *pass, enum advise_kind kind,
			      const struct slab_life *life, unsigned int pages);

/*
 * Claim the tail of the large object @run, for ADVISE_CLEAN; false: it is not in
 * @state any more (heap/tail.h).
 */
bool batch_take_tail(struct pass *pass, struct slab *run, uint8_t state);

struct run_order {
	enum run_state from;
	uint64_t until_ms;	/* freed no later than that */
	size_t max_nr;		/* slabs */
};

/* Claim the oldest free run that @wanted describes; bytes, 0: there is none. */
size_t batch_take_run(struct pass *pass, enum advise_kind kind,
		      const struct run_order *wanted);

/* Run what is left. */
void batch_end(struct pass *pass);

/* The bytes of @pages, which are neighbours. */
struct advise_range batch_part_of(const struct slab *slab, uint64_t pages);

/* Whether the kernel charges commitments, and runs are uncommitted. */
bool batch_is_strict(void);

/* Bytes that were lazy, and not backed any more when they were given back. */
uint64_t batch_lazy_gone(void);

/* Bytes that were backed though they should not be, given back once more. */
uint64_t batch_strays(void);

/* Huge pages of which a part was given back, split so that it counts. */
uint64_t batch_splits(void);

/* Wait for the batch in progress, unless the caller may not, or it takes long. */
void batch_wait(void);

/* Fork handlers; the first waits for the batch in progress, if it @may_wait. */
void batch_prefork(bool may_wait);
void batch_postfork_parent(void);
void batch_postfork_child(void);

#endif
