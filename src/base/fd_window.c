/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Descriptors that are open for a moment, and fork
 */
#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fd_window.h"
#include "base/lock.h"
#include "base/sys.h"

#define LOOK_NS		20000

static struct lock fork_lock = LOCK_INIT(0);
static uint32_t nr_inside;
static bool fork_took;		/* fork_lock, by who forks */
static __thread bool own_table __attribute__((tls_model("initial-exec")));
/* This thread's windows, one in another; it is counted when this is not 0. */
static __thread uint32_t depth __attribute__((tls_model("initial-exec")));

static __startup void count_out(void)
{
	uint32_t nr = load_relaxed(&nr_inside);

	/* 0: a child that a handler forked just when its thread was counted. */
	while (nr && !cas_acq_rel(&nr_inside, &nr, nr - 1))
		;
}

static __startup void count_in(void)
{
	bool alone;

	add_seq_cst(&nr_inside, 1);
	/* Pairs with fd_window_prefork(): the count, then the lock. */
	if (likely(!load_seq_cst(&fork_lock.word)) || lock_is_mine(&fork_lock))
		return;
	count_out();
	alone = lock_try_for(&fork_lock, FD_WINDOW_PATIENCE_MS);
	/* With the lock, so that the next fork sees it. */
	add_seq_cst(&nr_inside, 1);
	if (alone)
		lock_release(&fork_lock);
}

__startup void fd_window_enter(void)
{
	if (own_table)
		return;
	if (!depth)
		count_in();
	/* A handler that comes by before this is counted itself. */
	barrier();
	depth++;
}

__startup void fd_window_leave(void)
{
	if (own_table)
		return;
	depth--;
	barrier();
	if (!depth)
		count_out();
}

void fd_window_use_private_table(void)
{
	own_table = true;
}

void fd_window_prefork(bool may_wait)
{
	struct timespec ts = { 0, LOOK_NS };
	uint32_t own = depth != 0;
	uint64_t until_ms;

	fork_took = lock_take_for_fork(&fork_lock, may_wait);
	if (!fork_took || !may_wait)
		return;
	fence_seq_cst();
	until_ms = clock_ms() + FD_WINDOW_PATIENCE_MS;
	while (load_seq_cst(&nr_inside) > own && clock_ms() < until_ms)
		sys_call2(SYS_nanosleep, (long)&ts, 0);
}

void fd_window_postfork_parent(void)
{
	if (fork_took)
		lock_release(&fork_lock);
}

void fd_window_postfork_child(void)
{
	store_relaxed(&nr_inside, depth != 0);
	if (fork_took)
		lock_release(&fork_lock);
	else if (!lock_is_mine(&fork_lock))
		lock_reset(&fork_lock);
}
