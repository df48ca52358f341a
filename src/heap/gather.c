/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Gathering freed slots by bitmap word
 */
#include "heap/gather.h"
#include "heap/misuse.h"
#include "heap/slab.h"
#include "heap/stranger.h"

#define GATHER_GROUPS	32u	/* a power of two */

struct gather_group {
	struct slab *slab;
	uint64_t mask;
	uint32_t word;
};

struct gather {
	struct gather_group groups[GATHER_GROUPS];
	int64_t bytes;		/* published so far */
	struct heap *outbox_of;	/* or NULL */
};

static void group_publish(struct gather *gather, struct gather_group *group)
{
	struct slab *slab = group->slab;
	size_t size = sizeclasses[slab_hot(slab)->class].size;
	size_t bytes = bits_count_few(group->mask) * size;
	uint64_t twice;

	if (gather->outbox_of &&
	    !stranger_free_alike(gather->outbox_of, slab, bytes))
		stranger_charge_freed(gather->outbox_of, slab, group->word,
				      group->mask);
	twice = slab_publish(slab, group->word, group->mask, 0);
	if (unlikely(twice))
		misuse_die(MISUSE_DOUBLE_FREE, "free", slab_base(slab) +
			   (group->word * 64 + bit_lowest(twice)) * size,
			   "found when it was flushed");
	gather->bytes += (int64_t)bytes;
	group->slab = NULL;
	group->mask = 0;
}

/* Where the slots of one word lie, and the group that gathers them. */
struct place {
	uintptr_t start;
	size_t span;
	const struct sizeclass *sc;
	struct gather_group *group;
};

static void die_interior(uintptr_t ptr)
{
	misuse_die(MISUSE_INTERIOR, "free", (void *)ptr,
		   "found when it was flushed");
}

/* The place of the slot at @ptr; another word's group may have to go for it. */
static void find_place(struct gather *gather, uintptr_t ptr,
		       struct place *ret_place)
{
	size_t index = (ptr - (uintptr_t)range.base) >> SLAB_SHIFT;
	const struct sizeclass *sc = &sizeclasses[hot_at(index)->class];
	struct slab *slab = range.slabs + index;
	size_t offset = ptr & (SLAB_SIZE - 1);
	unsigned int slot = slot_at(sc->reciprocal, offset);
	unsigned int word = slot / 64;
	struct gather_group *group;

	if (unlikely(slot >= sc->nr_slots))
		die_interior(ptr);
	group = &gather->groups[(index * 5 + word) & (GATHER_GROUPS - 1)];
	if (group->slab != slab || group->word != word) {
		if (group->slab)
			group_publish(gather, group);
		group->slab = slab;
		group->word = word;
	}
	ret_place->start = ptr - offset + (size_t)word * 64 * sc->size;
	ret_place->span = min(sc->nr_slots - word * 64u, 64u) * sc->size;
	ret_place->sc = sc;
	ret_place->group = group;
}

static void gather_add(struct gather *gather, void *const *slots, size_t nr)
{
	struct place at = { 0 };

	for (size_t i = 0; i < nr; i++) {
		uintptr_t ptr = (uintptr_t)slots[i] & ~MAGAZINE_FLAGS;
		unsigned int slot;
		uint64_t bit;

		if (ptr - at.start >= at.span)
			find_place(gather, ptr, &at);
		slot = slot_at(at.sc->reciprocal, ptr - at.start);
		if (unlikely(slot * at.sc->size != ptr - at.start))
			die_interior(ptr);
		bit = 1ULL << slot;
		if (unlikely(at.group->mask & bit))
			misuse_die(MISUSE_DOUBLE_FREE, "free", (void *)ptr,
				   "found when it was flushed");
		at.group->mask |= bit;
	}
}

int64_t gather_publish(void *const *slots, size_t nr, struct heap *outbox_of)
{
	struct gather gather = { .outbox_of = outbox_of };

	gather_add(&gather, slots, nr);
	for (unsigned int i = 0; i < GATHER_GROUPS; i++)
		if (gather.groups[i].slab)
			group_publish(&gather, &gather.groups[i]);
	return gather.bytes;
}
