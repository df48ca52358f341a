/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Gathering freed slots by bitmap word
 *
 * What it is: a small direct-mapped table of (slab, word, mask).  Slots that
 * are freed one by one leave together: one atomic returns up to 64 of them.
 * It serves the flush of a magazine and, kept in the heap, as the outbox for
 * slots of other threads' slabs.
 */
#ifndef EBB_HEAP_GATHER_H
#define EBB_HEAP_GATHER_H

#include "base/compiler.h"

#define GATHER_GROUPS	32u	/* a power of two */

struct slab;

struct gather_group {
	struct slab *slab;
	uint64_t mask;
	uint32_t word;
};

struct gather {
	struct gather_group groups[GATHER_GROUPS];
};

/*
 * Add the slot at @ptr, which lies in a slab of a class; stops the process
 * if it is no slot or was added or freed before.
 */
void gather_add(struct gather *gather, void *ptr);

/* Publish all that was added. */
void gather_flush(struct gather *gather);

/* Whether @slot of @slab is in @gather, which may be another thread's. */
bool gather_holds(const struct gather *gather, const struct slab *slab,
		  unsigned int slot);

/* Bytes of slots in @gather. */
size_t gather_bytes(const struct gather *gather);

#endif
