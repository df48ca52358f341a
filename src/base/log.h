/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Log lines without stdio and without allocation
 *
 * A line is formatted on the stack and handed over with one write(2).  It
 * begins with "ebbmalloc[PID]: " and ends with a newline, neither of which the
 * caller supplies.  Control characters in it are shown as '?'.
 *
 * Formats: %s %d %i %u %ld %lu %lld %llu %zu %x %lx %llx %p %c %%, no width.
 * A line longer than LOG_LINE_MAX is cut.
 */
#ifndef EBB_BASE_LOG_H
#define EBB_BASE_LOG_H

#include <stdarg.h>
#include "base/compiler.h"

#define LOG_LINE_MAX	512

/*
 * Remember which file fd 2 is, so that it is written only while it still is
 * that file (a daemon that closed it may have a socket there).  Called once,
 * at start.
 */
void log_init(void);

/*
 * Whether @target is one: 0, -EINVAL if it is neither "stderr", "off" nor an
 * absolute path, -ENAMETOOLONG.
 */
int log_check_target(const char *target) __must_check;

/*
 * Where lines go: "stderr", "off", or a path (opened for each line).  Callers
 * exclude each other; errors as log_check_target(), and nothing changes.
 */
int log_set_target(const char *target) __must_check;

/*
 * The calling thread no longer shares the process's file table: from now on
 * its lines reach the fd 2 of process @pid without using this thread's own.
 * @may_getfd: pidfd_open(2) and pidfd_getfd(2) are allowed here; without them
 * a standard error that is a socket is out of reach.
 */
void log_use_private_table(int pid, bool may_getfd);

void log_line(const char *fmt, ...) __printf_(1, 2);

/*
 * Several lines that are made already, with one write, to fd 2 whatever the
 * target, and to the file if there is one.
 */
void log_last_words(const char *text, size_t len);

/* Lines that could not be written, or could not be without waiting. */
uint64_t log_dropped(void);

/* snprintf with the formats above; returns the length stored, always < size. */
size_t fmt_line(char *buf, size_t size, const char *fmt, ...) __printf_(3, 4);
size_t fmt_vline(char *buf, size_t size, const char *fmt, va_list ap)
	__printf_(3, 0);

#endif
