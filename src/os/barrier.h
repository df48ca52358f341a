/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - A memory barrier in every running thread of this process
 *
 * What it is: barrier_all() returns when each other thread of the process has
 * passed a full barrier since the call, or is not running.  So one thread
 * pays for what all others then need no fence for (heap/drain.h).
 *
 * Three ways, the first that the kernel grants:
 * (1) membarrier, private and expedited (4.14): an interrupt of the CPUs that
 *     run this process.
 * (2) membarrier, global (4.3): waits until every CPU has switched context.
 * (3) x86 only: a page of our own is written to and then write-protected, so
 *     that no CPU may keep its translation; see barrier.c for why that is a
 *     barrier, and where it is not and is not used.
 * Arm64 has no third: it invalidates translations on other CPUs by an
 * instruction, which interrupts nobody.
 *
 * Locking: the caller's; one call at a time.
 */
#ifndef EBB_OS_BARRIER_H
#define EBB_OS_BARRIER_H

#include "base/compiler.h"

/* Find a way, unless one was found.  Returns 0 or -errno. */
int barrier_ready(void) __must_check;

/* 0, or -errno: then nothing is ordered. */
int barrier_all(void) __must_check;

/* Why there is no way, or NULL.  Context: any. */
const char *barrier_unavailable(void);

/* In a forked child: what was registered is forgotten. */
void barrier_after_fork(void);

#endif
