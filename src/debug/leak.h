/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Leak levels of pools: who has which buffer
 *
 * What it is: a table of the buffers that are out of pools with a leak level,
 * each with the stack that took it, and of those that were returned lately, with
 * the stack that returned it; and the search for those that nothing refers to any
 * more (debug/leak_scan.c).
 *
 * Model: a record is OUT; or KEPT: returned, filled with POISON and not freed
 * yet, so that who still writes to it is found out; or PAST: freed, and known for
 * as long as there is room, so that a second return can be told from a foreign
 * one.  A pool keeps the POOL_KEPT buffers that were returned last, unless they
 * are too large; each take looks at all of them.  With the level `sampled'
 * nothing is kept, and what is returned is forgotten.
 *
 * Invariants:
 * (1) The record of a buffer is made before the buffer is handed out and ends
 *     before, or becomes KEPT as, it is returned: each OUT one is a live object
 *     of the heap.
 * (2) The memory of a KEPT buffer is ours alone.
 * (3) At most one record has an address.
 *
 * Memory: 336 bytes a record, at most LEAK_RECORDS_MAX; what finds no place is
 * not known, and never reported.
 *
 * Locking: leak_lock (4) guards all of it, and is held while threads are stopped.
 *
 * Fork: it is taken before a fork.  What vanished threads had taken is leaked in
 * the child, unless something else refers to it.
 */
#ifndef EBB_DEBUG_LEAK_H
#define EBB_DEBUG_LEAK_H

#include <errno.h>

#include "base/lock.h"
#include "debug/report.h"
#include "heap/pool.h"

#define LEAK_RECORDS_MAX	(1u << 18)
#define LEAK_BUCKETS		(1u << 16)

enum record_state {
	RECORD_FREE,
	RECORD_OUT,
	RECORD_KEPT,
	RECORD_PAST,
};

struct leak_record {
	void *buf;
	uint64_t key;		/* of its pool */
	size_t size;		/* as asked for */
	size_t bytes;		/* usable */
	uint32_t next;		/* of its bucket, or free; 0: none */
	uint32_t next_work;	/* leak_scan.c: to be looked through */
	uint32_t seen;		/* leak_scan.c: last search that reached it */
	uint8_t state;		/* enum record_state */
	struct report_event take;
	struct report_event last;	/* touch if OUT, else return */
};

/* What the return of a buffer comes to. */
enum leak_verdict {
	LEAK_FREE,		/* free it now */
	LEAK_KEPT,		/* it is not to be freed, but it is returned */
	LEAK_REFUSED,		/* an error, which was reported */
};

/* A leak that was found. */
struct leak_found {
	const void *buf;
	size_t size;
	uint64_t age_ms;
	struct report_event take, touch;
	char pool[POOL_NAME_MAX];
};

extern struct lock leak_lock;

struct leak_return {
	size_t bytes;		/* of the buffer; 0: not known */
	void *evicted;		/* another one, to be freed as well, or NULL */
};

#define LEAK_REPORTS_MAX	20u	/* of one search; the rest is counted */

#if IS_ENABLED(CONFIG_LEAK)

/* Make the tables, once.  0 or -errno. */
int leak_init(void) __must_check;

/*
 * Look at what @pool keeps (and report it), and remember that @buf is taken now,
 * by who @frame returns to.  To be called before it is handed out.
 */
void leak_take(struct ebb_pool *pool, void *buf, size_t size, size_t bytes,
	       const struct stack_frame *frame);

/*
 * @buf comes back.  The room is the caller's business.  What is kept may be freed
 * by another thread at once.
 */
enum leak_verdict leak_return(struct ebb_pool *pool, void *buf,
			      const struct stack_frame *frame,
			      struct leak_return *ret);

/* Remember this stack, too.  0; -ENOENT: @buf is not known to be out. */
int leak_touch(struct ebb_pool *pool, void *buf,
	       const struct stack_frame *frame);

/* The pool has ended: nothing is known of it.  Calls @fn for what it kept. */
void leak_forget(uint64_t key, void (*fn)(void *buf));

/*
 * Find what has leaked from the pool with @key, 0: from all; @stack is the lowest
 * address in use on this thread's stack.  Calls @fn for each, without a lock.
 * Returns how many, or -errno: -EAGAIN if a thread does not stop.
 */
long leak_find(uint64_t key, uintptr_t stack,
	       void (*fn)(const struct leak_found *found, void *arg),
	       void *arg) __must_check;

/* Write a report of it, as found by @call. */
void leak_tell(const struct leak_found *found, const char *call);

/* Whether it is time for a search, with level strict. */
bool leak_is_due(struct ebb_pool *pool);

#else

/* There is no pool with a level, so none of these is called. */
static inline int leak_init(void)
{
	return -EOPNOTSUPP;
}

static inline void leak_take(struct ebb_pool *pool, void *buf, size_t size,
			     size_t bytes, const struct stack_frame *frame)
{
	(void)pool;
	(void)buf;
	(void)size;
	(void)bytes;
	(void)frame;
}

static inline enum leak_verdict leak_return(struct ebb_pool *pool, void *buf,
					    const struct stack_frame *frame,
					    struct leak_return *ret)
{
	(void)pool;
	(void)buf;
	(void)frame;
	*ret = (struct leak_return){ 0 };
	return LEAK_FREE;
}

static inline int leak_touch(struct ebb_pool *pool, void *buf,
			     const struct stack_frame *frame)
{
	(void)pool;
	(void)buf;
	(void)frame;
	return -ENOENT;
}

static inline void leak_forget(uint64_t key, void (*fn)(void *buf))
{
	(void)key;
	(void)fn;
}

static inline long leak_find(uint64_t key, uintptr_t stack,
			     void (*fn)(const struct leak_found *found,
					void *arg),
			     void *arg)
{
	(void)key;
	(void)stack;
	(void)fn;
	(void)arg;
	return -EOPNOTSUPP;
}

static inline void leak_tell(const struct leak_found *found, const char *call)
{
	(void)found;
	(void)call;
}

static inline bool leak_is_due(struct ebb_pool *pool)
{
	(void)pool;
	return false;
}

#endif

/* This thread is past its last destructor: its stack will be nobody's. */
void leak_note_exit(void);

void leak_prefork(bool may_wait);
void leak_postfork(void);
void leak_postfork_child(void);

/* --- Between leak.c and leak_scan.c --- */

struct leak_area {
	uint32_t heads[LEAK_BUCKETS];
	struct leak_record records[LEAK_RECORDS_MAX];
};

extern struct leak_area *leak_area;	/* set once */
extern uint32_t leak_nr_records;	/* leak_lock: [1] to this one were used */

/* The record of @buf, or NULL.  Context: leak_lock. */
struct leak_record *leak_lookup(const void *buf);

/*
 * Have leak_record.seen of each record that is OUT and that something refers to
 * be @turn.  0 or -errno.  Context: leak_lock.
 */
int leak_scan(uint32_t turn, uintptr_t stack) __must_check;

/* Where the blocks of threads are that have ended. */
#define LEAK_EXITS	256u

struct leak_exit {
	uintptr_t mark;		/* address of leak_exit_mark() */
	uintptr_t end;		/* up to where it was the thread's own */
};

extern struct leak_exit leak_exits[LEAK_EXITS];

/* What leak_note_exit() leaves in such a block, at @at. */
static inline uintptr_t leak_exit_mark(const void *at)
{
	return (uintptr_t)at ^ range.secret ^ 0x5bd1e995a5a5u;
}

#endif
