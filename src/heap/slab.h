/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Slabs of one size class: the free bits and the slab word
 *
 * What it is: who may take a free slot, who may put one back, and who gets to
 * know that a slab has free slots again.  Everything concurrent about slots
 * is in this file.
 *
 * Model: each slot has a bit in slab->free, set while the slot is free.
 * Whoever atomically clears a bit owns the memory under it (*claims* it): a
 * thread that refills its magazine, or the reclaimer, who wants to give the
 * page back.  slab->ctl counts the free slots and holds the state:
 *
 *	bits 63..48  count, signed    free slots, as far as told by now
 *	bits 47..40  enum slab_state
 *	bits 39..0   generation       changes with each slab_init()
 *
 * Slabs of medium objects (heap/medium.h) are of one class, and ACTIVE as long
 * as they are slabs: they have no owner who lists them.
 *
 * Invariants:
 * (1) A slot's owner is who cleared its bit and got it back as set from the
 *     same atomic; bits that were merely read belong to nobody.
 * (2) Bits are set only by slab_publish() (and slab_unclaim(), which puts
 *     back what was claimed under a generation that is gone).
 * (3) slab_publish() sets the bits first and adds to the count last; that
 *     compare-and-swap is its last access to the slab, unless it made the
 *     state QUEUED: then it alone pushes the slab on its owner's stack.
 *     So when the count equals the number of slots nobody is inside publish.
 * (4) A claimer subtracts from the count after it claimed.  So the count may
 *     be too high for a moment, also below zero in between, and a slab whose
 *     bits the reclaimer holds is never mistaken for one without a future.
 * (5) Only the owner, or who holds its gate (heap/drain.h), links, unlinks,
 *     retires or gives away a slab, and never while it is QUEUED.
 * (6) A slab is retired only when its count equals its number of slots and
 *     all bits have been claimed; so nobody else holds any of its memory.
 * (7) A claim is good only if the generation, read before the claim, is still
 *     there after it; as long as one bit is held, invariant (6) keeps it so.
 *
 * States and transitions:
 *	NONE   -> ACTIVE  [slab_init]      by who got the run
 *	ACTIVE -> FULL    [slab_make_full] no bits found, and none told since
 *	FULL   -> QUEUED  [slab_publish]   an eighth is free again
 *	LISTED -> QUEUED  [slab_publish]   all of it is free
 *	QUEUED -> LISTED  [slab_try_state] popped from the stack by the owner
 *	QUEUED -> ACTIVE  [slab_try_state] the same, wholly free, refilled from
 *	LISTED -> ACTIVE  [slab_try_state] becomes a bin's current slab
 *	ACTIVE -> LISTED  [slab_try_state] the owner closes its heap
 *	LISTED, ACTIVE -> NONE [slab_retire]
 *
 * Pages: of the page word (vm/pages.h) a page's clean and lazy bits are set by
 * who has claimed all slots that touch it, before publishing them, and cleared
 * by whoever takes one of them; who does also looks whether pages may trap, and
 * removes the trap before the slot is used.
 */
#ifndef EBB_HEAP_SLAB_H
#define EBB_HEAP_SLAB_H

#include "heap/sizeclass.h"
#include "os/map.h"
#include "vm/pages.h"
#include "vm/range.h"

enum slab_state {
	SLAB_NONE,
	SLAB_ACTIVE,	/* the current slab of its owner's bin */
	SLAB_LISTED,	/* on its owner's list of slabs with free slots */
	SLAB_FULL,	/* on its owner's list of slabs without */
	SLAB_QUEUED,	/* the same, and on (or on the way to) its stack */
};

#define CTL_COUNT_SHIFT	48
#define CTL_STATE_SHIFT	40
#define CTL_GEN_MASK	((1ULL << CTL_STATE_SHIFT) - 1)

/* End of a stack that takes no more slabs. */
#define AVAIL_CLOSED	((struct slab *)1)

static inline int ctl_count(uint64_t ctl)
{
	return (int)((int64_t)ctl >> CTL_COUNT_SHIFT);
}

static inline enum slab_state ctl_state(uint64_t ctl)
{
	return (enum slab_state)(ctl >> CTL_STATE_SHIFT & 0xff);
}

