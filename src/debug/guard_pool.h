/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The guard pool: pages between guards, and what is known of them
 *
 * What it is: a reservation of its own, outside of the range (so that what is
 * in it takes the slow path of free() by itself), cut into *spans*.  A span is a
 * power of two of pages, of which the last is never opened; so every object
 * has guards before and behind it:
 *
 *	| .. | span: closed | object's pages | closed, guard | next span ..
 *
 * A span has a record for good, outside of the pool.  Pages that are closed
 * trap; they are not backed.
 *
 * Model: pages are closed by MADV_GUARD_INSTALL (Linux 6.13), which needs no
 * mapping of its own, else by mprotect(), which needs two for each object and so
 * serves so many at a time, far from vm.max_map_count.  Spans whose object was
 * freed wait in the quarantine, first in, first out, until it holds more than
 * its bound; after that they serve another object.
 *
 * Invariants:
 * (1) Whoever moves a record's state from LIVE to FREEING owns the span, until
 *     it is in the quarantine; who took it from the pool, until it is LIVE.
 * (2) Pages of a span are open only while it is LIVE, or on the way to and fro
 *     (but for reads, once one of them was reported and the program resumed:
 *     such a span is SPOILED and serves no more, even if it was FREE by then).
 *
 * States:
 *	FREE -> TAKEN         [guard_pool_take]
 *	TAKEN -> LIVE         [guard_alloc]     its pages are open
 *	LIVE -> FREEING       [guard_free]      by one of those that free it
 *	FREEING -> QUARANTINE [guard_pool_give] its pages are closed
 *	QUARANTINE -> FREE    [guard_pool_give] the oldest, when there is too much
 *
 * Locking: guard_lock guards free spans, quarantine and growing.  It is held
 * for a few stores, and for a system call while the pool grows or a page is
 * exposed.  A handler that interrupted a holder of any lock of ours takes no
 * span, and leaves what it frees on the deferred stack, which the next holder
 * empties.
 */
#ifndef EBB_DEBUG_GUARD_POOL_H
#define EBB_DEBUG_GUARD_POOL_H

#include "base/lock.h"
#include "debug/report.h"

enum guard_state {
	GUARD_FREE,
	GUARD_TAKEN,
	GUARD_LIVE,
	GUARD_FREEING,
	GUARD_QUARANTINE,
};

struct guard_object {
	uint32_t state;		/* enum guard_state; atomic */
	uint32_t next;		/* in the list it is on; guard_lock */
	uint8_t order;		/* log2 of the span's pages; set once */
	bool spoiled;		/* a page was opened for who was reported */
	bool mapped;		/* its pages are mappings; the owner's */
	uint16_t charge;	/* the account that holds it; the owner's */
	char *span;		/* set once */
	/* Of the object it serves, or served last; the owner's. */
	char *pages;		/* first page that is opened */
	size_t len;		/* of those pages */
	uintptr_t start;
	size_t size;
	struct report_event alloc, free;
};

extern struct lock guard_lock;

struct guard_pool {
	char *base;		/* set once; NULL: there is no pool */
	size_t len;
	size_t used;		/* up to here there are spans; guard_lock */
};

extern struct guard_pool guard_pool __attribute__((visibility("hidden")));

struct guard_pool_stats {
	uint64_t quarantine;	/* bytes of pages, of which none is backed */
	uint64_t meta;		/* bytes of records and tables in use */
};

/*
 * Reserve up to @len bytes of addresses, and keep at most @quarantine bytes of
 * freed objects.  Returns 0 or -errno.
 */
int guard_pool_init(size_t len, size_t quarantine) __must_check;

/* A span with room for @len bytes of pages; NULL: none.  It is TAKEN. */
struct guard_object *guard_pool_take(size_t len);

/* Make [object->pages, + len) accessible; it reads as zero.  0 or -errno. */
int guard_pool_open(struct guard_object *object) __must_check;

/* The other way.  What cannot be closed is at least not used again. */
void guard_pool_close(struct guard_object *object);

/* Its pages are closed: it waits in the quarantine. */
void guard_pool_give(struct guard_object *object);

/* The same for one that was not used. */
void guard_pool_put_back(struct guard_object *object);

/*
 * Let the page at @addr be read from now on; false: refused, or there have been
 * too many, or no lock may be taken.  What somebody opens or closes just now is
 * left alone: the access is tried again, and looked at again if it fails.
 */
bool guard_pool_expose(uintptr_t addr);
bool guard_pool_is_exposed(uintptr_t addr);

/* The record of the span @addr lies in; NULL: in none. */
struct guard_object *guard_pool_find(uintptr_t addr);

static inline bool guard_pool_contains(const void *ptr)
{
	return (size_t)((const char *)ptr - guard_pool.base) < guard_pool.len;
}

/* Bytes of addresses of the span, its guard included. */
size_t guard_pool_span_len(const struct guard_object *object);

void guard_pool_stats(struct guard_pool_stats *ret_stats);

#endif
