/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - The allocator under test, seen from the torture test
 *
 * The program has the malloc family interposed, in front of the allocator's:
 * what libc and the dynamic linker allocate (thread control blocks, buffers)
 * goes through there and is written down in the floor table, so that the model
 * knows every live block.  The torture test's own calls go to real.* directly,
 * and cost nothing but the allocator.  (Where a sanitizer owns malloc, real.*
 * are the library's functions with their prefix, and nothing is in between.)
 */
#ifndef EBB_TESTS_STRESS_REAL_H
#define EBB_TESTS_STRESS_REAL_H

#include "interpose.h"

extern struct malloc_family real;

void real_find(void);

#endif
