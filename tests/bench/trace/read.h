/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Reading a trace, and memory that is not malloc's
 *
 * What it is: a trace is mapped and checked as a whole before anything is done
 * with it.  One that is wrong ends the program with the place, the value and
 * what was expected.  After that all its numbers can be used without a look.
 */
#ifndef EBB_BENCH_TRACE_READ_H
#define EBB_BENCH_TRACE_READ_H

#include <stdbool.h>
#include <stddef.h>
#include "bench/trace/format.h"

struct trace {
	const struct trace_header *header;
	const struct trace_record *records;
	uint64_t nr;
	size_t file_bytes;
	/* What the check found. */
	uint64_t kinds[NR_TRACE_KINDS];
	uint64_t nr_foreign;	/* gone in another thread than it came in */
	uint64_t nr_left;	/* objects alive at the end */
	uint64_t live_peak;	/* most bytes ever alive */
};

void trace_open(struct trace *trace, const char *path);
void trace_close(struct trace *trace);

static inline bool trace_makes(uint8_t kind)
{
	return kind >= TRACE_MALLOC && kind <= TRACE_REALLOC;
}

static inline bool trace_takes(uint8_t kind)
{
	return kind == TRACE_REALLOC || kind == TRACE_FREE;
}

/* Zeros, in small pages, touched if @now.  None left: ends the program. */
void *own_memory(size_t bytes, bool now);
void own_memory_back(void *p, size_t bytes);

void stop(int status, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

#endif
