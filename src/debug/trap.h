/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Traps: SIGSEGV and SIGBUS, ours and the program's
 *
 * What it is: the handlers of both signals while guard mode is on.  A fault is
 * shown to each *source*, which knows its own pages; what none of them explains
 * is the program's, and goes to the handler it has set, or to the default.
 *
 * Model: the exported sigaction(), signal() and older functions of their kind
 * (api/trapped.c) record what the program wants for these two signals, and answer
 * with what it had set before; the kernel has our handler, with the program's
 * SA_ONSTACK and SA_RESTART (SA_ONSTACK also where it has none), without a mask
 * and with SA_NODEFER.  So what the program's handler expects is made by hand:
 * the mask of its action and, without SA_NODEFER, the signal itself are blocked
 * before it is called, SA_RESETHAND is obeyed, siginfo and context are the
 * kernel's.  The default action is left to the kernel, by setting it and letting
 * the instruction fault again (or by sending the signal again, if somebody had
 * sent it).
 *
 * The child of a vfork() shares that record, and must not change it (Ruby resets
 * all handlers there): what it sets is its own, by the kernel.
 *
 * Not seen: a program that makes the system call itself (Go), signalfd, and what
 * siginterrupt() asks for these two.
 *
 * Without guard mode sigaction() and signal() are one jump to libc's.
 *
 * Locking: a word that is held with all signals blocked, so that a handler
 * always finds it free or on its way to being so.
 * Fork: the child frees that word; actions are switched by one store.
 */
#ifndef EBB_DEBUG_TRAP_H
#define EBB_DEBUG_TRAP_H

#include <signal.h>
#include "debug/report.h"

struct trap_fault {
	uintptr_t addr;		/* that was touched */
	uintptr_t pc, sp, fp;	/* of who touched it */
	int sig;		/* SIGSEGV or SIGBUS */
	bool write;
};

enum trap_verdict {
	TRAP_FOREIGN,	/* not this source's */
	TRAP_RETRY,	/* it can be touched by now: again */
	TRAP_REPORT,	/* misuse; the report says of what */
};

/*
 * Who may know what a fault is about.  @explain gets a report that is empty but
 * for call and addresses, and fills in the rest but for use.  It runs in a
 * signal handler that may have interrupted anything, in several threads at
 * once, twice for what is reported: it waits for no lock that this thread may
 * hold, touches only memory that cannot fault, and may have a small stack.
 * @resume, if not NULL, is called once a report is written: true: the access
 * was made possible, the program goes on; else it is stopped.
 */
struct trap_source {
	enum trap_verdict (*explain)(const struct trap_fault *fault,
				     struct report *report);
	bool (*resume)(const struct trap_fault *fault);
};

/*
 * Look for libc's functions, whether or not there will be traps: sigaction() may
 * be called in a signal handler, where dlsym() must not.  Context: a constructor.
 */
#if IS_ENABLED(CONFIG_GUARD)
void trap_find_libc(void);
#else
static inline void trap_find_libc(void)
{
}
#endif

/* Add a source, at start, before trap_start(); @source lives for ever. */
void trap_add(const struct trap_source *source);

/*
 * Install the handlers, if they are not; report_init() is done.  Returns 0 or
 * -errno.
 * Context: a constructor.
 */
int trap_start(void) __must_check;

/* What the exported functions of these names do; errno is set. */
int trap_sigaction(int sig, const struct sigaction *act,
		   struct sigaction *ret_old);
sighandler_t trap_signal(int sig, sighandler_t handler);

/*
 * In a forked child, before anything there may fault: it has the handlers, also
 * where its pages do not trap any more.
 */
void trap_postfork_child(void);

#endif
