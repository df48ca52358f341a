/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Zeroed: calloc of small objects, and of sparse tables
 *
 * zeroed [--kind=small|table] [--live=1000] [--threads=1]
 *
 * --live objects are replaced in turns.  small: of the mix, and all of each is
 * written.  table: 64 KB to 1 MB, log-uniform, of which one page in eight is
 * used, as of a hash table with few entries.  What is used must be zero when
 * it comes.
 */
#include "bench/speed/mix.h"

#define LIVE_MAX	65536
#define NR_DRAWN	4096
#define LINE		64
#define TABLE_LOW	16
#define TABLE_HIGH	20
#define TABLE_STEP	(8 * TOUCH_STEP)

enum { KIND_SMALL, KIND_TABLE };

static const char *const kinds[] = { "small", "table", NULL };
static unsigned long kind, live = 1000;
static void **slots[THREADS_MAX];
static uint64_t turns[THREADS_MAX];
static uint32_t table_sizes[NR_DRAWN];

static struct knob knobs[] = {
	{ "kind", &kind, 0, 0, kinds, "what is allocated" },
	{ "live", &live, 1, LIVE_MAX, NULL, "objects of a thread" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	struct rng rng;

	mix_prepare();
	rng_seed(&rng, 6);
	for (size_t i = 0; i < NR_DRAWN; i++)
		table_sizes[i] = (uint32_t)rng_size(&rng, TABLE_LOW,
						    TABLE_HIGH);
	for (unsigned int i = 0; i < speed_threads; i++)
		slots[i] = table_map(live * sizeof(void *));
}

static void check_zero(const char *p, size_t size, size_t step)
{
	uint64_t seen = 0, word;

	for (size_t i = 0; i + sizeof(word) <= size; i += step) {
		memcpy(&word, p + i, sizeof(word));
		seen |= word;
	}
	if (seen)
		speed_corrupt(p);
}

static void *use_small(size_t size)
{
	char *p = must(calloc(1, size), size);

	check_zero(p, size, LINE);
	memset(p, 0xa5, size);
	return p;
}

static void *use_table(size_t size)
{
	char *p = must(calloc(size / 16, 16), size);

	check_zero(p, size, TABLE_STEP);
	for (size_t i = 0; i + 8 <= size; i += TABLE_STEP)
		p[i] = (char)0xa5;
	return p;
}

static void body(unsigned int thread, uint64_t operations)
{
	uint64_t turn = turns[thread];

	for (uint64_t i = 0; i < operations; i++, turn++) {
		void **slot = &slots[thread][turn % live];

		free(*slot);
		*slot = kind == KIND_SMALL ? use_small(mix_size(turn)) :
			use_table(table_sizes[turn % NR_DRAWN] & ~15u);
	}
	turns[thread] = turn;
}

static const struct program program = {
	.name = "zeroed",
	.knobs = knobs,
	.operation = "a free and a calloc",
	.operations = 5000000,
	.prepare = prepare,
	.body = body,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
