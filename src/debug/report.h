/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reports of misuse
 *
 * What it is: one block of text about one misuse of memory, in one format
 * whatever found it (a trap, a free, a damaged canary):
 *
 *	ebbmalloc[PID]: CALL(ADDRESS): WHAT: WHERE
 *	ebbmalloc[PID]:   use by thread TID (NAME)
 *	ebbmalloc[PID]:     #0 0xPC in FUNCTION+0xN (FILE+0xN)
 *	ebbmalloc[PID]:   allocated by thread TID (NAME), N ms before
 *	ebbmalloc[PID]:     #0 ...
 *	ebbmalloc[PID]:   freed by thread TID (NAME), N ms before
 *	ebbmalloc[PID]:     #0 ...
 *	ebbmalloc[PID]:   end of report N
 *
 * The first line is what a misuse without guard mode comes to by itself
 * (heap/misuse.h).  CALL is read, write, or the function that was called; WHAT
 * one of report_names; WHERE says how ADDRESS lies to the object.  Parts that
 * are not known are left out.
 *
 * The block is made in a static buffer and written with one write(2); nothing
 * is allocated, and no lock is waited for but that of another report.
 */
#ifndef EBB_DEBUG_REPORT_H
#define EBB_DEBUG_REPORT_H

#include "debug/stack.h"

enum report_kind {
	REPORT_OVERFLOW,
	REPORT_UNDERFLOW,
	REPORT_USE_AFTER_FREE,
	REPORT_DOUBLE_FREE,
	REPORT_INVALID_FREE,	/* of what no malloc() returned */
	REPORT_INTERIOR_FREE,	/* of what is inside of an object */
	REPORT_WRONG_SIZE,	/* sized free with another size */
	/* Of pools' buffers (debug/leak.h), which are taken and returned. */
	REPORT_LEAK,
	REPORT_DOUBLE_RETURN,
	REPORT_FOREIGN_RETURN,	/* of what is not this pool's */
	REPORT_USE_AFTER_RETURN,
	REPORT_NR_KINDS
};

#define REPORT_FRAMES	16u

/* Something that a thread did to the object.  @nr_pcs 0: no stack is known. */
struct report_event {
	uint64_t ms;		/* clock_ms() then */
	int tid;		/* 0: it is not known, or did not happen */
	uint32_t nr_pcs;
	uintptr_t pcs[REPORT_FRAMES];
};

/* All by value: what it is about may change while it is written. */
struct report {
	enum report_kind kind;
	const char *call;	/* "read", "write", "free", ... */
	uintptr_t ptr;		/* what is named in the first line */
	uintptr_t addr;		/* the byte that WHERE is about */
	uintptr_t object;	/* the object's start and length; 0: unknown */
	size_t size;
	const char *detail;	/* more words about it, or NULL */
	struct report_event use, alloc, free;
	struct report_event touch;	/* the last ebb_pool_touch() */
};

/* The last report, for who shows it. */
#define REPORT_HEAD_MAX	192
#define REPORT_MAX	12288u

struct report_last {
	uint64_t nr;		/* reports so far; 0: none */
	uint64_t time_ms;	/* since 1970 */
	char head[REPORT_HEAD_MAX];
};

extern const char *const report_names[REPORT_NR_KINDS];

/*
 * Write the report, and show it (report_shown).  The caller decides whether the
 * program goes on.  False: this thread was inside of another report, a fault
 * in which led here; nothing was written.
 * Context: any, signal handlers too.
 */
bool report_tell(const struct report *report);

/* The same, and abort(). */
void report_die(const struct report *report)
	__attribute__((__noreturn__, __cold__));

/* The same for a first line that is made already: see heap/misuse.h. */
void report_die_line(const char *line)
	__attribute__((__noreturn__, __cold__));

/* What this thread does now, with the stack from @frame on. */
void report_here(struct report_event *event, const struct stack_frame *frame);

/* The same of a thread that was interrupted: see stack_take_at(). */
void report_at(struct report_event *event, uintptr_t pc, uintptr_t sp,
	       uintptr_t fp);

/* A copy of the last report's first line; false: it is being written. */
bool report_read_last(struct report_last *ret_last);

/*
 * All of the text of report @nr, without a final zero byte, where there is room
 * for it.  Returns its length; 0: it is not the last one, or another thread is
 * writing one.
 */
#if IS_ENABLED(CONFIG_GUARD) || IS_ENABLED(CONFIG_LEAK)
size_t report_read_text(uint64_t nr, char buf[REPORT_MAX]);
#else
static inline size_t report_read_text(uint64_t nr, char *buf)
{
	(void)nr;
	(void)buf;
	return 0;
}
#endif

/*
 * Called with a report that was written, before the process ends: for a floor
 * above, to show it to others.  Set once, at start.  It may not wait, nor
 * allocate.
 */
extern void (*report_shown)(void);

/* Whether @pc lies in this library; false where that is part of the program. */
bool report_is_own(uintptr_t pc);

/* In a forked child: who wrote one may be gone. */
void report_postfork_child(void);

/*
 * Find out where this library is, so that its frames are left out of stacks.
 * Context: no lock held; may be called again.
 */
#if IS_ENABLED(CONFIG_GUARD) || IS_ENABLED(CONFIG_LEAK)
void report_know_own(void);
#else
static inline void report_know_own(void)
{
}
#endif

/* Guard mode is on: misuse that free() finds is reported in this format. */
void report_init(void);

#endif
