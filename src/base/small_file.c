/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reading a small file of the kernel's
 */
#include <fcntl.h>

#include "base/small_file.h"
#include "base/sys.h"

long small_file_read(const char *path, char *buf, size_t size)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	size_t len = 0;
	long ret;

	buf[0] = '\0';
	if (fd < 0)
		return fd;
	do {
		ret = sys_read(fd, buf + len, size - 1 - len);
		len += ret > 0 ? (size_t)ret : 0;
	} while (ret > 0 && len < size - 1);
	sys_close(fd);
	buf[len] = '\0';
	return ret < 0 ? ret : (long)len;
}
