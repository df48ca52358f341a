/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - jemalloc's extended names: the table, and what it stands for
 *
 * What it is: a row for each name that is known.  A part of a name that is a
 * number is '#' in the table: the first is an arena or a size class, as the
 * name says, and is counted in struct mallctl_ref.
 */
#ifndef EBB_API_MALLCTL_H
#define EBB_API_MALLCTL_H

#include "base/compiler.h"

#define MALLCTL_NAME_MAX	40
#define MALLCTL_DEPTH_MAX	6u

enum mallctl_type {
	MALLCTL_VOID,		/* it is done, not read or set */
	MALLCTL_BOOL,
	MALLCTL_UNSIGNED,
	MALLCTL_U32,
	MALLCTL_SIZE,
	MALLCTL_SSIZE,
	MALLCTL_U64,
	MALLCTL_POINTER,
	MALLCTL_TEXT,
};

enum mallctl_mode {
	MALLCTL_READ,
	MALLCTL_KEEP,		/* may be set to what it is */
	MALLCTL_WRITE,		/* mallctl_set() sees to it */
	MALLCTL_ASK,		/* the answer depends on what is set */
};

/* No pointers: a table with relocations would cost each process a page. */
struct mallctl_row {
	char name[MALLCTL_NAME_MAX];
	uint8_t type;		/* enum mallctl_type */
	uint8_t mode;		/* enum mallctl_mode */
	uint8_t kind;		/* enum mallctl_kind, in mallstats.c */
	uint8_t what;		/* which of that kind */
	uint32_t fact;
};

struct mallctl_ref {
	const struct mallctl_row *row;
	size_t index;		/* the number in the name, if there is one */
};

/* The @i-th row; NULL behind the last. */
const struct mallctl_row *mallctl_row(size_t i);

/* Whether the number in the name is one that there is. */
bool mallctl_ref_is_valid(const struct mallctl_ref *ref);

/* The value, whatever its type but text. */
uint64_t mallctl_get(const struct mallctl_ref *ref);
const char *mallctl_get_text(const struct mallctl_ref *ref);

/* MALLCTL_WRITE: 0 or -errno. */
int mallctl_set(const struct mallctl_ref *ref, uint64_t value) __must_check;

/* MALLCTL_ASK: about @ptr. */
int mallctl_ask(const void *ptr, uint64_t *ret_value) __must_check;

/* MALLCTL_VOID: 0 or -errno. */
int mallctl_do(const struct mallctl_ref *ref) __must_check;

#endif
