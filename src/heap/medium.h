/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Medium objects: neighbouring blocks of 1 KiB
 *
 * What it is: objects beyond CLASS_SIZE_MAX of up to a slab's size; and near a
 * limit (account.tight) those from MEDIUM_MIN on.  What one size has freed
 * another takes as it is, where slots, and runs, wait for one of their own size
 * or have to be given back first.
 *
 * Model: a *chunk* is an aligned run of CHUNK_SLABS slabs.  Each of its slabs
 * is one of class CLASS_BLOCKS, with a bit for each free block, a slab word and
 * a page word as any other (heap/slab.h), so that the reclaimer claims, gives
 * back and publishes its pages as those of slots.  An object is an extent of
 * blocks, MEDIUM_BLOCKS_MIN at least, which may cross from one slab of the
 * chunk into the next; its first and its last block are marked (starts, ends).
 *
 * A chunk belongs to an *arena* for good, of which there are a few; threads use
 * them by turns.  An arena lists its chunks by their longest free extent, and
 * takes of those that will do one with the shortest; of that the extent which
 * needs the fewest pages that are not backed, and of these the shortest.  Only
 * when no arena has one is there a new chunk.
 *
 * Invariants:
 * (1) Blocks are claimed for an object by the holder of the arena's lock only,
 *     with the atomics of heap/slab.h, since the reclaimer claims them as well;
 *     all of an object's, or none.
 * (2) Freeing takes no lock.  Who clears the mark of an object's first block
 *     has freed it; whoever else tries frees twice.
 * (3) A chunk is pinned by each of its objects and by each claim of the
 *     reclaimer's.  Who frees, or settles, publishes the blocks, then tells the
 *     arena, by its stack, and unpins last.  So with no pins, under the lock,
 *     a chunk that is not on the stack is not about to get there, and who has
 *     claimed all its blocks may give it up.
 * (4) Where a chunk has a longer free extent than `most' says, it is on the
 *     arena's stack, or somebody who pins it has yet to push it.
 *
 * Locking: that of the arena (rank 3), before vm_lock.  Who holds any lock, as
 * below a signal handler, gets no medium object, but a large one.
 */
#ifndef EBB_HEAP_MEDIUM_H
#define EBB_HEAP_MEDIUM_H

#include "heap/sizeclass.h"
#include "vm/range.h"

#define MEDIUM_MAX	SLAB_SIZE
#define MEDIUM_MIN	(MEDIUM_BLOCKS_MIN << BLOCK_SHIFT)
#define CHUNK_SLABS	16u
#define CHUNK_BLOCKS	(CHUNK_SLABS * SLAB_BLOCKS)

struct heap;

/* Whether @size bytes at a multiple of @align may be a medium object. */
static inline bool medium_fits(size_t align, size_t size)
{
	return IS_ENABLED(CONFIG_MEDIUM) && size <= MEDIUM_MAX &&
	       align <= SLAB_SIZE;
}

/* What is usable of one. */
static inline size_t medium_size(size_t size)
{
	return ALIGN_UP(max(size, (size_t)MEDIUM_MIN), BLOCK_SIZE);
}

/* Whether @slab is one of a chunk. */
static inline bool medium_has(const struct slab *slab)
{
	return IS_ENABLED(CONFIG_MEDIUM) &&
	       load_relaxed(&slab_hot(slab)->kind) == SLAB_KIND_MEDIUM;
}

static inline bool medium_is(const void *ptr)
{
	return medium_has(slab_of(ptr));
}

#if IS_ENABLED(CONFIG_MEDIUM)

/*
 * @size bytes at a multiple of @align, which medium_fits().  *@ret_zero: it
 * reads as zero.  NULL: no memory, or the caller holds a lock.  @heap: who
 * asks; NULL: nobody's.
 */
void *medium_alloc(struct heap *heap, size_t size, size_t align,
		   bool *ret_zero);

/* Free the medium object @ptr; dies, naming @call, if it is none (any more). */
void medium_free(struct heap *heap, void *ptr, const char *call);

/*
 * Change the size without moving; false: not possible, or @size is none for a
 * medium object.
 */
bool medium_resize(struct heap *heap, void *ptr, size_t size);

/* Usable bytes of @ptr, in a slab of this kind; 0: no object begins there. */
size_t medium_usable(const void *ptr);

/* The object that @ptr, in a slab of this kind, lies in; NULL: none. */
void *medium_around(const void *ptr);

/*
 * The reclaimer has claimed pages of @slab, which is of this kind, or has
 * published what it had claimed.
 */
void medium_claimed(struct slab *slab);
void medium_settled(struct slab *slab);

/* Give up chunks that have no object, but for one of each arena unless @all. */
void medium_reap(bool all);

/* Fork handlers, as in api/fork.c. */
bool medium_holds_lock(void);
void medium_prefork(bool may_wait);
void medium_postfork(void);
void medium_postfork_child(void);

#else

static inline void *medium_alloc(struct heap *heap, size_t size, size_t align,
				 bool *ret_zero)
{
	(void)heap;
	(void)size;
	(void)align;
	(void)ret_zero;
	return NULL;
}

static inline void medium_free(struct heap *heap, void *ptr, const char *call)
{
	(void)heap;
	(void)ptr;
	(void)call;
}

static inline bool medium_resize(struct heap *heap, void *ptr, size_t size)
{
	(void)heap;
	(void)ptr;
	(void)size;
	return false;
}

static inline size_t medium_usable(const void *ptr)
{
	(void)ptr;
	return 0;
}

static inline void *medium_around(const void *ptr)
{
	(void)ptr;
	return NULL;
}

static inline void medium_claimed(struct slab *slab)
{
	(void)slab;
}

static inline void medium_settled(struct slab *slab)
{
	(void)slab;
}

static inline void medium_reap(bool all)
{
	(void)all;
}

static inline bool medium_holds_lock(void)
{
	return false;
}

static inline void medium_prefork(bool may_wait)
{
	(void)may_wait;
}

static inline void medium_postfork(void)
{
}

static inline void medium_postfork_child(void)
{
}

#endif

#endif
