/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Run caches: short runs that a thread freed, to be taken again
 *
 * What it is: the few runs a thread has freed last, slabs and large objects
 * alike, so that who frees and allocates the like in turn need not take the lock
 * of a zone for it, which threads share.
 *
 * Model: up to RUN_CACHE_RUNS runs of RUN_CACHE_LEN slabs at most, together
 * RUN_CACHE_BYTES; of the wanted length that is taken of which about as many
 * pages are backed as will be used, the newest of several; the oldest makes
 * room.  Nothing is cached below the admin's bound (option limit), where free
 * memory must be anybody's.
 *
 * Invariant: a cached run is in use for the floor below, is backed at least in
 * part, and has kind NONE, so that it is no pointer to anything.
 *
 * Context: the heap's thread inside the bracket, or the holder of its gate,
 * but for what is said to be a guess.
 */
#ifndef EBB_HEAP_RUN_CACHE_H
#define EBB_HEAP_RUN_CACHE_H

#include "heap/heap.h"

/* As run_alloc_for() and run_free(); by way of @heap's cache if it is not NULL. */
struct slab *run_cache_alloc(struct heap *heap, size_t bytes, size_t align,
			     enum run_state *ret_was);
void run_cache_free(struct heap *heap, struct slab *run, size_t nr,
		    enum run_state state);

/* Free the oldest beyond @keep bytes. */
void run_cache_trim(struct heap *heap, size_t keep);

/* Guesses, of any thread's. */
size_t run_cache_bytes(const struct heap *heap);

#endif
