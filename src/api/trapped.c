/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - sigaction and signal, so that a trap outlives another handler
 *
 * Without guard mode, and for other signals than SIGSEGV and SIGBUS, they are
 * those of the next library: see debug/trap.h.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <signal.h>

#include "debug/trap.h"

__export int sigaction(int sig, const struct sigaction *act,
		       struct sigaction *old)
{
	return trap_sigaction(sig, act, old);
}

__export sighandler_t signal(int sig, sighandler_t handler)
{
	return trap_signal(sig, handler);
}
