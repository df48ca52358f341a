/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - One pass of giving memory back
 *
 * What it is: visits free runs, then the slabs that were published to since
 * the last pass and those that are still ageing, finds what is old enough, and
 * has it claimed, advised and published again in batches (batch.c).
 *
 * Model: a page goes dirty -> lazy -> clean.  A sweep that finds a page free
 * sets its idle bit; whoever takes a slot of the page clears it.  So a page
 * that is free and idle has not been used since an earlier sweep, and the
 * slab's stamp says since when at least one of them is.  Ages are compared
 * with that stamp: a page can be taken early, when it joins older ones in its
 * slab, but never on the sweep that first saw it.
 *
 * Invariant: a slab on the aging list has swept != 0; nobody else touches that
 * list.  What holds for claimed memory is said in reclaim/batch.h.
 *
 * Locking: pass_lock (rank 5) for a pass and all state here.  A pass may run
 * on any thread; a signal handler that interrupted one gets -EDEADLK.
 *
 * Fork: purge_prefork() waits for the batch in progress, not for the pass.
 * The child of a threaded parent makes the aging list anew.
 */
#include <limits.h>

#include "acct/account.h"
#include "base/clock.h"
#include "base/err.h"
#include "heap/arena.h"
#include "heap/bypass.h"
#include "heap/drain.h"
#include "heap/magazine.h"
#include "heap/orphan.h"
#include "heap/run_cache.h"
#include "heap/tail.h"
#include "os/map.h"
#include "reclaim/audit.h"
#include "reclaim/batch.h"

#define RUN_CHUNK	(16u * (MIB >> SLAB_SHIFT))	/* slabs a claim takes */

static struct lock pass_lock = LOCK_INIT(5);

static uint32_t nr_waiting;		/* atomic: threads that want a pass now */
static struct list_head aging;		/* pass_lock */
static bool ready;			/* pass_lock: the first pass has begun */

uint64_t purge_dirty_estimate(void)
{
	return account_slots_dirty() + run_dirty_bytes();
}

uint64_t purge_free_most(void)
{
	return purge_dirty_estimate() + load_relaxed(&account.cached);
}

static void add_cached(struct heap *heap, void *sum)
{
	*(uint64_t *)sum += drain_slots_of(heap) + run_cache_bytes(heap);
}

uint64_t purge_cached(void)
{
	uint64_t sum = 0;

	return drain_for_each(add_cached, &sum) ? sum : 0;
}

uint64_t purge_retaken(void)
{
	return load_relaxed(&account.retaken) +
	       run_counted(retaken);
}

uint64_t purge_strays(void)
{
	return batch_strays();
}

uint64_t purge_splits(void)
{
	return batch_splits();
}

uint64_t purge_lazy_taken(void)
{
	uint64_t gone = batch_lazy_gone();
	uint64_t empty = load_relaxed(&account.lazy_empty);

	return gone - min(gone, empty);
}

/* Who waits for a pass of its own needs memory more than this one's order. */
static bool makes_way(const struct pass *pass)
{
	return pass->order->yields && load_relaxed(&nr_waiting);
}

static bool is_in_the_way(struct pass *pass)
{
	if (makes_way(pass)) {
		pass->enough = true;
		pass->result->cut = true;
	}
	return pass->enough;
}

/* --- Slabs --- */

/* What is to happen to free pages of a slab now. */
struct verdict {
	unsigned int pages;
	enum advise_kind kind;
	bool wait;		/* something here will be older later */
};

static bool is_older(struct pass *pass, uint64_t stamp_ms, uint32_t age_ms)
{
	return age_ms != PURGE_NEVER && pass->now_ms - stamp_ms >= age_ms;
}

