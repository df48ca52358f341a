/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - glibc's extensions, telling the truth about this heap
 */
#ifndef EBB_API_EXT_H
#define EBB_API_EXT_H

#include "base/compiler.h"

/*
 * All counters of ebb/stat_page.h, those of the heap by the exact walk.  0, or
 * -1 with errno as ebb_heap_count() sets it.
 */
int ext_counters(uint64_t *values) __must_check;

#endif
