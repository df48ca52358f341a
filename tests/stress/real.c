/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - The allocator under test, seen from the torture test
 */
#include "floor/table.h"
#include "stress/real.h"

struct malloc_family real;

#ifdef EBB_SANITIZE

/* libc's blocks are the sanitizer's; the heap holds the test's own only. */
#include "common.h"

void real_find(void)
{
	real.do_malloc = ebb_malloc;
	real.do_calloc = ebb_calloc;
	real.do_realloc = ebb_realloc;
	real.do_memalign = ebb_memalign;
	real.do_free = ebb_free;
	real.usable_size = ebb_malloc_usable_size;
	real.trim = ebb_malloc_trim;
}

#else

void real_find(void)
{
	interpose_find();
	real = next_malloc;
}

/* Not in the table: from before, or by a function not interposed. */
void call_begins(struct call *call)
{
	call->known = floor_remove(call->old, &call->note);
}

void call_ends(struct call *call)
{
	if (call->made)
		floor_add(call->made, next_malloc.usable_size(call->made));
	else if (call->known && call_failed(call))
		floor_add(call->old, call->note);
}

#endif
