/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Lifetimes: objects of all sizes replaced at random
 *
 * lifetimes [--live=32768] [--threads=1]
 *
 * Each thread has --live objects of the mix.  An operation frees one and makes
 * another of a random size in its place.  Most objects die young.
 */
#include "bench/speed/mix.h"

#define LIVE_MAX	(1ul << 20)

static unsigned long live = 32768;
static struct pool pools[THREADS_MAX];

static struct knob knobs[] = {
	{ "live", &live, 1024, LIVE_MAX, NULL,
	  "objects of a thread, a power of two" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	if (live & (live - 1))
		die("--live=%lu: expected a power of two", live);
	mix_prepare();
	pool_prepare((uint32_t)live);
	for (unsigned int i = 0; i < speed_threads; i++)
		pool_init(&pools[i], (uint32_t)live);
}

static void body(unsigned int thread, uint64_t operations)
{
	if (!pools[thread].pass)
		pool_fill(&pools[thread]);
	pool_churn(&pools[thread], operations);
}

static void finish(void)
{
	for (unsigned int i = 0; i < speed_threads; i++)
		pool_free(&pools[i]);
}

static const struct program program = {
	.name = "lifetimes",
	.knobs = knobs,
	.operation = "a free and a malloc",
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
