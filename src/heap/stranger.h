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
 * slab_hot.bin: each of these leads to a magazine that is both empty and full, so
 * that the owner's frees look closely.
 *	BIN_HOLES	pages have gone, and keys with them; strangers perhaps
 *	BIN_STRANGERS	there are strangers, but no holes: the entry is all there
 *			is to look at
 *	BIN_LOOKING	the owner is looking which of these it still is
 * Who frees a stranger and keeps it takes over what was charged for it: bytes
 * that its heap owes the account which had it, told in one atomic once they are
 * due or another account's take their place (heap_owe()).
 *
 * Invariants:
 * (1) The entry of a slot that is free means nothing.  Who takes a slot writes
 *     its entry, if there is a table.
 * (2) While a slot in use is a stranger the bin is BIN_STRANGERS or BIN_HOLES, and
 *     with holes BIN_HOLES, but for BIN_LOOKING meanwhile: an entry is written
 *     before the bin, and the bin before the slot is handed out.
 * (3) Who changes slab_hot.charge has before made strangers of all slots in use
 *     that have no entry.  So who reads the charge first, then the bin or the
 *     table, finds the account that the slot has had since it was allocated.
 * (4) Only the owner sets the bin back, to BIN_LOOKING first, then by a
 *     compare-and-swap that fails if a stranger was noted since it looked.
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
#define BIN_LOOKING	((uint16_t)offsetof(struct heap_front, looking))

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
	/* Pairs with stranger_settle(). */
	while (bin != BIN_HOLES && !cas_acq_rel(&hot->bin, &bin, BIN_HOLES))
		;
}

/*
 * After an entry was written, by an atomic or before a fence: invariant (2).  Not
 * to BIN_STRANGERS from BIN_HOLES, which would forget them.
 */
