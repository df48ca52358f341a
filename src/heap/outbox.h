/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Outboxes: slots on their way to the heaps they belong to
 *
 * What it is: an array of slots that a thread freed and that lie in slabs of
 * others.  They leave in company, so that one atomic returns several.  It has
 * the shape of a magazine, so that free() may put a slot there with a compare
 * and a store, and the empty heap's is full.
 *
 * Invariant: what is in an outbox is no larger than OUTBOX_SIZE_MAX, so that it
 * holds OUTBOX_SLOTS times that at most.
 *
 * Context: the heap's thread inside the bracket, or the holder of its gate,
 * but for what is said to be a guess.
 */
#ifndef EBB_HEAP_OUTBOX_H
#define EBB_HEAP_OUTBOX_H

#include "heap/heap.h"

void outbox_init(struct heap *heap);

/* The slot @ptr of @hot's slab, of any size; what is too large leaves at once. */
void outbox_put(struct heap *heap, struct slab_hot *hot, void *ptr);

/* A slot of @hot's slab goes to the outbox: free from now on. */
static inline void outbox_account(struct heap *heap, const struct slab_hot *hot)
{
	int64_t size = sizeclasses[hot->class].size;

	heap->delta.dirty += size;
	heap->delta.handed -= size;
}

/* Publish all. */
void outbox_flush(struct heap *heap);

/* Guesses, of any thread's. */
bool outbox_is_empty(const struct heap *heap);
bool outbox_holds(const struct heap *heap, const void *ptr);
size_t outbox_bytes(const struct heap *heap);

#endif
