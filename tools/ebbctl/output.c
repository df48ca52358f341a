/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Where a command's output goes: a file as a whole, or stdout
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ebbctl.h"
#include "output.h"

static bool write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t done = write(fd, text, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		text += done;
		len -= (size_t)done;
	}
	return true;
}

static bool replace(const char *path, unsigned int mode, const char *text,
		    size_t len)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	char temporary[PATH_MAX];
	struct stat st;
	bool ok;
	int fd;

	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return false;
	}
	if (!path_make(temporary, sizeof(temporary), "%.*s.%s.XXXXXX", dir_len,
		       path, path + dir_len))
		return false;
	fd = mkstemp(temporary);
	if (fd < 0)
		return false;
	ok = !fchmod(fd, mode) && write_all(fd, text, len);
	ok = !close(fd) && ok && !rename(temporary, path);
	if (!ok) {
		int err = errno;

		unlink(temporary);
		errno = err;
	}
	return ok;
}

bool output_put(const char *path, unsigned int mode, const char *text,
		size_t len)
{
	if (path ? replace(path, mode, text, len) :
		   write_all(STDOUT_FILENO, text, len))
		return true;
	message("%s cannot be written: %s", path ? path : "stdout",
		strerror(errno));
	return false;
}
