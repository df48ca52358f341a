/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Traps by userfaultfd: a missing page raises SIGBUS
 *
 * All of the window is registered, once, so that no mapping is split.  From
 * then on every page that is not backed traps, so pages are made present before
 * they are handed out: as the zero page, which costs an entry in the page
 * table and no memory.  The kernel itself gets EFAULT where it touches a
 * missing page, in read(2) for one, since an unprivileged userfaultfd sees
 * faults of user mode only.
 *
 * The descriptor lies in the program's table, out of its way; a program that
 * closes what it does not know closes it, too, and with it goes the trap, unless
 * that was in another file table.
 *
 * Fork: the child's window is not registered, but a call on the descriptor it
 * inherited would act on the parent's; so it closes it first of all.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/sys.h"
#include "os/guard_mark.h"
#include "os/map.h"
#include "os/probe.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22	/* Linux 5.14 */
#endif

#define FD_MIN	500	/* below the usual limit of 1024, above what is used */

static int uffd = -1;		/* set by open, cleared by forget */

static int call(unsigned long request, void *arg)
{
	return (int)sys_call3(SYS_ioctl, uffd, (long)request, (long)arg);
}

static int set_up(char *base, size_t len)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_SIGBUS,
	};
	struct uffdio_register reg = {
		.range = { (uintptr_t)base, len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int err = call(UFFDIO_API, &api);

	if (err)
		return err;
	err = call(UFFDIO_REGISTER, &reg);
	if (!err && !(reg.ioctls & (uint64_t)1 << _UFFDIO_ZEROPAGE))
		err = -EOPNOTSUPP;
	return err;
}

static void uffd_forget(void)
{
	if (uffd >= 0)
		sys_close(uffd);
	uffd = -1;
}

static int uffd_open(char *base, size_t len, const char **ret_reason)
{
	long fd;
	int err;

	/* It may kill, and it is too early for a child that tries it. */
	if (probe_filters(-1)) {
		*ret_reason = "not tried below a seccomp filter";
		return -EPERM;
	}
	fd = sys_call1(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		return (int)fd;
	uffd = (int)sys_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FD_MIN);
	if (uffd < 0)
		uffd = (int)fd;
	else
		sys_close((int)fd);
	err = set_up(base, len);
	if (err)
		uffd_forget();
	return err;
}

/*
 * Make some pages from *@start on present, all of @len if the kernel likes; a
 * page that is there already is as good, and one that is not registered, or not
 * any more, does not trap.  *@missing: one was missing.  0 or -errno.
 */
static int zero_some(char **start, size_t len, bool *missing)
{
	struct uffdio_zeropage arg = {
		.range = { (uintptr_t)*start, len },
		.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE,
	};
	int err = call(UFFDIO_ZEROPAGE, &arg);

	*missing |= !err || arg.zeropage > 0;
	if (!err)
		*start += len;
	else if (arg.zeropage > 0)
		*start += arg.zeropage;
	else if (err == -EEXIST || (err == -ENOENT && len == map_page_size))
		*start += map_page_size;
	else if (err == -ENOENT)	/* it is more than one mapping */
		return zero_some(start, map_page_size, missing);
	else if (err != -EAGAIN && err != -ENOMEM)
		return err;
	return 0;
}

/*
 * The descriptor is not in this thread's file table.  It may still be in
 * another: a thread, or the child of a vfork(), that has a table of its own and
 * closed what it did not know.  Then pages trap as before, and are mapped anew
 * here, which is not registered.  -EBADF: none of them traps.
 */
static int renew(char *start, char *end)
{
	int result = -EBADF;

	for (; start < end; start += map_page_size) {
		int err = sys_madvise(start, map_page_size, MADV_POPULATE_READ);

		/* It is present, or is not registered; or it cannot be known. */
		if (!err)
			continue;
		if (err != -EFAULT)
			return -EBADF;
		err = map_renew(start, map_page_size);
		if (err)
			return err;
		result = 0;
	}
	return result;
}

static int uffd_remove(char *start, size_t len)
{
	char *end = start + len;
	bool missing = false;
	int err = 0;

	while (start < end && !err)
		err = zero_some(&start, (size_t)(end - start), &missing);
	/* The number is unused, or is something else's by now. */
	if (err == -EBADF || err == -ENOTTY || err == -EINVAL)
		err = renew(start, end);
	return err ?: missing;
}

const struct guard_trap guard_trap_uffd = {
	.name = "userfaultfd",
	.advice = ADVISE_CLEAN,
	.missing = true,
	.open = uffd_open,
	.remove = uffd_remove,
	.forget = uffd_forget,
};
