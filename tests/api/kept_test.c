// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - What threads keep for themselves is found and given back
 *
 * Each thread keeps less than a slab of each size, or than its outbox holds,
 * so nothing is told by what is freed in bulk: that it is there has to be
 * known all the same, and by a background thread that has not been started yet.
 */
#include <pthread.h>
#include "harness.h"

#define NR_THREADS	96
#define NR_KEPT		250u

/* What it takes comes in a second, and would count as kept. */
const char *ebb_conf = "control_dir=off";

static pthread_barrier_t barrier;
static char *objects[NR_THREADS][NR_KEPT];
static bool busy;			/* to go on with slots of its own */

FIXTURE(kept)
{
	char unused;
};

FIXTURE_SETUP(kept)
{
	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, NR_THREADS + 1));
}

FIXTURE_TEARDOWN(kept)
{
}

static void rest(void)
{
	while (busy) {
		free(hide(malloc(40)));
		sleep_ms(1);
	}
	for (;;)
		pause();
}

/* Fills magazines: several times, so that they grow. */
static void *free_own(void *arg)
{
	char **p = arg;

	free(hide(malloc(16)));
	pthread_barrier_wait(&barrier);
	for (int round = 0; round < 12; round++) {
		for (size_t i = 0; i < NR_KEPT; i++)
			memset(p[i] = malloc(1024), 1, 1024);
		for (size_t i = 0; i < NR_KEPT; i++)
			free(p[i]);
	}
	pthread_barrier_wait(&barrier);
	rest();
	return NULL;
}

/* Fills the cache of runs, with more than the objects above. */
static void *free_runs(void *arg)
{
	enum { NR = 4, SIZE = 68 * KIB };
	char *run[NR];

	(void)arg;
	free(hide(malloc(16)));
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < NR; i++)
		memset(run[i] = malloc(SIZE), 1, SIZE);
	for (int i = 0; i < NR; i++)
		free(run[i]);
	pthread_barrier_wait(&barrier);
	rest();
	return NULL;
}

/* Fills the outbox. */
static void *free_others(void *arg)
{
	char **p = arg;

	free(hide(malloc(16)));
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < NR_KEPT; i++)
		free(p[i]);
	pthread_barrier_wait(&barrier);
	rest();
	return NULL;
}

static bool start(void *(*run)(void *))
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * KIB);
	for (size_t i = 0; i < NR_THREADS; i++)
		if (pthread_create(&thread, &attr, run, objects[i]))
			return false;
	return true;
}

/* Returns what is resident when they have. */
static size_t let_them_work(void)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return rss_bytes();
}

static void fill_objects(void)
{
	for (size_t i = 0; i < NR_THREADS; i++)
		for (size_t k = 0; k < NR_KEPT; k++)
			memset(objects[i][k] = malloc(1024), 1, 1024);
}

#define KEPT	(NR_THREADS * NR_KEPT * 1024ull)

/* A quarter of it may share its pages with what is in use. */
static void is_given_back(struct __test_metadata *_metadata, size_t most)
{
	EXPECT_TRUE(WAIT_FOR(rss_bytes() <= most)) {
		TH_LOG("%zu KiB, of at most %zu", rss_bytes() / KIB,
		       most / KIB);
	}
}

static void kept_by(struct __test_metadata *_metadata, void *(*run)(void *))
{
	size_t with;

	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer backs memory beside ours");
	ASSERT_TRUE(start(run));
	if (run == free_others)
		fill_objects();
	with = let_them_work();
	ASSERT_LE(KEPT, with);
	is_given_back(_metadata, with - KEPT / 4 * 3);
}

TEST_F(kept, by_magazines)
{
	kept_by(_metadata, free_own);
}

TEST_F(kept, by_outboxes)
{
	kept_by(_metadata, free_others);
}

TEST_F(kept, by_caches_of_runs)
{
	kept_by(_metadata, free_runs);
}

/* A thread that is never idle does nothing with what it has put aside. */
TEST_F(kept, by_outboxes_of_busy_threads)
{
	busy = true;
	kept_by(_metadata, free_others);
}

TEST_F(kept, by_caches_of_runs_of_busy_threads)
{
	busy = true;
	kept_by(_metadata, free_runs);
}

static void *stay(void *unused)
{
	free(hide(malloc(100)));
	pthread_barrier_wait(&barrier);
	rest();
	return unused;
}

#define NR_RUNS	400u
#define RUN	(60 * KIB)
#define BIG	(64 * MIB)

/*
 * What the heap of a new thread is made of had been somebody's before: none of
 * it may count.  A large object is the most that can be freed between two
 * looks.
 */
TEST_F(kept, after_a_heap_was_made_of_used_memory)
{
	static char *p[NR_RUNS];
	pthread_t thread;
	size_t before;
	char *big;

	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer backs memory beside ours");
	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, 2));
	before = rss_bytes();
	for (unsigned int i = 0; i < NR_RUNS; i++)
		memset(p[i] = malloc(RUN), 1, RUN);
	for (unsigned int i = 0; i < NR_RUNS; i++)
		free(p[i]);
	ASSERT_EQ(0, pthread_create(&thread, NULL, stay, NULL));
	pthread_barrier_wait(&barrier);
	ASSERT_TRUE(WAIT_FOR(rss_bytes() < before + NR_RUNS * RUN / 4));
	memset(big = malloc(BIG), 1, BIG);
	/* Until the background thread sleeps for want of anything to do. */
	sleep_ms(4000);
	free(big);
	EXPECT_TRUE(WAIT_FOR(rss_bytes() < before + BIG / 4));
}

TEST_HARNESS_MAIN
