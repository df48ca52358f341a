/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Guard mode: objects with pages of their own
 *
 * What it is: which allocations are guarded, where an object lies on its pages,
 * what a free of it looks at, and what a fault in the pool is reported as.
 * Options guard, guard_every, guard_size, guard_side, guard_quarantine and
 * guard_recover.
 *
 * Model: an object lies at the right end of its pages, as far as its alignment
 * lets it (16 bytes, or 8 of objects that have no more), or at the left end.  The rest of these pages is filled with a canary,
 * which free() compares.  So a touch beyond the pages traps at once; a write
 * between the object and their ends shows when it is freed; a read there does
 * not show.  What was freed traps until its addresses are used again, after
 * guard_quarantine bytes of others were freed.
 *
 * sampled: the slots that heap/sample.h marks, one in guard_every, and every
 * object of at least guard_size.  The former have room for LIVE_MAX bytes of
 * pages at a time.  all: everything, as long as there are addresses and
 * mappings; the rest is counted as skipped.
 *
 * A guarded object counts as a large one of its size of the first zone; what
 * its pages are more is counted as guard_live alone, and not against limit.
 *
 * Context: guard_alloc() and guard_free() anywhere, signal handlers too; they
 * wait for guard_lock only (guard_pool.h).
 */
#ifndef EBB_DEBUG_GUARD_H
#define EBB_DEBUG_GUARD_H

#include "debug/guard_pool.h"
#include "ebb/control.h"

/*
 * The mode in force (enum ebb_guard); EBB_GUARD_OFF also where it could not be
 * had.  Set once, before there is a heap.
 */
#if IS_ENABLED(CONFIG_GUARD)
extern uint8_t guard_mode __attribute__((visibility("hidden")));
#else
#define guard_mode	EBB_GUARD_OFF
#endif

struct guard_stats {
	uint64_t live;		/* bytes of pages of guarded objects */
	uint64_t beside;	/* of those, bytes beside the objects */
	uint64_t quarantine;	/* bytes of addresses of freed ones */
	uint64_t taken;		/* objects guarded so far */
	uint64_t skipped;	/* that were to be, and could not */
	uint64_t reports;
};

/*
 * Make the pool, if the options say so.  Context: at start, range_init() is
 * done.
 */
void guard_init(void);

/* What takes locks and memory: traps, stacks.  Context: a constructor. */
void guard_start(void);

#if IS_ENABLED(CONFIG_GUARD)

/* Whether an object that comes from no magazine is to be guarded. */
bool guard_wants(size_t size);

/*
 * An object of its own, which reads as zero; NULL: there is no room for it, or
 * no lock may be taken.  @frame: of who was called.
 */
void *guard_alloc(size_t align, size_t size, const struct stack_frame *frame);

/* Whether @ptr is for the functions below. */
static inline bool guard_owns(const void *ptr)
{
	return guard_mode && guard_pool_contains(ptr);
}

/* @call, @frame: who wants that; for the report if it is no object in use. */
void guard_free(void *ptr, const char *call, const struct stack_frame *frame);
size_t guard_usable(void *ptr, const char *call,
		    const struct stack_frame *frame);

/* A sized free of @size: reports it where that is not what was asked for. */
void guard_check_size(void *ptr, size_t size, const char *call,
		      const struct stack_frame *frame);

#else

static inline bool guard_wants(size_t size)
{
	(void)size;
	return false;
}

static inline void *guard_alloc(size_t align, size_t size,
				const struct stack_frame *frame)
{
	(void)align;
	(void)size;
	(void)frame;
	return NULL;
}

static inline bool guard_owns(const void *ptr)
{
	(void)ptr;
	return false;
}

/* Of what nobody owns: never called. */
static inline void guard_free(void *ptr, const char *call,
			      const struct stack_frame *frame)
{
	(void)ptr;
	(void)call;
	(void)frame;
}

static inline size_t guard_usable(void *ptr, const char *call,
				  const struct stack_frame *frame)
{
	(void)ptr;
	(void)call;
	(void)frame;
	return 0;
}

static inline void guard_check_size(void *ptr, size_t size, const char *call,
				    const struct stack_frame *frame)
{
	(void)ptr;
	(void)size;
	(void)call;
	(void)frame;
}

#endif

void guard_stats(struct guard_stats *ret_stats);

/* Bytes of tables in use. */
uint64_t guard_bytes(void);

#endif
