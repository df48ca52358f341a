/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Size classes
 *
 * Model: steps of 16 bytes up to 128, then eight classes for each doubling up
 * to 32 KiB.  A class is at most one ninth larger than the request, beyond
 * 128 bytes.  Every slot lies at a multiple of its size from the slab's start,
 * so a class whose size is a multiple of a power of two aligns to it.
 *
 * One more class, CLASS_BLOCKS, is nobody's to ask for: a slab of medium objects
 * (heap/medium.h) is one of slots of a block each to whoever goes over slabs.
 */
#ifndef EBB_HEAP_SIZECLASS_H
#define EBB_HEAP_SIZECLASS_H

#include "base/bits.h"
#include "vm/range.h"

#define CLASS_STEP_SHIFT	4
#define CLASS_LINEAR_MAX	128u
#define CLASS_SIZE_MAX		(32u << 10)
#define NR_CLASSES		72u
#define CLASS_BLOCKS		NR_CLASSES

/* Slots larger than this may be known to read as zero while they are free. */
#define ZERO_SIZE_MIN		4096u

/* In a magazine: marks the pointer to such a slot. */
#define MAGAZINE_ZERO		((uintptr_t)1 << 63)

/*
 * The slot that is sampled next (heap/sample.h) bears the sign bit as well, so
 * whether it is zero is said by a bit of its own.  No low bits: what was freed
 * may be no slot's start, which shows when it is flushed.
 */
#define MAGAZINE_SAMPLED	((uintptr_t)1 << 62)
#define MAGAZINE_SAMPLED_ZERO	((uintptr_t)1 << 61)
#define MAGAZINE_SAMPLE_FLAGS	(MAGAZINE_SAMPLED | MAGAZINE_SAMPLED_ZERO)
#define MAGAZINE_FLAGS		(MAGAZINE_ZERO | MAGAZINE_SAMPLE_FLAGS)

struct sizeclass {
	uint32_t size;		/* bytes of a slot */
	uint32_t reciprocal;	/* ceil(2^32 / size) */
	uint16_t nr_slots;	/* in a slab */
	uint16_t nr_words;	/* of free bits */
	uint16_t cache_soft;	/* slots in a magazine that is only filled, or
				 * only emptied */
	uint16_t cache_max;	/* in one that is both */
	uint16_t cache_burst;	/* in one that is both by turns, much each
				 * time */
	uint16_t share;		/* neighbours a thread gets of the spare slab at
				 * a time; a power of two */
	uint16_t share_max;	/* so many, then it gets a slab of its own */
};

extern struct sizeclass sizeclasses[NR_CLASSES + 1]
	__attribute__((visibility("hidden")));

void sizeclass_init(void);

/* The class that serves @size, 1 to CLASS_SIZE_MAX. */
static inline unsigned int sizeclass_of(size_t size)
{
	unsigned int high;

	if (size <= CLASS_LINEAR_MAX)
		return (unsigned int)((size - 1) >> CLASS_STEP_SHIFT);
	size--;
	high = bit_highest(size);
	return (high - 6) * 8 + (unsigned int)(size >> (high - 3) & 7);
}

/*
 * The class whose slots have room for @size and are aligned to @align, -1: none.
 * What is a multiple of @align is either a class's size itself, or its class's
 * step, and so that class's size, is a multiple, too.
 */
static inline int sizeclass_for(size_t align, size_t size)
{
	if (size > CLASS_SIZE_MAX || align > CLASS_SIZE_MAX)
		return -1;
	size = ALIGN_UP(max(size, (size_t)1), align);
	return size <= CLASS_SIZE_MAX ? (int)sizeclass_of(size) : -1;
}

/* The slot that holds byte @offset of a slab. */
static inline unsigned int slot_at(uint32_t reciprocal, size_t offset)
{
	return (unsigned int)((uint64_t)offset * reciprocal >> 32);
}

#endif
