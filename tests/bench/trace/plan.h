/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - A trace made ready for being replayed
 *
 * What it is: for each thread the steps that it takes, in an array, and a place
 * for each object, in memory of the replay's own, all there before a clock
 * runs.
 *
 * Order: a thread takes its steps in the order of the trace.  Between threads
 * there are three rules, made into STEP_WAIT where they are not met anyway:
 *
 * 1. What takes an object that another thread made comes after it was made; if
 *    that is not known yet, after all that thread did before this window (2).
 * 2. Threads stay near each other: what is in one window of the trace (so many
 *    records) comes after all that is two or more windows back.  Without, a
 *    thread that others slowed down in the recorded program would run ahead,
 *    and more would be alive than ever was.
 * 3. A thread is made after all that had ended before it was made.
 *
 * A step waits for what stands before it in the trace only, so that the oldest
 * one that is not done can always be done.
 *
 * Places: one is used again by the thread that freed what was there, and so
 * needs no order of its own.
 */
#ifndef EBB_BENCH_TRACE_PLAN_H
#define EBB_BENCH_TRACE_PLAN_H

#include "bench/trace/read.h"

#define PLAN_MOST_THREADS	4096u
#define TOUCH_LINE		64u
#define TOUCH_PAGE		4096u

/* Beyond those of enum trace_kind, which have the same meaning. */
enum step_kind {
	STEP_POST = NR_TRACE_KINDS,	/* tell how far the thread is */
	STEP_WAIT,			/* until thread @who is at post @size */
};

struct step {
	uint64_t size;
	union {
		uint32_t place;		/* of the object */
		uint32_t who;		/* THREAD, WAIT: another thread */
	};
	uint8_t kind;
	uint8_t shift;
	uint16_t unused;
};

struct place {
	char *p;
	size_t size;
};

struct plan {
	uint32_t nr_threads;
	struct step **begin;		/* of each thread, and its end */
	struct step **end;
	bool *unmade;			/* nobody makes it: there from the start */
	struct step *steps;		/* of all threads */
	uint64_t nr_steps;
	struct place *places;
	uint32_t nr_places;
	uint64_t nr_operations;
	uint64_t nr_waits;
	uint64_t cost_ns;		/* a guess, the same on every machine */
	size_t own_bytes;		/* what the plan occupies */
};

/* Of the first @nr records; a @window of 0: no second rule. */
void plan_make(struct plan *plan, const struct trace *trace, uint64_t nr,
	       uint64_t window);
void plan_forget(struct plan *plan);

#endif
