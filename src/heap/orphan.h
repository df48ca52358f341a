/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Slabs of threads that have ended, or have too much
 *
 * What it is: one heap without a thread, the orphan heap, owns the slabs that
 * closed heaps leave behind, until a thread that needs a slab of that class
 * adopts one.  The spare slabs of the bypass belong to it, too, and near the
 * limit what other threads have with free slots (heap_share()).
 *
 * Locking: orphan_lock stands for being the owner's thread; its stack of
 * QUEUED slabs is never closed, and takes what was pushed too late for the
 * heap it was meant for.
 *
 * Fork: the heaps of threads that the child does not have are not trusted;
 * bitmaps and slab words are.  orphan_after_fork() gives their slabs to the
 * orphan heap and makes its lists, the stacks and the dirty queue anew.
 */
#ifndef EBB_HEAP_ORPHAN_H
#define EBB_HEAP_ORPHAN_H

#include "heap/heap.h"

extern struct lock orphan_lock;

/*
 * Give @slab, which is on no list, to the orphans; any state.
 * Context: orphan_lock is held.
 */
void orphan_take(struct slab *slab);

/* Adopt a slab of @class with free slots: ACTIVE, on no list; or NULL. */
struct slab *orphan_adopt(struct heap *heap, unsigned int class);

/* Retire the orphans' slabs that are wholly free. */
void orphan_reap(void);

/*
 * In a forked child, before it has a second thread: take over the slabs of
 * every heap but @mine (which may be NULL).
 */
void orphan_after_fork(struct heap *mine);

#endif
