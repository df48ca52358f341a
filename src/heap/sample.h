/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which allocations are sampled
 *
 * What it is: the choice behind the heap profile (debug/profile.h).  With the
 * option profile=MEAN one byte in MEAN is a sampling point, at random, and an
 * object on which one falls is sampled.
 *
 * Model: points form a Poisson process along the bytes that are handed out, so
 * an object of s bytes is sampled with probability 1 - exp(-s / MEAN), whatever
 * was before it.  Processes that are independent add up to one, so there is one
 * for each class of each heap: it is the number of slots until the next sampled
 * one, drawn anew after each.  Where there is no heap (bypass) and for large
 * objects each allocation draws for itself, which comes to the same.
 *
 * The fast path does not count.  Instead the slot that is to be sampled is
 * marked in the magazine with the sign bit, which the fast path turns away as
 * it does slots that are known to be zero.  What frees put on top of it moves
 * the mark up, so that their slots, too, are counted; and so that these are
 * seen no slab has a fast bin (slab_hot.bin is 0) while there is a profile.
 *
 * Guard mode (guard=sampled) marks in the same way, one slot in so many, of
 * those that refills bring: frees there do not move the mark, so they may take
 * the fast path, and slots that come and go on top of it are not counted.  For
 * threads that use the same few slots over and over the topmost slots of some
 * classes are marked now and then, when a refill or a flush of any class comes
 * by (sample_by_time()).
 *
 * Invariants:
 * (1) sampler.at is where the sampled slot lies, counted from the magazine's
 *     bottom; below 0 it is in no magazine yet.  The slot at that place, and
 *     no other, has the mark.
 * (2) Allocations from the magazine leave it alone; refills add what they
 *     bring, flushes subtract what leaves, a free adds 1 (for the profile; in
 *     guard mode, where it does not, flushes subtract only from a place in the
 *     magazine, or frees would put off the next one for ever).
 *
 * Context: the heap's thread inside the bracket, or the holder of its gate;
 * sample_draw() anywhere.
 */
#ifndef EBB_HEAP_SAMPLE_H
#define EBB_HEAP_SAMPLE_H

#include "heap/heap.h"

struct sampler {
	uint64_t random;		/* state of the heap's generator */
	uint64_t looked_ms;		/* sample_by_time() last did something */
	int64_t at[NR_CLASSES];
};

/*
 * Sample every @mean-th byte, on average.  @seed: 0 is a random one, with
 * another one thread gets the same sequence each time.  Called once, before
 * there is a heap, and only if there is a profile.
 */
void sample_init(uint64_t mean, uint64_t seed);

/*
 * Mark one slot in @mean, on average, for guard mode; there is no profile.
 * Context: as sample_init().
 */
void sample_init_count(uint64_t mean);

/* Bytes between two points, on average; 0: there is no profile. */
uint64_t sample_mean(void);

/* A new heap of the calling thread, or one that gets used again. */
void sample_open(struct heap *heap);

/* The slot without its mark, as it would be in the magazine otherwise. */
static inline uintptr_t sample_unmark(uintptr_t slot)
{
	if (!(slot & MAGAZINE_SAMPLED))
		return slot;
	return slot & MAGAZINE_SAMPLED_ZERO ? slot & ~MAGAZINE_SAMPLE_FLAGS :
					      slot & ~MAGAZINE_FLAGS;
}

/* @nr slots came to the empty magazine. */
void sample_refilled(struct heap *heap, unsigned int class, size_t nr);

/*
 * The @nr slots at the bottom are leaving (marks are stripped by who takes
 * them in), and the others move down.  Guard mode did not count them when they
 * were freed: there a place in no magazine yet is as far away as before.
 */
static inline void sample_flushed(struct heap *heap, unsigned int class,
				  size_t nr)
{
	int64_t *at = &heap->sampler->at[class];

	if (heap_profiled || *at >= 0)
		*at -= (int64_t)nr;
}

/*
 * Guard mode: mark the topmost slots of a few magazines, if that was not done
 * for a while.
 */
void sample_by_time(struct heap *heap);

#if HEAP_MARKS

/* Whether an object of @size bytes that comes from no magazine is sampled. */
bool sample_draw(size_t size);

/* The marked slot was taken from the magazine: where the next one is. */
void sample_next(struct heap *heap, unsigned int class);

/* For who changes a magazine: take the mark off the place, and put it there. */
void sample_hide_mark(struct heap *heap, unsigned int class);
void sample_show_mark(struct heap *heap, unsigned int class);

#else

static inline bool sample_draw(size_t size)
{
	(void)size;
	return false;
}

static inline void sample_next(struct heap *heap, unsigned int class)
{
	(void)heap;
	(void)class;
}

static inline void sample_hide_mark(struct heap *heap, unsigned int class)
{
	(void)heap;
	(void)class;
}

static inline void sample_show_mark(struct heap *heap, unsigned int class)
{
	(void)heap;
	(void)class;
}

#endif

/* One is to be pushed, and has been. */
static inline void sample_push_begin(struct heap *heap, unsigned int class)
{
	if (heap->sampler->at[class] >= 0)
		sample_hide_mark(heap, class);
	heap->sampler->at[class]++;
}

static inline void sample_push_end(struct heap *heap, unsigned int class)
{
	if (heap->sampler->at[class] >= 0)
		sample_show_mark(heap, class);
}

#endif
