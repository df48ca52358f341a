/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Looking into an environment
 *
 * By hand and in line: this is run by every process at its start, and what libc
 * has for it lies on pages that nobody else touches there; nor need libc's own
 * environ have been set.
 */
#ifndef EBB_BASE_ENV_H
#define EBB_BASE_ENV_H

#include "base/compiler.h"

/* The value in "NAME=value", a piece of @len bytes or a string; else NULL. */
static inline const char *env_value(const char *entry, size_t len,
				    const char *name)
{
	size_t at = 0;

	while (at < len && name[at] && entry[at] == name[at])
		at++;
	return at < len && !name[at] && entry[at] == '=' ? entry + at + 1 :
							   NULL;
}

/* The value of @name in @env, which may be NULL; else NULL. */
static inline const char *env_lookup(char *const *env, const char *name)
{
	const char *value = NULL;

	for (; env && *env && !value; env++)
		value = env_value(*env, SIZE_MAX, name);
	return value;
}

#endif
