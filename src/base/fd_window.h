/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Descriptors that are open for a moment, and fork
 *
 * What it is: between fd_window_enter() and fd_window_leave() this thread may
 * have descriptors in the application's table.  A fork waits until nobody has
 * any, and who is about to open one waits for the fork, so that a child finds
 * nothing of ours.  A thread with a table of its own neither counts nor waits.
 *
 * Model: who enters counts itself and then looks whether there is a fork; who
 * forks takes the lock and then looks at the count: of the two at least one sees
 * the other, and who enters takes itself back.  A thread counts once: in a
 * window that it is in already it waits for no fork, which may wait for it.
 *
 * Invariants:
 * (1) Between entering and leaving files are opened, read and written, and no
 *     lock is waited for that fork takes: both wait FD_WINDOW_PATIENCE_MS at
 *     most, for threads that are stopped, and then go on.
 * (2) fork takes the lock after all others.
 *
 * Context: any, also nested.
 */
#ifndef EBB_BASE_FD_WINDOW_H
#define EBB_BASE_FD_WINDOW_H

#include "base/compiler.h"

#define FD_WINDOW_PATIENCE_MS	1000

void fd_window_enter(void);
void fd_window_leave(void);

/* The calling thread has a table of its own from now on. */
void fd_window_use_private_table(void);

/*
 * @may_wait: for those who are in a window, but not for this thread, below a
 * handler; false: neither for them nor for another fork.
 */
void fd_window_prefork(bool may_wait);
void fd_window_postfork_parent(void);

/* The only thread there is: what others had is the parent's. */
void fd_window_postfork_child(void);

#endif
