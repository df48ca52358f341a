/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Pair: malloc and free of one size, and nothing else
 *
 * pair [--size=64] [--live=100] [--threads=1]
 *
 * --live objects are made, then freed in the same order, again and again.
 * Of each only the first word is written, and looked at when it goes.
 */
#include "bench/speed/speed.h"

#define LIVE_MAX	(1ul << 20)

static unsigned long size = 64, live = 100;
static void **slots[THREADS_MAX];

static struct knob knobs[] = {
	{ "size", &size, 8, 1ul << 20, NULL, "bytes of an object" },
	{ "live", &live, 1, LIVE_MAX, NULL, "objects alive at most" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	for (unsigned int i = 0; i < speed_threads; i++)
		slots[i] = table_map(live * sizeof(void *));
}

static void body(unsigned int thread, uint64_t operations)
{
	void **own = slots[thread];
	uint64_t nr = live, length = size;

	for (uint64_t done = 0; done < operations; done += nr) {
		for (uint64_t i = 0; i < nr; i++) {
			own[i] = must(malloc(length), length);
			*(uint64_t *)own[i] = i;
		}
		for (uint64_t i = 0; i < nr; i++)
			drop(own[i], 0, i);
	}
}

static const struct program program = {
	.name = "pair",
	.knobs = knobs,
	.operation = "a malloc and a free",
	.operations = 30000000,
	.prepare = prepare,
	.body = body,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
