/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Small files in a directory that others may write to
 *
 * What it is: the few system calls of src/ctl, by directory descriptor, none of
 * which follows a symbolic link in the last component.  All return -errno.
 *
 * Files are put in place whole, by rename(2), so that a reader sees the old
 * one or the new one; none is opened for writing by its name.
 */
#ifndef EBB_CTL_FILE_H
#define EBB_CTL_FILE_H

#include <sys/types.h>
#include "base/compiler.h"

#define FILE_NAME_SIZE	32	/* of ours, its final zero byte included */
#define FILE_NEW_NAME	".new"	/* what file_put() is making */

/*
 * While it is set all below fail with -ECANCELED and change nothing: a handler
 * interrupted whoever is at it and forked, and this is the child, in the middle
 * of what is the parent's.  Written by the one thread that there is.
 */
extern bool file_barred __attribute__((visibility("hidden")));

/* By which a file is known again: another one, or written to, has another. */
struct file_mark {
	uint64_t ino;
	uint64_t ns;		/* of its last change of contents */
};

struct stat;
struct file_mark file_mark_of(const struct stat *st);

/* @flags beside O_CLOEXEC, O_NOFOLLOW and O_NONBLOCK. */
int file_open(int dir_fd, const char *name, int flags) __must_check;

/* A directory; with O_NOFOLLOW. */
int file_open_dir(int dir_fd, const char *name) __must_check;

int file_make_dir(int dir_fd, const char *name, unsigned int mode)
	__must_check;

/*
 * Put a file of @len bytes in the place of @name, whatever was there; its mark
 * in *@ret_mark, if wanted.  Failure: @name is as it was.
 */
int file_put(int dir_fd, const char *name, unsigned int mode, const char *text,
	     size_t len, struct file_mark *ret_mark) __must_check;

/*
 * The same, of what @write puts into it; -errno of that, too.  The time in the
 * mark is that of its last write(2).
 */
int file_put_by(int dir_fd, const char *name, unsigned int mode,
		int (*write)(int fd, void *arg), void *arg,
		struct file_mark *ret_mark) __must_check;

/* Remove @name, also an empty directory; an absent one is no error. */
int file_remove(int dir_fd, const char *name) __must_check;

/*
 * Call @fn for each name in the directory, "." and ".." left out, until it
 * returns false.  Names that do not fit into FILE_NAME_SIZE are none of ours,
 * and left out, too.
 * Context: one thread at a time (ctl_lock).
 */
int file_for_each(int dir_fd, bool (*fn)(const char *name, void *arg),
		  void *arg) __must_check;

#endif
