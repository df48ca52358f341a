/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - How a process ended, as far as can be told
 */
#ifndef EBBCTL_ENDING_H
#define EBBCTL_ENDING_H

#include "page.h"

struct ending {
	const char *what;	/* in a word */
	const char *how;	/* in a sentence */
	uint64_t at_ms;		/* when the kernel said so; 0: it did not */
	uint64_t oom_kills;	/* of its cgroup, all processes; or UNKNOWN */
};

void ending_find(const struct ebb_page *page, struct ending *ret_ending);

#endif
