/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - A scope of systemd's to run in
 *
 * Where systemd is the manager, the cgroup tree is its own: who wants a part
 * of it asks for a scope with Delegate=yes, and makes cgroups below that alone.
 * Source: "Control Group APIs and Delegation", systemd.io/CGROUP_DELEGATION.
 */
#ifndef EBBCTL_SCOPE_H
#define EBBCTL_SCOPE_H

#include <stdbool.h>

enum scope_choice {
	SCOPE_AUTO,		/* where systemd is the manager */
	SCOPE_NONE,
	SCOPE_SYSTEM,
	SCOPE_USER,		/* of the user's own manager */
};

/*
 * Have systemd-run(1) start this tool again, with the arguments @argv of its
 * command, in a scope of its own.  Returns where that is not wanted (@choice,
 * or this is the second start), or cannot be done: false after a message.
 */
bool scope_enter(enum scope_choice choice, char *const argv[]);

#endif