static inline uint64_t ctl_gen(uint64_t ctl)
{
	return ctl & CTL_GEN_MASK;
}

static inline uint64_t ctl_make(int count, enum slab_state state, uint64_t gen)
{
	return (uint64_t)(int64_t)count << CTL_COUNT_SHIFT |
	       (uint64_t)state << CTL_STATE_SHIFT | (gen & CTL_GEN_MASK);
}

/*
 * Make the run @slab, of one slab and owned by the caller, a slab of @class.
 * All slots are free, the state is ACTIVE.  @was: the state its memory was in.
 */
void slab_init(struct slab *slab, unsigned int class, struct heap *owner,
	       enum run_state was);

/*
 * The same for medium objects (heap/medium.h): of class CLASS_BLOCKS and nobody's,
 * ACTIVE until slab_drop_blocks(), before which the caller has claimed all.
 */
void slab_init_blocks(struct slab *slab, enum run_state was);
void slab_drop_blocks(struct slab *slab);

/* Pages of it were given back, or may be taken, and are not in use since. */
static inline bool slab_keys_may_be_gone(const struct slab *slab)
{
	uint64_t pages = load_relaxed(&slab->pages);

	return pages & PAGES_HOLES &&
	       (load_relaxed(&slab->given) || pages_lazy(pages));
}

/* What to know about a publish. */
enum publish_flags {
	PUBLISH_QUIET = 1,	/* from the reclaimer: not dirty, not news */
};

/*
 * Free the slots @mask of word @word; returns the bits that were free before
 * (a double free; those slots are not counted again).
 */
uint64_t slab_publish(struct slab *slab, unsigned int word, uint64_t mask,
		      enum publish_flags flags);

/*
 * Claim of @mask in @word what is free.  The caller then has to call
 * slab_debit() or slab_unclaim().
 */
static inline uint64_t slab_claim(struct slab *slab, unsigned int word,
				  uint64_t mask)
{
	/* Pairs with slab_publish(): what was freed is seen as it was left. */
	return and_acquire(&slab->free[word], ~mask) & mask;
}

/* Put back what was claimed but is not the caller's to use; not counted. */
void slab_unclaim(struct slab *slab, unsigned int word, uint64_t mask);

/*
 * Subtract @nr claimed slots from the count.  False: the generation is not
 * @gen any more, nothing was subtracted, the claim has to be undone.
 */
bool slab_debit(struct slab *slab, unsigned int nr, uint64_t gen)
	__must_check;

/* Of @pages, on which the caller took slots, none traps any more. */
void slab_hand_out(struct slab *slab, unsigned int pages);

/*
 * The caller took slots on @pages: they are live now.  Returns the page word
 * as it was for them: which were clean, so known to read as zero, and lazy.
 */
static inline uint64_t slab_touch(struct slab *slab, unsigned int pages)
{
	uint64_t old = load_relaxed(&slab->pages);

	if (!(old & (PAGES_ALL(pages) | PAGES_GUARDED)))
		return 0;
	/* Also where they are not clean any more: who saw to it may be at it. */
	if (unlikely(old & PAGES_GUARDED))
		slab_hand_out(slab, pages);
	/* Pairs with settle_pages(), before it publishes. */
	old = and_acq_rel(&slab->pages, ~PAGES_ALL(pages));
	return old & PAGES_ALL(pages);
}

/*
 * Claim one slot; the bypass's way to allocate.  NULL: nothing free here (or
 * not a slab of @class any more).  *@ret_zero: it reads as zero.
 */
void *slab_take_one(struct slab *slab, unsigned int class, bool *ret_zero);

/*
 * Claim some slots for a magazine, of one word: a whole group of neighbours
 * (sizeclass.share), if there is one on backed pages, else any group, else
 * what there is.  Returns their bits of word *@ret_word; 0: nothing free here
 * (or not a slab of @class any more).
 */
uint64_t slab_take_group(struct slab *slab, unsigned int class,
			 unsigned int *ret_word);

/* Owner, ACTIVE: FULL unless slots were told free since @seen was read. */
bool slab_make_full(struct slab *slab, uint64_t seen);

/*
 * Owner: @from becomes @to.  False: the state is not @from (a publisher made
 * it QUEUED meanwhile).  From QUEUED only who popped the slab may go on.
 */
