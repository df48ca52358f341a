/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Medium objects: neighbouring blocks of 1 KiB
 */
#include "acct/account.h"
#include "base/lock.h"
#include "heap/arena.h"
#include "heap/heap.h"
#include "heap/medium.h"
#include "heap/misuse.h"
#include "heap/slab.h"
#include "vm/run.h"

/* === Accounts ============================================================= */

/* What became of blocks that an object got, or let go of. */
struct change {
	int64_t bytes;		/* handed out; below zero: freed */
	int64_t clean;		/* of pages that were, now to be backed */
	int64_t lazy;
	int64_t retaken;
};

static void tell(struct heap *heap, const struct change *change)
{
	if (heap) {
		heap->delta.dirty += change->clean - change->bytes;
		heap->delta.handed += change->bytes;
		heap->delta.fresh += change->clean;
		heap->delta.lazy += change->lazy;
		heap->delta.retaken += change->retaken;
		heap_tell(heap);
		return;
	}
	account_dirty(change->clean - change->bytes);
	add_relaxed(&account.slots_handed, change->bytes);
	add_relaxed(&account.retaken, (uint64_t)change->retaken);
	if (change->clean || change->lazy)
		account_take(change->clean, change->lazy);
	run_look();
}

/* @stretch is an object's from now on: whether all of it reads as zero. */
static bool touch(struct heap *heap, struct stretch stretch)
{
	struct change change = { .bytes = stretch_bytes(&stretch) };
	const struct stretch all = stretch;
	bool zero = true;

	while (stretch.nr) {
		struct slab *slab;
		uint64_t mask = stretch_take_part(&stretch, &slab);
		unsigned int pages = chunk_pages_of(mask);
		uint64_t was = slab_touch(slab, pages);
		int64_t clean = (int64_t)pages_bytes(pages_clean(was));

		zero &= pages_clean(was) == pages;
		change.clean += clean;
		change.lazy += (int64_t)pages_bytes(pages_lazy(was));
		if (load_relaxed(&slab->given))
			change.retaken += clean;
	}
	if (change.clean)
		arena_tell_beside(&all);
	tell(heap, &change);
	return zero;
}

/*
 * What no object has any more; dies, naming @call, if it had none.  Returns
 * whether all of its chunk is free.
 */
static bool release(struct heap *heap, const struct stretch *stretch,
		    const char *call)
{
	struct change change = { .bytes = -stretch_bytes(stretch) };
	bool whole;

	stretch_publish(*stretch, call);
	whole = arena_tell(stretch);
	tell(heap, &change);
	return whole;
}

/* The same for all of an object, or what was one. */
static void let_go(struct heap *heap, const struct stretch *stretch,
		   const char *call)
{
	unsigned int arena = chunk_meta(stretch->chunk)->arena;
	bool whole;

	stretch_clear_end(stretch);
	whole = release(heap, stretch, call);
	chunk_unpin(stretch->chunk);
	if (whole)
		arena_trim(arena);
}

/* === What a thread keeps ================================================== */

static void forget(struct heap *heap, unsigned int at)
{
	struct medium_cache *cache = &heap->medium;
	int64_t bytes = stretch_bytes(&cache->stretches[at]);

	cache->nr--;
	for (; at < cache->nr; at++)
		cache->stretches[at] = cache->stretches[at + 1];
	heap_count_kept(heap, &cache->bytes, -bytes);
}

/* The newest that is as long as @need, and lies where it may. */
static bool take_kept(struct heap *heap, const struct need *need,
		      struct stretch *ret_stretch)
{
	const struct medium_cache *cache = &heap->medium;

	for (unsigned int at = cache->nr; at--;) {
		const struct stretch *stretch = &cache->stretches[at];

		if (stretch->nr != need->nr || stretch->at & (need->align - 1))
			continue;
		*ret_stretch = *stretch;
		forget(heap, at);
		return true;
	}
	return false;
}

static void release_oldest(struct heap *heap)
{
	struct stretch stretch = heap->medium.stretches[0];

	forget(heap, 0);
	let_go(heap, &stretch, "free");
}

static void keep(struct heap *heap, const struct stretch *stretch)
{
	struct medium_cache *cache = &heap->medium;
	int64_t bytes = stretch_bytes(stretch);

	while (cache->nr == MEDIUM_CACHED ||
	       cache->bytes + (size_t)bytes > MEDIUM_CACHED_BYTES)
		release_oldest(heap);
	cache->stretches[cache->nr++] = *stretch;
	heap_count_kept(heap, &cache->bytes, bytes);
}

static bool keeps(const struct heap *heap)
{
	return heap && heap->tcb && load_relaxed(&account.frugal) &&
	       !load_relaxed(&account.tight) &&
	       !load_relaxed(&account.backed_max);
}

void medium_init(struct heap *heap)
{
	heap->medium.nr = heap->medium.bytes = 0;
}

