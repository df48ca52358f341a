/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The window of address space and its slab descriptors
 *
 * What it is: one window of addresses, cut into slabs of 64 KiB.  A slab is
 * the unit of ownership: it serves one size class, or medium objects, or is
 * part of a run.
 * Two flat tables describe the slabs, so that a pointer finds its descriptors
 * by a subtraction and a shift:
 *
 *	| cold: struct slab[nr] |     hot[i] at base - 16 (i + 1) | slabs ... |
 *	                                                          ^ base
 *
 * The hot table grows downwards from the base, so that one load (the base)
 * finds a descriptor; the cold one holds what only slow paths need.
 *
 * Invariants:
 * (1) Descriptors of slabs below range.used are readable and writable, and
 *     used only grows; those above are not backed and must not be touched.
 * (2) Slabs below range.used are readable and writable, unless uncommitted.
 * (3) A slab at or above range.fresh has never been handed out.
 *
 * Locking: growing takes the lock of the first zone (vm/zone.h); reading needs
 * nothing.
 */
#ifndef EBB_VM_RANGE_H
#define EBB_VM_RANGE_H

#include "base/atomic.h"
#include "base/bits.h"
#include "base/list.h"

#define SLAB_SHIFT	16
#define SLAB_SIZE	((size_t)1 << SLAB_SHIFT)
#define BLOCK_SHIFT	10
#define BLOCK_SIZE	((size_t)1 << BLOCK_SHIFT)
#define SLAB_BLOCKS	(SLAB_SIZE >> BLOCK_SHIFT)
#define MEDIUM_BLOCKS_MIN	8u	/* of a medium object */
#define SLAB_WORDS	64	/* of free bits: 4096 slots of 16 B */
#define SLAB_PAGES_MAX	16	/* with the smallest page, 4 KiB */

struct heap;

enum slab_kind {
	SLAB_KIND_NONE,		/* free, never used, or inside a run */
	SLAB_KIND_CLASS,	/* slots of one size class */
	SLAB_KIND_MEDIUM,	/* blocks; one of a chunk, heap/chunk.h */
	SLAB_KIND_RUN,		/* first slab of a large object */
	SLAB_KIND_META,		/* first slab of a run of our own */
};

/*
 * What free() needs.  @owner is NULL unless the kind is CLASS, so comparing
 * it with the caller's heap decides kind and owner at once.
 */
struct slab_hot {
	struct heap *owner;	/* changed only as heap/slab.h says */
	uint16_t charge;	/* account of what it serves; heap/charge.h */
	uint16_t known;		/* of a chunk: see heap/arena.c (atomic) */
	uint16_t bin;		/* byte offset of the bin in struct heap */
	uint8_t kind;		/* enum slab_kind */
	uint8_t class;		/* size class */
};

/* What a run is, kept at its first and last slab; under its zone's lock. */
enum run_state {
	RUN_USED,		/* handed out (also as a slab), or fresh */
	RUN_DIRTY,		/* free, backed as far as we know */
	RUN_PART,		/* free, parts of it are not backed, or lazy */
	RUN_LAZY,		/* free, advised MADV_FREE */
	RUN_CLEAN,		/* free, not backed, reads as zero */
	RUN_LEAVING,		/* free, being given back, in no index */
	RUN_NR_STATES
};

/* Of a whole chunk; heap/chunk.h. */
struct chunk_meta {
	uint32_t nr_pins;	/* atomic */
	uint16_t changed;	/* atomic */
	uint16_t arena;		/* set once */
};

struct slab {
	/* Shared words; the protocol is in heap/slab.h. */
	uint64_t ctl;		/* free slots, state, generation */
	uint64_t pages;		/* clean, lazy, idle pages; vm/pages.h */
	union {
		struct slab *avail_next;	/* link of the owner's stack; of a
						 * chunk's first slab, the arena's */
		struct chunk_meta chunk;	/* of a chunk's second slab */
	};
	struct slab *dirty_next;	/* link of the dirty queue */
	uint16_t dirty_queued;	/* 1: in that queue, or being pushed */
	uint8_t zone;		/* see vm/zone.h */
	uint8_t unused;
	union {
		uint32_t refill_tick;	/* of a class; owner stores, reclaimer
					 * reads: last refill */
		uint32_t run_holes;	/* head of a free run: clean pages if
					 * it is part, else 0; zone lock, or who
					 * has claimed it */
	};
	uint16_t nr_slots;	/* set by slab_init */
	union {
		uint16_t scan_word;	/* of a class; owner only: where the
					 * next refill looks */
		uint16_t listed;	/* of a chunk: see heap/arena.c */
	};
	uint8_t swept;		/* reclaimer only: on its aging list */
	uint8_t displaced;	/* run head, zone lock: moved here by mremap */
	uint8_t uncommitted;	/* zone lock: PROT_NONE, commit before use */
	uint8_t run_state;	/* enum run_state; first and last slab; zone lock */
	uint32_t run_len;	/* slabs; first and last slab; zone lock */
	uint8_t given;		/* of a class; reclaimer sets, owner reads:
				 * pages of it were given back */
	uint8_t tail;		/* enum tail_state; heap/tail.h */
	uint16_t nr_samples;	/* that begin here, at most (atomic);
				 * debug/profile.h */

