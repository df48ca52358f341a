/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The hook of threads that have much in use
 *
 * While there is a hook WANTED_HOOK stays set, so each slow path comes by here
 * behind the bracket; without one nothing does.  What a thread may have in use
 * at most is a sum of its own counters; only where that reaches the bound
 * accounts are read as they stand.  How much it has to take until the next look
 * follows from what is missing, so looks are rare and get closer.
 *
 * Locking: the hook is read and written by a sequence number, odd while it is
 * being changed; the rest is the thread's.
 */
#include <errno.h>

#include "acct/account.h"
#include "api/init.h"
#include "ebb/ebb.h"
#include "heap/charge.h"
#include "heap/heap.h"
#include "heap/magazine.h"

#define STEP_MIN	4096u	/* taken between two looks, at least */

struct hook {
	uint64_t bytes;		/* 0: there is none */
	ebb_thread_hook_fn fn;
	void *arg;
};

static struct hook hook;
static uint32_t hook_seq;

struct watch {
	uint64_t next;		/* look when it has taken so much */
	uint32_t seq;		/* of the hook this is about */
	bool passed;		/* told, and not far below since */
	bool inside;		/* in the hook */
};

static __thread struct watch watch __attribute__((tls_model("initial-exec")));

/* False: it is being changed. */
static bool read_hook(struct hook *ret_hook, uint32_t *ret_seq)
{
	uint32_t seq = load_acquire(&hook_seq);

	ret_hook->bytes = load_relaxed(&hook.bytes);
	ret_hook->fn = load_relaxed(&hook.fn);
	ret_hook->arg = load_relaxed(&hook.arg);
	/* Pairs with ebb_thread_hook(). */
	fence_seq_cst();
	*ret_seq = seq;
	return !(seq & 1) && load_relaxed(&hook_seq) == seq;
}

/* What this thread has taken, ever. */
static uint64_t taken_by_now(void)
{
	const struct heap *heap = thread.heap;

	return load_relaxed(&charge_at(charge_self())->sum.taken) +
	       (heap ? heap->own.taken + heap->own.moved : 0);
}

/* What it has in use at most, having taken @taken. */
static uint64_t live_at_most(uint64_t taken)
{
	const struct charge *charge = charge_at(charge_self());
	const struct heap *heap = thread.heap;
	uint64_t gone = load_relaxed(&charge->sum.returned) +
			load_relaxed(&charge->sum.freed) +
			load_relaxed(&charge->by_others);

	if (heap)
		gone += heap->own.returned + heap->own.freed +
			magazine_bytes(heap);
	return taken > gone ? taken - gone : 0;
}

static void call(const struct hook *now, const struct ebb_thread_counts *counts)
{
	watch.passed = true;
	watch.inside = true;
	now->fn(counts, now->arg);
	watch.inside = false;
}

static cold void look(void)
{
	struct ebb_thread_counts counts;
	struct hook now;
	uint64_t live, taken, missing;
	uint32_t seq;

	if (watch.inside || !read_hook(&now, &seq) || !now.bytes)
		return;
	if (watch.seq != seq)
		watch = (struct watch){ .seq = seq };
	taken = taken_by_now();
	if (taken < watch.next)
		return;
	live = live_at_most(taken);
	if (live >= now.bytes && !watch.passed &&
	    !ebb_thread_stats(0, &counts, sizeof(counts))) {
		live = counts.live;
		if (live >= now.bytes) {
			call(&now, &counts);
			taken = taken_by_now();
			live = live_at_most(taken);
		}
	}
	if (live < now.bytes / 2)
		watch.passed = false;
	missing = live < now.bytes ? now.bytes - live : now.bytes / 4;
	watch.next = taken + max(missing / 2, (uint64_t)STEP_MIN);
}

__export int ebb_thread_hook(uint64_t bytes, ebb_thread_hook_fn fn, void *arg)
{
	uint32_t seq = load_relaxed(&hook_seq);

	if (!charge_keeps_accounts) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (bytes && !fn) {
		errno = EINVAL;
		return -1;
	}
	if (seq & 1 || !cas_acq_rel(&hook_seq, &seq, seq + 1)) {
		errno = EAGAIN;
		return -1;
	}
	/* Pairs with read_hook(). */
	fence_seq_cst();
	store_relaxed(&hook.bytes, bytes);
	store_relaxed(&hook.fn, fn);
	store_relaxed(&hook.arg, arg);
	store_release(&hook_seq, seq + 2);
	store_release(&init_thread_look, look);
	if (bytes)
		or_relaxed(&account.wanted, WANTED_HOOK);
	else
		and_relaxed(&account.wanted, ~(uint32_t)WANTED_HOOK);
	return 0;
}
