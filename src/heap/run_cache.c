/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Run caches: short runs that a thread freed, to be taken again
 */
#include <limits.h>

#include "heap/run_cache.h"
#include "heap/tail.h"

static void remove_entry(struct heap *heap, unsigned int at)
{
	struct run_cache *cache = &heap->runs;
	uint32_t nr_slabs = cache->entries[at].nr_slabs;

	store_relaxed(&cache->large, cache->large - cache->entries[at].large);
	cache->nr--;
	for (; at < cache->nr; at++)
		cache->entries[at] = cache->entries[at + 1];
	heap_count_kept(heap, &cache->kept, -((int64_t)nr_slabs << SLAB_SHIFT));
}

/* The same, for who wants it for something else. */
static struct cached_run end_entry(struct heap *heap, unsigned int at)
{
	struct cached_run entry = heap->runs.entries[at];

	remove_entry(heap, at);
	if (entry.large)
		run_count_large(entry.run, -(size_t)entry.large);
	return entry;
}

static void free_oldest(struct heap *heap)
{
	struct cached_run oldest = end_entry(heap, 0);

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
	found = end_entry(heap, best);
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

struct slab *run_cache_reuse(struct heap *heap, size_t bytes)
{
	for (unsigned int at = heap->runs.nr; at--;) {
		const struct cached_run *entry = &heap->runs.entries[at];
		struct slab *run = entry->run;
		bool offered = entry->offered;

		if (entry->large != bytes)
			continue;
		remove_entry(heap, at);
		if (offered)
			tail_offer(run);
		return run;
	}
	return NULL;
}

/* What is not backed costs nobody anything; what moved is better undone. */
static bool is_worth_it(const struct heap *heap, const struct slab *run,
			size_t nr, enum run_state state)
{
	return heap && heap->tcb && nr <= RUN_CACHE_LEN && !run->displaced &&
	       (state == RUN_DIRTY || state == RUN_PART) &&
	       !load_relaxed(&account.backed_max);
}

/* The next one, of @nr slabs, for which there is room then. */
static struct cached_run *new_entry(struct heap *heap, size_t nr)
{
	struct run_cache *cache = &heap->runs;
	size_t bytes = nr << SLAB_SHIFT;
	bool full = false;

	while (cache->nr == RUN_CACHE_RUNS ||
	       cache->kept.bytes + bytes > RUN_CACHE_BYTES) {
		free_oldest(heap);
		full = true;
	}
	if (full)
		run_look();
	heap_count_kept(heap, &cache->kept, (int64_t)bytes);
	return &cache->entries[cache->nr++];
}

static uint16_t pages_backed(const struct slab *run, size_t nr,
			     enum run_state state)
{
	return (uint16_t)(run_backed_bytes(run + nr - 1, state) >>
			  map_page_shift);
}

void run_cache_free(struct heap *heap, struct slab *run, size_t nr,
		    enum run_state state)
{
	if (!is_worth_it(heap, run, nr, state)) {
		run_free(run, nr, state);
		return;
	}
	*new_entry(heap, nr) = (struct cached_run){
		.run = run, .nr_slabs = (uint32_t)nr, .state = (uint8_t)state,
		.backed = pages_backed(run, nr, state),
	};
}

void run_cache_free_large(struct heap *heap, struct slab *run, bool offered)
{
	enum run_state state = tail_run_state(run);
	uint32_t nr = run->run_len, large = (uint32_t)run->run_bytes;

	if (!is_worth_it(heap, run, nr, state)) {
		run_count_large(run, -run->run_bytes);
		run_free(run, nr, state);
		run_look();
		return;
	}
	*new_entry(heap, nr) = (struct cached_run){
		.run = run, .nr_slabs = nr, .state = (uint8_t)state,
		.backed = pages_backed(run, nr, state),
		.large = large, .offered = offered,
	};
	store_relaxed(&heap->runs.large, heap->runs.large + large);
}

void run_cache_trim(struct heap *heap, size_t keep)
{
	while (heap->runs.nr && run_cache_bytes(heap) > keep)
		free_oldest(heap);
	heap_trim_room(heap, &heap->runs.kept);
}

void run_cache_init(struct heap *heap)
{
	if (heap->runs.large)
		run_count_large(range.slabs, -(size_t)heap->runs.large);
	heap->runs.nr = heap->runs.large = 0;
	heap->runs.kept = (struct kept){ 0 };
}

__guesses size_t run_cache_bytes(const struct heap *heap)
{
	return load_guess(&heap->runs.kept.bytes);
}

__guesses size_t run_cache_large(const struct heap *heap)
{
	return load_guess(&heap->runs.large);
}
