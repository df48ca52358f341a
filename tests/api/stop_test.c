// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Threads that are stopped at any instruction
 *
 * A child has a thread that allocates and frees, and one that trims in a loop.
 * Its parent stops the first with ptrace wherever it happens to be, and wants
 * to see trims end meanwhile.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "harness.h"

#define STOPS		300u
#define WALL		__WALL

/* What the child says of itself; shared. */
struct child {
	pid_t worker;		/* thread to be stopped; 0: not there yet */
	uint64_t nr_trims;	/* that have ended */
	uint64_t nr_works;
	uint64_t longest_ms;	/* of one trim */
	bool broken;
};

FIXTURE(stop) {
	struct child *child;
	pid_t pid;
};

static struct child *child;

/* All that takes a lock: large objects, fresh slabs, foreign frees, exits. */
static void *work(void *unused)
{
	static void *kept[600];
	struct rng rng;

	rng_seed(&rng, 99);
	__atomic_store_n(&child->worker, (pid_t)syscall(SYS_gettid),
			 __ATOMIC_RELEASE);
	for (;;) {
		size_t at = rng_below(&rng, ARRAY_LEN(kept));

		free(kept[at]);
		kept[at] = malloc(rng_size(&rng, 4, 20));
		if (!kept[at])
			child->broken = true;
		else
			*(volatile char *)kept[at] = 1;
		__atomic_fetch_add(&child->nr_works, 1, __ATOMIC_RELAXED);
	}
	return unused;
}

static void run_child(void)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pthread_create(&thread, NULL, work, NULL))
		_exit(1);
	for (;;) {
		uint64_t start = now_ms(), ms;

		malloc_trim(0);
		ms = now_ms() - start;
		if (ms > child->longest_ms)
			child->longest_ms = ms;
		__atomic_fetch_add(&child->nr_trims, 1, __ATOMIC_RELEASE);
	}
}

FIXTURE_SETUP(stop)
{
	child = self->child = mmap(NULL, sizeof(*child), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)child);
	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid)
		run_child();
	ASSERT_TRUE(WAIT_FOR(__atomic_load_n(&child->worker,
					     __ATOMIC_ACQUIRE)));
}

FIXTURE_TEARDOWN(stop)
{
	kill(self->pid, SIGKILL);
	/* A traced thread is the tracer's to reap, before its process is. */
	while (waitpid(-1, NULL, WALL) > 0 || errno == EINTR)
		;
}

static uint64_t trims(const struct child *c)
{
	return __atomic_load_n(&c->nr_trims, __ATOMIC_ACQUIRE);
}

/* Two more trims have ended: one of them began after this was called. */
static bool trims_go_on(const struct child *c)
{
	uint64_t until = trims(c) + 2;

	return WAIT_FOR(trims(c) >= until);
}

TEST_F_TIMEOUT(stop, a_stopped_thread_does_not_hold_up_a_trim,
	       100)
{
	pid_t worker = self->child->worker;
	unsigned int nr = 0;
	struct rng rng;

	NEEDS_EBBMALLOC();
	rng_seed(&rng, 5);
	if (ptrace(PTRACE_SEIZE, worker, 0, 0)) {
		ASSERT_EQ(EPERM, errno);
		SKIP(return, "ptrace is not permitted here");
	}
	for (; nr < STOPS; nr++) {
		struct timespec ts = { 0, (long)rng_below(&rng, 2000000) };
		int status;

		nanosleep(&ts, NULL);
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, worker, 0, 0));
		ASSERT_EQ(worker, waitpid(worker, &status, WALL));
		ASSERT_TRUE(WIFSTOPPED(status));
		if (!trims_go_on(self->child))
			break;
		ASSERT_EQ(0, ptrace(PTRACE_CONT, worker, 0, 0));
	}
	EXPECT_EQ(STOPS, nr);
	EXPECT_FALSE(self->child->broken);
	TH_LOG("%llu trims, the longest %llu ms; %llu allocations",
	       (unsigned long long)trims(self->child),
	       (unsigned long long)self->child->longest_ms,
	       (unsigned long long)self->child->nr_works);
}

TEST_F(stop, a_process_stopped_in_a_trim_goes_on)
{
	NEEDS_EBBMALLOC();
	for (int i = 0; i < 50; i++) {
		int status;

		sleep_ms(1);
		ASSERT_EQ(0, kill(self->pid, SIGSTOP));
		ASSERT_EQ(self->pid, waitpid(self->pid, &status, WUNTRACED));
		ASSERT_TRUE(WIFSTOPPED(status));
		ASSERT_EQ(0, kill(self->pid, SIGCONT));
	}
	EXPECT_TRUE(trims_go_on(self->child));
	EXPECT_FALSE(self->child->broken);
}

TEST_HARNESS_MAIN
