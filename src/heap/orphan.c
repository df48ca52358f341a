/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Slabs of threads that have ended, or have too much
 */
#include "base/err.h"
#include "heap/bypass.h"
#include "heap/orphan.h"
#include "heap/stranger.h"

struct lock orphan_lock = LOCK_INIT(3);

static void list_orphan(struct slab *slab)
{
	enum slab_state state = ctl_state(load_relaxed(&slab->ctl));

	add_relaxed(&orphan_heap.bins[slab_hot(slab)->class].nr_slabs, 1);
	/* A QUEUED one will be popped; until then the FULL list holds it. */
	heap_list_slab(&orphan_heap, slab,
		       state == SLAB_LISTED ? SLAB_LISTED : SLAB_FULL);
}

void orphan_take(struct slab *slab)
{
	lock_assert_held(&orphan_lock);
	/* Pairs with slab_avail_push(): whoever reads it pushes to us. */
	store_release(&slab_hot(slab)->owner, &orphan_heap);
	list_orphan(slab);
}

struct slab *orphan_adopt(struct heap *heap, unsigned int class)
{
	struct bin *bin = &orphan_heap.bins[class];
	struct slab *slab = NULL;
	struct bin_lists *lists;

	if (!load_relaxed(&bin->nr_slabs) && !load_relaxed(&orphan_heap.avail))
		return NULL;
	if (!lock_try(&orphan_lock))
		return NULL;
	heap_pop_avail(&orphan_heap);
	lists = heap_lists_made(&orphan_heap, class);
	for (unsigned int i = 0; i < NR_FULLNESS && !slab && lists; i++) {
		struct slab *pos, *tmp;

		list_for_each_entry_safe(pos, tmp, &lists->partial[i], link) {
			if (!slab_try_state(pos, SLAB_LISTED, SLAB_ACTIVE))
				continue;
			/* As a spare slab it stays whose it was. */
			if (heap != &orphan_heap &&
			    !stranger_adopt(pos, heap->charge)) {
				/* It was on this list, and stays. */
				(void)slab_try_state(pos, SLAB_ACTIVE,
						     SLAB_LISTED);
				continue;
			}
			slab = pos;
			list_del(&slab->link);
			sub_relaxed(&bin->nr_slabs, 1);
			store_release(&slab_hot(slab)->owner, heap);
			break;
		}
	}
	lock_release(&orphan_lock);
	return slab;
}

void orphan_reap(void)
{
	/* Its holder may be stopped: a purge goes on without. */
	if (!lock_try_for(&orphan_lock, LOCK_PATIENCE_MS))
		return;
	heap_reap(&orphan_heap);
	lock_release(&orphan_lock);
}

/*
 * Nobody else runs, and what vanished threads held in hand is lost.  One may
 * have claimed and not subtracted, or published and not added, so the bits
 * are counted; or have made QUEUED and not pushed, so such slabs are listed.
 */
static void take_over(struct slab *slab, struct heap *mine)
{
	struct slab_hot *hot = slab_hot(slab);
	int count = slab_recount(slab);
	uint64_t ctl = load_relaxed(&slab->ctl);
	enum slab_state state = count > 0 ? SLAB_LISTED : SLAB_FULL;

	if (hot->owner == mine && ctl_state(ctl) != SLAB_QUEUED)
		return;
	store_relaxed(&slab->ctl, ctl_make(count, state, ctl_gen(ctl)));
	if (hot->owner == mine) {
		list_del(&slab->link);
		heap_list_slab(mine, slab, state);
		return;
	}
	store_relaxed(&hot->owner, &orphan_heap);
	list_init(&slab->link);
	list_orphan(slab);
}

void orphan_after_fork(struct heap *mine)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	bypass_forget();
	orphan_heap.avail = NULL;
	heap_init_bins(&orphan_heap);
	if (mine)
		mine->avail = mine->aside = NULL;
	for (size_t i = 0; i < nr; i++) {
		struct slab *slab = range.slabs + i;

		if (hot_at(i)->kind == SLAB_KIND_CLASS)
			take_over(slab, mine);
	}
}
