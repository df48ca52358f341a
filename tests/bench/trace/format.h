/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - The format of a trace of malloc calls
 *
 * What it is: a file made of one header and then records of one size, without
 * gaps, in the byte order of the machine that made it.  Its length follows from
 * the header; one that is longer or shorter was not ended, or was cut.
 *
 * Model: records are in the order in which the calls happened, over all
 * threads: whatever was allocated was so after the record that freed its
 * address, and an object goes after it came.  An object is named by the number
 * of the record that made it, the first record being 0.
 *
 * Threads have numbers from 0, the main thread, in the order in which they were
 * made.  One that has no TRACE_THREAD record was made in a way the recorder
 * does not see.  The calls of more than TRACE_MOST_THREADS are not there.
 *
 *	kind		size		object		shift
 *	MALLOC		bytes		-		-
 *	CALLOC		bytes		-		-
 *	MEMALIGN	bytes		-		log2 of the alignment
 *	REALLOC		bytes		the old one	-
 *	FREE		-		the one to go	-
 *	THREAD		its number	-		-
 *	EXIT		-		-		-
 *
 * What is not used is 0.  A realloc makes a new object, also where it stays.
 * Calls that failed are not there, nor is malloc_usable_size() and the like;
 * what was allocated before the recorder began is realloc'ed as if malloc'ed,
 * and its free is not there.
 */
#ifndef EBB_BENCH_TRACE_FORMAT_H
#define EBB_BENCH_TRACE_FORMAT_H

#include <stdint.h>

#define TRACE_MAGIC	"EBBTRACE"
#define TRACE_VERSION	1

struct trace_header {
	char magic[8];		/* TRACE_MAGIC, without its NUL */
	uint32_t version;
	uint32_t header_bytes;	/* of this structure */
	uint32_t record_bytes;	/* of a record */
	uint32_t nr_threads;
	uint64_t nr_records;
	uint64_t nr_dropped;	/* calls after the last record */
	uint8_t reserved[24];	/* 0 */
};

enum trace_kind {
	TRACE_NONE,		/* never written */
	TRACE_MALLOC,
	TRACE_CALLOC,
	TRACE_MEMALIGN,
	TRACE_REALLOC,
	TRACE_FREE,
	TRACE_THREAD,
	TRACE_EXIT,
	NR_TRACE_KINDS
};

struct trace_record {
	uint8_t kind;
	uint8_t shift;
	uint16_t thread;	/* that called */
	uint32_t object;
	uint64_t size;
};

#define TRACE_MOST_THREADS	65536u
#define TRACE_MOST_SHIFT	30u
#define TRACE_MOST_SIZE		((uint64_t)1 << 40)
#define TRACE_MOST_RECORDS	((uint64_t)1 << 28)

_Static_assert(sizeof(struct trace_header) == 64, "format");
_Static_assert(sizeof(struct trace_record) == 16, "format");

#endif
