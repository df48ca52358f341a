/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Other processes, as /proc shows them
 */
#ifndef EBBCTL_PIDS_H
#define EBBCTL_PIDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PIDS_MOST	1024	/* more are not looked at one by one */

struct pids {
	unsigned int nr;
	pid_t pid[PIDS_MOST];
};

bool pids_have(const struct pids *pids, pid_t pid);

/* The processes of the cgroup @dir and of those below it. */
void pids_of_cgroup(const char *dir, struct pids *ret_pids);

/*
 * All descendants of this process, without those in @except and theirs.  With
 * a subreaper (prctl(2)) none gets lost when its parent ends.
 */
void pids_below_us(const struct pids *except, struct pids *ret_pids);

/*
 * Whether @pid still has its memory: false from the moment at which its exit
 * begins to take that away.
 */
bool pid_has_memory(pid_t pid);

/* Anonymous memory of @pid, swapped or not; 0 if it has ended. */
uint64_t pid_held(pid_t pid);

/* What the mappings of a process tell of its allocator. */
enum maps_verdict {
	MAPS_UNKNOWN,		/* not readable, not yet started, or static */
	MAPS_WITHOUT,		/* there is a C library, but not the library */
	MAPS_WITH,		/* the library is there */
};

/*
 * Look for @library, a path whose last part counts; empty: for none.  @found
 * becomes the name of another allocator that is mapped; it is left alone if
 * there is none.
 */
enum maps_verdict pid_maps(pid_t pid, const char *library,
			       char *found, size_t size);

#endif
