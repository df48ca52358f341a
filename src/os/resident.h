/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which pages are backed
 *
 * What it is: PAGEMAP_SCAN (Linux 6.7) asked for the present pages of spans,
 * a nanosecond a page; where the kernel has it not, mincore(2), dearer by the
 * call, and not below a seccomp filter: some kill for it.  Pages that are the
 * kernel's shared page of zeroes are not counted.  What cannot be told counts
 * as backed.
 */
#ifndef EBB_OS_RESIDENT_H
#define EBB_OS_RESIDENT_H

#include "base/compiler.h"
#include "os/advise.h"

/* One user at a time: the caller excludes others. */
struct resident {
	int fd;			/* of /proc/self/pagemap; -1: mincore */
};

/*
 * Open and close.  Between the two a descriptor is held; in whose table is
 * the caller's business.  Opening always succeeds, if only with mincore.
 */
void resident_open(struct resident *resident);
void resident_close(struct resident *resident);

/*
 * Count what is backed in each of @ranges, sorted by address; @ret_bytes[i]
 * for range i, and in @ret_huge[i], unless it is NULL, whether part of that is
 * mapped by a huge page (mincore cannot tell).  Returns the sum.
 */
uint64_t resident_count(struct resident *resident,
			const struct advise_range *ranges, size_t nr,
			uint64_t *ret_bytes, bool *ret_huge);

/*
 * Count pages of [@start, @start + @len) by mincore: pages, all of them where
 * it fails or may not be used; *@ret_first, if wanted, is the first (left alone
 * where there is none).
 */
uint64_t resident_mincore(char *start, size_t len, char **ret_first);

#endif
