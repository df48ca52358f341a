/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Idle: many threads have allocated, and few work
 *
 * idle [--idle=400] [--objects=200] [--live=8192] [--threads=1]
 *
 * Each of --idle threads makes --objects objects of the mix, frees three of
 * four, and sleeps until the end.  Then --threads others replace objects as in
 * lifetimes.  What the idle ones keep in their caches is in the peak.
 */
#include <pthread.h>
#include "bench/speed/mix.h"

#define IDLE_MAX	4096
#define OBJECTS_MAX	4096
#define LIVE_MAX	(1ul << 20)
#define KEPT		4

static unsigned long nr_idle = 400, objects = 200, live = 8192;
static struct pool pools[THREADS_MAX];
static pthread_t sleepers[IDLE_MAX];
static pthread_barrier_t asleep, awake;

static struct knob knobs[] = {
	{ "idle", &nr_idle, 1, IDLE_MAX, NULL, "threads that sleep" },
	{ "objects", &objects, 4, OBJECTS_MAX, NULL, "made by each of them" },
	{ "live", &live, 1024, LIVE_MAX, NULL,
	  "objects of one that works, a power of two" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void *sleeper(void *arg)
{
	uint64_t tag = (uintptr_t)arg * objects;
	void *made[OBJECTS_MAX];

	for (size_t i = 0; i < objects; i++)
		made[i] = take(mix_size(tag + i), tag + i);
	for (size_t i = 0; i < objects; i++)
		if (i % KEPT)
			drop(made[i], mix_size(tag + i), tag + i);
	pthread_barrier_wait(&asleep);
	pthread_barrier_wait(&awake);
	for (size_t i = 0; i < objects; i += KEPT)
		drop(made[i], mix_size(tag + i), tag + i);
	return NULL;
}

static void prepare(void)
{
	unsigned int all = (unsigned int)nr_idle + 1;

	if (live & (live - 1))
		die("--live=%lu: expected a power of two", live);
	mix_prepare();
	pool_prepare((uint32_t)live);
	for (unsigned int i = 0; i < speed_threads; i++)
		pool_init(&pools[i], (uint32_t)live);
	pthread_barrier_init(&asleep, NULL, all);
	pthread_barrier_init(&awake, NULL, all);
	for (uintptr_t i = 0; i < nr_idle; i++)
		if (pthread_create(&sleepers[i], NULL, sleeper, (void *)i))
			die("thread %zu of %lu cannot be made", (size_t)i,
			    nr_idle);
	pthread_barrier_wait(&asleep);
}

static void body(unsigned int thread, uint64_t operations)
{
	if (!pools[thread].pass)
		pool_fill(&pools[thread]);
	pool_churn(&pools[thread], operations);
}

static void finish(void)
{
	pthread_barrier_wait(&awake);
	for (unsigned int i = 0; i < nr_idle; i++)
		pthread_join(sleepers[i], NULL);
	for (unsigned int i = 0; i < speed_threads; i++)
		pool_free(&pools[i]);
}

static const struct program program = {
	.name = "idle",
	.knobs = knobs,
	.operation = "a free and a malloc",
	.operations = 5000000,
	.prepare = prepare,
	.body = body,
	.finish = finish,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
