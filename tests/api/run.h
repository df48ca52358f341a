/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Running programs with the library preloaded
 */
#ifndef EBB_TESTS_API_RUN_H
#define EBB_TESTS_API_RUN_H

#include <limits.h>
#include <sys/wait.h>
#include "common.h"

#define RUN_OUTPUT_MAX	8192

/* How to run a program, and what came of it. */
struct run {
	const char *program;	/* path */
	char *argv[9];
	const char *preload;	/* NULL: none */
	const char *conf;	/* EBB_CONF; NULL: none */
	bool close_std;		/* without file descriptors 0, 1 and 2 */

	char output[RUN_OUTPUT_MAX];	/* of both stdout and stderr */
	int status;		/* exit status; 256 + signal if it was killed */
};

/* Path of @name, relative to the directory this program lies in. */
static inline const char *beside(char *buf, const char *name)
{
	ssize_t len = readlink("/proc/self/exe", buf, PATH_MAX - 1);
	char *slash;

	buf[len > 0 ? len : 0] = '\0';
	slash = strrchr(buf, '/');
	snprintf(slash ? slash + 1 : buf, (size_t)(PATH_MAX - len), "%s",
		 name);
	return buf;
}

/* The library to preload: $EBB_LIB, else where the build puts it. */
static inline const char *library_path(char *buf)
{
	const char *path = getenv("EBB_LIB");

	if (path)
		return path;
	return beside(buf, "../../lib/libebbmalloc.so.1");
}

static inline void run_child(const struct run *run, int out)
{
	static char preload[PATH_MAX + 16], conf[512];
	char *env[] = { NULL, NULL, NULL };
	int nr = 0;

	if (run->preload) {
		snprintf(preload, sizeof(preload), "LD_PRELOAD=%s",
			 run->preload);
		env[nr++] = preload;
	}
	if (run->conf) {
		snprintf(conf, sizeof(conf), "EBB_CONF=%s", run->conf);
		env[nr++] = conf;
	}
	if (run->close_std) {
		for (int fd = 0; fd < 3; fd++)
			close(fd);
	} else {
		dup2(out, 1);
		dup2(out, 2);
	}
	execve(run->program, run->argv, env);
	_exit(127);
}

/* Run it with nothing but these variables in its environment. */
static inline bool run_program(struct run *run)
{
	size_t len = 0;
	int fds[2];
	ssize_t got;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return false;
	pid = fork();
	if (!pid)
		run_child(run, fds[1]);
	close(fds[1]);
	if (pid < 0)
		return false;
	while (len < RUN_OUTPUT_MAX - 1 &&
	       (got = read(fds[0], run->output + len,
			   RUN_OUTPUT_MAX - 1 - len)) > 0)
		len += (size_t)got;
	run->output[len] = '\0';
	close(fds[0]);
	if (waitpid(pid, &run->status, 0) != pid)
		return false;
	run->status = WIFSIGNALED(run->status) ?
		      256 + WTERMSIG(run->status) : WEXITSTATUS(run->status);
	return true;
}

#endif
