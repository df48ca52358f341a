/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Large objects: runs of slabs handed to the user
 *
 * What it is: objects beyond CLASS_SIZE_MAX, or of larger alignment, that are
 * no medium objects (heap/medium.h).  Each is
 * a run of its own; what the user may use ends at a page boundary.
 *
 * Growing tries the run behind first.  Else, where moving page table entries
 * beats copying (LARGE_MOVE_MIN bytes and more), the pages are moved to another run by
 * mremap; the new run is then *displaced*: a mapping of its own, which costs
 * the kernel a VMA or two, so their number is bounded.
 */
#ifndef EBB_HEAP_LARGE_H
#define EBB_HEAP_LARGE_H

#include "heap/medium.h"
#include "vm/range.h"

#define LARGE_MOVE_MIN	(4 * MIB)

/*
 * @size bytes at a multiple of @align (a power of two).  *@ret_zero: it reads
 * as zero.  NULL: no memory.  @heap: whose run cache is asked first; NULL:
 * nobody's.
 */
void *large_alloc(struct heap *heap, size_t size, size_t align,
		  bool *ret_zero);

/*
 * Free the large object @ptr, to the run cache of @heap if it is not NULL;
 * dies, naming @call, if it is none (any more).
 */
void large_free(struct heap *heap, void *ptr, const char *call);

/* Change the size without moving; false: not possible. */
bool large_resize(void *ptr, size_t size);

/*
 * Move @ptr to a larger run by moving its pages; NULL: not done, and @ptr is
 * as it was.
 */
void *large_move(void *ptr, size_t size);

/* Whether what is behind it is being given back, so that it stays as it is. */
bool large_is_leaving(const void *ptr);

static inline size_t large_usable(const void *ptr)
{
	return slab_of(ptr)->run_bytes;
}

/* The same of any object. */
static inline size_t object_usable(const void *ptr)
{
	const struct slab_hot *hot = slab_hot(slab_of(ptr));

	switch (load_relaxed(&hot->kind)) {
	case SLAB_KIND_CLASS:
		return sizeclasses[hot->class].size;
	case SLAB_KIND_MEDIUM:
		return medium_usable(ptr);
	default:
		return large_usable(ptr);
	}
}

/*
 * Bytes of objects handed out lately that have no page behind them yet: what
 * is about to be touched, perhaps.
 * Context: any thread; asks the kernel about each object.
 */
uint64_t large_unbacked(void);

/* Hints of ours at large objects: see map_note_private(). */
void large_note_private(void);

#endif
