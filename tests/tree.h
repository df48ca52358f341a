/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A directory of a test's own, and what is in it
 */
#ifndef EBB_TESTS_TREE_H
#define EBB_TESTS_TREE_H

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

static inline int remove_entry(const char *path, const struct stat *st,
			       int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void remove_tree(const char *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
