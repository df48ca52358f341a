/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reading /proc/self/maps
 *
 * What it is: the mappings of this process one after the other, or the same as
 * text in pieces, by system calls alone, in a buffer that the caller lends.
 *
 * Invariants:
 * (1) Each line gives one mapping: also one that several reads bring, and one
 *     that is longer than the buffer, of which the end of the name is missing.
 * (2) Nothing is kept outside of the struct and its buffer.
 *
 * The kernel writes some lines at a time; what the process maps or unmaps
 * between two reads may be missing, or be there twice.
 *
 * Context: any, also signal handlers, and while other threads are stopped:
 * nothing is allocated, no lock is taken.  A descriptor is open from
 * mappings_open() to mappings_close().  One struct is one caller's.
 */
#ifndef EBB_BASE_MAPPINGS_H
#define EBB_BASE_MAPPINGS_H

#include "base/compiler.h"

#define MAPPINGS_BUF_MIN	256u	/* what stands before a name has room */

struct mappings {
	int fd;
	int err;		/* 0, or why there is no more */
	bool in_cut;		/* what follows is the rest of a line given */
	char *buf;
	size_t size;
	size_t at;		/* in @buf: where the next line begins */
	size_t len;		/* in @buf: what has been read */
};

struct mapping {
	uintptr_t start, end;
	uint64_t offset;	/* of @start in the file */
	uint64_t inode;		/* 0: no file is behind it */
	bool readable, writable;
	/*
	 * As the kernel has it: " (deleted)" at its end, a newline as "\012";
	 * "" if there is none.  In the buffer, until the next one is read.
	 */
	const char *name;
};

/* To read with @buf of @size, at least MAPPINGS_BUF_MIN.  0 or -errno. */
int mappings_open(struct mappings *maps, char *buf, size_t size) __must_check;

/* The same of @fd, which mappings_close() will close. */
void mappings_from(struct mappings *maps, int fd, char *buf, size_t size);

/* The next one; false: there are no more, or an error, see mappings_close(). */
bool mappings_next(struct mappings *maps, struct mapping *ret);

/*
 * Instead of mappings_next(): the next piece of the text, at the beginning of
 * the buffer.  Returns its length; 0: as false there.
 */
size_t mappings_text(struct mappings *maps);

/* 0: all was read, as far as the caller wanted; or -errno. */
int mappings_close(struct mappings *maps);

#endif
