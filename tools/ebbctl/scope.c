/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - A scope of systemd's to run in
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ebbctl.h"
#include "scope.h"

/* Set for the second start; its value is of no use to anybody else. */
#define INSIDE_ENV	"EBBCTL_IN_SCOPE"

#define BOOTED_DIR	"/run/systemd/system"	/* sd_booted(3) */

static bool is_inside(void)
{
	char pid[16];
	const char *inside = getenv(INSIDE_ENV);

	/* systemd-run becomes the command: the number stays. */
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	return inside && !strcmp(inside, pid);
}

static enum scope_choice choose(enum scope_choice choice)
{
	if (choice != SCOPE_AUTO)
		return choice;
	if (access(BOOTED_DIR, F_OK))
		return SCOPE_NONE;
	return geteuid() ? SCOPE_USER : SCOPE_SYSTEM;
}

bool scope_enter(enum scope_choice choice, char *const argv[])
{
	char exe[4096], pid[16], **args;
	size_t nr = 0, nr_args = 0;
	ssize_t len;

	if (is_inside()) {
		unsetenv(INSIDE_ENV);
		return true;
	}
	choice = choose(choice);
	if (choice == SCOPE_NONE)
		return true;
	len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	while (argv[nr_args])
		nr_args++;
	args = calloc(nr_args + 12, sizeof(*args));
	if (len < 0 || !args) {
		message("cannot start again in a scope: %s", strerror(errno));
		return false;
	}
	exe[len] = '\0';
	args[nr++] = (char *)"systemd-run";
	args[nr++] = (char *)"--scope";
	args[nr++] = (char *)"--quiet";
	args[nr++] = (char *)"--collect";
	if (choice == SCOPE_USER)
		args[nr++] = (char *)"--user";
	args[nr++] = (char *)"--property=Delegate=yes";
	args[nr++] = (char *)"--description=ebbctl run";
	args[nr++] = (char *)"--";
	args[nr++] = exe;
	memcpy(args + nr, argv, nr_args * sizeof(*args));
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv(INSIDE_ENV, pid, 1);
	execvp(args[0], args);
	message("cannot run systemd-run: %s; --no-scope does without",
		strerror(errno));
	free(args);
	return false;
}
