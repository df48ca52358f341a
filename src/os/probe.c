/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Trying an optional system call without dying of it
 *
 * What it is: a seccomp filter may answer a call that it does not know with
 * an error, or kill the process (systemd's filters do by default).  So where
 * a filter is in force, a child makes the call first.
 *
 * The child: shares memory, files and directory (no page table is copied,
 * and no descriptor), but neither thread group nor signal handlers, so that a
 * kill takes it alone.  Its maker sleeps until it is gone (CLONE_VFORK), with
 * all signals blocked: the child inherits that, and a filter that answers
 * with SIGSYS cannot run the application's handler in it, since a forced
 * signal that is blocked kills.  It has no exit signal: no SIGCHLD comes, and
 * the application's wait() does not see it.  Only a wait with __WALL or
 * __WCLONE for any child, which tracers use, could reap it; its result is in
 * shared memory by then.
 *
 * Core dumps: a core size limit of one byte is the one that suppresses dumps
 * to files and to pipes alike; it is the child's own.  The audit log has a
 * line for each kill.
 *
 * Before Linux 5.16 a core dump, even one that is not written, killed every
 * process that shared the memory: there, nothing is tried below a filter.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/fd_window.h"
#include "base/number.h"
#include "base/sys.h"
#include "os/probe.h"

#define STACK_SIZE	(16 * KIB)
#define KERNEL_SIGSET	8		/* bytes of the kernel's signal set */
#define SAFE_DUMPS	(5 * 1000 + 16)	/* version of Linux */

/* In memory that maker and child share. */
struct attempt {
	const struct probe_call *call;
	long result;
	bool done;
};

/* === Filters ============================================================== */

struct status {
	char line[24];		/* the start of the line that is being read */
	unsigned int len;
	int mode;
	int filters;
};

/* The number behind @key, if that begins the line; else @other. */
static int number_after(const char *line, const char *key, int other)
{
	while (*key)
		if (*line++ != *key++)
			return other;
	return (int)number_or_0(&line, 10);
}

static void scan(struct status *status, const char *text, long len)
{
	for (long i = 0; i < len; i++) {
		if (text[i] != '\n') {
			if (status->len < sizeof(status->line) - 1)
				status->line[status->len++] = text[i];
			continue;
		}
		status->line[status->len] = '\0';
		status->len = 0;
		status->mode = number_after(status->line, "Seccomp:\t",
					    status->mode);
		status->filters = number_after(status->line,
					       "Seccomp_filters:\t",
					       status->filters);
	}
}

int probe_open_status(void)
{
	return sys_open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC, 0);
}

static int read_filters(int status_fd)
{
	struct status status = { .mode = -1, .filters = 1 };
	int fd = status_fd < 0 ? probe_open_status() : status_fd;
	char text[1024];
	int64_t off = 0;
	long len;

	if (fd < 0)
		return -1;
	while ((len = sys_pread(fd, text, sizeof(text), off)) > 0) {
		scan(&status, text, len);
		off += len;
	}
	if (status_fd < 0)
		sys_close(fd);
	if (status.mode < 0)
		return -1;
	return status.mode ? status.filters : 0;
}

int probe_filters(int status_fd)
{
	int ret;

	fd_window_enter();
	ret = read_filters(status_fd);
	fd_window_leave();
	return ret;
}

/* === The child ============================================================ */

static long make_call(const struct probe_call *call)
{
	return sys_call6(call->nr, call->arg[0], call->arg[1], call->arg[2],
			 call->arg[3], call->arg[4], call->arg[5]);
}

/* 1000 * major + minor; 0 if it cannot be told. */
static int kernel_version(void)
{
	struct utsname name;
	int part[2] = { 0, 0 };
	const char *at = name.release;

	if (sys_call1(SYS_uname, (long)&name))
		return 0;
	for (unsigned int i = 0; i < 2; i++, at++)
		part[i] = (int)number_or_0(&at, 10);
	return part[0] * 1000 + part[1];
}

static int child_main(void *arg)
{
	struct rlimit no_dump = { 1, 1 };
	struct attempt *attempt = arg;

	sys_call4(SYS_prlimit64, 0, RLIMIT_CORE, (long)&no_dump, 0);
	attempt->result = make_call(attempt->call);
	barrier();
	attempt->done = true;
	return 0;
}

/* Returns 0 when the child is gone, or -errno if there was none. */
static int run_child(struct attempt *attempt, char *stack)
{
	uint64_t all = UINT64_MAX, old;
	int saved = errno, pid, err = 0;

	sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&old,
		  KERNEL_SIGSET);
	pid = clone(child_main, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK |
		    CLONE_FS | CLONE_FILES, attempt);
	if (pid < 0)
		err = -errno;
	else
		while (sys_call4(SYS_wait4, pid, 0, __WALL, 0) == -EINTR)
			;
	sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&old, 0,
		  KERNEL_SIGSET);
	errno = saved;
	return err;
}

static long call_in_child(const struct probe_call *call,
			  const char **ret_reason)
{
	struct attempt attempt = { .call = call };
	long stack;
	int err;

	if (kernel_version() < SAFE_DUMPS) {
		*ret_reason = "not tried below a seccomp filter before "
			      "Linux 5.16";
		return -EPERM;
	}
	stack = sys_mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS);
	err = sys_is_err(stack) ? (int)stack : run_child(&attempt,
							 (char *)stack);
	if (!sys_is_err(stack))
		sys_munmap((char *)stack, STACK_SIZE);
	if (err) {
		*ret_reason = "no child to try it below a seccomp filter";
		return -EPERM;
	}
	if (!attempt.done) {
		*ret_reason = "killed by the seccomp filter";
		return -EPERM;
	}
	return attempt.result;
}

long probe_syscall(const struct probe_call *call, const char **ret_reason)
{
	*ret_reason = NULL;
	return probe_filters(-1) ? call_in_child(call, ret_reason) :
				   make_call(call);
}

int probe_allowed(const struct probe_call *call, const char **ret_reason)
{
	long result = probe_syscall(call, ret_reason);

	return result == -EPERM || result == -ENOSYS ? (int)result : 0;
}
