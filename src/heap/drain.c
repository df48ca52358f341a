/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The gate: emptying the caches of other threads
 */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/sys.h"
#include "heap/drain.h"
#include "heap/magazine.h"
#include "heap/medium.h"
#include "heap/orphan.h"
#include "heap/outbox.h"
#include "heap/run_cache.h"
#include "heap/sample.h"
#include "heap/stranger.h"
#include "os/barrier.h"
#include "os/guard_mark.h"

#define BURST_KEEP_MS	1000u
#define KEEP_RUNS	8u	/* as much of runs is kept as of so many classes */

struct lock drain_lock = LOCK_INIT(3);

/* What of a heap is to be emptied. */
enum drain_part {
	DRAIN_NOTHING,
	DRAIN_ASIDE,		/* outbox, cached runs and medium objects */
	DRAIN_ALL,
};

static __startup_data struct list_head heaps;		/* drain_lock */
static __startup_data struct heap *closed;		/* drain_lock */

/* From now on it is nobody's, or another's: known by who remembers the turn. */
static void next_turn(struct heap *heap)
{
	store_relaxed(&heap->turn, (uint16_t)(heap->turn + 1));
}

__startup void drain_init(void)
{
	list_init(&heaps);
	orphan_heap.charge = CHARGE_NOBODY;
}

static struct heap *heap_new(void)
{
	size_t nr = ALIGN_UP(magazine_heap_size() +
			     (heap_marked ? sizeof(struct sampler) : 0),
			     SLAB_SIZE) >> SLAB_SHIFT;
	struct heap *heap = closed;
	enum run_state was;
	struct slab *run;

	if (heap) {
		closed = heap->next_free;
		return heap;
	}
	run = run_alloc(nr, 1, &was);
	if (!run)
		return NULL;
	guard_hand_out(slab_base(run), nr << SLAB_SHIFT);
	store_relaxed(&slab_hot(run)->kind, SLAB_KIND_META);
	heap = (struct heap *)slab_base(run);
	/* Of the stores and lists only what was written is read. */
	if (was != RUN_CLEAN)
		memset(heap, 0, offsetof(struct heap, small_store[1]));
	return heap;
}

static void close_gate(struct tcb *t)
{
	store_relaxed(&t->heap, EMPTY_HEAP);
	store_relaxed(&t->behind, NULL);
}

static void open_gate(struct heap *heap)
{
	struct heap **gate = heap->metered ? &heap->tcb->behind :
					     &heap->tcb->heap;

	/* Pairs with malloc() and free(), which load it. */
	store_release(gate, heap);
}

__startup struct heap *drain_open_heap(void)
{
	int tid = sys_gettid();
	struct heap *heap;

	/* A handler above a pass, or a walk over the heaps: the bypass will do. */
	if (lock_holds_any())
		return NULL;
	lock_take(&drain_lock);
	heap = heap_new();
	if (heap) {
		heap_init_bins(heap);
		magazine_init(heap);
		heap->delta = (struct account_delta){ 0 };
		charge_open(heap);
		outbox_init(heap);
		heap->tops_seen = 0;
		heap->outbox_seen = NULL;
		heap->gated = DRAIN_NOTHING;
		/* Pairs with slab_avail_push(): open for pushers again. */
		store_release(&heap->avail, NULL);
		heap->tcb = &tcb;
		heap->tid = tid;
		next_turn(heap);
		list_add(&heap->all, &heaps);
		add_relaxed(&account.nr_heaps, 1);
		thread.heap = heap;
		thread.state = THREAD_ALIVE;
		heap->metered = thread.metered;
		open_gate(heap);
	}
	lock_release(&drain_lock);
	return heap;
}

void drain_close_heap(void)
{
	struct heap *heap = thread.heap;

	/*
	 * Before that somebody may be at it who found us out of the bracket: the
	 * heap is ours, gate or not, only with the lock.
	 */
	lock_take(&drain_lock);
	thread.state = THREAD_GONE;
	thread.heap = NULL;
	close_gate(&tcb);
	magazine_flush_all(heap);
	/* Who reads accounts finds it in the heap, or there. */
	charge_close(heap, true);
	list_del(&heap->all);
	sub_relaxed(&account.nr_heaps, 1);
	heap->tcb = NULL;
	next_turn(heap);
	lock_release(&drain_lock);

	heap_close(heap);

	lock_take(&drain_lock);
	heap->next_free = closed;
	closed = heap;
	lock_release(&drain_lock);
}

const char *drain_unavailable(void)
{
	return barrier_unavailable();
}

/* A sum that changes when the thread allocates or frees, as a rule. */
static __guesses uint64_t sum_of_tops(const struct heap *heap)
{
	uint64_t sum = (uintptr_t)load_guess(&heap->outbox.top) +
		       ((uint64_t)load_guess(&heap->kept_turn) << 48);

	for (unsigned int class = 0; class < NR_CLASSES; class++)
		sum += (uintptr_t)load_guess(&heap->magazines[class].top) *
		       (class + 2);
	return sum;
}

