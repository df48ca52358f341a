/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Sharing: whether two threads get one cache line
 *
 * sharing [--kind=passive|active] [--size=16] [--writes=100] [--threads=2]
 *
 * After cache-scratch and cache-thrash of Hoard's benchmarks: each thread
 * makes a small object, writes it --writes times, and frees it, again and
 * again.  active: that is all.  passive: it begins by freeing one that the
 * main thread made for it, next to the other threads'.
 */
#include "bench/speed/speed.h"

enum { KIND_PASSIVE, KIND_ACTIVE };

static const char *const kinds[] = { "passive", "active", NULL };
static unsigned long kind, size = 16, writes = 100;
static void *given[THREADS_MAX];

static struct knob knobs[] = {
	{ "kind", &kind, 0, 0, kinds, "where the first object is from" },
	{ "size", &size, 8, 65536, NULL, "bytes of an object" },
	{ "writes", &writes, 1, 1ul << 30, NULL, "to each" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	for (unsigned int i = 0; kind == KIND_PASSIVE && i < speed_threads; i++)
		given[i] = take(size, i);
}

static void body(unsigned int thread, uint64_t operations)
{
	if (given[thread])
		drop(given[thread], size, thread);
	given[thread] = NULL;
	for (uint64_t i = 0; i < operations; i++) {
		volatile uint64_t *p = must(malloc(size), size);
		uint64_t begin = i ^ thread;

		*p = begin;
		for (uint64_t j = 0; j < writes; j++)
			*p = *p + 1;
		if (*p != begin + writes)
			speed_corrupt((const void *)p);
		free((void *)p);
	}
}

static const struct program program = {
	.name = "sharing",
	.knobs = knobs,
	.operation = "a malloc, the writes, and a free",
	.operations = 3000000,
	.threads_min = 2,
	.prepare = prepare,
	.body = body,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
