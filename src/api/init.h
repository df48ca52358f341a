/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Coming to life, and what a slow path sees to
 */
#ifndef EBB_API_INIT_H
#define EBB_API_INIT_H

#include "base/atomic.h"
#include "base/compiler.h"

enum init_state {
	INIT_NOT,
	INIT_DONE,
	INIT_GUARDED,	/* done, and guard mode is on */
	INIT_FAILED,
};

extern uint32_t init_state __attribute__((visibility("hidden")));

/* The heap is usable after this; false: no address space at all. */
bool init_heap(void);

static inline bool init_ready(void)
{
	/* Pairs with init_heap(). */
	return likely(load_acquire(&init_state) == INIT_DONE) || init_heap();
}

/* init_heap(), but false in guard mode. */
bool init_heap_plain(void);

/*
 * The same as init_ready(), but false in guard mode, where allocations are to
 * be looked at first.
 */
static inline bool init_ready_plain(void)
{
	/* Pairs with init_heap(). */
	return likely(load_acquire(&init_state) == INIT_DONE) ||
	       init_heap_plain();
}

/*
 * After a slow path, outside the bracket: register the thread's destructor,
 * start or wake the reclaimer.  @caller: who called malloc or free;
 * @freeing: it was free.
 */
void init_after_slow(const void *caller, bool freeing);

/* No thread is started while a fork is in progress. */
extern bool init_forking;

void fork_register(void);

/* The process ends: report what pools have leaked. */
void pool_exit(void);

/* What looks at this thread's account after slow paths: WANTED_HOOK. */
extern void (*init_thread_look)(void) __attribute__((visibility("hidden")));

#endif
