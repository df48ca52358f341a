/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Large: buffers replaced at random
 *
 * large [--low-kb=64] [--high-kb=1024] [--live=32] [--threads=1]
 *
 * Each thread has --live buffers, log-uniform from --low-kb to --high-kb.  An
 * operation frees one and makes another, of which a word on each page is
 * written.
 */
#include "bench/speed/mix.h"

#define LIVE_MAX	4096
#define NR_DRAWN	16384

static unsigned long low_kb = 64, high_kb = 1024, live = 32;
static struct item *items[THREADS_MAX];
static uint32_t sizes[NR_DRAWN];
static uint16_t places[NR_DRAWN];
static uint64_t turns[THREADS_MAX];

static struct knob knobs[] = {
	{ "low-kb", &low_kb, 4, 1ul << 20, NULL,
	  "KiB of the smallest, a power of two" },
	{ "high-kb", &high_kb, 8, 1ul << 20, NULL,
	  "KiB of the largest, a power of two" },
	{ "live", &live, 1, LIVE_MAX, NULL, "buffers of a thread" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static unsigned int log2_of(unsigned long kb, const char *name)
{
	if (kb & (kb - 1))
		die("--%s=%lu: expected a power of two", name, kb);
	return (unsigned int)__builtin_ctzl(kb) + 10;
}

static void prepare(void)
{
	unsigned int low = log2_of(low_kb, "low-kb");
	unsigned int high = log2_of(high_kb, "high-kb");
	struct rng rng;

	if (low >= high)
		die("--low-kb=%lu: expected less than --high-kb=%lu", low_kb,
		    high_kb);
	rng_seed(&rng, 5);
	for (size_t i = 0; i < NR_DRAWN; i++) {
		sizes[i] = (uint32_t)rng_size(&rng, low, high);
		places[i] = (uint16_t)rng_below(&rng, live);
	}
	for (unsigned int i = 0; i < speed_threads; i++) {
		items[i] = table_map(live * sizeof(struct item));
		turns[i] = i * 4099;
	}
}

static void body(unsigned int thread, uint64_t operations)
{
	uint64_t turn = turns[thread];

	for (uint64_t i = 0; i < operations; i++, turn++) {
		struct item *item = &items[thread][places[turn % NR_DRAWN]];

		if (item->p)
			drop(item->p, item->size, item->tag);
		item->size = sizes[turn * 31 % NR_DRAWN];
		item->tag = (uint32_t)turn;
		item->p = take(item->size, item->tag);
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
	.name = "large",
	.knobs = knobs,
	.operation = "a free and a malloc",
	.operations = 20000,
	.prepare = prepare,
	.body = body,
	.finish = finish,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