bool slab_try_state(struct slab *slab, enum slab_state from,
		    enum slab_state to);

/*
 * Owner: have a slab that is wholly free become a used run of one slab
 * without a class.  False: it is not wholly free at this moment, or QUEUED.
 */
bool slab_retire(struct slab *slab);

static inline bool slab_is_wholly_free(const struct slab *slab)
{
	return ctl_count(load_relaxed(&slab->ctl)) == slab->nr_slots;
}

/* Slots of @word that lie on no clean page. */
uint64_t slab_dirty_slots(const struct slab *slab, const struct sizeclass *sc,
			  unsigned int word, unsigned int clean);

/* Pages that the slots of @mask in @word touch, as a mask. */
unsigned int slab_pages_of(const struct sizeclass *sc, unsigned int word,
			   uint64_t mask);

/* Slots that touch page @page: [*@ret_first, *@ret_end). */
void slab_slots_on_page(const struct sizeclass *sc, unsigned int page,
			unsigned int *ret_first, unsigned int *ret_end);

/* Pages of which every slot is free, by the bits as they are now. */
unsigned int slab_free_pages(const struct slab *slab,
			     const struct sizeclass *sc);

/*
 * What a slab that serves a class is made of, in bytes, by words that are read
 * once; what is left of it is stranded.
 */
struct slab_parts {
	const struct sizeclass *sc;
	uint64_t bits[SLAB_WORDS];	/* of free slots: sc->nr_words of them */
	uint64_t taken;			/* slots */
	uint64_t dirty, lazy, clean;	/* pages that are wholly free */
};

void slab_read(const struct slab *slab, struct slab_parts *ret_parts);

/* The slot @ptr lies in; false if @ptr is not the start of a slot. */
static inline bool slab_slot(const struct slab_hot *hot, const void *ptr,
			     unsigned int *ret_slot)
{
	size_t offset = (uintptr_t)ptr & (SLAB_SIZE - 1);
	const struct sizeclass *sc = &sizeclasses[hot->class];
	unsigned int slot = slot_at(sc->reciprocal, offset);

	*ret_slot = slot;
	return slot * sc->size == offset && slot < sc->nr_slots;
}

/* Whether a slab of @kind has free bits, a slab word and a page word. */
static inline bool slab_kind_has_slots(uint8_t kind)
{
	return kind == SLAB_KIND_CLASS || kind == SLAB_KIND_MEDIUM;
}

/* Slots whose bit is set, counted one by one. */
unsigned int slab_count_bits(const struct slab *slab);

/* They are the count from now on; the same.  Context: nobody else runs. */
int slab_recount(struct slab *slab);

static inline bool slab_has_bits(const struct slab *slab)
{
	unsigned int nr_words = sizeclasses[slab_hot(slab)->class].nr_words;

	for (unsigned int word = 0; word < nr_words; word++)
		if (load_relaxed(&slab->free[word]))
			return true;
	return false;
}

/* Whether @ptr is the start of a slot whose bit says that it is free. */
static inline bool slab_slot_is_free(const struct slab_hot *hot,
				     const void *ptr)
{
	unsigned int slot;

	return slab_slot(hot, ptr, &slot) &&
	       load_relaxed(&slab_of(ptr)->free[slot / 64]) >> slot % 64 & 1;
}

/*
 * Slabs that were published to since they were last popped, for the
 * reclaimer; each once.  slab_dirty_pop_all() takes the whole list, linked
 * by dirty_next; before it looks at a slab the taker calls slab_dirty_seen().
 */
struct slab *slab_dirty_pop_all(void);

/* Whether a slab was pushed since. */
bool slab_dirty_pending(void);
void slab_dirty_push(struct slab *slab);

static inline void slab_dirty_seen(struct slab *slab)
{
	/* Pairs with slab_dirty_push(): a publish after this queues again. */
	xchg_seq_cst(&slab->dirty_queued, 0);
}

/* Push @slab on @stack, by avail_next; false: it is closed. */
bool slab_stack_push(struct slab **stack, struct slab *slab);

/* Push a QUEUED slab on its owner's stack, or on the orphans' if closed. */
void slab_avail_push(struct slab *slab);

/* Counts ticks of the reclaimer; "the same tick" is this process's epoch. */
extern uint32_t slab_tick;

#endif
