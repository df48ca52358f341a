/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The bypass: allocation without a heap
 *
 * What it is: what a thread does that finds itself gated, nested in a signal
 * handler inside its own malloc, past its destructor, or when every free is
 * to be checked at once (check=1).  Slots are claimed and published one by
 * one; no magazine and no list is touched and nobody is waited for.
 *
 * Model: each class has a spare slab, owned by the orphan heap and ACTIVE.
 * When it is exhausted whoever notices replaces it; the old one becomes FULL
 * and comes back over the orphans' stack.  Threads with a heap take their first
 * few slots of a class from it, too (heap/magazine.h).
 */
#ifndef EBB_HEAP_BYPASS_H
#define EBB_HEAP_BYPASS_H

#include "heap/heap.h"

/* A slot of @class; NULL: no memory.  *@ret_zero: it reads as zero. */
void *bypass_alloc(unsigned int class, bool *ret_zero);

/*
 * Claim a few slots of the spare slab of @class, for a magazine: *@ret_mask of
 * word *@ret_word.  Returns the slab; NULL: none, for now.
 */
struct slab *bypass_share(unsigned int class, unsigned int *ret_word,
			  uint64_t *ret_mask);

/*
 * The spare slab of @class becomes @heap's: ACTIVE, on no list; NULL: there is
 * none.  A thread that has outgrown it takes it along, so that what it has had
 * of it is its own now, and that nothing is left behind if it was the last.
 */
struct slab *bypass_take_over(struct heap *heap, unsigned int class);

/* Free the slot @ptr of a slab in use; @call names the caller in reports. */
void bypass_free(void *ptr, const char *call);

/* In a forked child: the spare slabs are the orphans' now, like all others. */
void bypass_forget(void);

/* Give the spare slabs that are wholly free, or all, back to the orphans. */
void bypass_release(void);

#endif
