/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - fork
 *
 * Model: before a fork the locks below are taken, by rank, so the child finds
 * no structure half changed but the heaps of threads that were inside the
 * allocator.  The others (inband_lock, find_lock, pass_lock, write_lock) it frees, and
 * makes anew what they guard.  The forking thread counts as nested meanwhile
 * (BUSY_FORK), so that handlers of others which allocate between ours and the
 * fork find their way past the locks.
 *
 * The child trusts bitmaps alone, takes over the slabs of the threads it does
 * not have (heap/drain.h, heap/orphan.h), and has no reclaimer until it
 * needs one.  A lock held by the forking thread itself, in a handler that
 * interrupted malloc, is neither taken nor released here: the interrupted
 * call goes on in both processes.
 *
 * Locking: glibc's list of streams, listen_lock (7), ctl_lock (6; for a second
 * at most, or without), batch_lock (5), leak_lock, guard_lock (4), those of
 * pools, drain_lock, orphan_lock, those of arenas (3), those of zones (2),
 * fork_lock (0).  Below a handler that interrupted a holder they are waited for
 * as far as the ranks allow it; those of listeners, the control directory, leak
 * levels and pools not at all, since the child can make them free.
 */
#include <pthread.h>
#include <sys/single_threaded.h>

#include "api/init.h"
#include "api/listen.h"
#include "base/fd_window.h"
#include "base/log.h"
#include "ctl/ctl.h"
#include "debug/guard.h"
#include "debug/leak.h"
#include "debug/profile.h"
#include "debug/report.h"
#include "debug/trap.h"
#include "heap/arena.h"
#include "heap/drain.h"
#include "heap/orphan.h"
#include "heap/pool.h"
#include "os/guard_mark.h"
#include "reclaim/inband.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "reclaim/written.h"
#include "vm/run.h"

static struct lock *const fork_locks[] = {
#if IS_ENABLED(CONFIG_GUARD)
	&guard_lock,
#endif
	&drain_lock, &orphan_lock,
};

/* Which of them those of pools, of the same rank, come before. */
#define POOLS_BEFORE	(IS_ENABLED(CONFIG_GUARD) ? 1u : 0u)

/* Of the forking thread: the first lock taken keeps a second one away. */
static bool taken[ARRAY_SIZE(fork_locks)];
static uintptr_t busy_before;
static bool threaded;

/*
 * glibc's fork takes the lock of its list of streams after our handlers, and
 * its functions allocate with a stream, and so that list, locked.  So it is
 * taken first, here; it is recursive.
 */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

static void prefork(void)
{
	bool may_wait, none_held;

	/* A handler forks between our handlers: the outer fork has it all. */
	if (tcb.busy == BUSY_FORK)
		return;
	none_held = !lock_holds_any();
	if (_IO_list_lock)
		_IO_list_lock();
	/* Holding a lower lock, below a handler, no higher one is waited for. */
	may_wait = !zone_is_any_mine() && !lock_is_mine(&orphan_lock) &&
		   !lock_is_mine(&drain_lock) && !arena_holds_lock();
	listen_prefork(none_held);
	if (IS_ENABLED(CONFIG_CONTROL))
		ctl_prefork(none_held);
	reclaimer_prefork();
	purge_prefork(may_wait);
	if (IS_ENABLED(CONFIG_LEAK))
		leak_prefork(none_held);
	for (unsigned int i = 0; i < ARRAY_SIZE(fork_locks); i++) {
		if (i == POOLS_BEFORE)
			pool_prefork(none_held);
		taken[i] = lock_take_for_fork(fork_locks[i], may_wait);
	}
	/* Those of zones are taken by who holds one of an arena. */
	arena_prefork(may_wait);
	zone_prefork(may_wait);
	fd_window_prefork(!tcb.busy);
	store_relaxed(&init_forking, true);
	threaded = !__libc_single_threaded;
	busy_before = tcb.busy;
	tcb.busy = BUSY_FORK;
}

static void release_locks(void)
{
	tcb.busy = busy_before;
	store_relaxed(&init_forking, false);
	zone_postfork();
	arena_postfork();
	for (unsigned int i = ARRAY_SIZE(fork_locks); i-- > 0;)
		if (taken[i])
			lock_release(fork_locks[i]);
	pool_postfork();
	if (IS_ENABLED(CONFIG_LEAK))
		leak_postfork();
}

static void postfork_parent(void)
{
	if (tcb.busy != BUSY_FORK)
		return;
	fd_window_postfork_parent();
	release_locks();
	purge_postfork_parent();
	reclaimer_postfork_parent();
	if (IS_ENABLED(CONFIG_CONTROL))
		ctl_postfork_parent();
	listen_postfork_parent();
	if (_IO_list_unlock)
		_IO_list_unlock();
}

static void postfork_child(void)
{
	if (tcb.busy != BUSY_FORK)
		return;
	/* First: a handler of the program's may touch what is missing here. */
	guard_mark_postfork_child();
	if (IS_ENABLED(CONFIG_GUARD))
		trap_postfork_child();
	if (IS_ENABLED(CONFIG_GUARD) || IS_ENABLED(CONFIG_LEAK))
		report_postfork_child();
	/* First: it looks at heaps of threads that are not here. */
	pool_after_fork();
	if (IS_ENABLED(CONFIG_LEAK))
		leak_postfork_child();
	/* Interrupted inside the allocator: what it was at stays as it is. */
	if (!busy_before) {
		drain_after_fork(threaded);
		if (threaded)
			arena_postfork_child();
	}
	/* Before a handler may allocate again: it would wait for who is gone. */
	purge_postfork_child(threaded);
	inband_postfork_child();
	reclaimer_postfork_child();
	if (IS_ENABLED(CONFIG_TRACK))
		written_postfork_child();
	if (IS_ENABLED(CONFIG_CONTROL))
		ctl_postfork_child();
	listen_postfork_child();
	if (heap_profiled)
		profile_postfork_child();
	fd_window_postfork_child();
	release_locks();
	if (_IO_list_resetlock)
		_IO_list_resetlock();
}

/*
 * What pthread_atfork() calls.  That function is linked into each object, where
 * it would be the only one on its page that every process runs.
 */
extern int __register_atfork(void (*before)(void), void (*parent)(void),
			     void (*child)(void), void *object)
	__attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

static int add_handlers(void)
{
	if (__register_atfork)
		return __register_atfork(prefork, postfork_parent,
					 postfork_child, &__dso_handle);
	return pthread_atfork(prefork, postfork_parent, postfork_child);
}

__startup void fork_register(void)
{
	if (add_handlers())
		log_line("no fork handlers: children of threaded programs "
			 "must not allocate");
}
