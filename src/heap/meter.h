/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Meters: what a thread allocates and frees, call by call
 *
 * What it is: two counters of a thread that has asked for them, of usable bytes,
 * exact after each call and read in place without one: jemalloc's
 * thread.allocatedp is the address of one.
 *
 * Model: the fast path does not count, and shall not.  So the gate of a thread
 * that is metered (tcb.heap, heap/drain.h) stays closed for good, and each of
 * its calls falls into a slow path, where it is counted.  Its heap lies behind a
 * second gate, tcb.behind, at which only slow paths look; drainers close and
 * open that one in place of the first.  Threads that have not asked pay nothing.
 *
 * Invariants:
 * (1) With drain_lock free, of a thread with a heap: either tcb.heap is its heap
 *     and tcb.behind NULL, or, if it is metered, tcb.heap is the empty heap and
 *     tcb.behind its heap.
 * (2) Only the thread writes its counters, its handlers included, so by atomics;
 *     others may read them as long as it lives.
 *
 * Fork: the child's thread is metered if it was, and counts on.
 */
#ifndef EBB_HEAP_METER_H
#define EBB_HEAP_METER_H

#include "heap/heap.h"

enum meter_count {
	METER_ALLOCATED,
	METER_FREED,
};

#if IS_ENABLED(CONFIG_JEMALLOC)

/* Whether this thread is metered. */
#define meter_on()	unlikely(thread.metered)

/*
 * From now on the calling thread is, if it was not.  Context: not inside the
 * bracket, no lock of floor 3 or below.
 */
void meter_begin(void);

/* This thread, which is metered, allocated, freed, or changed an object's size
 * where it is. */
void meter_took(uint64_t bytes);
void meter_freed(uint64_t bytes);
void meter_resized(uint64_t before, uint64_t now);

/* Where the calling thread's counter is; as long as it lives. */
uint64_t *meter_counter(enum meter_count which);

/* How far allocated rose above freed since the last reset, about. */
uint64_t meter_peak(void);
void meter_reset_peak(void);

#else

#define meter_on()	false

static inline void meter_took(uint64_t bytes)
{
	(void)bytes;
}

static inline void meter_freed(uint64_t bytes)
{
	(void)bytes;
}

static inline void meter_resized(uint64_t before, uint64_t now)
{
	(void)before;
	(void)now;
}

#endif

#endif
