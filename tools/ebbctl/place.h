/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Own place in the cgroup trees
 */
#ifndef EBBCTL_PLACE_H
#define EBBCTL_PLACE_H

#include <limits.h>
#include <stdbool.h>

/* One cgroup: the directory is @mount followed by @path. */
struct place {
	char mount[PATH_MAX];
	char path[PATH_MAX];	/* begins with '/'; "/" is what is mounted */
	char dir[PATH_MAX];	/* both together, without a '/' at the end */
};

struct places {
	int version;		/* 1 or 2: which one limits memory; 0: none */
	struct place memory;	/* valid if version is not 0 */
	bool hybrid;		/* version is 1, and there is a v2 tree */
	struct place unified;	/* valid if hybrid: where PSI is */
	char why[PATH_MAX];	/* valid if version is 0 */
};

void places_find(struct places *ret_places);

/*
 * The memory cgroup that @text, as in /proc/PID/cgroup, names: the version of
 * its tree, or 0 if it names none that is mounted here.
 */
int place_of(const char *text, struct place *ret_place);

/* False, with errno, if @path does not fit. */
bool place_set_path(struct place *place, const char *path);

#endif
