/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Start of a command that waits for its place
 */
#ifndef EBBCTL_LAUNCH_H
#define EBBCTL_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct launch {
	char **command;
	const char *library;	/* to preload; NULL for none */
	const char *conf;	/* to add to EBB_CONF; NULL for none */
	int fds[3];		/* its standard files; -1: ours */
	bool tied;		/* it is killed when this tool ends */
	const sigset_t *mask;	/* of signals, for it */
};

/*
 * Block and wait for SIGCHLD and what ends a command: SIGINT, SIGTERM, SIGHUP.
 * @ret_old is what was blocked before.
 */
void launch_block_signals(sigset_t *ret_waited, sigset_t *ret_old);

/*
 * Fork a child that waits at a gate, and then becomes the command.  The child
 * and @ret_gate, or -1 after a message.
 */
pid_t launch_child(const struct launch *launch, int *ret_gate);

/*
 * Open the gate, or, if not @go, make the child end.  False if the child will
 * not become the command.
 */
bool launch_open(int gate, bool go);

/* Seconds of the monotonic clock. */
double launch_clock(void);

#endif
