/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Chunks: slabs side by side that are cut into blocks
 *
 * What it is: what medium objects (heap/medium.h) are made of, one chunk at a
 * time; which one is an arena's affair (heap/arena.h).
 *
 * Model: a chunk is an aligned run of CHUNK_SLABS slabs.  Each of its slabs is
 * one of class CLASS_BLOCKS, with a bit for each free block, a slab word and a
 * page word as any other (heap/slab.h), so that the reclaimer claims, gives back
 * and publishes its pages as those of slots.  An object is a stretch of blocks,
 * MEDIUM_BLOCKS_MIN at least, which may cross from one slab of the chunk into the
 * next; its first and its last block are marked (starts, ends).
 *
 * Invariants:
 * (1) Blocks are claimed for an object by the holder of the arena's lock only,
 *     with the atomics of heap/slab.h, since the reclaimer claims them as well;
 *     all of an object's, or none.
 * (2) Who clears the mark of an object's first block has freed it; whoever else
 *     tries frees twice.
 * (3) A chunk is pinned by each of its objects and by each claim of the
 *     reclaimer's, until nobody looks at its words any more for it.
 */
#ifndef EBB_HEAP_CHUNK_H
#define EBB_HEAP_CHUNK_H

#include "base/atomic.h"
#include "heap/sizeclass.h"
#include "vm/range.h"

#define CHUNK_SLABS	16u
#define CHUNK_BLOCKS	(CHUNK_SLABS * SLAB_BLOCKS)

/* Which blocks of a chunk are looked at. */
enum view {
	VIEW_BACKED,	/* free ones on pages that are not clean */
	VIEW_FREE,	/* all free ones */
	NR_VIEWS
};

/* Blocks [@at, @at + @nr) of @chunk. */
struct stretch {
	struct slab *chunk;
	unsigned int at;
	unsigned int nr;
};

/* What an object needs. */
struct need {
	unsigned int nr;	/* blocks */
	unsigned int align;	/* blocks, a power of two */
};

/* The best place for a need so far; at.nr is 0: none. */
struct choice {
	struct stretch at;
	unsigned int around;	/* blocks of the free stretch it is in */
	size_t missing;		/* bytes that would have to be backed */
};

static inline struct slab *chunk_of_slab(const struct slab *slab)
{
	return range.slabs + ALIGN_DOWN(slab_index(slab), (size_t)CHUNK_SLABS);
}

static inline struct slab *chunk_around(const void *ptr)
{
	return chunk_of_slab(slab_of(ptr));
}

static inline unsigned int chunk_block(const struct slab *chunk,
				       const void *ptr)
{
	return (unsigned int)(((const char *)ptr - slab_base(chunk)) >>
			      BLOCK_SHIFT);
}

static inline int64_t stretch_bytes(const struct stretch *stretch)
{
	return (int64_t)stretch->nr << BLOCK_SHIFT;
}

static inline char *stretch_address(const struct stretch *stretch)
{
	return slab_base(stretch->chunk) + ((size_t)stretch->at << BLOCK_SHIFT);
}

/* Make the run @chunk one of arena number @arena, all of it free and unpinned. */
void chunk_init(struct slab *chunk, unsigned int arena, enum run_state was);

/*
 * Have @chunk, which nobody pins and no list has, be a free run; false: the
 * reclaimer is at it.
 */
bool chunk_free(struct slab *chunk);

/* Pins, and the counts of its slabs, by marks and bits: nobody else runs. */
void chunk_recount(struct slab *chunk);

static inline struct chunk_meta *chunk_meta(struct slab *chunk)
{
	return &chunk[1].chunk;
}

static inline void chunk_pin(struct slab *chunk)
{
	add_relaxed(&chunk_meta(chunk)->nr_pins, 1);
}

static inline void chunk_unpin(struct slab *chunk)
{
	/* Pairs with give_up(): the chunk is not looked at after this. */
	sub_release(&chunk_meta(chunk)->nr_pins, 1);
}

/* The blocks of a slab's @pages, and the pages of its @blocks. */
uint64_t chunk_blocks_of(unsigned int pages);
unsigned int chunk_pages_of(uint64_t blocks);

/* Blocks of the longest stretch of @view. */
unsigned int chunk_longest(const struct slab *chunk, enum view view);

/*
 * The best place of @chunk for @need, too.  Returns the same as the one above,
 * if @best is none.
 */
unsigned int chunk_look_at(struct slab *chunk, enum view view,
			   const struct need *need, struct choice *best);

/* The bits of @stretch in its first slab, which is taken off it. */
uint64_t stretch_take_part(struct stretch *stretch, struct slab **ret_slab);

/* Bytes of pages of @stretch that are clean. */
size_t stretch_missing(struct stretch stretch);

/* Whether all of it seems to be free, to who has no lock. */
bool stretch_is_free(struct stretch stretch);

/* Claim @stretch, or nothing: false, if the reclaimer was there first. */
bool stretch_claim(struct stretch stretch);

/* The blocks of @stretch are free from now on; dies, naming @call, if they were. */
void stretch_publish(struct stretch stretch, const char *call);

/*
 * Blocks of the stretch of @view that @stretch, which is free, is part of; or, of
 * none, that ends or begins there.
 */
unsigned int stretch_around(const struct stretch *stretch, enum view view);

/* An object ends, begins where @stretch does. */
void stretch_mark_start(const struct stretch *stretch);
void stretch_set_end(const struct stretch *stretch);
void stretch_clear_end(const struct stretch *stretch);

/* Whether an object begins at @block; the other: and does not any more. */
bool chunk_is_start(const struct slab *chunk, unsigned int block);
bool chunk_unmark(struct slab *chunk, unsigned int block);

/* Blocks of the object that begins at @block, and its account. */
unsigned int chunk_length_at(const struct slab *chunk, unsigned int block);
uint16_t *chunk_charge_at(struct slab *chunk, unsigned int block);

#endif
