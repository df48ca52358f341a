/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - The mix: what was counted, and what is drawn from it
 */
#include "bench/speed/mix.h"

#define YOUNG_SHARE	128	/* places in which most objects live */

uint16_t mix_sizes[MIX_SIZES];
static uint32_t places[MIX_PLACES];

/* Calls in ten thousand that asked for at most so much. */
static const struct {
	uint16_t size;
	uint16_t calls;
} counted[] = {
	{ 16, 1793 }, { 32, 2617 }, { 48, 1316 }, { 64, 1392 }, { 80, 317 },
	{ 96, 183 }, { 112, 212 }, { 128, 324 }, { 160, 176 }, { 192, 93 },
	{ 224, 103 }, { 256, 74 }, { 320, 89 }, { 384, 68 }, { 448, 40 },
	{ 512, 58 }, { 640, 55 }, { 768, 41 }, { 896, 40 }, { 1024, 60 },
	{ 1280, 172 }, { 1536, 53 }, { 1792, 35 }, { 2048, 69 }, { 2560, 55 },
	{ 3072, 48 }, { 3584, 42 }, { 4096, 79 }, { 5120, 53 }, { 6144, 32 },
	{ 7168, 138 }, { 8192, 56 }, { 10240, 15 }, { 12288, 10 },
	{ 14336, 5 }, { 16384, 6 }, { 20480, 3 }, { 24576, 2 }, { 28672, 1 },
	{ 32768, 81 },
};

static uint32_t counted_calls(void)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < ARRAY_LEN(counted); i++)
		sum += counted[i].calls;
	return sum;
}

/* One size: of a class by its weight, and anything within the class. */
static size_t draw(struct rng *rng, uint32_t calls)
{
	uint64_t left = rng_below(rng, calls);
	size_t i = 0, low;

	while (left >= counted[i].calls)
		left -= counted[i++].calls;
	low = i ? counted[i - 1].size : 8;
	return low + 1 + rng_below(rng, counted[i].size - low);
}

void mix_prepare(void)
{
	uint32_t calls = counted_calls();
	struct rng rng;

	rng_seed(&rng, 1);
	for (size_t i = 0; i < MIX_SIZES; i++)
		mix_sizes[i] = (uint16_t)draw(&rng, calls);
}

void pool_prepare(uint32_t nr)
{
	struct rng rng;

	rng_seed(&rng, 2);
	for (size_t i = 0; i < MIX_PLACES; i++)
		places[i] = (uint32_t)rng_below(&rng, i % 4 ? nr / YOUNG_SHARE :
						nr);
}

void pool_init(struct pool *pool, uint32_t nr)
{
	pool->items = table_map(nr * sizeof(struct item));
	pool->nr = nr;
}

static inline void item_make(struct item *item, size_t size, uint32_t tag)
{
	item->p = take(size, tag);
	item->size = (uint32_t)size;
	item->tag = tag;
}

void pool_fill(struct pool *pool)
{
	for (uint32_t i = 0; i < pool->nr; i++)
		if (!pool->items[i].p)
			item_make(&pool->items[i], mix_size(i), i);
}

/*
 * The table of places is gone through again and again; in each pass all but
 * the young ones are moved on, and sizes meet other places.
 */
void pool_churn(struct pool *pool, uint64_t operations)
{
	uint32_t at = pool->at, pass = pool->pass;

	for (uint64_t i = 0; i < operations; i++, at++) {
		uint32_t place = places[at % MIX_PLACES];
		struct item *item;

		if (at % MIX_PLACES == 0)
			pass++;
		if (at % 4 == 0)
			place = (place + pass * 7919) & (pool->nr - 1);
		item = &pool->items[place];
		drop(item->p, item->size, item->tag);
		item_make(item, mix_size(at + pass * 5003), at);
	}
	pool->at = at;
	pool->pass = pass;
}

void pool_free(struct pool *pool)
{
	for (uint32_t i = 0; i < pool->nr; i++)
		if (pool->items[i].p)
			drop(pool->items[i].p, pool->items[i].size,
			     pool->items[i].tag);
}