	struct list_head link;	/* owner's lists, or index of free runs */
	union {
		struct {
			struct list_head age;	/* free runs by age; zone lock */
			uint64_t stamp_ms;	/* since when the run is free;
						 * zone lock */
		};
		struct {		/* of a chunk; heap/chunk.h */
			uint64_t starts, ends;	/* bits of blocks (atomic) */
			uint16_t charges[SLAB_BLOCKS / MEDIUM_BLOCKS_MIN / 2];
		} medium;
	};
	struct list_head sweep;	/* reclaimer only: slabs that are ageing */
	uint64_t idle_ms;	/* reclaimer only: since when pages idle */
	union {
		size_t run_bytes;	/* run head: bytes promised to the user */
		uint16_t *charges;	/* of a class: set once, until it is
					 * retired; heap/stranger.h */
		struct {		/* of a run of such tables, ... */
			uint32_t nr;	/* ... those in use */
			uint32_t turn;
		} tables;
		/* of a chunk: the upper half's */
		uint16_t upper_charges[SLAB_BLOCKS / MEDIUM_BLOCKS_MIN / 2];
	};

	/*
	 * Slot n: bit n % 64 of word n / 64; 1 is free.  Nothing else may lie here:
	 * who claims by what he knows of an earlier life clears bits, and sets them
	 * again when he sees.
	 */
	uint64_t free[SLAB_WORDS];
};

_Static_assert(sizeof(struct slab_hot) == 16, "hot descriptor is 16 bytes");
_Static_assert(sizeof(struct slab) == 640, "cold descriptor is 640 bytes");
_Static_assert(offsetof(struct slab, free) % 64 == 0, "bits in own lines");

/* Read by every free(); written while growing only. */
struct range {
	char *base;		/* first slab; set once */
	size_t used;		/* bytes taken into use, see invariant (1) */
	uintptr_t secret;	/* for the keys in cached free slots; set once */
	struct slab *slabs;	/* cold table; set once */
	size_t span;		/* bytes the tables can describe; set once */
	size_t fresh;		/* bytes handed out at least once (atomic) */
	size_t reserved;	/* bytes reserved so far; see above */
	size_t meta_bytes;	/* bytes of tables taken into use; see above */
	bool pieces;		/* the window is reserved piece by piece */
};

extern struct range range __attribute__((visibility("hidden")));

/* Reserve the window; @reserve bytes, halved until it succeeds.  0/-errno. */
int range_init(size_t reserve) __must_check;

/*
 * Hand out @nr slabs never used before.  Without @may_grow only what is in
 * use already is looked at, which takes no lock.  NULL: no room.
 * Context: the lock of the first zone held when @may_grow.
 */
struct slab *range_take_fresh(size_t nr, bool may_grow);

static inline size_t slab_index(const struct slab *slab)
{
	return (size_t)(slab - range.slabs);
}

static inline char *slab_base(const struct slab *slab)
{
	return range.base + (slab_index(slab) << SLAB_SHIFT);
}

static inline struct slab_hot *hot_at(size_t index)
{
	return (struct slab_hot *)range.base - 1 - index;
}

/* That of byte @offset of the range, for the fast path: base - 16 - 16 * index. */
static inline struct slab_hot *hot_of_offset(uintptr_t offset)
{
	return (struct slab_hot *)(void *)
		(range.base - 1 - (offset >> (SLAB_SHIFT - 4) | 15));
}

static inline struct slab_hot *slab_hot(const struct slab *slab)
{
	return hot_at(slab_index(slab));
}

/* Whether @ptr lies in slabs in use, so that its descriptors may be read. */
static inline bool range_contains(const void *ptr)
{
	return (size_t)((const char *)ptr - range.base) <
	       load_relaxed(&range.used);
}

static inline struct slab *slab_of(const void *ptr)
{
	return range.slabs +
	       ((size_t)((const char *)ptr - range.base) >> SLAB_SHIFT);
}

#endif
