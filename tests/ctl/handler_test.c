// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Signal handlers that interrupt a visit to the directory
 *
 * A process without a reclaimer sees to its directory inside of malloc.  Here
 * it is traced, and gets a signal after the n-th system call of its first
 * visits; the handler forks, exits, or allocates.  As many processes as there
 * are calls to be interrupted run beside each other.
 */
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "harness.h"
#include "ctl/subject.h"

#define NR_CALLS	72	/* of the first visit, and some of the next */
#define STEP		2
#define AT_ONCE		12
#define STEADY_MS	2500

FIXTURE(handler) {
	struct subject subject;
};

FIXTURE_VARIANT(handler) {
	const char *what;
	bool ends;		/* the process does */
};

FIXTURE_VARIANT_ADD(handler, that_forks) {
	.what = "fork",
};

FIXTURE_VARIANT_ADD(handler, that_exits) {
	.what = "exit",
	.ends = true,
};

FIXTURE_VARIANT_ADD(handler, that_allocates) {
	.what = "allocate",
};

FIXTURE_SETUP(handler)
{
	ASSERT_TRUE(make_base(self->subject.base));
}

FIXTURE_TEARDOWN(handler)
{
	remove_tree(self->subject.base);
}

/* === Tracing ============================================================== */

static bool reads_as(pid_t pid, uint64_t at, const char *text)
{
	char word[sizeof(long)];

	for (size_t i = 0; i < strlen(text); i++) {
		if (i % sizeof(word) == 0) {
			long got = ptrace(PTRACE_PEEKDATA, pid,
					  (void *)(at + i), NULL);

			memcpy(word, &got, sizeof(word));
		}
		if (word[i % sizeof(word)] != text[i])
			return false;
	}
	return true;
}

/* A visit begins with a look for seccomp filters. */
static bool begins_visit(pid_t pid, const struct __ptrace_syscall_info *info)
{
	return info->op == PTRACE_SYSCALL_INFO_ENTRY &&
	       info->entry.nr == SYS_openat &&
	       reads_as(pid, info->entry.args[1], "/proc/thread-self/status");
}

/* What the process does beside that. */
static bool is_of_visit(const struct __ptrace_syscall_info *info)
{
	return info->op == PTRACE_SYSCALL_INFO_ENTRY &&
	       info->entry.nr != SYS_clock_nanosleep &&
	       info->entry.nr != SYS_nanosleep &&
	       info->entry.nr != SYS_write;
}

/* Let it run to the @n-th call of a visit, and interrupt it there. */
static bool interrupt(pid_t pid, unsigned int n)
{
	struct __ptrace_syscall_info info;
	unsigned int seen = 0;
	bool visiting = false;
	int status, sig = 0;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)sig) ||
		    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return false;
		sig = WSTOPSIG(status);
		if (sig != (SIGTRAP | 0x80))
			continue;
		sig = 0;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info),
			   &info) <= 0)
			return false;
		visiting |= begins_visit(pid, &info);
		if (visiting && is_of_visit(&info) && seen++ == n)
			break;
	}
	/* It is pending when the call returns. */
	kill(pid, SIGUSR1);
	return !ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

/* Returns an exit status: 0, or at which of these things it failed. */
static int run_one(struct subject *subject, const char *what, bool ends,
		   unsigned int n)
{
	char command[64], reply[8] = "";
	int len;

	if (!subject_start(subject, CONF_ALONE))
		return 10;
	snprintf(command, sizeof(command), "on-signal %s", what);
	if (!subject_does(subject, command))
		return 11;
	if (ptrace(PTRACE_SEIZE, subject->pid, NULL,
		   (void *)PTRACE_O_TRACESYSGOOD) ||
	    ptrace(PTRACE_INTERRUPT, subject->pid, NULL, NULL) ||
	    waitpid(subject->pid, NULL, 0) != subject->pid)
		return 4;
	len = snprintf(command, sizeof(command), "steady %d\n", STEADY_MS);
	if (write(subject->to, command, (size_t)len) != len)
		return 12;
	if (!interrupt(subject->pid, n))
		return 13;
	len = (int)read(subject->from, reply, sizeof(reply) - 1);
	if (strcmp(reply, ends ? "" : "ok\n"))
		return 14;
	if (!ends && !subject_shows(subject, EBB_PAGE_FILE))
		return 15;
	if (subject_end(subject))
		return 16;
	/* Whoever exits in the middle of making it may leave it. */
	return !access(subject->dir, F_OK) && !ends ? 17 : 0;
}

TEST_F_TIMEOUT(handler, does_no_harm_at_any_call, 280)
{
	unsigned int running = 0;
	int status;

	for (unsigned int n = 0; n < NR_CALLS || running;) {
		if (n < NR_CALLS && running < AT_ONCE) {
			if (!fork())
				_exit(run_one(&self->subject, variant->what,
					      variant->ends, n));
			running++;
			n += STEP;
			continue;
		}
		ASSERT_LT(0, wait(&status));
		running--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 4)
			SKIP(return, "nothing can be traced here");
		EXPECT_EQ(0, status) {
			TH_LOG("failed at %d", WEXITSTATUS(status));
		}
	}
}

TEST_HARNESS_MAIN