static struct verdict judge(struct pass *pass, struct slab *slab,
			    unsigned int free_pages)
{
	const struct purge_order *order = pass->order;
	uint64_t bits = load_relaxed(&slab->pages);
	unsigned int clean = bits >> PAGES_CLEAN & PAGES_MASK;
	unsigned int lazy = bits >> PAGES_LAZY & PAGES_MASK;
	unsigned int idle = bits >> PAGES_IDLE & PAGES_MASK;
	unsigned int dirty = free_pages & ~clean;
	unsigned int old = dirty & idle;
	struct verdict verdict = { .kind = ADVISE_LAZY };

	if (order->force || (dirty && !order->clean_age_ms)) {
		verdict.pages = dirty;
		verdict.kind = ADVISE_CLEAN;
		return verdict;
	}
	if (!old)
		slab->idle_ms = pass->now_ms;
	if (dirty & ~idle)
		or_relaxed(&slab->pages,
			   (uint64_t)(dirty & ~idle) << PAGES_IDLE);
	if (old && is_older(pass, slab->idle_ms, order->clean_age_ms)) {
		verdict.pages = old;
		verdict.kind = ADVISE_CLEAN;
		slab->idle_ms = pass->now_ms;
		verdict.wait = dirty & ~old;
		return verdict;
	}
	verdict.wait = order->clean_age_ms != PURGE_NEVER && dirty;
	if (is_older(pass, slab->idle_ms, order->lazy_age_ms)) {
		verdict.pages = old & ~lazy;
		verdict.kind = ADVISE_LAZY;
	}
	verdict.wait |= order->lazy_age_ms != PURGE_NEVER && (dirty & ~lazy);
	return verdict;
}

/* Pages of @slab, of those in @free_pages, that are backed. */
static unsigned int backed_pages(const struct slab *slab,
				 unsigned int free_pages)
{
	return free_pages & ~(unsigned int)(load_relaxed(&slab->pages) &
					    PAGES_MASK);
}

/* The same as sweep(), for what is behind a large object. */
static bool sweep_tail(struct pass *pass, struct slab *run, uint8_t state)
{
	const struct purge_order *order = pass->order;
	bool now = order->force || !order->clean_age_ms;

	if (!now && state == TAIL_DIRTY) {
		run->idle_ms = pass->now_ms;
		/* Lost to its owner: it is looked at by the next pass. */
		(void)cas_relaxed(&run->tail, &state, TAIL_IDLE);
	} else if (now || is_older(pass, run->idle_ms, order->clean_age_ms)) {
		(void)batch_take_tail(pass, run, state);
		return false;
	}
	pass->result->aging |= order->clean_age_ms != PURGE_NEVER;
	return true;
}

/*
 * Returns whether the slab has free pages that stay backed, so that it has to
 * be found again: by the next pass, or by a malloc_trim much later.
 */
static bool sweep(struct pass *pass, struct slab *slab)
{
	uint8_t tail = load_acquire(&slab->tail);
	uint64_t ctl = load_acquire(&slab->ctl);
	/* Perhaps of another life: then slab_debit() refuses. */
	unsigned int class = load_relaxed(&slab_hot(slab)->class);
	const struct sizeclass *sc = &sizeclasses[class];
	unsigned int claimed = 0, left;
	struct verdict verdict;

	if (tail == TAIL_DIRTY || tail == TAIL_IDLE)
		return sweep_tail(pass, slab, tail);
	if (ctl_state(ctl) == SLAB_NONE)
		return false;
	/* A slab that is being refilled from would only be taken again. */
	if (ctl_state(ctl) == SLAB_ACTIVE && !pass->order->force &&
	    load_relaxed(&slab->refill_tick) == load_relaxed(&slab_tick)) {
		pass->result->aging = true;
		return true;
	}
	left = slab_free_pages(slab, sc);
	verdict = judge(pass, slab, left);
	left = backed_pages(slab, left);
	if (verdict.pages) {
		struct slab_life life = { slab, sc, ctl_gen(ctl) };

		claimed = batch_take_pages(pass, verdict.kind, &life,
					   verdict.pages);
		if (verdict.kind == ADVISE_CLEAN)
			left &= ~claimed;
	}
	pass->young_bytes += pages_bytes(left);
	pass->result->aging |= verdict.wait || claimed != verdict.pages;
	return left;
}

