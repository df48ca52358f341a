/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Arenas: which chunk an object gets
 *
 * What it is: a few lists of chunks (heap/chunk.h) with a lock each, which
 * threads use by turns.
 *
 * Model: a chunk belongs to its arena for good.  An arena lists its chunks by
 * their longest stretch, once of what is free and backed, once of all that is
 * free, and takes of those that will do one with the shortest; of that the
 * stretch which needs the fewest pages that are not backed, and of these the
 * shortest.  What is backed comes first, whosever arena it is in; only when no
 * arena has anything is there a new chunk.
 *
 * Invariants:
 * (1) Who frees, or settles a claim, publishes the blocks, then tells the arena,
 *     by its stack, and unpins last; the reclaimer pins before it publishes what
 *     it has claimed.  So who has claimed all blocks, under the lock, and finds
 *     no pins then, nor the chunk on the stack, may give it up: it is not about
 *     to get there.
 * (2) Of each view a chunk is listed by a length, and a length is known, which
 *     who frees raises where the stretch around his blocks is longer.  No stretch
 *     is longer than what is known, or somebody who pins the chunk has yet to
 *     raise it; and where it is listed by less, it is on the arena's stack, or
 *     about to be pushed.  Both may be more than there is, since who takes
 *     lowers neither.  Lowered is what is known by who has the lock: to 0 before
 *     he looks, and after it raised as anybody would.
 *
 * Locking: that of the arena (rank 3), before those of zones.  Freeing takes
 * none.  Who holds any lock, as below a signal handler, must not take.
 */
#ifndef EBB_HEAP_ARENA_H
#define EBB_HEAP_ARENA_H

#include "heap/chunk.h"

struct heap;

#if IS_ENABLED(CONFIG_MEDIUM)

/*
 * Claim @need, for @heap's thread, or NULL: nobody's; the chunk is pinned.
 * False: there is no memory.
 */
bool arena_take(struct heap *heap, const struct need *need,
		struct stretch *ret_stretch);

/* Have the blocks behind @stretch, @nr of them, claimed if they are free. */
bool arena_claim_behind(const struct stretch *stretch, unsigned int nr);

/*
 * @stretch is free, of a chunk that the caller pins.  True: all of the chunk is,
 * and arena_trim() may have some of them given up.
 */
bool arena_tell(const struct stretch *stretch);

/* Pages of @stretch, an object, are backed from now on: so is what lies beside. */
void arena_tell_beside(const struct stretch *stretch);

/*
 * The reclaimer has claimed pages of @slab, which is one of a chunk; or has
 * published @pages, which it had claimed.
 */
void arena_claimed(struct slab *slab);
void arena_settled(struct slab *slab, unsigned int pages);

/* Blocks that it has claimed in vain are free again: @mask of @slab. */
void arena_put_back(struct slab *slab, uint64_t mask);

/* Give up chunks that have no object, but for one of each arena unless @all. */
void arena_reap(bool all);

/* The same of arena number @number, but for one, unless somebody has its lock. */
void arena_trim(unsigned int number);

/* Fork handlers, as in api/fork.c. */
bool arena_holds_lock(void);
void arena_prefork(bool may_wait);
void arena_postfork(void);
void arena_postfork_child(void);

#else

static inline void arena_claimed(struct slab *slab)
{
	(void)slab;
}

static inline void arena_settled(struct slab *slab, unsigned int pages)
{
	(void)slab;
	(void)pages;
}

static inline void arena_put_back(struct slab *slab, uint64_t mask)
{
	(void)slab;
	(void)mask;
}

static inline void arena_reap(bool all)
{
	(void)all;
}

static inline bool arena_holds_lock(void)
{
	return false;
}

static inline void arena_prefork(bool may_wait)
{
	(void)may_wait;
}

static inline void arena_postfork(void)
{
}

static inline void arena_postfork_child(void)
{
}

#endif

#endif
