/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - What a touch of memory that was given back is about
 *
 * What it is: the source of traps (debug/trap.h) for guard=decommitted.  It
 * looks at the page's word (os/guard_mark.h) and at the slab's descriptor, and
 * says which object lay there and since when it is given back.
 *
 * A fault on a page whose word says that it is present is tried again: it was
 * handed out between the fault and the look.  With userfaultfd it may also be
 * missing since the program gave it back itself (madvise(2)): then it is made
 * present first.  A fault that comes again and again is the program's own, as
 * where it made memory of malloc's unreadable.
 *
 * Invariant: nothing here touches memory that can trap.
 */
#ifndef EBB_DEBUG_GIVEN_H
#define EBB_DEBUG_GIVEN_H

#include "base/compiler.h"

/* Have faults explained, if pages may trap.  Context: a constructor. */
#if IS_ENABLED(CONFIG_GUARD)
void given_start(void);
#else
static inline void given_start(void)
{
}
#endif

#endif
