// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Descriptors that are open for a moment, and fork
 */
#include <pthread.h>
#include "base/atomic.h"
#include "base/fd_window.h"
#include "base/small_file.h"
#include "fds.h"
#include "harness.h"

#define NR_READERS	3
#define NR_FORKS	2000

static uint32_t nr_reads, may_leave, inside;

static void *read_on(void *arg)
{
	char text[64];

	while (!load_relaxed(&may_leave)) {
		if (small_file_read("/proc/self/stat", text, sizeof(text)) <= 0)
			return NULL;
		add_relaxed(&nr_reads, 1);
	}
	return arg;
}

static void *stay_inside(void *arg)
{
	fd_window_enter();
	fd_window_enter();
	/* That was the inner one. */
	fd_window_leave();
	store_release(&inside, 1);
	while (!load_acquire(&may_leave))
		sleep_ms(1);
	fd_window_leave();
	return arg;
}

static void *enter(void *arg)
{
	fd_window_enter();
	store_release(&inside, 1);
	fd_window_leave();
	return arg;
}

/* As the library's handlers do, around a fork; 1: the child found more. */
static int handled_fork_finds_more(int expected)
{
	int status = -1;
	pid_t pid;

	fd_window_prefork(true);
	pid = fork();
	if (!pid) {
		fd_window_postfork_child();
		_exit(nr_open() != expected);
	}
	fd_window_postfork_parent();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(children_find_nothing_of_ours)
{
	int expected = nr_open(), found = 0;
	pthread_t readers[NR_READERS];

	for (int i = 0; i < NR_READERS; i++)
		ASSERT_EQ(0, pthread_create(&readers[i], NULL, read_on,
					    &found));
	ASSERT_TRUE(WAIT_FOR(load_relaxed(&nr_reads)));
	for (int i = 0; i < NR_FORKS && !found; i++)
		found = handled_fork_finds_more(expected);
	EXPECT_EQ(0, found);
	store_relaxed(&may_leave, 1);
	for (int i = 0; i < NR_READERS; i++) {
		void *ret;

		pthread_join(readers[i], &ret);
		EXPECT_NE(NULL, ret);
	}
	EXPECT_EQ(expected, nr_open());
}

/* A thread that is stopped in there delays a fork, and no more. */
TEST(fork_waits_but_not_for_ever)
{
	uint64_t start_ms = now_ms();
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, stay_inside, NULL));
	ASSERT_TRUE(WAIT_FOR(load_acquire(&inside)));
	EXPECT_EQ(0, handled_fork_finds_more(nr_open()));
	EXPECT_LE(FD_WINDOW_PATIENCE_MS, now_ms() - start_ms);
	store_release(&may_leave, 1);
	pthread_join(thread, NULL);
}

/* Often enough that waiting each time would take longer than we do. */
static void *enter_own(void *arg)
{
	fd_window_use_private_table();
	for (int i = 0; i < 100; i++) {
		fd_window_enter();
		fd_window_leave();
	}
	store_release(&inside, 1);
	return arg;
}

/* Whether a thread that runs @fn comes through before the fork is over. */
static bool enters_during_a_fork(void *(*fn)(void *arg))
{
	pthread_t thread;
	bool through;

	fd_window_prefork(true);
	if (pthread_create(&thread, NULL, fn, NULL))
		return false;
	through = WAIT_FOR(load_acquire(&inside));
	fd_window_postfork_parent();
	pthread_join(thread, NULL);
	return through;
}

/* Who opens something does not, either. */
TEST(who_enters_does_not_wait_for_ever)
{
	EXPECT_TRUE(enters_during_a_fork(enter));
}

/* Half of what either would wait for the other. */
#define AT_ONCE_MS	(FD_WINDOW_PATIENCE_MS / 2)

/* A window in one that a fork waits for; returns how long it took to enter. */
static void *enter_twice(void *arg)
{
	uint64_t *took_ms = arg, start_ms;

	fd_window_enter();
	store_release(&inside, 1);
	while (!load_acquire(&may_leave))
		sleep_ms(1);
	/* Now there is a fork; it is in its wait, or comes to it. */
	sleep_ms(50);
	start_ms = now_ms();
	fd_window_enter();
	*took_ms = now_ms() - start_ms;
	fd_window_leave();
	fd_window_leave();
	return NULL;
}

TEST(who_enters_again_waits_for_no_fork_that_waits)
{
	uint64_t took_ms = 0, start_ms;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, enter_twice, &took_ms));
	ASSERT_TRUE(WAIT_FOR(load_acquire(&inside)));
	store_release(&may_leave, 1);
	start_ms = now_ms();
	fd_window_prefork(true);
	EXPECT_GE(AT_ONCE_MS, now_ms() - start_ms);
	fd_window_postfork_parent();
	pthread_join(thread, NULL);
	EXPECT_GE(AT_ONCE_MS, took_ms);
}

/* As a handler's fork does: who interrupted itself waits for others only. */
TEST(fork_inside_does_not_wait_for_itself)
{
	uint64_t start_ms = now_ms();

	fd_window_enter();
	EXPECT_EQ(0, handled_fork_finds_more(nr_open()));
	fd_window_leave();
	EXPECT_GE(AT_ONCE_MS, now_ms() - start_ms);
}

TEST(who_has_its_own_table_waits_for_no_fork)
{
	EXPECT_TRUE(enters_during_a_fork(enter_own));
}

/* A handler forks in there: the child's count is made anew, and not below 0. */
TEST(a_child_forked_inside_counts_from_nothing)
{
	int status = -1;
	pid_t pid;

	fd_window_enter();
	fd_window_prefork(false);
	pid = fork();
	if (!pid) {
		fd_window_postfork_child();
		fd_window_leave();
		_exit(handled_fork_finds_more(nr_open()));
	}
	fd_window_postfork_parent();
	fd_window_leave();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
