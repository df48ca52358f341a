/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Files that are one user's alone
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/own_file.h"
#include "base/sys.h"

int own_file_open(int dir_fd, const char *path, int flags, unsigned int mode)
{
	if (inject_hit(INJECT_OPEN))
		return -EMFILE;
	return (int)sys_call4(SYS_openat, dir_fd, (long)path,
			      flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
				      O_NOCTTY, mode);
}

bool own_file_is(int fd, unsigned int type, uint32_t uid)
{
	struct stat st;

	return !sys_fstat(fd, &st) && (st.st_mode & S_IFMT) == type &&
	       st.st_uid == uid && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

int own_file_open_as(const char *path, int flags, unsigned int type,
		     uint32_t uid)
{
	int fd = own_file_open(AT_FDCWD, path, flags, 0600);

	if (fd < 0 || own_file_is(fd, type, uid))
		return fd;
	sys_close(fd);
	return -EPERM;
}

bool own_file_exists(const char *path, unsigned int type, uint32_t uid)
{
	int flags = O_RDONLY | (type == S_IFDIR ? O_DIRECTORY : 0);
	int fd = own_file_open_as(path, flags, type, uid);

	if (fd >= 0)
		sys_close(fd);
	return fd >= 0;
}
