/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The interface beyond malloc
 *
 * For programs that are linked with the library, and for those that look with
 * dlsym(3) whether it was preloaded.  C and C++.
 */
#ifndef EBB_EBB_H
#define EBB_EBB_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* === What the heap is made of ============================================= */

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
 * Return: 0, or -1 with errno set and nothing stored.
 * Errors:
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * - %ENOMEM: there is no heap.
 * Since: 0.1
 */
int ebb_heap_count(struct ebb_heap_counts *ret_counts);

/* === Reclaim ============================================================== */

/**
 * enum ebb_pressure_level - How much memory is wanted
 * @EBB_PRESSURE_NONE:		none any more
 * @EBB_PRESSURE_MILD:		what has been free for some milliseconds
 * @EBB_PRESSURE_SEVERE:	all that is free, the caches of threads included
 */
enum ebb_pressure_level {
	EBB_PRESSURE_NONE,
	EBB_PRESSURE_MILD,
	EBB_PRESSURE_SEVERE,
};

/**
 * ebb_pressure() - Say that memory is wanted
 * @level: how much
 *
 * Has the background thread give free memory back now, for a reason that the
 * kernel does not know of.  It returns at once; of several calls before the
 * thread looks the greatest level counts, and %EBB_PRESSURE_NONE takes back
 * what it has not looked at yet.  The thread is started if it does not run,
 * or, where that is not possible in this call, by a later one of malloc().
 *
 * Context: any thread.  Once the background thread runs, also signal handlers
 * (starting it calls pthread_create()).
 * Return: 0, or -1 with errno set and nothing done.
 * Errors:
 * - %EINVAL: @level is none of the above.
 * - %EOPNOTSUPP: there is no background thread to be told (reclaim=off), or
 *   the library was built without CONFIG_APP_CALL.
 * - %ENOMEM: there is no heap.
 * - %EAGAIN: the background thread cannot be started; ebb_purge() gives
 *   memory back without it.
 * Since: 0.1
 */
int ebb_pressure(enum ebb_pressure_level level);

/* === Giving back ========================================================== */

/**
 * struct ebb_purge_result - What ebb_purge() came to
 * @given_bytes:	given back; where the kernel could not tell, with what
 *			had not been backed
 * @refused_bytes:	the kernel refused to take, since it is locked
 *			(mlock(2), mlockall(2))
 * @left_bytes:		free and backed after it: what was refused, and what
 *			other threads freed meanwhile
 * @cached_bytes:	in the caches of threads after it: of those that were
 *			inside the allocator, or, where the kernel offers no
 *			barrier, of all others
 */
struct ebb_purge_result {
	uint64_t given_bytes;
	uint64_t refused_bytes;
	uint64_t left_bytes;
	uint64_t cached_bytes;
};

/**
 * ebb_purge() - Give all free memory back to the kernel, now
 * @ret_result: what it came to; may be NULL
 *
 * Everything that was freed before the call and can be given back is, the
 * caches of threads included, whatever the options say of ages.  Waits for
 * the pass of the background thread that may be in progress; other threads
 * allocate meanwhile.  It costs what the kernel takes for it.
 *
 * Context: any thread; takes locks that malloc() does not wait for.
 * Return: 0, whether there was anything to give or not; -1 with errno set and
 * nothing done.
 * Errors:
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * - %ENOMEM: there is no heap.
 * Since: 0.1
 */
int ebb_purge(struct ebb_purge_result *ret_result);

#ifdef __cplusplus
}
#endif

#endif
