/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Time and peak of another program
 *
 * timed PRELOAD COMMAND [ARGUMENT...]
 *
 * Runs COMMAND, with PRELOAD in LD_PRELOAD unless it is empty, and prints
 *
 *	seconds=S cpu_seconds=S peak_kb=N status=N
 *
 * on stderr as the last line; the programs that it starts and waits for count
 * as its own.  status is 128 and more for one that a signal ended.
 *
 * A program that is executed inherits, as its peak, that of who executed it.
 * This one is small; an interpreter is not.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void run(char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (*argv[1])
		setenv("LD_PRELOAD", argv[1], 1);
	execvp(argv[2], argv + 2);
	fprintf(stderr, "timed: %s: %s\n", argv[2], strerror(errno));
	_exit(127);
}

int main(int argc, char **argv)
{
	struct rusage usage;
	double begin = now();
	int status;
	pid_t pid;

	if (argc < 3) {
		fprintf(stderr, "usage: timed PRELOAD COMMAND [ARGUMENT...]\n");
		return 2;
	}
	pid = fork();
	if (!pid)
		run(argv);
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) {
		fprintf(stderr, "timed: %s\n", strerror(errno));
		return 1;
	}
	fprintf(stderr, "seconds=%.6f cpu_seconds=%.6f peak_kb=%ld status=%d\n",
		now() - begin, seconds_of(usage.ru_utime) +
		seconds_of(usage.ru_stime), usage.ru_maxrss,
		WIFEXITED(status) ? WEXITSTATUS(status) :
		128 + WTERMSIG(status));
	return 0;
}
