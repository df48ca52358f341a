/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Churn: threads that start, allocate, and exit
 *
 * churn [--objects=100] [--threads=1]
 *
 * Each thread makes --objects objects of the mix and frees three of four; the
 * rest is its result, which the thread that started it frees.  --threads such
 * are alive at a time.
 */
#include <pthread.h>
#include "bench/speed/mix.h"

#define OBJECTS_MAX	4096
#define KEPT		4		/* one of so many is */

struct task {
	uint64_t first;
	void *kept[OBJECTS_MAX / KEPT];
};

static unsigned long objects = 100;
static struct task *tasks[THREADS_MAX];

static struct knob knobs[] = {
	{ "objects", &objects, 4, OBJECTS_MAX, NULL, "made by each thread" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	mix_prepare();
	for (unsigned int i = 0; i < speed_threads; i++)
		tasks[i] = table_map(sizeof(struct task));
}

static void *live_shortly(void *arg)
{
	struct task *task = arg;
	void *made[OBJECTS_MAX];
	uint64_t tag = task->first;

	for (size_t i = 0; i < objects; i++)
		made[i] = take(mix_size(tag + i), tag + i);
	for (size_t i = 0; i < objects; i++)
		if (i % KEPT)
			drop(made[i], mix_size(tag + i), tag + i);
		else
			task->kept[i / KEPT] = made[i];
	return NULL;
}

static void body(unsigned int thread, uint64_t operations)
{
	struct task *task = tasks[thread];
	pthread_t starter;

	for (uint64_t i = 0; i < operations; i++, task->first += objects) {
		if (pthread_create(&starter, NULL, live_shortly, task))
			die("a thread more cannot be made");
		pthread_join(starter, NULL);
		for (size_t j = 0; j < objects; j += KEPT)
			drop(task->kept[j / KEPT], mix_size(task->first + j),
			     task->first + j);
	}
}

static const struct program program = {
	.name = "churn",
	.knobs = knobs,
	.operation = "a thread",
	.operations = 10000,
	.prepare = prepare,
	.body = body,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
