// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - An idle process is not woken, whatever it left behind
 *
 * Voluntary context switches of the reclaimer are counted by a process that
 * neither allocates nor frees meanwhile.  How long it takes until all has aged
 * is the machine's affair; what counts is that it ends.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include "cgroup.h"
#include "harness.h"
#include "thread.h"

#define NR_THREADS	3
#define NR_OBJECTS	1000u
#define QUIET_MS	3000u	/* three of the longest ticks */
#define PATIENCE	20	/* times that */

FIXTURE(idle)
{
	struct group group;
	pthread_barrier_t barrier;
};

FIXTURE_SETUP(idle)
{
	ASSERT_EQ(0, pthread_barrier_init(&self->barrier, NULL,
					  NR_THREADS + 1));
}

FIXTURE_TEARDOWN(idle)
{
	if (!self->group.path[0])
		return;
	group_write(self->group.parent, "cgroup.procs", "0");
	group_remove(&self->group);
}

/* What of the objects stays: one in a hundred, of all sizes. */
static void make_and_free(unsigned int seed)
{
	static __thread char *p[NR_OBJECTS];
	struct rng rng;

	rng_seed(&rng, seed);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < NR_OBJECTS; i++) {
			size_t size = rng_size(&rng, 4, 16);

			if (!p[i])
				memset(p[i] = malloc(size), 1, size);
		}
		for (unsigned int i = 0; i < NR_OBJECTS; i++) {
			if (!rng_below(&rng, 100))
				continue;
			free(p[i]);
			p[i] = NULL;
		}
	}
}

/* Stays asleep, with what is in its caches. */
static void *member(void *barrier)
{
	make_and_free(1);
	pthread_barrier_wait(barrier);
	pause();
	return NULL;
}

static void work(pthread_barrier_t *barrier)
{
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, member, barrier))
			abort();
	}
	make_and_free(2);
	pthread_barrier_wait(barrier);
}

/* "/proc/self/task/TID/status" of the reclaimer; false: there is none. */
static bool find_status(char *path, size_t size)
{
	pid_t tid = thread_named(getpid(), RECLAIMER);

	snprintf(path, size, "/proc/self/task/%d/status", (int)tid);
	return tid;
}

/* Allocates nothing. */
static unsigned long switches(const char *path)
{
	static char text[8192];
	const char *at;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	at = strstr(text, "\nvoluntary_ctxt_switches:");
	return at ? strtoul(at + 25, NULL, 10) : 0;
}

static bool falls_asleep(const char *status)
{
	for (int i = 0; i < PATIENCE; i++) {
		unsigned long before = switches(status);

		sleep_ms(QUIET_MS);
		if (before && switches(status) == before)
			return true;
	}
	return false;
}

TEST_F(idle, after_a_load)
{
	char status[64];

	NEEDS_EBBMALLOC();
	work(&self->barrier);
	ASSERT_TRUE(WAIT_FOR(find_status(status, sizeof(status))));
	EXPECT_TRUE(falls_asleep(status));
}

#define BALLAST	(240 * MIB)

/* Headroom is in the zone where ages shrink: that is no reason to look. */
TEST_F(idle, after_a_load_below_a_limit)
{
	char status[64], *ballast = malloc(BALLAST);

	NEEDS_EBBMALLOC();
	if (!group_make(&self->group) || !group_enter(&self->group))
		SKIP(return, "no memory cgroup can be made here");
	memset(ballast, 1, BALLAST);
	ASSERT_TRUE(group_set_limit(&self->group, BALLAST / 4 * 5));
	work(&self->barrier);
	ASSERT_TRUE(WAIT_FOR(find_status(status, sizeof(status))));
	EXPECT_TRUE(falls_asleep(status));
	make_and_free(3);
	EXPECT_TRUE(falls_asleep(status));
}

/* What the kernel does not take does not get older. */
TEST_F(idle, with_free_memory_that_is_locked)
{
	char status[64], *p;

	NEEDS_EBBMALLOC();
	p = malloc(MIB);
	memset(p, 1, MIB);
	if (mlock(p, MIB))
		SKIP(return, "no memory may be locked");
	free(p);
	work(&self->barrier);
	ASSERT_TRUE(WAIT_FOR(find_status(status, sizeof(status))));
	EXPECT_TRUE(falls_asleep(status));
}

TEST_HARNESS_MAIN
