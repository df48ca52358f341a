/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Counters of the heap, exact by a walk over it
 */
#ifndef EBB_STATS_H
#define EBB_STATS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct ebb_heap_counts - What the heap is made of at one moment
 * @live_bytes:		handed to the program, in usable bytes
 * @cached_bytes:	free slots in the caches of threads
 * @dirty_bytes:	pages that are wholly free and backed
 * @lazy_bytes:		pages that are wholly free and advised MADV_FREE
 * @clean_bytes:	pages that are wholly free and not backed
 * @meta_bytes:		what the allocator keeps for itself
 * @locked_bytes:	pages the kernel refused to take at the last try
 * @mapped_bytes:	address space in use
 * @slabs:		slabs of 64 KiB that serve a size class
 * @free_blocks:	blocks of 1 KiB in those that no slot in use touches
 * @stranded_blocks:	those of them whose page has a slot in use
 *
 * Slots in caches count as in use for pages and blocks.
 */
struct ebb_heap_counts {
	uint64_t live_bytes;
	uint64_t cached_bytes;
	uint64_t dirty_bytes;
	uint64_t lazy_bytes;
	uint64_t clean_bytes;
	uint64_t meta_bytes;
	uint64_t locked_bytes;
	uint64_t mapped_bytes;
	uint64_t slabs;
	uint64_t free_blocks;
	uint64_t stranded_blocks;
};

/**
 * ebb_heap_count() - Count the heap
 * @ret_counts: where the counts are stored
 *
 * Walks over all slabs without stopping anyone: exact when no other thread
 * allocates meanwhile.  Costs about a microsecond for each slab.
 *
 * Context: any thread.
 * Return: 0; -1 with errno ENOMEM if there is no heap, EDEADLK in a signal
 * handler that interrupted the allocator.
 * Since: 0.1
 */
int ebb_heap_count(struct ebb_heap_counts *ret_counts);

#ifdef __cplusplus
}
#endif

#endif
