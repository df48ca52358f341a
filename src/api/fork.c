/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - fork
 *
 * Model: before a fork all locks are taken, by rank, so the child finds no
 * structure half changed but the heaps of threads that were inside the
 * allocator.  The forking thread counts as nested meanwhile (BUSY_FORK), so
 * that handlers of others which allocate between ours and the fork find their
 * way past the locks.
 *
 * The child trusts bitmaps and slab words, adopts the slabs of the threads it
 * does not have (heap/drain.h, heap/orphan.h), and has no reclaimer until it
 * needs one.  A lock held by the forking thread itself, in a handler that
 * interrupted malloc, is neither taken nor released here: the interrupted
 * call goes on in both processes.
 *
 * Locking: batch_lock (5), drain_lock, orphan_lock (3), vm_lock (2).
 */
#include <pthread.h>

#include "api/init.h"
#include "base/log.h"
#include "heap/drain.h"
#include "heap/orphan.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "vm/run.h"

static struct lock *const fork_locks[] = {
	&drain_lock, &orphan_lock, &vm_lock,
};

/* Of the forking thread; a second one waits for drain_lock. */
static bool taken[ARRAY_SIZE(fork_locks)];
static uintptr_t busy_before;

static void prefork(void)
{
	reclaimer_prefork();
	purge_prefork();
	for (unsigned int i = 0; i < ARRAY_SIZE(fork_locks); i++) {
		bool mine = lock_is_mine(fork_locks[i]);

		if (!mine)
			lock_take(fork_locks[i]);
		taken[i] = !mine;
	}
	init_forking = true;
	busy_before = tcb.busy;
	tcb.busy = BUSY_FORK;
}

static void release_locks(void)
{
	tcb.busy = busy_before;
	init_forking = false;
	for (unsigned int i = ARRAY_SIZE(fork_locks); i-- > 0;)
		if (taken[i])
			lock_release(fork_locks[i]);
}

static void postfork_parent(void)
{
	release_locks();
	purge_postfork_parent();
	reclaimer_postfork_parent();
}

static void postfork_child(void)
{
	/* Interrupted inside the allocator: what it was at stays as it is. */
	if (!busy_before)
		drain_after_fork();
	release_locks();
	purge_postfork_child();
	reclaimer_postfork_child();
}

void fork_register(void)
{
	if (pthread_atfork(prefork, postfork_parent, postfork_child))
		log_line("no fork handlers: children of threaded programs "
			 "must not allocate");
}
