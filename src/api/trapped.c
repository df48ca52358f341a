/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - sigaction, signal and their like: a trap outlives another handler
 *
 * Without guard mode, and for other signals than SIGSEGV and SIGBUS, sigaction()
 * and signal() are those of the next library: see debug/trap.h.  The older ones
 * are what libc makes of sigaction().  They are weak: a program that is linked
 * with the static library may call something of its own so.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <signal.h>

#include "debug/trap.h"

#define __older	__export __attribute__((weak))

__export int sigaction(int sig, const struct sigaction *act,
		       struct sigaction *old)
{
	return trap_sigaction(sig, act, old);
}

__export sighandler_t signal(int sig, sighandler_t handler)
{
	return trap_signal(sig, handler);
}

/* sa_mask is empty, but for what @flags imply. */
static sighandler_t set_handler(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = { .sa_flags = flags }, old;

	act.sa_handler = handler;
	return trap_sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

static sighandler_t get_handler(int sig)
{
	struct sigaction now;

	return trap_sigaction(sig, NULL, &now) ? SIG_ERR : now.sa_handler;
}

static sighandler_t refuse(void)
{
	errno = EINVAL;
	return SIG_ERR;
}

/* BSD's, like signal() itself. */
__older sighandler_t ssignal(int sig, sighandler_t handler)
{
	return trap_signal(sig, handler);
}

sighandler_t bsd_signal(int sig, sighandler_t handler);
__older sighandler_t bsd_signal(int sig, sighandler_t handler)
{
	return trap_signal(sig, handler);
}

/* System V's, which signal() is below -std=c99 without _DEFAULT_SOURCE. */
__older sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	if (handler == SIG_ERR)
		return refuse();
	return set_handler(sig, handler, (int)(SA_RESETHAND | SA_NODEFER |
					       SA_INTERRUPT));
}

__older sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return __sysv_signal(sig, handler);
}

__older int sigignore(int sig)
{
	return set_handler(sig, SIG_IGN, 0) == SIG_ERR ? -1 : 0;
}

__older sighandler_t sigset(int sig, sighandler_t handler)
{
	bool hold = handler == SIG_HOLD;
	sigset_t set, before;
	sighandler_t old;

	sigemptyset(&set);
	if (handler == SIG_ERR || sigaddset(&set, sig))
		return refuse();
	old = hold ? get_handler(sig) : set_handler(sig, handler, 0);
	if (old == SIG_ERR ||
	    sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, &before))
		return SIG_ERR;
	return sigismember(&before, sig) ? SIG_HOLD : old;
}
