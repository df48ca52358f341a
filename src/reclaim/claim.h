/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Claims of whole pages of a slab
 *
 * What it is: pages as the slots that touch them.  A claim takes the free bits
 * of all of these, so that nobody gets a slot of the page, and publishing sets
 * them again.
 *
 * Invariants: a page is had whole or not at all; between the two calls its slots
 * are nobody's but the caller's, and a chunk (heap/chunk.h) is pinned.
 *
 * Locking: none; slab_claim(), slab_debit() and slab_publish() say who may race.
 */
#ifndef EBB_RECLAIM_CLAIM_H
#define EBB_RECLAIM_CLAIM_H

#include "base/compiler.h"

struct sizeclass;
struct slab;

/*
 * A slab as it was when its state was read: what is claimed under a generation
 * that is gone goes back.
 */
struct slab_life {
	struct slab *slab;
	const struct sizeclass *sc;
	uint64_t gen;
};

/*
 * Claim @pages (a mask), all slots of them; returns those that could be had.
 * What was claimed of the others goes back at once.
 */
unsigned int claim_pages(const struct slab_life *life, unsigned int pages);

/* The other end: the slots on @pages are free again. */
void publish_pages(struct slab *slab, unsigned int pages);

#endif
