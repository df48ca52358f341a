/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - History: what passes and waits came to
 *
 * What it is: the last passes of the reclaimer, one by one, and histograms of
 * all of them, in the form in which they are shown (ebb/stat_page.h).
 *
 * Locking: passes are noted by the reclaimer thread alone.  Waits are noted by
 * one thread at a time, under inband_lock.  Histograms are read anywhere;
 * events by the reclaimer thread, or where there is none.
 *
 * Fork: the child's begins as a copy, as all counters do.
 */
#ifndef EBB_RECLAIM_HISTORY_H
#define EBB_RECLAIM_HISTORY_H

#include "base/compiler.h"
#include "ebb/stat_page.h"

/* @event is complete but for its number and time. */
void history_note_pass(const struct ebb_event *event);

/* A malloc near the limit spent @us. */
void history_note_wait(uint64_t us);

/* Copy the ring; how many rows of it mean something. */
unsigned int history_events(struct ebb_event *rows);

/* The row of one, from the only copy of the table. */
const struct ebb_histogram_info *history_info(enum ebb_histogram_id id);

/* Copy histogram @id; each number whole, not all of one moment. */
void history_histogram(enum ebb_histogram_id id, struct ebb_histogram *ret);

#endif
