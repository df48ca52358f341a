/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - What the library's counters must say
 *
 * Model: an object of at most 64 KiB of usable size lives in a slab, a 64 KiB
 * piece of memory aligned to that, or in two of them side by side.  The slabs
 * that must exist are those such an object lies in; their 1 KiB blocks that no
 * object overlaps are *free*; and a free block in a page that some object overlaps
 * is *stranded*, since the kernel can only take whole pages.
 *
 * Computed from pointers and usable sizes alone.  Which of the pages without
 * an object are resident is asked of the kernel: after a trim, none.
 */
#ifndef EBB_TESTS_STRESS_MODEL_H
#define EBB_TESTS_STRESS_MODEL_H

#include "floor/table.h"
#include "stress/objects.h"

struct model {
	uint64_t slabs;
	uint64_t free_blocks;
	uint64_t stranded_blocks;
	uint64_t resident_bytes;	/* of pages without an object */
	uint64_t objects;
};

/* The model of all objects and of what floor/table.h knows; no thread runs. */
bool model_make(const struct seat *seats, unsigned int nr_seats,
		struct model *ret_model);

/* Equal, and nothing left that a trim should have given back. */
static inline bool model_fits(const struct model *model,
			      const struct ebb_heap_counts *counts)
{
	return model->slabs == counts->slabs &&
	       model->free_blocks == counts->free_blocks &&
	       model->stranded_blocks == counts->stranded_blocks &&
	       !model->resident_bytes && !counts->cached_bytes &&
	       !counts->dirty_bytes && !counts->lazy_bytes;
}

#endif