/* Room counts: what it takes in later is not told. */
static __guesses bool has_cached(const struct heap *heap)
{
	return load_relaxed(&heap->avail) || load_guess(&heap->aside) ||
	       magazine_bytes(heap) || load_guess(&heap->grown_bytes) ||
	       !outbox_is_empty(heap);
}

/*
 * Whether magazines have been as large as bursts ask for long enough that they
 * may be too large by now: a thread that finds there what it wants tells nobody.
 */
static bool kept_bursts(struct heap *heap)
{
	uint64_t now_ms;

	if (!load_relaxed(&heap->burst_bytes)) {
		heap->burst_ms = 0;
		return false;
	}
	now_ms = clock_coarse_ms();
	if (!heap->burst_ms)
		heap->burst_ms = now_ms;
	return now_ms - heap->burst_ms >= BURST_KEEP_MS;
}

/*
 * What has not moved since the last look.  A thread that is busy with slots of
 * its own may have some of others' in its outbox for ever, and runs of a length
 * that it does not use any more.
 */
static __guesses enum drain_part part_at_rest(struct heap *heap)
{
	uint64_t sum = sum_of_tops(heap);
	void **outbox = load_guess(&heap->outbox.top);
	uint32_t turn = load_guess(&heap->kept_turn);
	bool all = sum == heap->tops_seen || kept_bursts(heap);
	bool some = (outbox == heap->outbox_seen && !outbox_is_empty(heap)) ||
		    (turn == heap->turn_seen && (run_cache_bytes(heap) ||
						 medium_cached_bytes(heap)));

	heap->tops_seen = sum;
	heap->outbox_seen = outbox;
	heap->turn_seen = turn;
	return all ? DRAIN_ALL : some ? DRAIN_ASIDE : DRAIN_NOTHING;
}

/* A drain as it goes. */
struct drain {
	const struct drain_order *order;
	struct class_set wanted;	/* what is shared */
	bool left;
	bool shared;
};

/*
 * Step 1: close the gates of all that are to be drained.  With force also of
 * those with nothing but slabs that could not be retired yet.
 */
static bool drain_gate(struct drain *drain)
{
	struct heap *heap;
	bool any = false;

	list_for_each_entry(heap, &heaps, all) {
		enum drain_part part;
		bool cached;

		if (heap->tcb == &tcb)
			continue;
		part = part_at_rest(heap);
		cached = has_cached(heap);
		drain->left |= cached && part != DRAIN_ALL;
		if (drain->order->force)
			part = DRAIN_ALL;
		else if (!cached)
			part = DRAIN_NOTHING;
		if (part == DRAIN_NOTHING)
			continue;
		heap->gated = (uint8_t)part;
		close_gate(heap->tcb);
		any = true;
	}
	return any;
}

static void empty_heap_of(struct heap *heap, struct drain *drain)
{
	size_t keep = drain->order->keep;

	if (keep) {
		magazine_trim(heap, keep);
		outbox_flush(heap);
	} else {
		magazine_flush_all(heap);
		magazine_discard(heap);
	}
	heap_reap(heap);
	if (drain->order->share)
		drain->shared |= heap_share(heap, &drain->wanted);
	/* What was retired just now, too. */
	run_cache_trim(heap, keep * KEEP_RUNS);
	medium_trim(heap, keep * KEEP_RUNS);
	charge_settle(heap);
	heap->tops_seen = sum_of_tops(heap);
	heap->outbox_seen = heap->outbox_store;
	heap->turn_seen = heap->kept_turn;
}

static void empty_aside(struct heap *heap)
{
	outbox_flush(heap);
	run_cache_trim(heap, 0);
	medium_trim(heap, 0);
	charge_settle(heap);
}

/* Steps 3 and 4; without the barrier only 4. */
static void drain_gated(struct drain *drain, bool may_take)
{
	struct heap *heap;

	list_for_each_entry(heap, &heaps, all) {
		if (heap->gated == DRAIN_NOTHING)
			continue;
		/* Pairs with tcb_leave(). */
		if (!may_take || load_acquire(&heap->tcb->busy))
			drain->left = true;
		else if (heap->gated == DRAIN_ALL)
			empty_heap_of(heap, drain);
		else
			empty_aside(heap);
		heap->gated = DRAIN_NOTHING;
		open_gate(heap);
	}
}

static void drain_own(struct drain *drain)
{
	if (tcb.busy || !thread.heap)
		return;
	tcb_enter(&tcb);
	empty_heap_of(thread.heap, drain);
	tcb_leave(&tcb);
}

int drain_caches(const struct drain_order *order,
		 struct drain_result *ret_result)
{
	struct drain drain = { .order = order };
	int err;

	*ret_result = (struct drain_result){ .left = true };
	/* Its holder may be stopped: a purge goes on without. */
	if (!lock_try_for(&drain_lock, LOCK_PATIENCE_MS))
		return 0;
	if (order->share)
		heap_take_wanted(&drain.wanted);
	err = barrier_ready();
	if (!err && drain_gate(&drain)) {
		err = barrier_all();
		drain_gated(&drain, !err);
	}
	if (order->force)
		drain_own(&drain);
	lock_release(&drain_lock);
	ret_result->left = drain.left;
	ret_result->shared = drain.shared;
	return err;
}

