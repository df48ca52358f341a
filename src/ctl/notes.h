/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Notes: which files of the control directory were written to
 *
 * What it is: inotify on PID/, without what we put there ourselves.
 *
 * Locking: ctl_lock; the reclaimer thread alone.
 */
#ifndef EBB_CTL_NOTES_H
#define EBB_CTL_NOTES_H

#include "base/compiler.h"

/* A descriptor that can be read when there are notes of @dir_fd; or -errno. */
int notes_open(int dir_fd) __must_check;

/*
 * Which files may have changed (attr_bit()); those that somebody wrote to are
 * added to *@ret_written.  *@ret_more: there may be more notes.
 */
uint64_t notes_read(int notes_fd, uint64_t *ret_written, bool *ret_more);

#endif
