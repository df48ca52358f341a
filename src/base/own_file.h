/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Files that are one user's alone
 *
 * What it is: opening what lies in directories that others may write to, or see,
 * without following a symbolic link in the last component, without waiting for
 * a FIFO's other end, and knowing whose it is.
 *
 * Context: any; system calls only.
 */
#ifndef EBB_BASE_OWN_FILE_H
#define EBB_BASE_OWN_FILE_H

#include "base/compiler.h"

/* @flags beside O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK and O_NOCTTY; or -errno. */
int own_file_open(int dir_fd, const char *path, int flags, unsigned int mode)
	__must_check;

/* Whether it is of @type (S_IFREG and so on), and @uid's alone to write to. */
bool own_file_is(int fd, unsigned int type, uint32_t uid);

/*
 * One of which that is so, with access for its owner alone if it is made; -EPERM:
 * it is not, or other -errno.
 */
int own_file_open_as(const char *path, int flags, unsigned int type,
		     uint32_t uid) __must_check;

/* Whether there is one at @path, and it can be read. */
bool own_file_exists(const char *path, unsigned int type, uint32_t uid);

#endif
