/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Batch: many objects of all sizes, all freed in order
 *
 * batch [--order=lifo|fifo] [--count=1000] [--threads=1]
 *
 * --count objects of the mix are made, then all are freed, the last or the
 * first one first, again and again; each batch has other sizes.
 */
#include "bench/speed/mix.h"

#define COUNT_MAX	(1ul << 20)

enum { ORDER_LIFO, ORDER_FIFO };

static const char *const orders[] = { "lifo", "fifo", NULL };
static unsigned long order, count = 1000;
static void **slots[THREADS_MAX];
static uint64_t made[THREADS_MAX];

static struct knob knobs[] = {
	{ "order", &order, 0, 0, orders, "which is freed first" },
	{ "count", &count, 1, COUNT_MAX, NULL, "objects of a batch" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	mix_prepare();
	for (unsigned int i = 0; i < speed_threads; i++)
		slots[i] = table_map(count * sizeof(void *));
}

static void free_batch(void **own, uint64_t first, uint64_t nr)
{
	if (order == ORDER_FIFO) {
		for (uint64_t i = 0; i < nr; i++)
			drop(own[i], mix_size(first + i), first + i);
		return;
	}
	for (uint64_t i = nr; i-- > 0;)
		drop(own[i], mix_size(first + i), first + i);
}

static void body(unsigned int thread, uint64_t operations)
{
	void **own = slots[thread];
	uint64_t first = made[thread], nr = count;

	for (uint64_t done = 0; done < operations; done += nr) {
		for (uint64_t i = 0; i < nr; i++)
			own[i] = take(mix_size(first + i), first + i);
		free_batch(own, first, nr);
		first += nr;
	}
	made[thread] = first;
}

static const struct program program = {
	.name = "batch",
	.knobs = knobs,
	.operation = "a malloc and a free",
	.operations = 10000000,
	.prepare = prepare,
	.body = body,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
