/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Aligned: posix_memalign of all sizes and alignments
 *
 * aligned [--live=4096] [--threads=1]
 *
 * --live objects of the mix are replaced at random.  The alignment is 32 in
 * one of four, 64 (a cache line, vectors) in half of all, 128 to 512 in most
 * others, and a page in one of 32.  From 256 on no size is a multiple of the
 * alignment: for such mimalloc 2.0.9 returns memory that is not aligned (its
 * issue 700), and would not be compared.
 */
#include "bench/speed/mix.h"

#define LIVE_MAX	65536
#define NR_DRAWN	16384

static unsigned long live = 4096;
static struct item *items[THREADS_MAX];
static uint64_t turns[THREADS_MAX];
static uint16_t alignments[NR_DRAWN], places[NR_DRAWN];

static struct knob knobs[] = {
	{ "live", &live, 1, LIVE_MAX, NULL, "objects of a thread" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	static const uint16_t of_32[] = {
		32, 32, 32, 32, 32, 32, 32, 32, 64, 64, 64, 64, 64, 64, 64, 64,
		64, 64, 64, 64, 64, 64, 64, 64, 128, 128, 128, 128, 256, 256,
		512, 4096,
	};
	struct rng rng;

	mix_prepare();
	rng_seed(&rng, 7);
	for (size_t i = 0; i < NR_DRAWN; i++) {
		alignments[i] = of_32[rng_below(&rng, ARRAY_LEN(of_32))];
		places[i] = (uint16_t)rng_below(&rng, live);
	}
	for (unsigned int i = 0; i < speed_threads; i++)
		items[i] = table_map(live * sizeof(struct item));
}

static void *take_aligned(size_t alignment, size_t size, uint64_t tag)
{
	void *p = NULL;

	if (posix_memalign(&p, alignment, size))
		speed_no_memory(size);
	if (!is_aligned(p, alignment))
		speed_corrupt(p);
	touch(p, size, tag);
	return p;
}

static void body(unsigned int thread, uint64_t operations)
{
	uint64_t turn = turns[thread];

	for (uint64_t i = 0; i < operations; i++, turn++) {
		uint64_t place = places[turn % NR_DRAWN] +
				 turn / NR_DRAWN * 7919;
		struct item *item = &items[thread][place % live];
		size_t alignment;

		if (item->p)
			drop(item->p, item->size, item->tag);
		alignment = alignments[turn * 17 % NR_DRAWN];
		item->size = (uint32_t)mix_size(turn * 31);
		item->size += alignment >= 256 && item->size % alignment == 0;
		item->tag = (uint32_t)turn;
		item->p = take_aligned(alignment, item->size, item->tag);
	}
	turns[thread] = turn;
}

static void finish(void)
{
	for (unsigned int i = 0; i < speed_threads; i++)
		for (size_t j = 0; j < live; j++)
			if (items[i][j].p)
				drop(items[i][j].p, items[i][j].size,
				     items[i][j].tag);
}

static const struct program program = {
	.name = "aligned",
	.knobs = knobs,
	.operation = "a free and a posix_memalign",
	.operations = 6000000,
	.prepare = prepare,
	.body = body,
	.finish = finish,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
