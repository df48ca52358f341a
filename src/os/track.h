/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which pages were written: asynchronous write protection
 *
 * What it is: the window is registered with a userfaultfd whose write
 * protection the kernel itself takes off at the first write (WP_ASYNC); and
 * PAGEMAP_SCAN tells which pages it has been taken off from, protecting them
 * again in the same walk.  Nobody waits for anybody: a write to a protected
 * page costs one short fault, system calls included.  Linux 6.7; needs no
 * privilege.
 *
 * Both descriptors lie in the table of the thread that opened them, which must
 * be one of its own: a forked child inherits neither, and its memory is not
 * protected.
 *
 * Locking: none; one thread.
 */
#ifndef EBB_OS_TRACK_H
#define EBB_OS_TRACK_H

#include "base/compiler.h"

/* Pages that are backed, all of them written since the last scan, or none. */
struct track_region {
	uint64_t start, end;
	uint64_t categories;
};

#define TRACK_WRITTEN	(1u << 1)

/* Track [@base, @base + @len); 0 or -errno, and *@ret_reason may say more. */
int track_open(char *base, size_t len, const char **ret_reason) __must_check;

/*
 * The next regions from *@at on, up to @end; their number, at most @max, 0 when
 * *@at has come to the end, or -errno.
 */
int track_scan(uint64_t *at, uint64_t end, struct track_region *regions,
	       unsigned int max) __must_check;

void track_close(void);

#endif
