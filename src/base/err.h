/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Error conventions
 *
 * Inside, functions return 0 or -errno.  Three severities: refuse (return the
 * error), degrade (log one line, show the state), die (ebb_bug).
 */
#ifndef EBB_BASE_ERR_H
#define EBB_BASE_ERR_H

#include <errno.h>
#include "base/compiler.h"
#include "base/err.h"

/*
 * Stop the process: one line with one write(2) to fd 2, no allocation, then
 * abort.  The formats of log.h apply.
 */
void ebb_bug(const char *fmt, ...) __attribute__((__noreturn__, __cold__))
	__printf_(1, 2);

/* "EPERM" for EPERM and -EPERM, and so on; "error" for rare ones. */
const char *err_name(int err);

/* For a failure that changes nothing, since it is tried again anyway. */
static inline void err_ignore(int err)
{
	(void)err;
}

/* Internal consistency, checked in debug builds only. */
#define ebb_assert(cond) do {						\
	if (IS_ENABLED(CONFIG_DEBUG) && unlikely(!(cond)))		\
		ebb_bug("assertion failed: %s (%s:%d)", #cond,		\
			__FILE__, __LINE__);				\
} while (0)

#endif
