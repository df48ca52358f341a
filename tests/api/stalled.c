// SPDX-License-Identifier: MIT
/*
 * ebbmalloc tests - A program whose reclaimer gets no CPU
 *
 * stalled STOP_MS RUN_US PROGRAM [ARGUMENT]...: runs the program, stops its
 * thread ebb-reclaim each time it may have run for RUN_US, and lets it go on
 * after STOP_MS: what a thread sees of a host that has no CPU for it, wherever
 * it is.  No other thread is stopped.  Ends as the program does.
 *
 * Prints "stalls N", the number of times, or "stalls: " and why there are none.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "thread.h"

/* Stop @tid again and again until it ends; the number of times. */
static unsigned long stall(pid_t tid, useconds_t stop_us, useconds_t run_us)
{
	unsigned long nr = 0;
	int status;

	for (;; nr++) {
		usleep(run_us);
		/* Fails where it has ended, which waitpid() tells. */
		(void)ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
		if (waitpid(tid, &status, __WALL) != tid ||
		    !WIFSTOPPED(status))
			return nr;
		usleep(stop_us);
		(void)ptrace(PTRACE_CONT, tid, NULL, NULL);
	}
}

int main(int argc, char **argv)
{
	pid_t pid, tid = 0;
	int status;

	if (argc < 4)
		return 2;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(argv[3], argv + 3);
		_exit(127);
	}
	while (!(tid = thread_named(pid, RECLAIMER)) && !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	if (!tid)
		printf("stalls: it has no reclaimer\n");
	else if (ptrace(PTRACE_SEIZE, tid, NULL, NULL))
		printf("stalls: %s\n", strerror(errno));
	else
		printf("stalls %lu\n",
		       stall(tid, (useconds_t)atoi(argv[1]) * 1000,
			     (useconds_t)atoi(argv[2])));
	fflush(stdout);
	if (tid)
		waitpid(pid, &status, __WALL);
	if (WIFSIGNALED(status))
		raise(WTERMSIG(status));
	return WEXITSTATUS(status);
}
