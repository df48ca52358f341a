/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Gathering freed slots by bitmap word
 *
 * What it is: slots that were freed one by one leave together: a small
 * direct-mapped table of (slab, word, mask) on the stack of who empties a
 * magazine or an outbox.  One atomic returns up to 64 of them.
 */
#ifndef EBB_HEAP_GATHER_H
#define EBB_HEAP_GATHER_H

#include "base/compiler.h"

struct heap;

/*
 * Publish @nr slots, of any class, that are in no cache any more: others may
 * have them at once.  Pointers may be marked (MAGAZINE_FLAGS).  Stops the
 * process if one is no slot, or was freed twice.  Returns their bytes.
 * @outbox_of: they come from this heap's, and are taken off the accounts that
 * hold them; NULL: from a magazine.
 */
int64_t gather_publish(void *const *slots, size_t nr, struct heap *outbox_of);

#endif
