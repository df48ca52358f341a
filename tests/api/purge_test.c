// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - ebb_purge(): everything that is free goes back, and is told
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include "harness.h"

/* Nobody else gives anything back. */
extern const char *ebb_conf;
const char *ebb_conf = "reclaim=off,control_dir=off";

#define NR	3000
#define SIZE	8000

FIXTURE(purge) {
	void *p[NR];
};

FIXTURE_SETUP(purge)
{
	for (int i = 0; i < NR; i++) {
		self->p[i] = malloc(SIZE);
		if (!self->p[i])
			abort();
		memset(self->p[i], 1, SIZE);
	}
}

FIXTURE_TEARDOWN(purge)
{
}

static void free_all(FIXTURE_DATA(purge) *self)
{
	for (int i = 0; i < NR; i++)
		free(self->p[i]);
}

TEST_F(purge, tells_what_it_gave)
{
	struct ebb_purge_result result = { .left_bytes = 77 };
	size_t before, after;

	free_all(self);
	before = rss_bytes();
	errno = 77;
	ASSERT_EQ(0, ebb_purge(&result));
	EXPECT_EQ(77, errno);
	after = rss_bytes();
	EXPECT_LE((uint64_t)NR * SIZE / 10 * 9, result.given_bytes);
	EXPECT_GE(before - result.given_bytes / 10 * 9, after);
	EXPECT_EQ(0, result.refused_bytes);
	EXPECT_EQ(0, result.left_bytes);
	EXPECT_EQ(0, result.cached_bytes);
}

TEST_F(purge, what_it_gave_is_what_rss_lost)
{
	struct ebb_purge_result first, second;
	size_t before, lost;

	ASSERT_EQ(0, ebb_purge(&first));
	free_all(self);
	before = rss_bytes();
	ASSERT_EQ(0, ebb_purge(&second));
	lost = before - rss_bytes();
	/* RSS is counted in batches of pages for each CPU. */
	EXPECT_LE(lost, second.given_bytes + MIB);
	EXPECT_GE(lost + MIB, second.given_bytes);
}

TEST_F(purge, nothing_left_to_give_is_no_error)
{
	struct ebb_purge_result result;

	free_all(self);
	ASSERT_EQ(0, ebb_purge(NULL));
	ASSERT_EQ(0, ebb_purge(&result));
	EXPECT_GE(64 * KIB, result.given_bytes);
	EXPECT_EQ(0, result.refused_bytes);
	EXPECT_EQ(0, result.left_bytes);
}

TEST_F(purge, live_objects_keep_their_content)
{
	for (int i = 0; i < NR; i++)
		pattern_fill(self->p[i], SIZE, (uint64_t)i);
	for (int i = 0; i < NR; i += 3)
		free(self->p[i]);
	ASSERT_EQ(0, ebb_purge(NULL));
	for (int i = 0; i < NR; i++)
		if (i % 3)
			ASSERT_TRUE(pattern_holds(self->p[i], SIZE,
						  (uint64_t)i));
}

TEST_F(purge, what_is_locked_is_told_as_refused)
{
	struct ebb_purge_result result;

	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		SKIP(return, "mlockall: %s", strerror(errno));
	free_all(self);
	ASSERT_EQ(0, ebb_purge(&result));
	EXPECT_LE((uint64_t)NR * SIZE / 10 * 9, result.refused_bytes);
	EXPECT_LE((uint64_t)NR * SIZE / 10 * 9, result.left_bytes);
	ASSERT_EQ(0, munlockall());
	ASSERT_EQ(0, ebb_purge(&result));
	EXPECT_EQ(0, result.refused_bytes);
	EXPECT_LE((uint64_t)NR * SIZE / 10 * 9, result.given_bytes);
}

static sem_t cached, may_end;

static void *keep_a_cache(void *arg)
{
	void **all = arg;

	for (int i = 0; i < NR; i++)
		free(all[i]);
	sem_post(&cached);
	while (sem_wait(&may_end) && errno == EINTR)
		;
	return NULL;
}

TEST_F(purge, empties_the_caches_of_others)
{
	struct ebb_heap_counts counts;
	pthread_t thread;

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	sem_init(&cached, 0, 0);
	sem_init(&may_end, 0, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_a_cache, self->p));
	while (sem_wait(&cached) && errno == EINTR)
		;
	ASSERT_EQ(0, ebb_purge(NULL));
	ASSERT_EQ(0, ebb_heap_count(&counts));
	EXPECT_GE(64 * KIB, counts.dirty_bytes + counts.lazy_bytes);
	sem_post(&may_end);
	pthread_join(thread, NULL);
}

static volatile sig_atomic_t nr_inside, nr_other;

static void purge_here(int sig)
{
	int saved = errno;

	(void)sig;
	errno = 0;
	if (!ebb_purge(NULL))
		nr_other++;
	else if (errno == EDEADLK)
		nr_inside++;
	else
		abort();
	errno = saved;
}

/* Handlers that come at any place of malloc: refused there, done elsewhere. */
TEST_F(purge, a_handler_inside_malloc_is_refused)
{
	struct sigaction act = { .sa_handler = purge_here };
	const struct itimerspec often = {
		.it_interval = { 0, 50000 }, .it_value = { 0, 50000 },
	};
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
	};
	timer_t timer;

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer delays handlers");
	ASSERT_EQ(0, sigaction(SIGUSR1, &act, NULL));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &often, NULL));
	for (uint64_t end = now_ms() + PATIENCE_MS;
	     (!nr_inside || !nr_other) && now_ms() < end;)
		for (int i = 0; i < 200; i++)
			free(hide(malloc(200 * KIB)));
	timer_delete(timer);
	EXPECT_LT(0, nr_inside);
	EXPECT_LT(0, nr_other);
}

TEST_HARNESS_MAIN