static inline void stranger_mark(struct slab_hot *hot)
{
	uint16_t bin = load_relaxed(&hot->bin);

	/* Pairs with stranger_settle(). */
	while (unlikely(bin != BIN_STRANGERS && bin != BIN_HOLES) &&
	       !cas_acq_rel(&hot->bin, &bin, BIN_STRANGERS))
		;
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

/*
 * Where @holder is told what the heap's thread takes over from it, if that needs
 * no atomic; else NULL.
 */
static inline struct charge_owed *stranger_owed(struct heap *heap,
						unsigned int holder)
{
	struct charge_owed *owed = heap_owed(heap, holder);

	return likely(owed->id == holder) ? owed : NULL;
}

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
 * The same without a call, for what has a table.  False: nothing was done, and
 * stranger_keep() has to.  If @ptr is no slot's start, that shows later.
 */
static inline bool stranger_keep_quick(struct heap *heap, struct slab_hot *hot,
				       const void *ptr)
{
	const struct sizeclass *sc = &sizeclasses[hot->class];
	/* As in stranger_charge(). */
	unsigned int holder = load_acquire(&hot->charge);
	uint16_t *entry = load_acquire(&slab_of(ptr)->charges);
	struct charge_owed *owed;
	size_t size = sc->size;

	if (unlikely(!entry))
		return false;
	entry += slot_at(sc->reciprocal, (uintptr_t)ptr & (SLAB_SIZE - 1));
	holder = load_relaxed(entry) ?: holder;
	if (holder == heap->charge) {
		heap->own.pushed += size;
		return true;
	}
	owed = stranger_owed(heap, holder);
	if (unlikely(!owed))
		return false;
	/* Pairs with stranger_settle(): the entry, then the bin. */
	xchg_seq_cst(entry, heap->charge);
	stranger_mark(hot);
	heap->own.moved += size;
	owed->bytes += size;
	return true;
}

/*
 * Owner: slot @slot of @slab, not its account's perhaps, is freed and gets to the
 * magazine.
 */
void stranger_take_in(struct heap *heap, struct slab *slab, unsigned int slot);

/* The same for the slot at @ptr; false as for stranger_keep_quick(). */
static inline bool stranger_take_in_quick(struct heap *heap,
					  const struct slab_hot *hot,
					  const void *ptr)
{
	const struct sizeclass *sc = &sizeclasses[hot->class];
	uint16_t *entry = load_acquire(&slab_of(ptr)->charges);
	struct charge_owed *owed;
	size_t size = sc->size;
	unsigned int holder;

	if (unlikely(!entry))
		return false;
	entry += slot_at(sc->reciprocal, (uintptr_t)ptr & (SLAB_SIZE - 1));
	holder = load_relaxed(entry);
	if (!holder || holder == heap->charge) {
		heap->own.pushed += size;
		return true;
	}
	owed = stranger_owed(heap, holder);
	if (unlikely(!owed))
		return false;
	store_relaxed(entry, 0);
	heap->own.moved += size;
	owed->bytes += size;
	return true;
}

/* Heap's thread: slots @mask of @word, freed by it, leave its outbox. */
void stranger_charge_freed(struct heap *heap, struct slab *slab,
			   unsigned int word, uint64_t mask);

/*
 * The same for slots of @bytes, without a call.  False: nothing was done, since
 * they may have several accounts, or one that must be told first.
 */
static inline bool stranger_free_alike(struct heap *heap,
				       const struct slab *slab, size_t bytes)
{
	const struct slab_hot *hot = slab_hot(slab);
	struct charge_owed *owed;
	unsigned int holder;

	if (!charge_keeps_accounts)
		return true;
	/* As in stranger_charge(). */
	holder = load_acquire(&hot->charge);
	owed = stranger_owed(heap, holder);
	if (!owed || !stranger_none(hot) || holder == heap->charge)
		return false;
	heap->own.for_others += bytes;
	owed->bytes += bytes;
	return true;
}

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

/*
 * The same for who looks at a slab that may be retired, and serve others, at any
 * moment: a guess.  Context: drain_lock held.
 */
unsigned int stranger_guess(const struct slab *slab,
			    const struct slab_hot *hot, unsigned int slot);

/* A slab that was retired needs no table. */
void stranger_forget(struct slab *slab);

/* Bytes of runs of tables, in use or not. */
uint64_t stranger_bytes(void);

/*
 * Give back runs that have no table in use; they are dirty.  Context: drain_lock
 * held, not that of the floor below.
 */
void stranger_trim(void);

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

static inline bool stranger_keep_quick(struct heap *heap, struct slab_hot *hot,
				       const void *ptr)
{
	return stranger_keep(heap, hot, ptr);
}

static inline void stranger_take_in(struct heap *heap, struct slab *slab,
				    unsigned int slot)
{
	(void)heap;
	(void)slab;
	(void)slot;
}

static inline bool stranger_take_in_quick(struct heap *heap,
					  const struct slab_hot *hot,
					  const void *ptr)
{
	(void)heap;
	(void)hot;
	(void)ptr;
	return false;
}

static inline void stranger_charge_freed(struct heap *heap, struct slab *slab,
					 unsigned int word, uint64_t mask)
{
	(void)heap;
	(void)slab;
	(void)word;
	(void)mask;
}

static inline bool stranger_free_alike(struct heap *heap,
				       const struct slab *slab, size_t bytes)
{
	(void)heap;
	(void)slab;
	(void)bytes;
	return true;
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

static inline uint64_t stranger_bytes(void)
{
	return 0;
}

static inline void stranger_trim(void)
{
}

static inline void stranger_after_fork(void)
{
}

#endif

/*
 * Owner: have frees look only for what there still is, holes or strangers; or
 * take the fast path again.
 */
static inline void stranger_settle(struct slab *slab, struct slab_hot *hot)
{
	uint16_t found = HEAP_BIN_OFFSET(hot->class);
	uint16_t bin = load_relaxed(&hot->bin);

	if (heap_profiled || slab_keys_may_be_gone(slab) ||
	    (charge_counts_frees && bin == BIN_STRANGERS))
		return;
	/* Pairs with stranger_mark(): one is seen below, or changes the bin. */
	if (!cas_acq_rel(&hot->bin, &bin, BIN_LOOKING))
		return;
	fence_seq_cst();
	if (charge_counts_frees || stranger_any(slab))
		found = BIN_STRANGERS;
	bin = BIN_LOOKING;
	/* If it has changed it says more, but perhaps not of what was there. */
	(void)cas_acq_rel(&hot->bin, &bin, found);
	/* Pairs with stranger_note_holes(): some may just have been made. */
	fence_seq_cst();
	if (slab_keys_may_be_gone(slab))
		stranger_note_holes(hot);
}

#endif
