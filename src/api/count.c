/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Counting the heap by a walk over its slabs
 *
 * Nothing is kept up to date for this: bitmaps, page bits and run counters
 * are read as they are.
 */
#include <errno.h>

#include "api/init.h"
#include "debug/guard.h"
#include "ebb/ebb.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/slab.h"
#include "os/map.h"
#include "reclaim/counters.h"
#include "reclaim/purge.h"
#include "vm/run.h"

/* Blocks that a slot in use touches. */
static uint64_t blocks_in_use(const struct slab_parts *parts)
{
	const struct sizeclass *sc = parts->sc;
	uint64_t blocks = 0;

	for (unsigned int slot = 0; slot < sc->nr_slots; slot++) {
		size_t start = (size_t)slot * sc->size;

		if (parts->bits[slot / 64] >> slot % 64 & 1)
			continue;
		blocks |= bits_range((unsigned int)(start >> BLOCK_SHIFT),
				     (unsigned int)((start + sc->size - 1) >>
						    BLOCK_SHIFT) + 1);
	}
	return blocks;
}

/* Of the blocks not in @used those on a page with one that is. */
static unsigned int count_stranded(uint64_t used)
{
	unsigned int per_page = 1u << (map_page_shift - BLOCK_SHIFT);
	unsigned int nr = 0;

	for (unsigned int at = 0; at < SLAB_BLOCKS; at += per_page) {
		uint64_t page = bits_range(at, at + per_page);

		if (used & page)
			nr += bits_count(~used & page);
	}
	return nr;
}

static void count_slab(const struct slab *slab, struct ebb_heap_counts *counts)
{
	struct slab_parts parts;
	uint64_t used;

	slab_read(slab, &parts);
	used = blocks_in_use(&parts);
	counts->live_bytes += parts.taken;
	/* Of a chunk (heap/chunk.h) some may serve nobody. */
	if (used || parts.sc != &sizeclasses[CLASS_BLOCKS]) {
		counts->slabs++;
		counts->free_blocks += SLAB_BLOCKS - bits_count(used);
		counts->stranded_blocks += count_stranded(used);
	}
	counts->clean_bytes += parts.clean;
	counts->lazy_bytes += parts.lazy;
	counts->dirty_bytes += parts.dirty;
}

/* A large object of a slab, which none of the others could serve. */
static void count_run(const struct slab *run, struct ebb_heap_counts *counts)
{
	size_t used = load_relaxed(&run->run_bytes) >> BLOCK_SHIFT;

	if (load_relaxed(&run->run_len) != 1)
		return;
	counts->slabs++;
	counts->free_blocks += SLAB_BLOCKS - min(used, (size_t)SLAB_BLOCKS);
}

static void count_any(size_t index, struct ebb_heap_counts *counts)
{
	const struct slab *slab = range.slabs + index;
	uint8_t kind = load_acquire(&hot_at(index)->kind);

	if (slab_kind_has_slots(kind))
		count_slab(slab, counts);
	else if (kind == SLAB_KIND_RUN)
		count_run(slab, counts);
}

__export int ebb_heap_count(struct ebb_heap_counts *ret_counts)
{
	struct ebb_heap_counts counts = { 0 };
	bool inside = tcb.busy || lock_holds_any();
	size_t nr, runs;
	bool held;

	if (inside || !init_ready()) {
		errno = inside ? EDEADLK : ENOMEM;
		return -1;
	}
	/* Slots that a pass has claimed are neither free nor in use. */
	held = purge_hold();
	nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;
	for (size_t i = 0; i < nr; i++)
		count_any(i, &counts);
	counts.cached_bytes = drain_cached_bytes(&runs);
	counts.live_bytes -= min(counts.live_bytes, counts.cached_bytes);
	counts.live_bytes += run_counted(large);
	counts.dirty_bytes += runs + run_counted(in_state[RUN_DIRTY]) +
			      run_part_bytes();
	counts.lazy_bytes += run_counted(in_state[RUN_LAZY]);
	counts.clean_bytes += run_clean_bytes();
	counts.meta_bytes = counters_metadata(drain_heap_bytes());
	counts.locked_bytes = load_relaxed(&account.locked_bytes);
	counts.mapped_bytes = load_relaxed(&range.used);
	/* Guarded objects count as live, and are not in the range. */
	if (guard_mode) {
		struct guard_stats guarded;

		guard_stats(&guarded);
		counts.mapped_bytes += guarded.live;
	}
	if (held)
		purge_release();
	*ret_counts = counts;
	return 0;
}
