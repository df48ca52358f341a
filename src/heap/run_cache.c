/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Run caches: short runs that a thread freed, to be taken again
 */
#include <limits.h>

#include "heap/run_cache.h"

static void remove_entry(struct heap *heap, unsigned int at)
{
	struct run_cache *cache = &heap->runs;
	uint32_t nr_slabs = cache->entries[at].nr_slabs;

	cache->nr--;
	for (; at < cache->nr; at++)
		cache->entries[at] = cache->entries[at + 1];
	heap_count_kept(heap, &cache->bytes,
			-((int64_t)nr_slabs << SLAB_SHIFT));
}

static void free_oldest(struct heap *heap)
{
	struct cached_run oldest = heap->runs.entries[0];

	remove_entry(heap, 0);
	run_free(oldest.run, oldest.nr_slabs, (enum run_state)oldest.state);
}

/* The one of @nr slabs that comes nearest to @want pages, the newest of these. */
static struct slab *take(struct heap *heap, size_t nr, unsigned int want,
			 enum run_state *ret_was)
{
	struct run_cache *cache = &heap->runs;
	unsigned int best = RUN_CACHE_RUNS, least = UINT_MAX;
	struct cached_run found;

	for (unsigned int at = cache->nr; at-- && least;) {
		unsigned int off = run_misfit(cache->entries[at].backed, want);

		if (cache->entries[at].nr_slabs != nr || off >= least)
			continue;
		least = off;
		best = at;
	}
	if (best == RUN_CACHE_RUNS)
		return NULL;
	found = cache->entries[best];
	remove_entry(heap, best);
	*ret_was = (enum run_state)found.state;
	return found.run;
}

struct slab *run_cache_alloc(struct heap *heap, size_t bytes, size_t align,
			     enum run_state *ret_was)
{
	size_t nr = ALIGN_UP(bytes, SLAB_SIZE) >> SLAB_SHIFT;
	struct slab *run = NULL;

	if (heap && heap->runs.nr && align == 1 && nr <= RUN_CACHE_LEN)
		run = take(heap, nr, run_pages_used(bytes), ret_was);
	return run ?: run_alloc_for(bytes, align, ret_was);
}

/* What is not backed costs nobody anything; what moved is better undone. */
static bool is_worth_it(const struct slab *run, size_t nr,
			enum run_state state)
{
	return nr <= RUN_CACHE_LEN && !run->displaced &&
	       (state == RUN_DIRTY || state == RUN_PART) &&
	       !load_relaxed(&account.backed_max);
}

void run_cache_free(struct heap *heap, struct slab *run, size_t nr,
		    enum run_state state)
{
	struct run_cache *cache;

	if (!heap || !heap->tcb || !is_worth_it(run, nr, state)) {
		run_free(run, nr, state);
		return;
	}
	cache = &heap->runs;
	while (cache->nr == RUN_CACHE_RUNS ||
	       cache->bytes + (nr << SLAB_SHIFT) > RUN_CACHE_BYTES)
		free_oldest(heap);
	cache->entries[cache->nr++] = (struct cached_run){
		run, (uint32_t)nr, (uint16_t)state,
		(uint16_t)(run_backed_bytes(run + nr - 1, state) >>
			   map_page_shift),
	};
	heap_count_kept(heap, &cache->bytes, (int64_t)nr << SLAB_SHIFT);
}

void run_cache_trim(struct heap *heap, size_t keep)
{
	while (heap->runs.nr && run_cache_bytes(heap) > keep)
		free_oldest(heap);
}

__guesses size_t run_cache_bytes(const struct heap *heap)
{
	return load_guess(&heap->runs.bytes);
}
