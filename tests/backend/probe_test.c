/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Trying system calls below a seccomp filter
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "base/atomic.h"
#include "os/probe.h"
#include "harness.h"
#include "backend/filter.h"

/* A call that nothing else here makes, and what it answers unfiltered. */
static const struct probe_call victim = { SYS_kcmp, { 0, 0, -1 } };

static uint32_t nr_signals;

static void count_signal(int sig)
{
	(void)sig;
	add_relaxed(&nr_signals, 1);
}

static bool forbid(uint32_t action)
{
	static const long calls[] = { SYS_kcmp };

	return filter_calls(calls, 1, action);
}

FIXTURE(probe)
{
	const char *reason;
};

FIXTURE_SETUP(probe)
{
	self->reason = "unset";
	signal(SIGCHLD, count_signal);
	signal(SIGSYS, count_signal);
}

FIXTURE_TEARDOWN(probe)
{
}

static bool old_kernel(const char *reason)
{
	return reason && strstr(reason, "before Linux");
}

TEST_F(probe, counts_the_filters_of_the_thread)
{
	int fd = probe_open_status();

	ASSERT_LE(0, fd);
	if (probe_filters(-1))
		SKIP(return, "these tests run below a filter themselves");
	EXPECT_EQ(0, probe_filters(fd));
	if (!forbid(SECCOMP_RET_ALLOW))
		SKIP(return, "no seccomp here");
	EXPECT_EQ(1, probe_filters(fd));
	EXPECT_EQ(1, probe_filters(-1));
	ASSERT_TRUE(forbid(SECCOMP_RET_ALLOW));
	EXPECT_EQ(2, probe_filters(fd));
}

TEST_F(probe, gives_the_result_without_a_filter)
{
	EXPECT_GT(0, probe_syscall(&victim, &self->reason));
	EXPECT_EQ(NULL, self->reason);
	EXPECT_EQ(0, probe_allowed(&(struct probe_call){ SYS_close, { -1 } },
				   &self->reason));
}

TEST_F(probe, gives_the_result_below_a_filter_that_allows)
{
	struct probe_call pid = { SYS_getppid, { 0 } };

	if (!forbid(SECCOMP_RET_ALLOW))
		SKIP(return, "no seccomp here");
	/* Not our own parent: it is our child that asked. */
	if (probe_syscall(&pid, &self->reason) == -EPERM &&
	    old_kernel(self->reason))
		SKIP(return, "%s", self->reason);
	EXPECT_EQ(getpid(), probe_syscall(&pid, &self->reason));
	EXPECT_EQ(NULL, self->reason);
}

TEST_F(probe, gives_the_filter_s_error)
{
	if (!forbid(SECCOMP_RET_ERRNO | ENOSYS))
		SKIP(return, "no seccomp here");
	if (probe_allowed(&victim, &self->reason) == -EPERM &&
	    old_kernel(self->reason))
		SKIP(return, "%s", self->reason);
	EXPECT_EQ(-ENOSYS, probe_allowed(&victim, &self->reason));
	EXPECT_EQ(NULL, self->reason);
}

FIXTURE_VARIANT(probe)
{
	uint32_t action;
};

FIXTURE_VARIANT_ADD(probe, kill_process) {
	.action = SECCOMP_RET_KILL_PROCESS,
};

FIXTURE_VARIANT_ADD(probe, kill_thread) {
	.action = SECCOMP_RET_KILL_THREAD,
};

/* Neither may the program's handler run in the child. */
FIXTURE_VARIANT_ADD(probe, trap) {
	.action = SECCOMP_RET_TRAP,
};

TEST_F(probe, outlives_a_filter_that_kills)
{
	struct rlimit before, after;
	sigset_t mask;

	getrlimit(RLIMIT_CORE, &before);
	if (!forbid(variant->action))
		SKIP(return, "no seccomp here");
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(-EPERM, probe_allowed(&victim, &self->reason));
		ASSERT_NE(NULL, self->reason);
		if (old_kernel(self->reason))
			SKIP(return, "%s", self->reason);
		EXPECT_STREQ("killed by the seccomp filter", self->reason);
	}
	EXPECT_EQ(0u, load_relaxed(&nr_signals));
	getrlimit(RLIMIT_CORE, &after);
	EXPECT_EQ(before.rlim_cur, after.rlim_cur);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	EXPECT_FALSE(sigismember(&mask, SIGUSR1));
	EXPECT_EQ(-1, waitpid(-1, NULL, WNOHANG | __WALL));
	EXPECT_EQ(ECHILD, errno);
}

static uint32_t stop;

static void *wait_for_children(void *unused)
{
	uint64_t nr_seen = 0;

	(void)unused;
	while (!load_relaxed(&stop))
		nr_seen += waitpid(-1, NULL, 0) > 0;
	return (void *)(uintptr_t)nr_seen;
}

TEST_F(probe, the_program_s_wait_sees_no_child)
{
	pthread_t thread;
	void *nr_seen;

	if (!forbid(variant->action))
		SKIP(return, "no seccomp here");
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_children, NULL));
	for (int i = 0; i < 200; i++)
		EXPECT_EQ(-EPERM, probe_allowed(&victim, &self->reason));
	store_relaxed(&stop, 1);
	pthread_join(thread, &nr_seen);
	EXPECT_EQ(NULL, nr_seen);
	EXPECT_EQ(0u, load_relaxed(&nr_signals));
}

TEST_HARNESS_MAIN
