/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Threads of a process, as /proc shows them
 */
#ifndef EBB_TESTS_THREAD_H
#define EBB_TESTS_THREAD_H

#include <dirent.h>
#include "common.h"

#define RECLAIMER	"ebb-reclaim"

/* The thread of @pid that is called @name; 0: none. */
static inline pid_t thread_named(pid_t pid, const char *name)
{
	char path[64], comm[32], line[32];
	struct dirent *entry;
	pid_t found = 0;
	DIR *dir;

	snprintf(line, sizeof(line), "%s\n", name);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm",
			 (int)pid, entry->d_name);
		if (read_file(path, comm, sizeof(comm)) > 0 &&
		    !strcmp(comm, line))
			found = (pid_t)strtol(entry->d_name, NULL, 10);
	}
	if (dir)
		closedir(dir);
	return found;
}

#endif
