/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Descriptors that a forked child finds
 */
#ifndef EBB_TESTS_FDS_H
#define EBB_TESTS_FDS_H

#include <fcntl.h>
#include <sys/wait.h>

/* Of this process, as far as a test has any. */
static inline int nr_open(void)
{
	int nr = 0;

	for (int fd = 0; fd < 64; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* 1: the child found another number than @expected; -1: there was none. */
static inline int fork_finds_more(int expected)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(nr_open() != expected);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
