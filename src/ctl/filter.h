/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Whether seccomp filters let the control directory be
 *
 * What it is: a filter may end the process for a call that it lacks, so below
 * one all the calls of this floor are tried first, by a throwaway child
 * (os/probe.h), and again when there are more filters.
 *
 * Locking: the caller's.
 */
#ifndef EBB_CTL_FILTER_H
#define EBB_CTL_FILTER_H

#include "base/compiler.h"

/*
 * NULL, or why the calls cannot be made.  @on_thread: it is the reclaimer's
 * thread that asks, where they can be tried.
 */
const char *filter_refusal(bool on_thread);

/* A forked child tries them for itself. */
void filter_forget(void);

#endif
