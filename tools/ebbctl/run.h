/* SPDX-License-Identifier: MIT */
/*
 * ebbctl run - The run and its outcome
 */
#ifndef EBBCTL_RUN_H
#define EBBCTL_RUN_H

#include <limits.h>
#include "cgroup.h"
#include "scope.h"

/* What is asked for, and the place that was made for it. */
struct run {
	struct limits limits;
	const char *conf;
	const char *lib;
	const char *output;
	bool no_preload;
	bool no_cgroup;
	enum scope_choice scope;
	bool json;
	bool quiet;
	char **command;
	char library[PATH_MAX];
	struct run_cgroup cg;
};

/* How it ended. */
struct outcome {
	int wait_status;
	int status;		/* what the tool exits with */
	double seconds;
	struct usage usage;
	uint64_t peak_rss;	/* of the largest process that was waited for */
};

/* Write the summary to where @run wants it; false after a message. */
bool summary_write(const struct run *run, const struct outcome *outcome);

#endif
