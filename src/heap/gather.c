/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Gathering freed slots by bitmap word
 */
#include "heap/gather.h"
#include "heap/misuse.h"
#include "heap/slab.h"

static void group_publish(struct gather_group *group)
{
	struct slab *slab = group->slab;
	uint64_t mask = group->mask;
	uint64_t twice;

	/* Empty first: what is published may be anybody's at once. */
	group->slab = NULL;
	group->mask = 0;
	barrier();
	twice = slab_publish(slab, group->word, mask, 0);
	if (unlikely(twice)) {
		size_t slot = group->word * 64 + bit_lowest(twice);
		size_t size = sizeclasses[slab_hot(slab)->class].size;

		misuse_die(MISUSE_DOUBLE_FREE, "free",
			   slab_base(slab) + slot * size,
			   "found when it was flushed");
	}
}

void gather_add(struct gather *gather, void *ptr)
{
	struct slab *slab = slab_of(ptr);
	struct gather_group *group;
	unsigned int slot, word;
	uint64_t bit;

	if (unlikely(!slab_slot(slab_hot(slab), ptr, &slot)))
		misuse_die(MISUSE_INTERIOR, "free", ptr,
			   "found when it was flushed");
	word = slot / 64;
	bit = 1ULL << slot % 64;
	group = &gather->groups[(slab_index(slab) * 5 + word) &
				(GATHER_GROUPS - 1)];
	if (group->slab != slab || group->word != word) {
		if (group->slab)
			group_publish(group);
		group->slab = slab;
		group->word = word;
	}
	if (unlikely(group->mask & bit))
		misuse_die(MISUSE_DOUBLE_FREE, "free", ptr,
			   "found when it was flushed");
	group->mask |= bit;
}

void gather_flush(struct gather *gather)
{
	for (unsigned int i = 0; i < GATHER_GROUPS; i++)
		if (gather->groups[i].slab)
			group_publish(&gather->groups[i]);
}

__guesses bool gather_holds(const struct gather *gather,
			    const struct slab *slab, unsigned int slot)
{
	for (unsigned int i = 0; i < GATHER_GROUPS; i++) {
		const struct gather_group *group = &gather->groups[i];

		if (load_guess(&group->slab) == slab &&
		    load_guess(&group->word) == slot / 64 &&
		    load_guess(&group->mask) >> slot % 64 & 1)
			return true;
	}
	return false;
}

__guesses size_t gather_bytes(const struct gather *gather)
{
	size_t bytes = 0;

	for (unsigned int i = 0; i < GATHER_GROUPS; i++) {
		const struct gather_group *group = &gather->groups[i];
		/* Another thread's may change while it is looked at. */
		struct slab *slab = load_guess(&group->slab);

		if (slab)
			bytes += bits_count(load_guess(&group->mask)) *
				 sizeclasses[slab_hot(slab)->class].size;
	}
	return bytes;
}
