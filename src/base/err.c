/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Names of errors
 */
#include "base/err.h"

const char *err_name(int err)
{
	static const struct {
		int err;
		const char *name;
	} names[] = {
		{ EPERM, "EPERM" },	{ ENOSYS, "ENOSYS" },
		{ EINVAL, "EINVAL" },	{ ENOMEM, "ENOMEM" },
		{ EAGAIN, "EAGAIN" },	{ EBADF, "EBADF" },
		{ EBUSY, "EBUSY" },	{ EACCES, "EACCES" },
		{ EFAULT, "EFAULT" },	{ ENOENT, "ENOENT" },
		{ EMFILE, "EMFILE" },	{ ENFILE, "ENFILE" },
		{ EINTR, "EINTR" },	{ ESRCH, "ESRCH" },
		{ ENODEV, "ENODEV" },	{ EROFS, "EROFS" },
		{ EIO, "EIO" },		{ EOPNOTSUPP, "EOPNOTSUPP" },
		{ ENAMETOOLONG, "ENAMETOOLONG" }, { ENXIO, "ENXIO" },
		{ ELOOP, "ELOOP" },	{ ENOTDIR, "ENOTDIR" },
		{ EPIPE, "EPIPE" },	{ ENOSPC, "ENOSPC" },
		{ ECONNREFUSED, "ECONNREFUSED" },
		{ ECONNRESET, "ECONNRESET" }, { EPROTOTYPE, "EPROTOTYPE" },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (err == names[i].err || err == -names[i].err)
			return names[i].name;
	return "error";
}
