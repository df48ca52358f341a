/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Private file table of the reclaimer thread
 *
 * Copies of the application's files must not stay open in it: a pipe whose
 * write end we hold would never end, a socket never close.  close_range(2)
 * leaves and empties in one call; where it is missing or forbidden, the table
 * is unshared and each descriptor taken from the kernel's list of them.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include "base/number.h"
#include "base/sys.h"
#include "os/probe.h"
#include "reclaim/fdtable.h"

struct dir_entry {			/* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static int parse_fd(const char *name)
{
	uint64_t fd;

	return number_take(&name, 10, &fd) ? -1 : (int)fd;
}

/* Close what one getdents64() call lists but @dir_fd; returns how many. */
static int close_listed(int dir_fd, char *names, long nr)
{
	int nr_closed = 0;

	for (long at = 0; at < nr; ) {
		struct dir_entry *entry = (struct dir_entry *)(names + at);
		int fd = parse_fd(entry->name);

		at += entry->len;
		if (fd >= 0 && fd != dir_fd && !sys_close(fd))
			nr_closed++;
	}
	return nr_closed;
}

static int open_list(void)
{
	return sys_open("/proc/thread-self/fd",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

/* Closing moves the list on, so it is read until nothing is left to close. */
static int close_all(void)
{
	char names[1024] __aligned_(8);
	int dir_fd, nr_closed;
	long nr;

	do {
		dir_fd = open_list();
		if (dir_fd < 0)
			return dir_fd;
		nr_closed = 0;
		while ((nr = sys_call3(SYS_getdents64, dir_fd, (long)names,
				       sizeof(names))) > 0)
			nr_closed += close_listed(dir_fd, names, nr);
		sys_close(dir_fd);
	} while (nr_closed);
	return 0;
}

int fdtable_leave(void)
{
	/* First behind last: refused by the kernel, where it knows the call. */
	static const struct probe_call harmless = { SYS_close_range,
						    { 1, 0, 0 } };
	const char *reason;
	int err, dir_fd;

	err = probe_allowed(&harmless, &reason);
	if (!err)
		err = (int)sys_call3(SYS_close_range, 0, ~0U,
				     CLOSE_RANGE_UNSHARE);
	if (!err)
		return 0;
	/* There is no way back from unshare: first see that the list opens. */
	dir_fd = open_list();
	if (dir_fd < 0)
		return dir_fd;
	sys_close(dir_fd);
	if (sys_call1(SYS_unshare, CLONE_FILES))
		return err;
	return close_all();
}
