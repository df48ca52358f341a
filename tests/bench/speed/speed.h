/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - What all speed programs have in common
 *
 * What it is: each program does a fixed amount of work with whatever malloc it
 * finds, first an eighth of it for warm-up, then all of it against the clock,
 * and prints one line of JSON: seconds, CPU seconds, operations, peak RSS.
 * One thread is the main thread; several begin together.
 *
 * What is random (sizes, places, alignments) is drawn before the work begins.
 * Objects are tagged when they are made and looked at when they go, so that an
 * allocator that hands out memory twice is seen (EXIT_CORRUPT).
 */
#ifndef EBB_BENCH_SPEED_H
#define EBB_BENCH_SPEED_H

#include "common.h"

#define THREADS_MAX	8
#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

/* Exit status: no memory; not what was written; the same as frame.h's. */
#define EXIT_NO_MEMORY	10
#define EXIT_CORRUPT	11

/* Real programs write what they asked for: here a word in each of these. */
#define TOUCH_STEP	4096

/* A parameter --name=NUMBER, or of @words, of which @value is the index. */
struct knob {
	const char *name;
	unsigned long *value;
	unsigned long min;
	unsigned long max;
	const char *const *words;	/* ended by NULL */
	const char *help;
};

struct program {
	const char *name;
	struct knob *knobs;		/* ended by a NULL name */
	const char *operation;		/* what one of them is */
	unsigned long operations;	/* of each thread, by default */
	unsigned long threads_min;	/* 0: 1 */
	void (*prepare)(void);
	/* @operations more; called twice in each thread. */
	void (*body)(unsigned int thread, uint64_t operations);
	void (*finish)(void);		/* check what is left */
};

/* All of a program's main(). */
int speed_main(const struct program *program, char **argv);

extern unsigned long speed_threads;

void speed_no_memory(size_t size) __attribute__((noreturn, cold));
void speed_corrupt(const void *p) __attribute__((noreturn, cold));
void die(const char *format, ...)
	__attribute__((noreturn, cold, format(printf, 1, 2)));

/* Memory for the program's own tables, which no allocator sees. */
void *table_map(size_t bytes);

static inline void *must(void *p, size_t size)
{
	if (__builtin_expect(!p, 0))
		speed_no_memory(size);
	return p;
}

/* Write @tag at the begin, a byte on each page, and one at the end. */
static inline void touch(void *p, size_t size, uint64_t tag)
{
	char *at = p;

	*(uint64_t *)p = tag;
	for (size_t i = TOUCH_STEP; i < size; i += TOUCH_STEP)
		at[i] = (char)tag;
	if (size > sizeof(tag))
		at[size - 1] = (char)tag;
}

static inline void check_tag(const void *p, size_t size, uint64_t tag)
{
	if (__builtin_expect(*(const uint64_t *)p != tag ||
			     (size > sizeof(tag) &&
			      ((const char *)p)[size - 1] != (char)tag), 0))
		speed_corrupt(p);
}

/* @size is at least that of a tag. */
static inline void *take(size_t size, uint64_t tag)
{
	void *p = must(malloc(size), size);

	touch(p, size, tag);
	return p;
}

static inline void drop(void *p, size_t size, uint64_t tag)
{
	check_tag(p, size, tag);
	free(p);
}

#endif
