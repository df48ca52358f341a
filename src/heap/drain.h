/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The gate: emptying the caches of other threads
 *
 * What it is: the list of heaps in use, and the protocol by which one thread
 * takes what lies in the caches of another that is not inside the allocator
 * at this moment, without a lock or a flag test in the fast path.
 *
 * Protocol (drain_caches()):
 * (1) The drainer, holding drain_lock, points the other thread's tcb->heap at
 *     the empty heap.
 * (2) One barrier_all() for all threads.  After it, a thread either has seen
 *     the gate, or its store to tcb->busy, which came before its load of
 *     tcb->heap, is visible to the drainer.
 * (3) Where busy is 0 the thread is outside and, when it enters, will find
 *     the empty heap, fall into a slow path, see that it is gated and take
 *     the bypass; it waits for nobody.  The drainer acts as its owner: it
 *     flushes the magazines and the outbox and retires free slabs, or flushes
 *     outbox and cached runs alone where only those are at rest.  It may also
 *     give slabs away (heap_share()).  Where busy is not 0 the heap is left
 *     alone.
 * (4) The drainer stores the heap pointer back, with release, so that the
 *     thread finds the emptied magazines.
 * The gate of a thread that is metered is tcb->behind, its tcb->heap the empty
 * heap at all times (heap/meter.h).
 *
 * A thread that is stopped or sleeps inside the allocator delays nobody; its
 * heap is left for a later pass.
 *
 * A thread that ends holds drain_lock while it empties its own: a drainer that
 * found it outside may not be through.  What it allocates and frees meanwhile,
 * in the bracket, goes by the bypass.
 *
 * Locking: drain_lock guards the lists of heaps, and every change of a
 * registered thread's tcb->heap and tcb->behind.  Rank 3, before orphan_lock.
 *
 * Fork: drain_after_fork() closes the heaps of threads that are gone; those
 * that were inside the allocator lose what was in their magazines.
 */
#ifndef EBB_HEAP_DRAIN_H
#define EBB_HEAP_DRAIN_H

#include "heap/heap.h"

extern struct lock drain_lock;

/* Make this thread a heap and open its gate; NULL: no memory. */
struct heap *drain_open_heap(void);

/* This thread ends: close its heap.  Context: inside the bracket. */
void drain_close_heap(void);

struct drain_order {
	bool force;		/* all that are not inside the allocator, and the
				 * caller's own; else what is at rest */
	bool share;		/* see heap_share() */
	size_t keep;		/* bytes of each class that stay, the newest, and
				 * so much of cached runs as of eight */
};

struct drain_result {
	bool left;		/* some thread's caches are not empty, since it
				 * was not idle or inside the allocator, or who
				 * holds drain_lock does not let go of it; a later
				 * call may find it so */
	bool shared;		/* something was */
};

/*
 * Empty the caches of threads, as @order says.  Returns 0, or -errno where there
 * is no barrier: then only the caller's own.
 * Context: not inside the bracket, no lock of floor 3 or below.
 */
int drain_caches(const struct drain_order *order,
		 struct drain_result *ret_result);

/*
 * Empty the caller's own caches; false: who holds drain_lock does not let go.
 * Context: as drain_caches().
 */
bool drain_mine(void) __must_check;

/*
 * The calling thread is metered from now on, and its heap lies behind the other
 * gate (heap/meter.h).  Context: inside the bracket, no lock of floor 3 or below.
 */
void drain_meter(void);

/*
 * Give back tables of strangers that are not in use (heap/stranger.h), if who
 * holds drain_lock lets go.  Context: no lock of floor 3 or below.
 */
void drain_tables(void);

/*
 * Whether the slot @ptr of a slab in use is really free: by its bit, or in a
 * magazine or outbox.  For a slot that bears its key, since a key can also be
 * what a program copied from memory that it never wrote.
 * Context: any; below a handler that interrupted the holder of drain_lock
 * only the bit is looked at.
 */
bool drain_slot_is_free(const void *ptr);

/* Why caches of other threads cannot be taken, or NULL. */
const char *drain_unavailable(void);

void drain_init(void);
/* In a forked child; @threaded: its parent had other threads. */
void drain_after_fork(bool threaded);

/*
 * Call @fn for each heap in use, with drain_lock held.  False: whoever holds it
 * does not let go, and nothing was called.
 */
bool drain_for_each(void (*fn)(struct heap *heap, void *arg), void *arg)
	__must_check;

/* The same for who holds drain_lock. */
void drain_for_each_held(void (*fn)(struct heap *heap, void *arg), void *arg);

/*
 * Call @close for each heap in use, have every thread pass a barrier, and call
 * @open for each, all with drain_lock held.  False: nothing was called, since
 * there is no barrier, or whoever holds drain_lock does not let go.
 * @ordered is false where the barrier failed, so that nothing may be taken.
 */
bool drain_around_barrier(void (*close)(struct heap *heap, void *arg),
			  void (*open)(struct heap *heap, bool ordered,
				       void *arg), void *arg) __must_check;

/*
 * Bytes of what is free, and nobody else's, in the caches of @heap, but for runs;
 * approximate while its thread runs.
 */
size_t drain_slots_of(const struct heap *heap);

/* The same of all heaps; and of cached runs. */
size_t drain_cached_bytes(size_t *ret_runs);

/* Bytes that heaps in use, with the magazines they have grown, take up. */
size_t drain_heap_bytes(void);

#endif
