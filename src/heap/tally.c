/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The tally: who has what, at a glance
 */
#include "heap/drain.h"
#include "heap/magazine.h"
#include "heap/orphan.h"
#include "heap/outbox.h"
#include "heap/run_cache.h"
#include "heap/tally.h"
#include "os/map.h"

static uint32_t turn;		/* of this walk; sums of others are no sums */

static void begin_sums(struct heap *heap)
{
	if (heap->tally_turn == turn)
		return;
	heap->tally_turn = turn;
	heap->tally_slabs = 0;
	heap->tally_taken = 0;
}

uint64_t tally_table_bytes(void)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	return ALIGN_UP(nr * sizeof(struct slab_hot), map_page_size) +
	       ALIGN_UP(nr * sizeof(struct slab), map_page_size);
}

static void add_slab(const struct slab_hot *hot, const struct slab *slab,
		     struct class_tally *classes)
{
	/* It may be retired, and serve another class, at any moment. */
	unsigned int index = load_relaxed(&hot->class);
	const struct sizeclass *sc = &sizeclasses[index];
	struct class_tally *class = &classes[index];
	struct heap *owner = load_relaxed(&hot->owner);
	uint64_t pages = load_relaxed(&slab->pages);
	int nr_free = ctl_count(load_relaxed(&slab->ctl));
	unsigned int nr_taken;

	/* Below zero for a moment, where a claim was not subtracted yet. */
	nr_free = min(max(nr_free, 0), (int)sc->nr_slots);
	nr_taken = sc->nr_slots - (unsigned int)nr_free;
	class->nr_slabs++;
	class->nr_taken += nr_taken;
	class->clean_bytes += pages_bytes(pages_clean(pages));
	class->lazy_bytes += pages_bytes(pages_lazy(pages));
	if (!owner)
		return;
	begin_sums(owner);
	owner->tally_slabs++;
	owner->tally_taken += (uint64_t)nr_taken * sc->size;
}

static void walk_slabs(struct class_tally *classes)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	for (size_t i = 0; i < nr; i++) {
		const struct slab_hot *hot = hot_at(i);

		if (slab_kind_has_slots(load_acquire(&hot->kind)))
			add_slab(hot, range.slabs + i, classes);
	}
}

/* Into the first @nr of @rows, the largest first; the least falls out. */
static unsigned int insert(struct thread_tally *rows, unsigned int nr,
			   unsigned int max, const struct thread_tally *row)
{
	unsigned int at = nr < max ? nr : max;

	while (at && rows[at - 1].taken_bytes < row->taken_bytes) {
		if (at < max)
			rows[at] = rows[at - 1];
		at--;
	}
	if (at < max)
		rows[at] = *row;
	return min(nr + 1, max);
}

struct gathering {
	struct tally *tally;
	struct thread_tally *rows;
	unsigned int max;
};

static void gather_heap(struct heap *heap, void *arg)
{
	struct gathering *to = arg;
	struct thread_tally row = { .tid = heap->tcb ? heap->tid : 0 };

	begin_sums(heap);
	row.nr_slabs = heap->tally_slabs;
	row.taken_bytes = heap->tally_taken;
	if (heap->tcb) {
		row.cached_bytes = drain_slots_of(heap);
		to->tally->cached_bytes += row.cached_bytes;
		to->tally->run_cache_bytes += run_cache_bytes(heap);
		to->tally->heap_bytes += magazine_store_bytes(heap);
	}
	if (row.tid || row.nr_slabs)
		to->tally->nr_threads = insert(to->rows, to->tally->nr_threads,
					       to->max, &row);
}

bool tally_take(struct tally *ret_tally, struct thread_tally *threads,
		unsigned int max)
{
	struct gathering to = { ret_tally, threads, max };

	*ret_tally = (struct tally){ 0 };
	turn++;
	walk_slabs(ret_tally->classes);
	if (!drain_for_each(gather_heap, &to))
		return false;
	gather_heap(&orphan_heap, &to);
	return true;
}

/* Its thread adds to them meanwhile. */
static __guesses void add_untold(const struct heap *heap,
				 struct tally_sums *sums)
{
	sums->slots_handed += load_guess(&heap->delta.handed);
	sums->slots_dirty += load_guess(&heap->delta.dirty);
}

static void sum_heap(struct heap *heap, void *arg)
{
	struct tally_sums *sums = arg;
	size_t outbox = outbox_bytes(heap);

	add_untold(heap, sums);
	/* What is in an outbox was told as dirty when it came there. */
	sums->slots_handed += (int64_t)outbox;
	sums->slots_dirty -= (int64_t)outbox;
	sums->cached_bytes += drain_slots_of(heap);
	sums->run_cache_bytes += run_cache_bytes(heap);
	sums->heap_bytes += magazine_store_bytes(heap);
}

bool tally_sum(struct tally_sums *ret_sums)
{
	*ret_sums = (struct tally_sums){
		.slots_handed = load_relaxed(&account.slots_handed),
		.slots_dirty = load_relaxed(&account.slots_dirty),
	};
	add_untold(&orphan_heap, ret_sums);
	return drain_for_each(sum_heap, ret_sums);
}
