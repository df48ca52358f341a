/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - A cgroup of one's own, where the library finds itself
 *
 * The test's process is moved into it and, by group_remove(), back.
 */
#ifndef EBB_TESTS_OWN_CGROUP_H
#define EBB_TESTS_OWN_CGROUP_H

#include "reclaim/cgroup.h"
#include "cgroup.h"

/* False where cgroups may not be made here. */
static inline bool own_cgroup_make(struct group *own,
				   const struct cgroup_dir *dir)
{
	*own = (struct group){ .v2 = false };
	if (!dir->path[0] || UNDER_TSAN)
		return false;
	if (snprintf(own->parent, sizeof(own->parent), "%s", dir->path) >=
	    (int)sizeof(own->parent) || !group_make_dir(own))
		return false;
	if (group_enter(own))
		return true;
	group_remove(own);
	return false;
}

#endif
