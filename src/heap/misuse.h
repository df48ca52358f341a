/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Misuse of pointers: one line, then the end
 */
#ifndef EBB_HEAP_MISUSE_H
#define EBB_HEAP_MISUSE_H

#include "base/compiler.h"

enum misuse {
	MISUSE_DOUBLE_FREE,
	MISUSE_INVALID,		/* never allocated by us */
	MISUSE_INTERIOR,	/* not the start of an allocation */
	MISUSE_SIZE,		/* sized free with another size */
};

/*
 * Who writes that line, in place of ebb_bug(), and stops the process: the
 * report of guard mode (debug/report.h).  NULL: nobody.  Set once, at start.
 */
extern void (*misuse_told)(const char *line);

/*
 * Stop the process with one line that names @call, @ptr and what is known of
 * the pointer.  @detail: more words, or NULL.
 */
void misuse_die(enum misuse what, const char *call, const void *ptr,
		const char *detail) __attribute__((__noreturn__, __cold__));

/* The run @ptr lies in, if it is inside a large object; else NULL. */
struct slab;
struct slab *misuse_run_around(const void *ptr);

/* Stop for a pointer that no slab in use explains: interior or invalid. */
void misuse_die_pointer(const char *call, const void *ptr)
	__attribute__((__noreturn__, __cold__));

#endif
