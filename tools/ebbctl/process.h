/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Processes that keep a control directory
 *
 * Looks in the places of ebb/stat_page.h, in this mount namespace and in those
 * of the processes that can be seen (containers, through /proc/PID/root), and
 * finds out which process each directory belongs to: the page has the number
 * that the process itself knows, and its pid namespace.
 */
#ifndef EBBCTL_PROCESS_H
#define EBBCTL_PROCESS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "page.h"

struct process {
	int pid;		/* as this tool sees it; 0: it is gone */
	int inner_pid;		/* as it sees itself */
	unsigned int uid;	/* who owns the directory */
	int dir_fd;
	dev_t dev;		/* of the directory */
	ino_t ino;
	char dir[PATH_MAX];	/* for messages */
	struct ebb_page page;
};

/*
 * All that are found, by number; or, with @dead, those that are dead beyond
 * doubt and whose directory is still there.  False after a message.
 */
bool process_list(struct process ***ret_list, size_t *ret_nr, bool dead);
void process_free(struct process **list, size_t nr);

/* One alone, or one taken out of a list; or NULL. */
void process_put(struct process *process);

/* Those numbered @pids: an exit status, after a message if it is not 0. */
int process_choose(char **pids, size_t nr, struct process ***ret_list);

/* One of them.  NULL after a message. */
struct process *process_find(char *pid);

/*
 * For commands that take --json and one PID: the process; NULL after a message
 * or @usage, and *@ret_status is the exit status then.
 */
struct process *process_of_args(int argc, char **argv, const char *usage,
				bool *ret_json, int *ret_status);

/* Read its page again; false if it is gone. */
bool process_refresh(struct process *process);

/*
 * All of @name, a file beside its page, with a final zero byte: a regular one, of
 * its user or root, and of @most bytes at most, whatever the process put there.
 * To be freed; NULL with errno.
 */
char *process_read(const struct process *process, const char *name,
		   size_t most, size_t *ret_len);

/* Whether it is the same process as when it was found. */
bool process_lives(const struct process *process);

/* Directories with pages of processes that have died; fn gets each of them. */
void process_each_dead(void (*fn)(int dir_fd, const char *dir, void *arg),
		       void *arg);

#endif
