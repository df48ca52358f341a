// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - fork and vfork
 */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "harness.h"

#define NR_CHURNERS	4
#define NR_KEPT		2000

extern char **environ;

FIXTURE(fork) {
	pthread_t churners[NR_CHURNERS];
	char *kept[NR_KEPT];
};

static bool stop;

/* Allocate, resize, free and trim until told to stop. */
static void *churn(void *arg)
{
	char *p[200] = { NULL };
	struct rng rng;

	rng_seed(&rng, (uint64_t)(uintptr_t)arg);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t at = rng_below(&rng, 200);

		if (rng_below(&rng, 4)) {
			free(p[at]);
			p[at] = malloc(rng_size(&rng, 3, 17));
		} else {
			p[at] = realloc(p[at], rng_size(&rng, 3, 17));
		}
		if (!p[at])
			abort();
		*p[at] = 1;
		if (!rng_below(&rng, 5000))
			malloc_trim(0);
	}
	for (int i = 0; i < 200; i++)
		free(p[i]);
	return NULL;
}

FIXTURE_SETUP(fork)
{
	for (int i = 0; i < NR_KEPT; i++) {
		self->kept[i] = malloc(1000);
		pattern_fill(self->kept[i], 1000, (uint64_t)i);
	}
	stop = false;
	for (uintptr_t i = 0; i < NR_CHURNERS; i++)
		ASSERT_EQ(0, pthread_create(&self->churners[i], NULL, churn,
					    (void *)i));
}

FIXTURE_TEARDOWN(fork)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < NR_CHURNERS; i++)
		pthread_join(self->churners[i], NULL);
}

/* What a child does; it tells by its exit status what was wrong. */
static int use_heap(FIXTURE_DATA(fork) *self)
{
	static char *p[3000];
	struct rng rng;

	for (int i = 0; i < NR_KEPT; i++)
		if (!pattern_holds(self->kept[i], 1000, (uint64_t)i))
			return 2;
	rng_seed(&rng, 99);
	for (int i = 0; i < 3000; i++) {
		size_t size = rng_size(&rng, 3, 16);

		p[i] = i % 3 ? malloc(size) : calloc(1, size);
		if (!p[i])
			return 3;
		if (i % 3 == 0 && !all_zero(p[i], size))
			return 4;
		memset(p[i], i, size);
	}
	for (int i = 0; i < 3000; i++)
		free(p[i]);
	for (int i = 0; i < NR_KEPT; i += 2)
		free(self->kept[i]);
	malloc_trim(0);
	for (int i = 1; i < NR_KEPT; i += 2)
		if (!pattern_holds(self->kept[i], 1000, (uint64_t)i))
			return 5;
	return 0;
}

/* The child's exit status; 256 + signal if one killed it. */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

TEST_F_TIMEOUT(fork, child_of_busy_threads_uses_the_whole_heap, 120)
{
	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			_exit(use_heap(self));
		ASSERT_EQ(0, wait_for(pid));
	}
	for (int i = 0; i < NR_KEPT; i++)
		EXPECT_TRUE(pattern_holds(self->kept[i], 1000, (uint64_t)i));
}

TEST_F_TIMEOUT(fork, grandchildren_use_the_heap, 120)
{
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork(), grandchild;
		int status;

		ASSERT_LE(0, pid);
		if (pid) {
			ASSERT_EQ(0, wait_for(pid));
			continue;
		}
		grandchild = fork();
		if (!grandchild)
			_exit(use_heap(self));
		status = use_heap(self);
		_exit(status ? status : wait_for(grandchild));
	}
}

static void *allocate_in_thread(void *arg)
{
	*(int *)arg = 1;
	for (int i = 1; i < 3000; i++) {
		char *p = malloc((size_t)i * 7);

		if (!p)
			return NULL;
		memset(p, 1, (size_t)i * 7);
		free(p);
	}
	*(int *)arg = 0;
	return NULL;
}

TEST_F_TIMEOUT(fork, child_makes_threads_that_allocate, 120)
{
	for (int i = 0; i < 15; i++) {
		pid_t pid = fork();
		pthread_t threads[3];
		int failed[3];

		ASSERT_LE(0, pid);
		if (pid) {
			ASSERT_EQ(0, wait_for(pid));
			continue;
		}
		for (int t = 0; t < 3; t++)
			if (pthread_create(&threads[t], NULL,
					   allocate_in_thread, &failed[t]))
				_exit(6);
		for (int t = 0; t < 3; t++)
			pthread_join(threads[t], NULL);
		_exit(failed[0] + failed[1] + failed[2]);
	}
}

