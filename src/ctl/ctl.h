/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The control directory
 *
 * What it is: who keeps PID/ (ebb/stat_page.h) up to date and answers what is
 * written there.
 *
 * Model: nothing happens in the first EBB_CONTROL_AFTER_MS of a process.  Then
 *  - where the reclaimer runs, it does all of it as its guest: it holds the
 *    directory, the page and an inotify instance open in its own file table,
 *    is woken by what is written, and writes the files anew a second after a
 *    change at the latest.  What changes without it is told by account.show_ms.
 *  - where it does not, a thread that allocates does it, once a second at most
 *    (account.show_ms again): it writes the page, and looks for options that
 *    somebody wrote, which are files only from then on.  It keeps no descriptor
 *    open.  An idle process is not woken: what was written waits.
 *
 * Seccomp: below a filter the calls needed here are tried in a throwaway child
 * before the first use (os/probe.h), and again when a filter has been added;
 * without the reclaimer there is no directory below a filter.
 *
 * Locking: ctl_lock (6) for everything; nobody waits for it but who exits or
 * forks, and they not for long.  Below it, the locks of a pass (option trim).
 * account.show_ms: whoever has the lock sets it on each way out.
 *
 * Fork: the child has no directory until it makes its own.  Holding the lock,
 * who forks finds no descriptor open for a moment that the child would keep.
 * A handler that interrupted a visit and forks has the lock already: what the
 * child goes on with is the parent's: it touches no file, and forgets all at
 * the end.  Children that ran no handlers (vfork(2), clone(2)) are known by their
 * number, and do nothing.
 *
 * Exit: whoever ends the process removes all; below a seccomp filter of its own
 * it has the reclaimer do it, which has tried the calls.
 */
#ifndef EBB_CTL_CTL_H
#define EBB_CTL_CTL_H

#include "base/compiler.h"

#define EBB_CONTROL_AFTER_MS	1000

/* At start, when options are known; @env and @secure: see place.h. */
void ctl_init(char *const *env, bool secure);

/*
 * WANTED_SHOW was set, and there is no reclaimer.  Context: an application's
 * thread outside of the allocator and of its locks; keeps no errno.
 */
void ctl_visit(void);

/* The process ends by itself: nothing is left behind. */
void ctl_exit(void);

/*
 * Fork handlers.  Before: waits for who is at it, but not long; @may_wait: not
 * at all where a handler interrupted who holds a lock.
 */
void ctl_prefork(bool may_wait);
void ctl_postfork_parent(void);
void ctl_postfork_child(void);

/* Where it is, or why there is none: one line, as malloc_stats() has it. */
size_t ctl_describe(char *buf, size_t size);

#endif
