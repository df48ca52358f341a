/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Stopping the other threads of the process for a moment
 *
 * What it is: each other thread is sent a signal whose handler waits.  What its
 * registers held lies on its stack then, in the signal's frame; so memory is
 * all there is to look at, and nothing changes in it.
 *
 * The signal is number 33, which glibc keeps for itself (SIGSETXID, by which
 * setuid() reaches all threads): its sigprocmask() and pthread_sigmask() do not
 * block it, nor does sigfillset() know it, so a program that blocks all signals
 * is stopped as well; and a program has no handler of its own for it.  Ours
 * passes on to glibc's what we did not send, which is told by its code and value;
 * and glibc's returns at once from what it did not send, should it be put back
 * meanwhile.  Not ptrace, since containers and Yama often refuse it, and a
 * debugger would keep us out.  Not a snapshot (a forked child's view): it lacks
 * the registers of all other threads, where a pointer may be for as long as a
 * call blocks.
 *
 * What it costs the program: calls that signal(7) says are never restarted
 * return EINTR.
 *
 * Who does not stop within WORLD_PATIENCE_MS (a thread that a debugger holds,
 * that waits for its vfork()ed child, or that blocked the signal with a system
 * call of its own) makes world_stop() fail: nothing is known without it.
 *
 * Context: between world_stop() and world_go() nothing may be called that takes
 * a lock: a stopped thread may have it.  The caller's signals are blocked
 * meanwhile, for the same reason.
 */
#ifndef EBB_DEBUG_WORLD_H
#define EBB_DEBUG_WORLD_H

#include "base/compiler.h"

#define WORLD_PATIENCE_MS	2000
#define WORLD_THREADS_MAX	8192u

/*
 * Stop all other threads.  0; -EAGAIN: one does not stop; -ENOSPC: there are
 * more than WORLD_THREADS_MAX; or what a system call said.  On failure all run.
 * Context: one caller at a time.
 */
int world_stop(void) __must_check;

void world_go(void);

struct world_stack {
	uintptr_t lowest;	/* in use, the place of its registers included */
	uintptr_t block;	/* somewhere in the thread's block */
};

/* That of the stopped thread number @nth; false: there are no more. */
bool world_stack(unsigned int nth, struct world_stack *ret_stack);

#endif
