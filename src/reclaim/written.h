/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - What live memory is written, and what is cold
 *
 * What it is: with the option track_writes the reclaimer's thread looks once in
 * that time which backed pages were written since (os/track.h), and sums the
 * live ones by how long ago they were written last, by size class, and by the
 * thread that their slab belongs to.  What was not written for cold_ms is cold.
 * With cold_out, where there is swap, cold pages are advised MADV_PAGEOUT under
 * pressure.
 *
 * Model: a table has a word for each page: when it was seen written last.  A
 * page is live if a slot on it is handed out (those in caches count), or if it
 * is within a large object.  Memory whose slabs change hands during the walk
 * may be counted for another class or thread: these are statistics.
 *
 * Invariant: the contents of memory are never changed here, and a page is
 * advised as a hint only, so no claim is needed.
 *
 * Locking: one thread; others read the numbers one by one.
 * Fork: the child's memory is not tracked until its own thread begins.
 */
#ifndef EBB_RECLAIM_WRITTEN_H
#define EBB_RECLAIM_WRITTEN_H

#include "base/compiler.h"

struct written_stats {
	uint64_t cold_bytes;	/* live, not written for cold_ms */
	uint64_t written_bytes;	/* in pages, summed over the intervals */
	uint64_t nr_scans;
	uint64_t scanned_bytes;	/* backed, summed over the scans */
	uint64_t scan_us;	/* time of all of them */
	uint64_t out_bytes;	/* advised to be paged out so far */
};

/* If the option asks for it: have the reclaimer's thread do it. */
void written_init(void);

/* All zero where nothing is tracked.  Context: any thread. */
void written_stats(struct written_stats *ret_stats);

/*
 * What was found last, as text: a line about how, then tables.  Returns the
 * length stored.
 */
size_t written_report(char *buf, size_t size);

/* The first line of it alone; 0: the option is off. */
size_t written_describe(char *buf, size_t size);

void written_postfork_child(void);

#endif
