/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Medium objects: neighbouring blocks of 1 KiB
 *
 * What it is: objects from MEDIUM_MIN on, up to a slab's size, while memory is
 * saved (account.frugal).  What one size has freed another takes as it is, where
 * slots, and runs, wait for one of their own size or have to be given back first.
 *
 * Model: an object is a stretch of blocks of a chunk (heap/chunk.h), claimed by
 * way of an arena (heap/arena.h).  Freeing takes no lock.  Who holds any lock, as
 * below a signal handler, gets no medium object, but a large one.
 *
 * A thread keeps the few it has freed last, to be taken again as they are by the
 * same length: MEDIUM_CACHED of MEDIUM_CACHED_BYTES together at most; the oldest
 * makes room.  None is kept near a limit (account.tight), nor below the admin's
 * bound (option limit), where free memory must be anybody's.
 *
 * Invariants:
 * (1) A stretch that is kept is claimed, pins its chunk, and has its last block
 *     marked, as an object's; its first one is not, so that it is no pointer to
 *     anything.
 * (2) A chunk has as many pins as marks of last blocks, and claims of the
 *     reclaimer's, but for what is changing just now.
 */
#ifndef EBB_HEAP_MEDIUM_H
#define EBB_HEAP_MEDIUM_H

#include "heap/sizeclass.h"
#include "vm/range.h"

#define MEDIUM_MAX	SLAB_SIZE
#define MEDIUM_MIN	(MEDIUM_BLOCKS_MIN << BLOCK_SHIFT)

struct heap;

/* Whether @size bytes at a multiple of @align may be a medium object. */
static inline bool medium_fits(size_t align, size_t size)
{
	return IS_ENABLED(CONFIG_MEDIUM) && size >= MEDIUM_MIN &&
	       size <= MEDIUM_MAX && align <= SLAB_SIZE;
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

/*
 * Give back the oldest that @heap keeps, beyond @keep bytes.
 * Context: the heap's thread inside the bracket, or the holder of its gate.
 */
void medium_trim(struct heap *heap, size_t keep);

/* @heap keeps nothing, whatever it kept: it was cut off by fork(). */
void medium_init(struct heap *heap);

/* How much it keeps: a guess, of any thread's. */
size_t medium_cached_bytes(const struct heap *heap);

/* Usable bytes of @ptr, in a slab of this kind; 0: no object begins there. */
size_t medium_usable(const void *ptr);

/* The object that @ptr, in a slab of this kind, lies in; NULL: none. */
void *medium_around(const void *ptr);

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

static inline void medium_init(struct heap *heap)
{
	(void)heap;
}

static inline void medium_trim(struct heap *heap, size_t keep)
{
	(void)heap;
	(void)keep;
}

static inline size_t medium_cached_bytes(const struct heap *heap)
{
	(void)heap;
	return 0;
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

#endif

#endif
