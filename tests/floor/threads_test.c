// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Threads that build, free nearly all and sleep
 *
 * Four threads build 64 MB each, of objects of 16 B to 32 KiB, free all but
 * one in a hundred, and sleep.  What stays resident is compared with the floor
 * computed from the pointers that are left.  The time it took is reported, not
 * judged: only what is never reached within the patience fails.
 */
#include <pthread.h>
#include <sys/mman.h>
#include "harness.h"
#include "cgroup.h"
#include "floor/table.h"

#define NR_THREADS	4
#define BUILD_BYTES	(64 * 1000 * 1000)
#define MOST_OBJECTS	(256 * 1024)	/* of a thread */
#define KEEP_ONE_IN	100

struct builder {
	pthread_t thread;
	struct floor_block *objects;
	size_t nr;
	uint64_t seed;
};

static struct builder builders[NR_THREADS];
static pthread_barrier_t ready, start, built, shrink, shrunk, leave;

static void build(struct builder *builder)
{
	struct rng rng;

	rng_seed(&rng, builder->seed);
	for (size_t bytes = 0; bytes < BUILD_BYTES &&
	     builder->nr < MOST_OBJECTS; builder->nr++) {
		struct floor_block *object = &builder->objects[builder->nr];

		object->len = rng_size(&rng, 4, 15);
		object->start = malloc(object->len);
		if (!object->start)
			abort();
		memset(object->start, 1, object->len);
		bytes += object->len;
	}
}

/* Free all but some, drawn at random, in random order. */
static void free_most(struct builder *builder)
{
	struct floor_block *objects = builder->objects;
	size_t keep = builder->nr / KEEP_ONE_IN;
	struct rng rng;

	rng_seed(&rng, builder->seed + 100);
	while (builder->nr > keep) {
		size_t at = rng_below(&rng, builder->nr);

		free(objects[at].start);
		objects[at] = objects[--builder->nr];
	}
}

static void *run_builder(void *arg)
{
	struct builder *builder = arg;

	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&start);
	build(builder);
	pthread_barrier_wait(&built);
	pthread_barrier_wait(&shrink);
	free_most(builder);
	pthread_barrier_wait(&shrunk);
	pthread_barrier_wait(&leave);
	return NULL;
}

FIXTURE(threads) {
	struct group group;
	size_t baseline;
};

static void init_barriers(void)
{
	pthread_barrier_t *all[] = { &ready, &start, &built, &shrink, &shrunk,
				     &leave };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		pthread_barrier_init(all[i], NULL, NR_THREADS + 1);
}

/* Threads that have started and tables that are resident: the baseline. */
FIXTURE_SETUP(threads)
{
	size_t bytes = NR_THREADS * MOST_OBJECTS * sizeof(struct floor_block);
	struct floor_block *objects = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)objects);
	memset(objects, 0, bytes);
	group_make(&self->group);
	if (self->group.path[0])
		ASSERT_TRUE(group_enter(&self->group));
	init_barriers();
	for (size_t i = 0; i < NR_THREADS; i++) {
		builders[i].objects = objects + i * MOST_OBJECTS;
		builders[i].seed = i;
		ASSERT_EQ(0, pthread_create(&builders[i].thread, NULL,
					    run_builder, &builders[i]));
	}
	pthread_barrier_wait(&ready);
	self->baseline = rss_bytes();
}

FIXTURE_TEARDOWN(threads)
{
	group_remove(&self->group);
}

/* The pages that must stay, of what all threads kept. */
static size_t floor_of_all(void)
{
	struct floor_block *all = builders[0].objects;
	size_t nr = 0;

	for (size_t i = 0; i < NR_THREADS; i++) {
		memmove(all + nr, builders[i].objects,
			builders[i].nr * sizeof(*all));
		nr += builders[i].nr;
	}
	floor_sort(all, nr);
	return floor_pages_bytes(all, nr);
}

static size_t metadata(void)
{
	struct ebb_heap_counts counts = { 0 };
	heap_count_fn count = heap_count();

	return count && !count(&counts) ? counts.meta_bytes : 0;
}

/*
 * Build, shrink, wait.  Metadata that the baseline held already count twice;
 * before anything is built they are some pages.
 */
static bool shrinks_to_floor(FIXTURE_DATA(threads) *self, size_t limit_pct)
{
	size_t peak, floor, most, rss;
	uint64_t since;
	bool reached;

	pthread_barrier_wait(&start);
	pthread_barrier_wait(&built);
	peak = rss_bytes();
	if (limit_pct)
		group_set_limit(&self->group,
				group_usage(&self->group) / 100 * limit_pct);
	pthread_barrier_wait(&shrink);
	pthread_barrier_wait(&shrunk);
	since = now_ms();
	floor = floor_of_all();
	most = floor / 100 * 125 + self->baseline + metadata();
	reached = WAIT_FOR((rss = rss_bytes()) <= most);
	fprintf(stderr, "# peak %zu KiB, floor %zu, baseline %zu, metadata "
		"%zu: at most %zu; RSS %zu after %llu ms\n", peak / KIB,
		floor / KIB, self->baseline / KIB, metadata() / KIB,
		most / KIB, rss / KIB, (unsigned long long)(now_ms() - since));
	return reached;
}

TEST_F_TIMEOUT(threads, resident_memory_falls_to_the_floor, 120)
{
	NEEDS_EBBMALLOC();
	EXPECT_TRUE(shrinks_to_floor(self, 0));
}

TEST_F_TIMEOUT(threads, resident_memory_falls_under_pressure, 120)
{
	NEEDS_EBBMALLOC();
	if (!self->group.path[0])
		SKIP(return, "no memory cgroup can be made here");
	EXPECT_TRUE(shrinks_to_floor(self, 103));
}

TEST_HARNESS_MAIN
