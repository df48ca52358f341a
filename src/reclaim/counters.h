/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The counters of ebb/stat_page.h, collected
 *
 * What it is: the one place that knows where each of them is kept, but for
 * what only a walk over the heap can tell: that is left to the caller, who does
 * it exactly (api/count.c) or at a glance (heap/tally.h).
 */
#ifndef EBB_RECLAIM_COUNTERS_H
#define EBB_RECLAIM_COUNTERS_H

#include "base/compiler.h"
#include "ebb/stat_page.h"

/* Its row of ebb_counters[], of which each file that names it has a copy. */
const struct ebb_counter_info *counters_info(enum ebb_counter id);

/*
 * Fill @values but for LIVE, CACHED, DIRTY, LAZY, CLEAN, METADATA and SLABS.
 * Each number is whole, but not all are of one moment.  Context: any thread.
 */
void counters_read(uint64_t values[EBB_NR_COUNTERS]);

/* What the allocator keeps for itself, where heaps take up @heap_bytes. */
uint64_t counters_metadata(uint64_t heap_bytes);

#endif
