/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - A directory that stands for "/"
 */
#ifndef EBB_TESTS_FAKE_TREE_H
#define EBB_TESTS_FAKE_TREE_H

#include <sys/stat.h>
#include "common.h"

struct fake_tree {
	char top[64];
};

static inline bool fake_tree_make(struct fake_tree *tree)
{
	strcpy(tree->top, "/tmp/ebb-test-XXXXXX");
	return mkdtemp(tree->top);
}

static inline bool fake_tree_remove(const struct fake_tree *tree)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", tree->top);
	return !system(command);
}

/* Write @path with its directories; the test ends where that fails. */
static inline void fake_tree_put(const struct fake_tree *tree,
				 const char *path, const char *text)
{
	char full[2048];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", tree->top, path);
	for (char *at = full + strlen(tree->top) + 1; (at = strchr(at, '/'));
	     at++) {
		*at = '\0';
		mkdir(full, 0755);
		*at = '/';
	}
	file = fopen(full, "w");
	if (!file)
		abort();
	fputs(text, file);
	fclose(file);
}

static inline void fake_tree_drop(const struct fake_tree *tree,
				  const char *path)
{
	char full[2048];

	snprintf(full, sizeof(full), "%s%s", tree->top, path);
	unlink(full);
}

static inline void fake_tree_put_proc(const struct fake_tree *tree,
				      const char *self, const char *mounts)
{
	fake_tree_put(tree, "/proc/thread-self/cgroup", self);
	fake_tree_put(tree, "/proc/thread-self/mountinfo", mounts);
}

/* @path with the top taken off. */
static inline const char *fake_tree_below(const struct fake_tree *tree,
					  const char *path)
{
	size_t len = strlen(tree->top);

	return strncmp(tree->top, path, len) ? path : path + len;
}

#endif
