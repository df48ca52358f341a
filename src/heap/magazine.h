/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Magazines: filling and emptying a thread's caches
 *
 * What it is: the slow side of the fast path.  An empty magazine is refilled
 * from the bin's current slab, up to half its capacity, lowest addresses on
 * top and slots on backed pages before those on clean ones.  A full one gives
 * back the older half of its slots.
 *
 * Model: a magazine without a place is both empty and full.  Its first use
 * gives it one for CACHE_START slots; it doubles at each refill or flush, up to
 * the class's cache_soft; where refills and flushes take turns up to cache_max,
 * as long as a thread's have grown by less than 4 MiB in all; where several of
 * each take turns time and again up to cache_burst, as long as all threads' are
 * below 15 MiB, and a drain takes that from busy threads, too.  Small ones lie
 * packed in one store for all classes, larger ones each in a part of the heap
 * of its own.  A drain that keeps nothing takes the places away again.  What they
 * have grown by the account knows, since it is what may be free without having
 * been told.
 *
 * The first few slots of a class a thread gets from the spare slab of the class
 * (heap/bypass.h), which all threads share, a group of neighbours at a time, so
 * that one which hardly allocates has no slab, and no page, for each class.  In
 * its magazine they are like any others; when freed they go the way of what
 * belongs to another thread.
 *
 * Slots of others' slabs that the thread frees may lie in its magazines as well;
 * how a slot is published does not depend on whose it is.
 *
 * Invariant: slots larger than ZERO_SIZE_MIN that are known to read as zero lie
 * in the magazine with the sign bit of the pointer set (MAGAZINE_ZERO), so that
 * one test tells a slot for the fast path from these and from no slot at all.
 * So does the slot that the heap profile wants next (heap/sample.h).
 *
 * Context: the heap's thread inside the bracket, or the holder of its gate.
 */
#ifndef EBB_HEAP_MAGAZINE_H
#define EBB_HEAP_MAGAZINE_H

#include "heap/heap.h"

/* Refill the empty magazine of @class; false: no memory. */
bool magazine_refill(struct heap *heap, unsigned int class);

/* Make room in the full magazine of @class. */
void magazine_flush_half(struct heap *heap, unsigned int class);

/*
 * Publish the oldest slots of each class beyond @keep bytes of it.  Magazines keep
 * their places, with room for twice that, so that no refill takes much more.
 */
void magazine_trim(struct heap *heap, size_t keep);

/*
 * Publish everything the heap holds, outbox and cached runs included; magazines
 * lose their places.
 */
void magazine_flush_all(struct heap *heap);

/* Give back the pages of magazines' places; none has one. */
void magazine_discard(struct heap *heap);

/*
 * Whether a slot of another heap's slab may stay in the magazine: below half,
 * where a refill would have to claim the like soon.  Not in an empty one: who
 * has not allocated any does not want this either, and if it is the thread's
 * first shares a cache line with others.
 */
static inline bool magazine_wants(const struct heap *heap, unsigned int class)
{
	const struct magazine *mag = &heap->magazines[class];
	const struct bin *bin = &heap->bins[class];

	return mag->top[-1] && mag->top < bin->bottom + bin->cap / 2;
}

/*
 * What lies in the magazine of @class of any thread's heap: @*ret_nr slots; a
 * guess that is readable memory in any case.
 */
const void *const *magazine_guess(const struct heap *heap, unsigned int class,
				  size_t *ret_nr);

/* Bytes of slots in the heap's magazines; a guess of any thread's. */
size_t magazine_bytes(const struct heap *heap);

/* Bytes of @heap that are in use: up to the stores, of these, and of lists. */
size_t magazine_store_bytes(const struct heap *heap);

/* Bytes a heap needs with room for full-grown magazines. */
size_t magazine_heap_size(void);

/* Set up the magazines of a new heap. */
void magazine_init(struct heap *heap);

#endif