void drain_after_fork(bool threaded)
{
	struct heap *heap, *tmp;
	struct heap *mine = thread.heap;

	barrier_after_fork();
	if (mine)
		mine->tid = sys_gettid();
	list_for_each_entry_safe(heap, tmp, &heaps, all) {
		if (heap == mine)
			continue;
		list_del(&heap->all);
		sub_relaxed(&account.nr_heaps, 1);
		/* The stack it lies on was copied with us. */
		if (!load_relaxed(&heap->tcb->busy))
			magazine_flush_all(heap);
		charge_close(heap, false);
		store_relaxed(&heap->avail, AVAIL_CLOSED);
		heap->tcb = NULL;
		next_turn(heap);
		heap->next_free = closed;
		closed = heap;
	}
	charge_after_fork();
	stranger_after_fork();
	if (threaded)
		orphan_after_fork(mine);
}

bool drain_mine(void)
{
	static const struct drain_order all;
	struct drain drain = { .order = &all };

	if (!lock_try_for(&drain_lock, LOCK_PATIENCE_MS))
		return false;
	drain_own(&drain);
	lock_release(&drain_lock);
	return true;
}

void drain_tables(void)
{
	if (!stranger_bytes() ||
	    !lock_try_for(&drain_lock, LOCK_PATIENCE_MS))
		return;
	stranger_trim();
	lock_release(&drain_lock);
}

cold void drain_meter(void)
{
	lock_take(&drain_lock);
	thread.metered = true;
	store_relaxed(&heap_noted, true);
	if (thread.heap) {
		close_gate(&tcb);
		thread.heap->metered = true;
		open_gate(thread.heap);
	}
	lock_release(&drain_lock);
}

void drain_for_each_held(void (*fn)(struct heap *heap, void *arg), void *arg)
{
	struct heap *heap;

	lock_assert_held(&drain_lock);
	list_for_each_entry(heap, &heaps, all)
		fn(heap, arg);
}

bool drain_for_each(void (*fn)(struct heap *heap, void *arg), void *arg)
{
	if (!lock_try_for(&drain_lock, LOCK_PATIENCE_MS))
		return false;
	drain_for_each_held(fn, arg);
	lock_release(&drain_lock);
	return true;
}

bool drain_around_barrier(void (*close)(struct heap *heap, void *arg),
			  void (*open)(struct heap *heap, bool ordered,
				       void *arg), void *arg)
{
	struct heap *heap;
	bool ordered;

	if (!lock_try_for(&drain_lock, LOCK_PATIENCE_MS))
		return false;
	/* Anew in the child of a fork, and after a failure. */
	if (barrier_ready()) {
		lock_release(&drain_lock);
		return false;
	}
	list_for_each_entry(heap, &heaps, all)
		close(heap, arg);
	ordered = !barrier_all();
	list_for_each_entry(heap, &heaps, all)
		open(heap, ordered, arg);
	lock_release(&drain_lock);
	return true;
}

size_t drain_slots_of(const struct heap *heap)
{
	return magazine_bytes(heap) + outbox_bytes(heap) +
	       medium_cached_bytes(heap);
}

size_t drain_cached_bytes(size_t *ret_runs)
{
	struct heap *heap;
	size_t bytes = 0;

	*ret_runs = 0;
	lock_take(&drain_lock);
	list_for_each_entry(heap, &heaps, all) {
		bytes += drain_slots_of(heap);
		*ret_runs += run_cache_bytes(heap);
	}
	lock_release(&drain_lock);
	return bytes;
}

size_t drain_heap_bytes(void)
{
	struct heap *heap;
	size_t bytes = 0;

	lock_take(&drain_lock);
	list_for_each_entry(heap, &heaps, all)
		bytes += magazine_store_bytes(heap);
	lock_release(&drain_lock);
	return bytes;
}

static __guesses bool magazine_holds(struct heap *heap, unsigned int class,
				     const void *ptr)
{
	size_t nr;
	const void *const *places = magazine_guess(heap, class, &nr);

	/* A pop goes before every use of what it gave, so no stale match. */
	for (size_t i = 0; i < nr; i++)
		if (((uintptr_t)load_guess(places + i) & ~MAGAZINE_FLAGS) ==
		    (uintptr_t)ptr)
			return true;
	return false;
}

static bool any_cache_holds(const struct slab_hot *hot, const void *ptr)
{
	struct heap *heap;
	bool held = false;

	lock_take(&drain_lock);
	list_for_each_entry(heap, &heaps, all)
		if (outbox_holds(heap, ptr) ||
		    magazine_holds(heap, hot->class, ptr)) {
			held = true;
			break;
		}
	lock_release(&drain_lock);
	return held;
}

bool drain_slot_is_free(const void *ptr)
{
	const struct slab_hot *hot = slab_hot(slab_of(ptr));
	unsigned int slot;

	if (slab_slot_is_free(hot, ptr))
		return true;
	return slab_slot(hot, ptr, &slot) && !lock_is_mine(&drain_lock) &&
	       any_cache_holds(hot, ptr);
}