static void collect_published(void)
{
	struct slab *slab = slab_dirty_pop_all();

	while (slab) {
		struct slab *next = slab->dirty_next;

		slab_dirty_seen(slab);
		if (!slab->swept) {
			slab->swept = 1;
			and_relaxed(&slab->pages,
				    ~(PAGES_MASK << PAGES_IDLE));
			list_add_tail(&slab->sweep, &aging);
		}
		slab = next;
	}
}

static void purge_slabs(struct pass *pass)
{
	struct slab *slab, *tmp;

	list_for_each_entry_safe(slab, tmp, &aging, sweep) {
		if (is_in_the_way(pass))
			break;
		if (sweep(pass, slab))
			continue;
		list_del(&slab->sweep);
		slab->swept = 0;
	}
	batch_end(pass);
}

/* --- Runs --- */

/* Slabs that the next claim may take. */
static unsigned int chunk_of(const struct pass *pass)
{
	uint64_t want = pass->order->want_bytes;

	if (!want)
		return RUN_CHUNK;
	want -= min(want, pass->result->clean_bytes + pass->claimed_bytes);
	return (unsigned int)min((want >> SLAB_SHIFT) + 1, (uint64_t)RUN_CHUNK);
}

static void purge_runs_of(struct pass *pass, enum run_state from,
			  enum advise_kind kind, uint32_t age_ms)
{
	struct run_order wanted = { .from = from };

	if (age_ms == PURGE_NEVER || age_ms > pass->now_ms)
		return;
	wanted.until_ms = pass->now_ms - age_ms;
	/*
	 * What was refused is indexed again and would be found again, so the
	 * first refusal ends it, as does having seen all that there was.
	 */
	pass->refused = false;
	for (uint64_t left = run_counted(in_state[from]);
	     left && !pass->refused && !is_in_the_way(pass);) {
		size_t bytes;

		wanted.max_nr = chunk_of(pass);
		bytes = batch_take_run(pass, kind, &wanted);
		if (!bytes)
			break;
		left -= min(left, (uint64_t)bytes);
	}
	batch_end(pass);
}

static void purge_runs(struct pass *pass)
{
	const struct purge_order *order = pass->order;
	uint32_t clean_age = order->force ? 0 : order->clean_age_ms;

	purge_runs_of(pass, RUN_DIRTY, ADVISE_CLEAN, clean_age);
	purge_runs_of(pass, RUN_PART, ADVISE_CLEAN, clean_age);
	purge_runs_of(pass, RUN_LAZY, ADVISE_CLEAN, clean_age);
	if (!order->force) {
		purge_runs_of(pass, RUN_DIRTY, ADVISE_LAZY,
			      order->lazy_age_ms);
		purge_runs_of(pass, RUN_PART, ADVISE_LAZY,
			      order->lazy_age_ms);
	}
	if ((order->clean_age_ms != PURGE_NEVER && run_dirty_bytes()) ||
	    (order->lazy_age_ms != PURGE_NEVER &&
	     (run_oldest(RUN_DIRTY) != UINT64_MAX ||
	      run_oldest(RUN_PART) != UINT64_MAX)))
		pass->result->aging = true;
}

/* --- The pass --- */

/*
 * What stays free and backed without having a page of its own.  Not so what
 * was freed behind the sweep's back, since @before was read: that is dirty.
 */
static void note_stranded(const struct pass *pass, int64_t before)
{
	int64_t dirty = min(load_relaxed(&account.slots_dirty),
			    before - pass->slots_cleaned);

	store_relaxed(&account.slots_stranded,
		      dirty - (int64_t)pass->young_bytes);
}

