/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - A heap with holes: scattered ranges of free whole pages
 *
 * Blocks of one size fill the heap.  In the order of their addresses, runs of
 * them are freed, each covering 4 to 64 KiB of whole pages (log-uniform), with
 * one block left alive between two runs.
 */
#ifndef EBB_BENCH_HOLES_H
#define EBB_BENCH_HOLES_H

#include "common.h"

/* Addresses further apart than this are not one heap. */
#define GAP_MOST	(64 * KIB)

struct range {
	char *start;
	size_t len;
};

struct holes {
	struct range *ranges;	/* ascending */
	size_t nr;
	size_t bytes;		/* of all ranges */
	size_t block_size;
	char **blocks;		/* NULL: freed */
	size_t nr_blocks;
};

/* A heap that is large enough for holes of @bytes.  No memory:
 * EXIT_NO_MEMORY. */
void holes_fill(struct holes *holes, size_t bytes, size_t block_size);

/* Free ranges of @bytes or a little more. */
void holes_free(struct holes *holes, size_t bytes, unsigned long seed);

/* Free the blocks that were left alive. */
void holes_end(struct holes *holes);

/* Private zero pages of one's own, or the end of the program. */
void *map_pages(size_t bytes);

#endif
