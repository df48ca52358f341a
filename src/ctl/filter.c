/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Whether seccomp filters let the control directory be
 */
#include <sys/syscall.h>

#include "base/compiler.h"
#include "ctl/filter.h"
#include "os/probe.h"

/* How many filters there were when calls were tried. */
static __startup_data int tried;

/* With arguments that are refused before anything is done. */
static const struct probe_call needed_calls[] = {
	{ SYS_openat, { -1, (long)"", 0 } },
	{ SYS_mkdirat, { -1, (long)"" } },
	{ SYS_fchmodat, { -1, (long)"" } },
	{ SYS_fchmod, { -1 } },
	{ SYS_unlinkat, { -1, (long)"" } },
	{ SYS_renameat, { -1, (long)"", -1, (long)"" } },
	{ SYS_getdents64, { -1 } },
	{ SYS_lseek, { -1 } },
	{ SYS_fstatfs, { -1 } },
	{ SYS_pwrite64, { -1, 0, 0, 0 } },
	{ SYS_pread64, { -1, 0, 0, 0 } },
	{ SYS_write, { -1, 0, 0 } },
	{ SYS_fstat, { -1, 0 } },
	{ SYS_flock, { -1, 0 } },
	{ SYS_kill, { 0x7fffffff, 0 } },
	{ SYS_geteuid, { 0 } },
	{ SYS_inotify_init1, { -1 } },
	{ SYS_inotify_add_watch, { -1, (long)"", 0 } },
};

const char *filter_refusal(bool on_thread)
{
	int filters = probe_filters(-1);
	const char *reason;

	if (!filters || filters == tried)
		return NULL;
	if (!on_thread)
		return filters < 0 ? "it cannot be told, without /proc, "
				     "whether a seccomp filter is in force" :
				     "a seccomp filter is in force, and there "
				     "is no thread to try calls with";
	for (unsigned int i = 0; i < ARRAY_SIZE(needed_calls); i++)
		if (probe_allowed(&needed_calls[i], &reason))
			return "a seccomp filter refuses what is needed";
	tried = filters;
	return NULL;
}

__startup void filter_forget(void)
{
	tried = 0;
}
