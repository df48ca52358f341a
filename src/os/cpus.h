/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - CPUs that the process may use
 */
#ifndef EBB_OS_CPUS_H
#define EBB_OS_CPUS_H

#include "base/compiler.h"

/*
 * As the affinity of its first thread, or that of the caller, whichever is more,
 * was at the first call: workers may be bound to a CPU each.  1 if it is not known.
 */
unsigned int cpus_allowed(void);

#endif