/* What is left of it when the pass makes way is for a later one. */
static void audit(struct pass *pass)
{
	while (!pass->result->audited && !makes_way(pass))
		pass->result->audited = !audit_step(pass);
}

static void pass_run(struct pass *pass)
{
	int64_t before;

	if (!ready) {
		list_init(&aging);
		ready = true;
	}
	store_relaxed(&slab_tick, slab_tick + 1);
	if (pass->order->force)
		bypass_release();
	if (pass->order->drain || pass->order->force) {
		struct drain_order order = {
			.force = pass->order->force,
			.share = pass->order->share,
			.keep = pass->order->keep_bytes,
		};
		struct drain_result drained;

		/* Without membarrier only our own; drain_unavailable() tells. */
		if (drain_caches(&order, &drained))
			pass->result->undrained = true;
		else
			pass->result->aging |= drained.left;
		pass->result->shared = drained.shared;
		orphan_reap();
		arena_reap(pass->order->force);
		drain_tables();
	}
	pass->result->cached_left = load_relaxed(&account.cached);
	pass->now_ms = clock_coarse_ms();
	batch_open(pass);
	before = load_relaxed(&account.slots_dirty);
	collect_published();
	/* Dirty runs give most for a call; holes in slabs least. */
	purge_runs(pass);
	purge_slabs(pass);
	if (pass->order->audit && !pass->enough)
		audit(pass);
	batch_close();
	if (!pass->enough)
		note_stranded(pass, before);
	else
		pass->result->aging = true;
	/* What was refused is in that queue, too, and does not get older. */
	if (slab_dirty_pending() && !pass->result->refused_bytes)
		pass->result->aging = true;
	pass->result->dirty_left = purge_dirty_estimate();
	pass->result->live_bytes = account_slots_handed() +
		run_counted(large);
	store_relaxed(&account.locked_bytes, pass->result->refused_bytes);
}

/* Wait for the pass in progress, which makes haste if it can. */
static bool take_turn(const struct purge_order *order)
{
	bool taken = lock_try(&pass_lock);

	if (taken)
		return true;
	add_relaxed(&nr_waiting, 1);
	if (order->try)
		taken = lock_try_for(&pass_lock, max(order->budget_ms, 1u));
	else
		lock_take(&pass_lock);
	sub_relaxed(&nr_waiting, 1);
	return taken || !order->try;
}

int purge_run(const struct purge_order *order, struct purge_result *ret_result)
{
	struct pass pass = { .order = order, .result = ret_result };

	*ret_result = (struct purge_result){ 0 };
	if (lock_is_mine(&pass_lock))
		return -EDEADLK;
	if (!take_turn(order))
		return -EBUSY;
	pass_run(&pass);
	lock_release(&pass_lock);
	return 0;
}

bool purge_hold(void)
{
	if (lock_is_mine(&pass_lock))
		return false;
	lock_take(&pass_lock);
	return true;
}

void purge_release(void)
{
	lock_release(&pass_lock);
}

void purge_prefork(bool may_wait)
{
	batch_prefork(may_wait);
}

void purge_postfork_parent(void)
{
	batch_postfork_parent();
}

/*
 * A pass of another thread was cut off wherever it was, and so was a pusher:
 * the aging list and the dirty queue are made anew.
 */
void purge_postfork_child(bool threaded)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	batch_postfork_child();
	store_relaxed(&nr_waiting, 0);
	if (lock_is_mine(&pass_lock) || !threaded)
		return;
	lock_reset(&pass_lock);
	list_init(&aging);
	slab_dirty_pop_all();
	for (size_t i = 0; i < nr; i++) {
		struct slab *slab = range.slabs + i;

		if (!slab->swept && !slab->dirty_queued)
			continue;
		slab->swept = 0;
		slab->dirty_queued = 0;
		slab_dirty_push(slab);
	}
}
