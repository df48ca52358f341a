/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - What the library's counters must say
 */
#include <sys/mman.h>
#include "stress/model.h"
#include "stress/real.h"

#define SLAB_BYTES	(64 * KIB)
#define OBJECT_MAX	(64 * KIB)

static uint64_t resident(uintptr_t page, size_t len)
{
	unsigned char present;

	if (mincore((void *)page, len, &present))
		return 0;
	return present & 1 ? len : 0;
}

/*
 * The part of the model that is the slab at @base, of objects of @len bytes.
 * What is too short for one more of them, at its end, goes with the last.
 */
static void add_slab(struct model *model, uintptr_t base, uint64_t used,
		     unsigned int blocks, size_t len)
{
	uint64_t page_mask = blocks >= 64 ? ~0ULL : (1ULL << blocks) - 1;
	size_t end = SLAB_BYTES / len * len;

	model->slabs++;
	model->free_blocks += 64 - (unsigned int)__builtin_popcountll(used);
	for (unsigned int block = 0; block < 64; block += blocks) {
		uint64_t on_page = used >> block & page_mask;

		if (on_page)
			model->stranded_blocks += blocks -
				(unsigned int)__builtin_popcountll(on_page);
		else if (block * KIB < end)
			model->resident_bytes += resident(base + block * KIB,
							  blocks * KIB);
	}
}

/* The blocks of its slab that [offset, offset + len) overlaps. */
static uint64_t blocks_of(size_t offset, size_t len)
{
	uint64_t mask = 0;

	for (size_t block = offset / KIB;
	     block < 64 && block * KIB < offset + len; block++)
		mask |= 1ULL << block;
	return mask;
}

/* The slab that objects are gathered of, which come by address. */
struct gathered {
	uintptr_t slab;
	uint64_t used;		/* its blocks */
	size_t len;		/* of its objects; a block, if they differ */
};

static void flush(struct model *model, struct gathered *now)
{
	if (now->used)
		add_slab(model, now->slab * SLAB_BYTES, now->used,
			 (unsigned int)(page_size() / KIB), now->len);
	now->used = 0;
}

/* @part of an object of @len bytes, which ends in that slab. */
static void add_part(struct model *model, struct gathered *now, uintptr_t at,
		     size_t part, size_t len)
{
	if (at / SLAB_BYTES != now->slab)
		flush(model, now);
	if (!now->used)
		now->len = len;
	else if (now->len != len)
		now->len = KIB;
	now->slab = at / SLAB_BYTES;
	now->used |= blocks_of(at % SLAB_BYTES, part);
}

static void add_all(struct model *model, const struct floor_block *list,
		    size_t nr)
{
	struct gathered now = { 0, 0, 1 };

	for (size_t i = 0; i < nr; i++) {
		uintptr_t at = (uintptr_t)list[i].start;
		size_t len = list[i].len;
		size_t first = SLAB_BYTES - at % SLAB_BYTES;

		if (!len || len > OBJECT_MAX)
			continue;
		if (len <= first) {
			add_part(model, &now, at, len, len);
			continue;
		}
		add_part(model, &now, at, first, KIB);
		add_part(model, &now, at + first, len - first, KIB);
	}
	flush(model, &now);
}

static struct floor_block block_of(const struct object *object)
{
	return (struct floor_block){ object->start,
				     real.usable_size(object->start) };
}

bool model_make(const struct seat *seats, unsigned int nr_seats,
		struct model *ret_model)
{
	size_t nr, most, nr_foreign;
	struct floor_block *foreign = floor_list(&nr_foreign);
	struct floor_block *list;
	struct model model = { 0 };

	most = nr_foreign + (size_t)nr_seats * SEAT_OBJECTS + NR_BOXES;
	list = mmap(NULL, most * sizeof(*list), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!foreign || list == MAP_FAILED)
		return false;
	memcpy(list, foreign, nr_foreign * sizeof(*list));
	nr = nr_foreign;
	for (unsigned int s = 0; s < nr_seats; s++)
		for (unsigned int i = 0; i < SEAT_OBJECTS; i++)
			if (seats[s].objects[i].start)
				list[nr++] = block_of(&seats[s].objects[i]);
	for (unsigned int i = 0; i < NR_BOXES; i++)
		if (boxes[i].state == BOX_FULL)
			list[nr++] = block_of(&boxes[i].object);
	model.objects = nr;
	floor_sort(list, nr);
	add_all(&model, list, nr);
	floor_unlist(foreign, nr_foreign);
	munmap(list, most * sizeof(*list));
	*ret_model = model;
	return true;
}
