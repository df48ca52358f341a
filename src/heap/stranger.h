/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Strangers: slots that are charged to another account than their
 * slab's
 *
 * What it is: a table beside a slab, made when it is first needed, that names
 * the account of each slot that is in use and not charged to slab_hot.charge.
 * These are the ones that
 *  - a thread took from a slab of all (first slots, bypass),
 *  - a thread freed, kept in its magazine and allocated again,
 *  - were in use when the slab's thread ended and another one adopted it.
 *
 * Model: slab->charges[slot] is an account's number, or 0: as the slab says.
 * What free() may take for its own thread's without a look is told by
 * slab_hot.bin: BIN_STRANGERS, like BIN_HOLES, leads to a magazine that is both
 * empty and full, so that the owner's frees look closely.
 *
 * Invariants:
 * (1) The entry of a slot that is free means nothing.  Who takes a slot writes
 *     its entry, if there is a table.
 * (2) While a slot in use is a stranger the bin is not the class's: an entry is
 *     written before the bin, and the bin before the slot is handed out.
 * (3) Who changes slab_hot.charge has before made strangers of all slots in use
 *     that have no entry.  So who reads the charge first, then the bin or the
 *     table, finds the account that the slot has had since it was allocated.
 * (4) Only the owner sets the bin back, by compare-and-swaps that fail if a
 *     stranger was noted since it looked.
 *
 * Context: any, also nested, but for what is said to be the owner's.
 */
#ifndef EBB_HEAP_STRANGER_H
#define EBB_HEAP_STRANGER_H

#include <string.h>

#include "heap/charge.h"
#include "heap/heap.h"

#define BIN_HOLES	0u
#define BIN_STRANGERS	((uint16_t)offsetof(struct heap_front, strangers))

/* Whether all slots in use are the slab's account's, and keys can be trusted. */
static inline bool stranger_none(const struct slab_hot *hot)
{
	/* One compare: magazines are below, and BIN_HOLES wraps around. */
	return (uint16_t)(load_relaxed(&hot->bin) - 1) <
	       (uint16_t)(BIN_STRANGERS - 1);
}

/* Pages of @hot's slab have gone: frees look closely from now on. */
static inline void stranger_note_holes(struct slab_hot *hot)
{
	uint16_t bin;

	/* The pages were marked before. */
	fence_seq_cst();
	bin = load_relaxed(&hot->bin);
	/* What strangers lead to looks for holes, too. */
	while (bin != BIN_HOLES && bin != BIN_STRANGERS)
		/* Pairs with stranger_settle(). */
		if (cas_acq_rel(&hot->bin, &bin, BIN_HOLES))
			break;
}

#if IS_ENABLED(CONFIG_ACCOUNTS)

/* Who holds the slot, which is not free. */
static inline unsigned int stranger_charge(const struct slab *slab,
					   const struct slab_hot *hot,
					   unsigned int slot)
{
	/* Pairs with stranger_adopt(): first the account, then the rest. */
	unsigned int of_slab = load_acquire(&hot->charge);
	const uint16_t *charges;

	if (likely(stranger_none(hot)))
		return of_slab;
	charges = load_acquire(&slab->charges);
	return (charges ? load_relaxed(&charges[slot]) : 0) ?: of_slab;
}

/*
 * The slots @mask of @word, just taken from @slab, are @id's.  False: no memory
 * for that, and they are still nobody's.
 */
bool stranger_note(struct slab *slab, unsigned int word, uint64_t mask,
		   unsigned int id) __must_check;

/* The owner took slots @mask of @word. */
static inline void stranger_took_own(struct slab *slab, unsigned int word,
				     uint64_t mask)
{
	uint16_t *charges = slab->charges;

	if (likely(!charges))
		return;
	charges += word * 64;
	while (mask) {
		uint64_t run = bits_take_run(&mask);

		/* Nobody else looks: these were free, and are not in use yet. */
		memset(charges + bit_lowest(run), 0,
		       (bit_highest(run) - bit_lowest(run) + 1) *
			       sizeof(*charges));
	}
}

/* A single slot, taken without a heap: charged to this thread. */
void stranger_took_one(struct slab *slab, const void *ptr);