static void *fork_in_thread(void *arg)
{
	FIXTURE_DATA(fork) *self = arg;

	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(use_heap(self));
		if (pid < 0 || wait_for(pid))
			return NULL;
	}
	return arg;
}

TEST_F_TIMEOUT(fork, several_threads_fork_at_once, 120)
{
	pthread_t threads[3];
	void *result;

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, fork_in_thread,
					    self));
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		EXPECT_EQ((void *)self, result);
	}
}

static char *const true_argv[] = { (char *)"true", NULL };

static __attribute__((noinline)) pid_t vfork_true(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execv("/bin/true", true_argv);
		_exit(7);
	}
	return pid;
}

TEST_F_TIMEOUT(fork, vfork_and_spawn_run_programs, 120)
{
	pid_t pid;

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, wait_for(vfork_true()));
		ASSERT_EQ(0, posix_spawn(&pid, "/bin/true", NULL, NULL,
					 true_argv, environ));
		ASSERT_EQ(0, wait_for(pid));
	}
	for (int i = 0; i < NR_KEPT; i++)
		EXPECT_TRUE(pattern_holds(self->kept[i], 1000, (uint64_t)i));
}

static char *handler_object;

static void allocate_in_handler(void)
{
	handler_object = malloc(5000);
	free(malloc(100));
}

/* Handlers of others, run inside fork before and after ours. */
TEST_F_TIMEOUT(fork, other_fork_handlers_may_allocate, 120)
{
	ASSERT_EQ(0, pthread_atfork(allocate_in_handler, allocate_in_handler,
				    allocate_in_handler));
	for (int i = 0; i < 15; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			_exit(handler_object ? use_heap(self) : 8);
		ASSERT_EQ(0, wait_for(pid));
	}
}

/* 100 MiB of small objects, dirty and free, in the child. */
static int free_and_wait(void)
{
	enum { NR = 100000 };
	static char *p[NR];
	size_t full;

	for (int i = 0; i < NR; i++)
		memset(p[i] = malloc(1000), 1, 1000);
	full = rss_bytes();
	for (int i = 0; i < NR; i++)
		free(p[i]);
	return WAIT_FOR(rss_bytes() < full - NR * 900) ? 0 : 9;
}

TEST_F_TIMEOUT(fork, childs_memory_falls_without_its_doing, 120)
{
	pid_t pid;

	NEEDS_EBBMALLOC();
	if (!getauxval(AT_BASE))
		SKIP(return, "in a static program only malloc starts the "
		     "reclaimer, and this child only frees");
	for (int i = 0; i < 3; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(free_and_wait());
		EXPECT_EQ(0, wait_for(pid));
	}
}

static FILE *stream;

static void *flush_all(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		fflush(NULL);
	return arg;
}

/* Allocates with the stream locked. */
static void *read_long_lines(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		char *line = NULL;
		size_t size = 0;

		rewind(stream);
		/* At the end of the file if the other one was faster. */
		if (getline(&line, &size, stream) < 0)
			clearerr(stream);
		free(line);
	}
	return arg;
}

/* The lock that fork takes on the list of streams comes before ours. */
TEST_F_TIMEOUT(fork, streams_may_be_used_meanwhile, 120)
{
	pthread_t threads[3];

	stream = tmpfile();
	ASSERT_NE(NULL, stream);
	for (int i = 0; i < 300000; i++)
		putc('a', stream);
	putc('\n', stream);
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, flush_all, NULL));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, read_long_lines, NULL));
	ASSERT_EQ(0, pthread_create(&threads[2], NULL, read_long_lines, NULL));
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			_exit(0);
		ASSERT_EQ(0, wait_for(pid));
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

static void fork_in_handler(int sig)
{
	int saved = errno;
	pid_t pid = fork();

	(void)sig;
	if (!pid)
		_exit(0);
	if (wait_for(pid))
		abort();
	errno = saved;
}

/* fork() is async-signal-safe: also above a pass, between two batches. */
TEST_F_TIMEOUT(fork, handlers_may_fork_above_a_trim, 120)
{
	struct sigaction action = {
		.sa_handler = fork_in_handler,
		.sa_flags = SA_RESTART,
	};
	static char *p[4000];

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	for (int round = 0; round < 60; round++) {
		struct itimerval timer = {
			.it_value.tv_usec = 500 + round * 50,
		};

		for (int i = 0; i < 4000; i++)
			memset(p[i] = malloc(4000), 1, 4000);
		for (int i = 0; i < 4000; i++)
			free(p[i]);
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
		for (int i = 0; i < 5; i++)
			malloc_trim(0);
	}
}

TEST_HARNESS_MAIN
