/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Trying an optional system call without dying of it
 */
#ifndef EBB_OS_PROBE_H
#define EBB_OS_PROBE_H

#include "base/compiler.h"

/*
 * The arguments must be harmless: the call may really be made, so it must
 * change nothing and leave no descriptor open.
 */
struct probe_call {
	long nr;
	long arg[6];
};

/*
 * Make the call and return its result.  Where a seccomp filter is in force a
 * throwaway child makes it first; *ret_reason is NULL, or says why nothing
 * came back (the filter killed the child, no child could be made) and the
 * result is then -EPERM.
 *
 * Context: the reclaimer thread.  A thread that has unshared its pid
 * namespace must not come here: the child would be the namespace's init.
 */
long probe_syscall(const struct probe_call *call, const char **ret_reason);

/*
 * Whether @call is allowed here at all: 0 whatever the kernel thinks of the
 * arguments, else -EPERM or -ENOSYS, and *ret_reason as above.
 */
int probe_allowed(const struct probe_call *call, const char **ret_reason)
	__must_check;

/* The calling thread's status file, to be kept open; or -errno. */
int probe_open_status(void) __must_check;

/*
 * How many seccomp filters are on the calling thread; -1: cannot be told.
 * @status_fd is from probe_open_status(), or -1: opened for this one look.
 */
int probe_filters(int status_fd);

#endif
