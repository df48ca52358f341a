/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The board: what this process shows of itself
 *
 * What it is: the one struct ebb_page of the process (ebb/stat_page.h), filled
 * from the counters of lower floors.  All that is shown, as a page or as text,
 * comes from it, so that all of it is of one moment.
 *
 * Cost: the walk over the heap (heap/tally.h) is repeated after a second at
 * the earliest, and after a thousand times what it took: a thousandth of one
 * CPU at most.  In between its numbers stay.
 *
 * Locking: ctl_lock.
 */
#ifndef EBB_CTL_BOARD_H
#define EBB_CTL_BOARD_H

#include "base/compiler.h"
#include "ctl/place.h"
#include "ebb/stat_page.h"

/* Forget all, but for who we are. */
void board_begin(const struct place_self *self);

/*
 * Look at everything now; @state and @features (ebb/abi.h) are what the page
 * shall say of the process.
 */
void board_gather(enum ebb_page_state state, uint64_t features);

/* The answer to what was written to @name. */
void board_verdict(const char *name, int err, const char *text);

/*
 * A report of guard mode: shown as the answer to what nobody wrote, with the
 * page in @path, of @uid, as it was otherwise.  Context: a signal handler, in a
 * process that perhaps ends then; system calls only.
 */
void board_report(const char *path, uint32_t uid);

/*
 * A report that was written and is not shown yet: its whole text goes into
 * EBB_REPORT_FILE, unless @dir_fd is below 0, and it is shown with the next page.
 * False: there is none.
 */
bool board_take_report(int dir_fd);

/* As long as there was none on this page: an empty file. */
int board_put_no_report(int dir_fd) __must_check;

/* How many there were. */
uint64_t board_nr_verdicts(void);

/*
 * A number that changes when what the board shows has changed visibly; cheap.
 */
uint64_t board_stamp(void);

/* As it was gathered last. */
const struct ebb_page *board_page(void);

#endif
