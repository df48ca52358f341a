/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Size classes
 */
#include "heap/sizeclass.h"

#define CACHE_BYTES_SOFT	(64u << 10)
#define CACHE_BYTES	(1u << 20)
#define CACHE_BURST	(16u << 20)
#define CACHE_SLOTS	4096u
#define BURST_SLOTS	2048u
#define CACHE_SLOTS_MIN	4u
#define SHARE_SLOTS	8u
#define SHARE_BYTES	1024u
#define SHARE_MAX_SLOTS	128u
#define SHARE_MAX_BYTES	(4u << 10)

__startup_data struct sizeclass sizeclasses[NR_CLASSES + 1];

static uint32_t class_size(unsigned int class)
{
	unsigned int shift;

	if (class == CLASS_BLOCKS)
		return 1u << BLOCK_SHIFT;
	if (class < CLASS_LINEAR_MAX >> CLASS_STEP_SHIFT)
		return (class + 1) << CLASS_STEP_SHIFT;
	shift = class / 8 + 3;
	return (9 + class % 8) << shift;
}

_Static_assert((NR_CLASSES - 8) / 8 == 8, "eight doublings from 128 to 32 KiB");

static uint16_t cache_slots(uint32_t slots)
{
	return (uint16_t)max(min(slots, CACHE_SLOTS), CACHE_SLOTS_MIN);
}

/*
 * As many as fill whole cache lines, so that no two threads write to one: up
 * to 256 bytes sizes are multiples of 16, up to 512 of 32, then of 64.
 */
static uint16_t share_slots(uint32_t size)
{
	unsigned int nr = max(min(SHARE_BYTES / size, SHARE_SLOTS), 1u);

	return (uint16_t)(1u << bit_highest(nr));
}

void sizeclass_init(void)
{
	for (unsigned int class = 0; class <= NR_CLASSES; class++) {
		struct sizeclass *sc = &sizeclasses[class];
		uint32_t size = class_size(class);

		sc->size = size;
		sc->reciprocal = (uint32_t)(((1ULL << 32) + size - 1) / size);
		sc->nr_slots = (uint16_t)(SLAB_SIZE / size);
		sc->nr_words = (uint16_t)((sc->nr_slots + 63u) / 64);
		sc->cache_soft = cache_slots(CACHE_BYTES_SOFT / size);
		sc->cache_max = cache_slots(CACHE_BYTES / size);
		sc->cache_burst = max((uint16_t)min(CACHE_BURST / size,
						    BURST_SLOTS),
				      sc->cache_max);
		sc->share = share_slots(size);
		sc->share_max = (uint16_t)max(min(SHARE_MAX_BYTES / size,
						  SHARE_MAX_SLOTS),
					      SHARE_SLOTS);
	}
}
