/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - The malloc family, defined before an allocator's
 *
 * What it is: who links interpose.o, a program or a library to be preloaded,
 * has the whole family defined in front of the allocator that comes next, and
 * is told of every call that changes what is alive: what goes, before it goes,
 * and what came, after it came.  Between the two nobody else can be given the
 * same address, so that a table of addresses never has one twice.
 *
 * What is allocated while the functions of the next allocator are looked up is
 * in a small area of its own, and is not told.
 */
#ifndef EBB_TESTS_INTERPOSE_H
#define EBB_TESTS_INTERPOSE_H

#include <stdbool.h>
#include <stddef.h>

struct malloc_family {
	void *(*do_malloc)(size_t);
	void *(*do_calloc)(size_t, size_t);
	void *(*do_realloc)(void *, size_t);
	void *(*do_memalign)(size_t, size_t);
	int (*do_posix_memalign)(void **, size_t, size_t);
	void (*do_free)(void *);
	size_t (*usable_size)(void *);
	int (*trim)(size_t);
};

/* The next allocator's functions, once interpose_find() has run. */
extern struct malloc_family next_malloc;

void interpose_find(void);

/* The next definition of a function, or NULL; @where is a pointer to it. */
bool interpose_find_one(void *where, const char *name);

enum call_kind {
	CALL_MALLOC,
	CALL_CALLOC,
	CALL_REALLOC,
	CALL_MEMALIGN,		/* all that take an alignment */
	CALL_FREE,
};

struct call {
	enum call_kind kind;
	void *old;		/* what goes; NULL: nothing */
	void *made;		/* what came; NULL: nothing */
	size_t size;		/* asked for; calloc: the product */
	size_t alignment;	/* CALL_MEMALIGN */
	/* For whom it tells, from call_begins() to call_ends(). */
	bool known;
	size_t note;
};

/* Whether a call returned without taking call->old: realloc had no memory. */
static inline bool call_failed(const struct call *call)
{
	return call->kind == CALL_REALLOC && !call->made && call->size;
}

/* To be defined by who links this.  The first only if there is call->old. */
void call_begins(struct call *call);
void call_ends(struct call *call);

#endif
