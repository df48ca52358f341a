/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which pages were written: asynchronous write protection
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/sys.h"
#include "os/probe.h"
#include "os/track.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif
#define FEATURE_WP_ASYNC	(1u << 15)	/* linux/userfaultfd.h of 6.7 */

/* linux/fs.h of 6.7, as in os/resident.c. */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end;
	uint64_t vec, vec_len, max_pages;
	uint64_t inverted, all_of, any_of, return_mask;
};

#define SCAN			_IOWR('f', 16, struct scan_arg)
#define SCAN_PROTECT		(1u << 0)	/* again what was written */
#define SCAN_CHECK		(1u << 1)	/* all of it is tracked */
#define SCAN_IS_PRESENT		(1u << 3)
#define SCAN_IS_PFNZERO		(1u << 5)

static int uffd = -1, pagemap = -1;

static int call(int fd, unsigned long request, void *arg)
{
	return (int)sys_call3(SYS_ioctl, fd, (long)request, (long)arg);
}

static int make_uffd(const char **ret_reason)
{
	const struct probe_call make = {
		SYS_userfaultfd, { O_CLOEXEC | UFFD_USER_MODE_ONLY },
	};
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = FEATURE_WP_ASYNC,
	};
	int err;

	uffd = (int)probe_syscall(&make, ret_reason);
	if (uffd < 0)
		return uffd;
	err = call(uffd, UFFDIO_API, &api);
	if (err == -EINVAL)
		*ret_reason = "the kernel is older than 6.7";
	return err;
}

static int register_all(char *base, size_t len, const char **ret_reason)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)base, len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int err = call(uffd, UFFDIO_REGISTER, &reg);

	if (err == -EBUSY)
		*ret_reason = "guard=decommitted has a userfaultfd there";
	return err;
}

int track_open(char *base, size_t len, const char **ret_reason)
{
	int err = make_uffd(ret_reason);

	if (!err)
		err = register_all(base, len, ret_reason);
	if (!err) {
		pagemap = sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC,
				   0);
		err = min(pagemap, 0);
	}
	if (err)
		track_close();
	return err;
}

void track_close(void)
{
	if (uffd >= 0)
		sys_close(uffd);
	if (pagemap >= 0)
		sys_close(pagemap);
	uffd = pagemap = -1;
}

int track_scan(uint64_t *at, uint64_t end, struct track_region *regions,
	       unsigned int max)
{
	struct scan_arg arg = {
		.size = sizeof(arg),
		.flags = SCAN_PROTECT | SCAN_CHECK,
		.start = *at,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = max,
		.inverted = SCAN_IS_PFNZERO,
		.all_of = SCAN_IS_PRESENT | SCAN_IS_PFNZERO,
		.return_mask = SCAN_IS_PRESENT | TRACK_WRITTEN,
	};
	int nr;

	if (*at >= end)
		return 0;
	nr = call(pagemap, SCAN, &arg);
	if (nr < 0)
		return nr;
	*at = arg.walk_end > *at ? arg.walk_end : end;
	/* No more than an empty stretch: nobody is to take it for the end. */
	return nr || *at >= end ? nr : track_scan(at, end, regions, max);
}