void medium_trim(struct heap *heap, size_t keep)
{
	while (heap->medium.nr && medium_cached_bytes(heap) > keep)
		release_oldest(heap);
}

__guesses size_t medium_cached_bytes(const struct heap *heap)
{
	return load_guess(&heap->medium.bytes);
}

/* === Objects ============================================================== */

static bool take_new(struct heap *heap, const struct need *need,
		     struct stretch *ret_stretch, bool *ret_zero)
{
	if (lock_holds_any() || !arena_take(heap, need, ret_stretch))
		return false;
	*ret_zero = touch(heap, *ret_stretch);
	stretch_set_end(ret_stretch);
	return true;
}

void *medium_alloc(struct heap *heap, size_t size, size_t align,
		   bool *ret_zero)
{
	struct need need = {
		.nr = (unsigned int)(medium_size(size) >> BLOCK_SHIFT),
		.align = (unsigned int)(max(align, BLOCK_SIZE) >> BLOCK_SHIFT),
	};
	struct stretch stretch;

	/* What was kept was handed out before: it is backed, and not zero. */
	*ret_zero = false;
	if (!(heap && take_kept(heap, &need, &stretch)) &&
	    !take_new(heap, &need, &stretch, ret_zero))
		return NULL;
	*chunk_charge_at(stretch.chunk, stretch.at) =
		heap_charge(heap, (uint64_t)stretch_bytes(&stretch));
	stretch_mark_start(&stretch);
	return stretch_address(&stretch);
}

void medium_free(struct heap *heap, void *ptr, const char *call)
{
	struct stretch stretch = { .chunk = chunk_around(ptr) };
	unsigned int id;

	stretch.at = chunk_block(stretch.chunk, ptr);
	if ((uintptr_t)ptr & (BLOCK_SIZE - 1))
		misuse_die_pointer(call, ptr);
	id = *chunk_charge_at(stretch.chunk, stretch.at);
	/* Of two frees at once one clears the mark, the other is too many. */
	if (!chunk_unmark(stretch.chunk, stretch.at))
		misuse_die_pointer(call, ptr);
	stretch.nr = chunk_length_at(stretch.chunk, stretch.at);
	heap_discharge(heap, id, (uint64_t)stretch_bytes(&stretch));
	if (keeps(heap)) {
		keep(heap, &stretch);
		return;
	}
	let_go(heap, &stretch, call);
	if (heap)
		medium_trim(heap, 0);
}

/* @was, an object charged to @id, has @nr blocks more. */
static void grown(struct heap *heap, const struct stretch *was, unsigned int nr,
		  unsigned int id)
{
	struct stretch more = { was->chunk, was->at + was->nr, nr };

	(void)touch(heap, more);
	/* It keeps its account, whoever resizes it. */
	charge_add(id, (uint64_t)stretch_bytes(&more));
}

/* The same: it has fewer. */
static void shrunk(struct heap *heap, const struct stretch *was, unsigned int nr,
		   unsigned int id)
{
	struct stretch rest = { was->chunk, was->at + was->nr - nr, nr };

	(void)release(heap, &rest, "realloc");
	heap_discharge(heap, id, (uint64_t)stretch_bytes(&rest));
}

bool medium_resize(struct heap *heap, void *ptr, size_t size)
{
	struct stretch was = { .chunk = chunk_around(ptr) }, now;
	unsigned int want = (unsigned int)(medium_size(size) >> BLOCK_SHIFT);
	unsigned int id;

	if (size > MEDIUM_MAX)
		return false;
	was.at = chunk_block(was.chunk, ptr);
	was.nr = chunk_length_at(was.chunk, was.at);
	id = *chunk_charge_at(was.chunk, was.at);
	if (want == was.nr)
		return true;
	if (want > was.nr && !arena_claim_behind(&was, want - was.nr))
		return false;
	now = was;
	now.nr = want;
	/* In this order: at any time there is an end. */
	stretch_set_end(&now);
	stretch_clear_end(&was);
	if (want > was.nr)
		grown(heap, &was, want - was.nr, id);
	else
		shrunk(heap, &was, was.nr - want, id);
	return true;
}

size_t medium_usable(const void *ptr)
{
	const struct slab *chunk = chunk_around(ptr);
	unsigned int block = chunk_block(chunk, ptr);

	if ((uintptr_t)ptr & (BLOCK_SIZE - 1) || !chunk_is_start(chunk, block))
		return 0;
	return (size_t)chunk_length_at(chunk, block) << BLOCK_SHIFT;
}

void *medium_around(const void *ptr)
{
	struct slab *chunk = chunk_around(ptr);
	unsigned int block = chunk_block(chunk, ptr);

	for (unsigned int at = block + 1; at-- > 0;)
		if (chunk_is_start(chunk, at))
			return block - at < chunk_length_at(chunk, at) ?
			       slab_base(chunk) + ((size_t)at << BLOCK_SHIFT) :
			       NULL;
	return NULL;
}
