/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Start of a command that waits for its place
 *
 * The child waits on a pipe until it is in its cgroup, then becomes the
 * command: everything that the command allocates is charged there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include "ebb/control.h"
#include "ebbctl.h"
#include "launch.h"

/* === Environment of the command =========================================== */

/* Set @name to "@first@between@second", or to the one that is not empty. */
static bool set_joined(const char *name, const char *first,
		       const char *between, const char *second)
{
	size_t size;
	char *text;
	bool ok;

	if (!first || !*first || !second || !*second)
		return !setenv(name, first && *first ? first : second, 1);
	size = strlen(first) + strlen(between) + strlen(second) + 1;
	text = malloc(size);
	if (!text)
		return false;
	snprintf(text, size, "%s%s%s", first, between, second);
	ok = !setenv(name, text, 1);
	free(text);
	return ok;
}

static bool set_environment(const struct launch *launch)
{
	if (launch->conf && !set_joined(EBB_CONF_ENV, getenv(EBB_CONF_ENV),
					",", launch->conf))
		return false;
	return !launch->library ||
	       set_joined("LD_PRELOAD", launch->library, ":",
			  getenv("LD_PRELOAD"));
}

/* === The child ============================================================ */

static void set_files(const struct launch *launch)
{
	for (int i = 0; i < 3; i++)
		if (launch->fds[i] >= 0 && dup2(launch->fds[i], i) < 0)
			_exit(STATUS_FAILED);
}

/* Wait for the byte that says we are in the cgroup; its absence says no. */
static void become_command(const struct launch *launch, int gate)
{
	char byte;

	if (launch->tied)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(gate, &byte, 1) != 1)
		_exit(STATUS_FAILED);
	close(gate);
	if (!set_environment(launch)) {
		message("cannot set the environment: %s", strerror(errno));
		_exit(STATUS_FAILED);
	}
	set_files(launch);
	sigprocmask(SIG_SETMASK, launch->mask, NULL);
	execvp(*launch->command, launch->command);
	message("cannot run %s: %s", *launch->command, strerror(errno));
	_exit(errno == ENOENT ? STATUS_NO_FILE : STATUS_NO_EXEC);
}

pid_t launch_child(const struct launch *launch, int *ret_gate)
{
	int gate[2];
	pid_t pid;

	if (pipe(gate)) {
		message("cannot make a pipe: %s", strerror(errno));
		return -1;
	}
	pid = fork();
	if (!pid) {
		close(gate[1]);
		become_command(launch, gate[0]);
	}
	if (pid < 0) {
		message("cannot fork: %s", strerror(errno));
		close(gate[1]);
	} else {
		*ret_gate = gate[1];
	}
	close(gate[0]);
	return pid;
}

bool launch_open(int gate, bool go)
{
	bool ok = go && write(gate, "", 1) == 1;

	close(gate);
	return ok;
}

/* === Waiting ============================================================== */

void launch_block_signals(sigset_t *ret_waited, sigset_t *ret_old)
{
	sigemptyset(ret_waited);
	sigaddset(ret_waited, SIGCHLD);
	sigaddset(ret_waited, SIGINT);
	sigaddset(ret_waited, SIGTERM);
	sigaddset(ret_waited, SIGHUP);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, ret_waited, ret_old);
}

double launch_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
