/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving ranges of pages back to the kernel
 */
#ifndef EBB_OS_ADVISE_H
#define EBB_OS_ADVISE_H

#include "base/compiler.h"

struct advise_range {
	char *start;
	size_t len;
};

enum advise_kind {
	ADVISE_LAZY,		/* MADV_FREE: the kernel may take it */
	ADVISE_CLEAN,		/* MADV_DONTNEED: given back at once */
};

struct advise_result {
	uint64_t done_bytes;
	uint64_t refused_bytes;	/* the kernel refused: locked, or an error */
	uint64_t resident_bytes;	/* of the done ones; only if asked for */
	uint64_t nr_calls;
};

/*
 * Advise @nr ranges, sorted by address and not adjacent.  ok[i] says whether
 * range i was taken.  With @count_resident what was backed is counted first.
 */
void advise_ranges(const struct advise_range *ranges, size_t nr,
		   enum advise_kind kind, bool count_resident, bool *ok,
		   struct advise_result *result);

#endif
