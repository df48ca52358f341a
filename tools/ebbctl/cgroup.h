/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - The cgroup of one run
 */
#ifndef EBBCTL_CGROUP_H
#define EBBCTL_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "place.h"

#define LIMIT_NONE	UINT64_MAX	/* "max", or not given */

struct limits {
	uint64_t memory;
	uint64_t high;
	bool high_given;	/* else it is chosen from memory */
	uint64_t swap;
};

/* What cgroup_read() knows; UNKNOWN where the kernel does not say. */
struct usage {
	uint64_t peak;
	uint64_t limit_hits;	/* v1 failcnt, v2 times at memory.max */
	uint64_t high_hits;	/* v2: times throttled at memory.high */
	uint64_t oom_kills;
};

struct run_cgroup {
	struct places places;	/* where the tool is */
	struct place memory;	/* where the command is */
	struct place unified;	/* hybrid: the same for PSI, if psi is set */
	struct place leaf;	/* v2: where the tool went, if moved is set */
	struct cgroup *handle;	/* libcgroup's; NULL if made by mkdir */
	uint64_t high;		/* as set; LIMIT_NONE */
	bool psi;
	bool moved;
	bool refused;		/* it could not be made for want of rights */
	char why[PATH_MAX];	/* why it could not be made */
};

/* Parse the value of an option that is a limit; false after a message. */
bool limit_parse(const char *option, const char *text, uint64_t *ret_limit);

/*
 * Make the cgroup and set its limits.  False with cg->why, and then nothing
 * is left behind.
 */
bool cgroup_make(struct run_cgroup *cg, const struct limits *limits);

/* Move process @pid there; false after a message. */
bool cgroup_enter(struct run_cgroup *cg, pid_t pid);

void cgroup_read(const struct run_cgroup *cg, struct usage *ret_usage);

/*
 * Anonymous memory that is charged to it, swapped or not: what an allocator
 * can give back, without file cache.  UNKNOWN where the kernel does not say.
 */
uint64_t cgroup_held(const struct run_cgroup *cg);

/* Whether swap can be limited there. */
bool cgroup_limits_swap(const struct run_cgroup *cg);

/* Remove all; the number of processes that are still there and prevent it. */
unsigned int cgroup_remove(struct run_cgroup *cg);

/* The memory.high that goes with a memory.max of @max. */
uint64_t high_for(uint64_t max);

#endif
