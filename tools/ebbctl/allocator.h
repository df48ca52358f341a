/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Allocators that can be preloaded
 */
#ifndef EBBCTL_ALLOCATOR_H
#define EBBCTL_ALLOCATOR_H

#include <limits.h>
#include <stdbool.h>

#define ALLOCATOR_NAME	14

struct allocator {
	char name[ALLOCATOR_NAME];	/* short enough for a table */
	char library[PATH_MAX];		/* empty: what the command has */
};

/*
 * The allocator that @text names: one that Debian packages, or the path of a
 * library.  False after a message.
 */
bool allocator_find(const char *text, struct allocator *ret_allocator);

#endif
