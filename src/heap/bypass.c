/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The bypass: allocation without a heap
 */
#include "heap/bypass.h"
#include "heap/misuse.h"
#include "heap/orphan.h"
#include "heap/stranger.h"
#include "os/map.h"
#include "vm/run.h"

#define REPLACE_TRIES	4

static struct slab *spare[NR_CLASSES];

static void count_taken(unsigned int class)
{
	int64_t size = sizeclasses[class].size;

	account_dirty(-size);
	add_relaxed(&account.slots_handed, size);
}

/*
 * Let go of a spare slab that no pointer leads to any more.  As FULL it is
 * queued by a later publish; with slots told free since, it is queued now.
 */
static void let_go(struct slab *slab)
{
	for (;;) {
		/* Pairs with slab_publish(). */
		uint64_t ctl = load_acquire(&slab->ctl);
		enum slab_state to = ctl_count(ctl) > 0 ? SLAB_QUEUED :
							  SLAB_FULL;

		if (ctl_state(ctl) != SLAB_ACTIVE)
			return;
		if (!cas_acq_rel(&slab->ctl, &ctl,
				 ctl_make(ctl_count(ctl), to, ctl_gen(ctl))))
			continue;
		if (to == SLAB_QUEUED)
			slab_avail_push(slab);
		return;
	}
}

/* A slab nobody uses, ACTIVE and the orphans'; NULL: no memory. */
static struct slab *fresh_slab(unsigned int class)
{
	enum run_state was;
	struct slab *slab = NULL;

	if (heap_may_back(SLAB_SIZE))
		slab = run_alloc(1, 1, &was);
	if (!slab)
		return NULL;
	/* First: from then on the reclaimer may give back, and count. */
	add_relaxed(&account.slots_dirty,
		    (int64_t)run_backed_bytes(slab, was));
	slab_init(slab, class, &orphan_heap, was);
	/* Who makes it is likely to take it over: no strangers until then. */
	store_release(&slab_hot(slab)->charge, (uint16_t)charge_self());
	return slab;
}

/* One of the orphans' with free slots, if they are not busy just now. */
static struct slab *orphan_slab(unsigned int class)
{
	/* Below a handler that interrupted the holder: locks have an order. */
	return zone_is_any_mine() ? NULL : orphan_adopt(&orphan_heap, class);
}

/* Make @slab the spare one in place of @old, or let go of it again. */
static void install(unsigned int class, struct slab *slab, struct slab *old)
{
	add_relaxed(&orphan_heap.bins[class].nr_slabs, 1);
	if (!cas_acq_rel(&spare[class], &old, slab))
		let_go(slab);
	else if (old)
		let_go(old);
}

/* A new spare slab in place of @old, with one slot of it for the caller. */
static void *replace(unsigned int class, struct slab *old, bool *ret_zero)
{
	struct slab *slab = orphan_slab(class);
	void *ptr;

	if (slab) {
		ptr = slab_take_one(slab, class, ret_zero);
		install(class, slab, old);
		if (ptr)
			return ptr;
		old = slab;
	}
	slab = fresh_slab(class);
	if (!slab)
		return NULL;
	ptr = slab_take_one(slab, class, ret_zero);
	install(class, slab, old);
	return ptr;
}

struct slab *bypass_share(unsigned int class, unsigned int *ret_word,
			  uint64_t *ret_mask)
{
	struct slab *old = load_acquire(&spare[class]);

	*ret_mask = old ? slab_take_group(old, class, ret_word) : 0;
	if (*ret_mask)
		return old;
	/* One that threads have left behind, or that nobody has used. */
	for (int i = 0; i < 2; i++) {
		struct slab *slab = i ? fresh_slab(class) : orphan_slab(class);

		if (!slab)
			continue;
		*ret_mask = slab_take_group(slab, class, ret_word);
		install(class, slab, old);
		if (*ret_mask)
			return slab;
		old = slab;
	}
	return NULL;
}

struct slab *bypass_take_over(struct heap *heap, unsigned int class)
{
	struct slab *slab = NULL;

	if (load_relaxed(&spare[class]))
		/* Pairs with install(): whoever takes it out may change it. */
		slab = xchg_acq_rel(&spare[class], NULL);
	if (!slab)
		return NULL;
	/* Which account its slots are charged to must be written down. */
	if (!stranger_adopt(slab, heap->charge)) {
		let_go(slab);
		return NULL;
	}
	sub_relaxed(&orphan_heap.bins[class].nr_slabs, 1);
	/* Nobody looks at the owner before it is FULL, which we make it. */
	store_release(&slab_hot(slab)->owner, heap);
	return slab;
}

void *bypass_alloc(unsigned int class, bool *ret_zero)
{
	struct slab *slab = load_acquire(&spare[class]);
	void *ptr = NULL;

	if (slab)
		ptr = slab_take_one(slab, class, ret_zero);
	/* A sweep may hold what a reused slab has, for a batch's time. */
	for (int i = 0; !ptr && i < REPLACE_TRIES; i++)
		ptr = replace(class, load_acquire(&spare[class]), ret_zero);
	/* Below a handler that interrupted the holder of a zone's lock: our own. */
	if (!ptr && thread.heap && thread.heap->bins[class].current)
		ptr = slab_take_one(thread.heap->bins[class].current, class,
				    ret_zero);
	if (ptr) {
		stranger_took_one(slab_of(ptr), ptr);
		count_taken(class);
	}
	return ptr;
}

void bypass_free(void *ptr, const char *call)
{
	struct slab *slab = slab_of(ptr);
	struct slab_hot *hot = slab_hot(slab);
	int64_t size = sizeclasses[hot->class].size;
	unsigned int slot;

	if (!slab_slot(hot, ptr, &slot))
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	if (load_relaxed(&slab->free[slot / 64]) >> slot % 64 & 1)
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr, NULL);
	*heap_key_of(ptr) = heap_key(ptr);
	stranger_free_one(slab, slot);
	if (slab_publish(slab, slot / 64, 1ULL << slot % 64, 0))
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr, NULL);
	add_relaxed(&account.slots_dirty, size);
	sub_relaxed(&account.slots_handed, size);
	/* With check=1 all frees come by here: nobody else would look. */
	run_look();
}

void bypass_forget(void)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++)
		spare[class] = NULL;
}

void bypass_release(void)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		struct slab *slab;

		if (!load_relaxed(&spare[class]))
			continue;
		slab = xchg_acq_rel(&spare[class], NULL);
		if (slab)
			let_go(slab);
	}
}
