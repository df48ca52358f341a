/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving ranges of pages back to the kernel
 */
#ifndef EBB_OS_ADVISE_H
#define EBB_OS_ADVISE_H

#include "base/compiler.h"

struct advise_range {
	char *start;
	size_t len;
};

enum advise_kind {
	ADVISE_LAZY,		/* MADV_FREE: the kernel may take it */
	ADVISE_CLEAN,		/* MADV_DONTNEED: given back at once */
	ADVISE_GUARD,		/* MADV_GUARD_INSTALL: the same, and it traps */
};

struct advise_result {
	uint64_t done_bytes;
	uint64_t refused_bytes;	/* the kernel refused: locked, or an error */
	uint64_t nr_calls;
};

/*
 * Advise @nr ranges, sorted by address and not adjacent.  ok[i] says whether
 * range i was taken.  Callers exclude each other, and advise_start().
 */
void advise_ranges(const struct advise_range *ranges, size_t nr,
		   enum advise_kind kind, bool *ok,
		   struct advise_result *result);

/*
 * Have the kernel split huge folios of @unit bytes of which a part was given
 * back, so that that part counts as free for the cgroup, too: usage falls only
 * then.  Costs a good quarter of a millisecond for each of 2 MiB.  Returns how
 * many were asked for.
 */
unsigned int advise_split(char *start, size_t len, size_t unit);

/*
 * The calling thread is the reclaimer: find out what backends there are, time
 * them on memory of our own, and choose (option backend).  Takes a few
 * milliseconds, in which no pass may run.  @no_table: NULL, or why it has no
 * private file table; then no descriptor is kept.
 */
void advise_start(const char *no_table);

/* In a forked child: madvise, until its own reclaimer chooses. */
void advise_postfork_child(void);

/* The backend in use.  Context: any thread, as for those below. */
const char *advise_name(void);

/* What it was measured to cost for one small range; 0: not measured. */
uint64_t advise_cost_ns(void);

/*
 * "NAME: chosen, 0.57 us a range, N ranges, ..." or "NAME: unavailable: why"
 * of the @i-th, and what folios there are; the length stored, 0 behind the
 * last.
 */
size_t advise_describe(unsigned int i, char *buf, size_t size);

/* One such line for each; the length stored. */
size_t advise_report(char *buf, size_t size);

#endif
