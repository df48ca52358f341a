/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Private file table of the reclaimer thread
 */
#ifndef EBB_RECLAIM_FDTABLE_H
#define EBB_RECLAIM_FDTABLE_H

#include "base/compiler.h"

/*
 * The calling thread leaves the process's file table for an empty one of its
 * own.  -errno where the kernel does not let it; its table is then the
 * process's, as before.
 */
int fdtable_leave(void) __must_check;

#endif
