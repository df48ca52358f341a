/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Compressed swap in memory, for the time of a run
 */
#ifndef EBB_BENCH_SWAP_H
#define EBB_BENCH_SWAP_H

#include <stddef.h>

/*
 * Add a zram device of @bytes and swap to it; at exit, also by a signal, both
 * are undone.  Swap is the machine's: every process may come to use it.
 * Where it cannot be had: exit status 4 with the reason.
 */
void swap_begin(size_t bytes);

/* Called by frame.c when the controller ends; nothing if there is no swap. */
void swap_end(void);

#endif
