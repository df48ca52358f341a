/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reading a small file of the kernel's
 */
#include <fcntl.h>

#include "base/fd_window.h"
#include "base/log.h"
#include "base/small_file.h"
#include "base/sys.h"

static long read_it(const char *path, char *buf, size_t size)
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

__startup long small_file_read(const char *path, char *buf, size_t size)
{
	long ret;

	fd_window_enter();
	ret = read_it(path, buf, size);
	fd_window_leave();
	return ret;
}

void small_file_comm(int tid, char name[COMM_SIZE])
{
	char path[48] = "/proc/self/comm";
	long len;

	if (tid)
		fmt_line(path, sizeof(path), "/proc/self/task/%d/comm", tid);
	len = small_file_read(path, name, COMM_SIZE);
	if (len > 0 && name[len - 1] == '\n')
		len--;
	name[max(len, 0L)] = '\0';
}
