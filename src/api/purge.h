/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving everything back, because the program asked for it
 */
#ifndef EBB_API_PURGE_H
#define EBB_API_PURGE_H

#include "reclaim/purge.h"

/*
 * A pass over all that is free, the caches of threads included.  0, or:
 * -ENOMEM there is no heap; -EDEADLK in a signal handler that interrupted the
 * allocator, where locks may be held.  Keeps errno if it succeeds.
 */
int purge_all(struct purge_result *ret_result) __must_check;

/* The same over what is old enough, by the options of this moment. */
int purge_due(struct purge_result *ret_result) __must_check;

#endif
