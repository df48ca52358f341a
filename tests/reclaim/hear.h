/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - A round of the reclaimer's loop, without the reclaimer
 */
#ifndef EBB_TESTS_HEAR_H
#define EBB_TESTS_HEAR_H

#include <poll.h>
#include "reclaim/source.h"
#include "common.h"

/*
 * Wait for an event, @ms at most, and hear it, find again what was lost, and
 * look: as if it were @at_ms.  What the source's own clock says is its own.
 */
static inline enum pressure hear(int ms, uint64_t at_ms,
				 struct signals *ret_signals)
{
	struct pollfd set[SOURCE_MAX_FDS * 8];
	unsigned int nr = source_poll_set(set, SOURCE_MAX_FDS * 8);

	poll(set, nr, ms);
	signals_init(ret_signals, at_ms);
	source_dispatch(set, nr, ret_signals);
	source_refind("", at_ms);
	source_sample_all(ret_signals);
	return ret_signals->pressure;
}

/* Make all steps that take the kernel long. */
static inline void settle(void)
{
	while (source_settle())
		;
}

#endif
