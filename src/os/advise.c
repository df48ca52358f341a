/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving ranges of pages back to the kernel
 *
 * One madvise for each range.  EINVAL from MADV_DONTNEED means locked memory
 * (mlockall): what the user wants resident stays, and is counted as refused.
 */
#include <sys/mman.h>

#include "base/bits.h"
#include "base/sys.h"
#include "os/advise.h"
#include "os/map.h"

#define MINCORE_PAGES	256u

static uint64_t resident_in(const struct advise_range *range)
{
	unsigned char vec[MINCORE_PAGES];
	uint64_t pages = 0;

	for (size_t at = 0; at < range->len;) {
		size_t len = min(range->len - at,
				 MINCORE_PAGES << map_page_shift);

		if (sys_call3(SYS_mincore, (long)(range->start + at),
			      (long)len, (long)vec))
			return range->len;
		for (size_t i = 0; i < len >> map_page_shift; i++)
			pages += vec[i] & 1;
		at += len;
	}
	return pages << map_page_shift;
}

void advise_ranges(const struct advise_range *ranges, size_t nr,
		   enum advise_kind kind, bool count_resident, bool *ok,
		   struct advise_result *result)
{
	int advice = kind == ADVISE_LAZY ? MADV_FREE : MADV_DONTNEED;

	for (size_t i = 0; i < nr; i++) {
		uint64_t resident = count_resident ? resident_in(&ranges[i]) :
						     0;
		int err = sys_madvise(ranges[i].start, ranges[i].len, advice);

		result->nr_calls++;
		ok[i] = !err;
		if (err) {
			result->refused_bytes += ranges[i].len;
		} else {
			result->done_bytes += ranges[i].len;
			result->resident_bytes += resident;
		}
	}
}