bool stranger_note_kept(struct heap *heap, struct slab_hot *hot,
			const void *ptr);

/*
 * Heap's thread: what it frees, a slot that another slab has, is to be in its
 * magazine.  False: it cannot be noted, nothing was done.
 */
static inline bool stranger_keep(struct heap *heap, struct slab_hot *hot,
				 const void *ptr)
{
	return !charge_keeps_accounts || stranger_note_kept(heap, hot, ptr);
}

/*
 * Owner: slot @slot of @slab, not its account's perhaps, is freed and gets to the
 * magazine.
 */
void stranger_take_in(struct heap *heap, struct slab *slab, unsigned int slot);

void stranger_charge_freed(struct heap *heap, struct slab *slab,
			   unsigned int word, uint64_t mask);

/* Heap's thread: slots @mask of @word, freed by it, leave its outbox. */
static inline void stranger_free(struct heap *heap, struct slab *slab,
				 unsigned int word, uint64_t mask)
{
	if (charge_keeps_accounts)
		stranger_charge_freed(heap, slab, word, mask);
}

/* A single slot is freed without a heap. */
void stranger_free_one(struct slab *slab, unsigned int slot);

/*
 * Have account @id become the slab's.  False: no memory for the table.
 * Context: who may change the owner.
 */
bool stranger_adopt(struct slab *slab, unsigned int id) __must_check;

/* A slab that was retired needs no table. */
void stranger_forget(struct slab *slab);

/* Whether a slot in use may be one. */
bool stranger_any(const struct slab *slab);

/* The only thread of a forked child: who held the lock may be gone. */
void stranger_after_fork(void);

#else

static inline bool stranger_note(struct slab *slab, unsigned int word,
				 uint64_t mask, unsigned int id)
{
	(void)slab;
	(void)word;
	(void)mask;
	(void)id;
	return true;
}

static inline void stranger_took_own(struct slab *slab, unsigned int word,
				     uint64_t mask)
{
	(void)slab;
	(void)word;
	(void)mask;
}

static inline void stranger_took_one(struct slab *slab, const void *ptr)
{
	(void)slab;
	(void)ptr;
}

static inline bool stranger_keep(struct heap *heap, struct slab_hot *hot,
				 const void *ptr)
{
	(void)heap;
	(void)hot;
	(void)ptr;
	return true;
}

static inline void stranger_take_in(struct heap *heap, struct slab *slab,
				    unsigned int slot)
{
	(void)heap;
	(void)slab;
	(void)slot;
}

static inline void stranger_free(struct heap *heap, struct slab *slab,
				 unsigned int word, uint64_t mask)
{
	(void)heap;
	(void)slab;
	(void)word;
	(void)mask;
}

static inline void stranger_free_one(struct slab *slab, unsigned int slot)
{
	(void)slab;
	(void)slot;
}

static inline bool stranger_adopt(struct slab *slab, unsigned int id)
{
	(void)slab;
	(void)id;
	return true;
}

static inline void stranger_forget(struct slab *slab)
{
	(void)slab;
}

static inline bool stranger_any(const struct slab *slab)
{
	(void)slab;
	return false;
}

static inline void stranger_after_fork(void)
{
}

#endif

/*
 * Owner: have frees take the fast path again, if there are neither holes nor
 * strangers.
 */
static inline void stranger_settle(struct slab *slab, struct slab_hot *hot)
{
	uint16_t fast = HEAP_BIN_OFFSET(hot->class);
	uint16_t bin = BIN_STRANGERS;

	if (heap_profiled || charge_counts_frees ||
	    slab_keys_may_be_gone(slab))
		return;
	/* Pairs with mark(): a stranger is seen below, or changes the bin. */
	if (!cas_acq_rel(&hot->bin, &bin, BIN_HOLES) && bin != BIN_HOLES)
		return;
	fence_seq_cst();
	bin = BIN_HOLES;
	if (stranger_any(slab))
		fast = BIN_STRANGERS;
	if (!cas_acq_rel(&hot->bin, &bin, fast) || fast == BIN_STRANGERS)
		return;
	/* Pairs with stranger_note_holes(): some may just have been made. */
	fence_seq_cst();
	if (slab_keys_may_be_gone(slab))
		stranger_note_holes(hot);
}

#endif
