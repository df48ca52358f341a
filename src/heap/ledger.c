/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The ledger: accounts as they stand
 */
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "heap/drain.h"
#include "heap/ledger.h"
#include "heap/magazine.h"
#include "heap/stranger.h"

#define LOOKS		20	/* at a heap that does not rest */
#define PASSES		3	/* over all of them */

/* What a heap has to tell. */
struct look {
	struct charge_own own;
	struct charge_owed owed[NR_OWED];
	uint64_t cached;
	uint64_t nr_out;
	const void *out[OUTBOX_SLOTS];
};

static __guesses void look_at(const struct heap *heap, struct look *look)
{
	void **top = load_guess(&heap->outbox.top);

	look->own.taken = load_guess(&heap->own.taken);
	look->own.returned = load_guess(&heap->own.returned);
	look->own.pushed = load_guess(&heap->own.pushed);
	look->own.freed = load_guess(&heap->own.freed);
	look->own.for_others = load_guess(&heap->own.for_others);
	look->own.moved = load_guess(&heap->own.moved);
	for (unsigned int i = 0; i < NR_OWED; i++) {
		look->owed[i].bytes = load_guess(&heap->owed[i].bytes);
		look->owed[i].id = load_guess(&heap->owed[i].id);
	}
	look->cached = magazine_bytes(heap);
	look->nr_out = (uint64_t)(top - heap->outbox_store);
	for (unsigned int i = 0; i < look->nr_out; i++)
		look->out[i] = load_guess(&heap->outbox_store[i]);
}

static bool are_equal(const struct look *a, const struct look *b)
{
	return !memcmp(&a->own, &b->own, sizeof(a->own)) &&
	       !memcmp(a->owed, b->owed, sizeof(a->owed)) &&
	       a->cached == b->cached && a->nr_out == b->nr_out &&
	       !memcmp(a->out, b->out, a->nr_out * sizeof(a->out[0]));
}

/* Its thread is not inside the allocator, as far as can be seen. */
static bool is_outside(const struct heap *heap)
{
	/* Pairs with tcb_leave(). */
	return heap->tcb == &tcb || !load_acquire(&heap->tcb->busy);
}

static cold void look_closely(const struct heap *heap, struct look *look)
{
	struct look again;

	memset(look, 0, sizeof(*look));
	memset(again.owed, 0, sizeof(again.owed));
	for (int i = 0; i < LOOKS; i++) {
		bool outside = is_outside(heap);

		look_at(heap, look);
		look_at(heap, &again);
		if (outside && is_outside(heap) && are_equal(look, &again))
			return;
		cpu_relax();
	}
}

/* A slot in the outbox of @keeper: who holds it. */
static void add_slot(struct charge *keeper, const void *ptr)
{
	const struct slab_hot *hot;
	struct charge *holder;
	unsigned int slot;
	size_t size;

	if (!range_contains(ptr))
		return;
	hot = slab_hot(slab_of(ptr));
	if (load_relaxed(&hot->kind) != SLAB_KIND_CLASS ||
	    !slab_slot(hot, ptr, &slot))
		return;
	holder = charge_at(stranger_guess(slab_of(ptr), hot, slot));
	if (!holder)
		return;
	size = sizeclasses[hot->class].size;
	keeper->seen_cached += size;
	if (holder == keeper) {
		keeper->seen_out += size;
	} else {
		holder->seen_out_by += size;
		keeper->seen_out_for += size;
	}
}

static cold void add_heap(struct heap *heap, void *arg)
{
	struct charge *charge = charge_at(heap->charge);
	struct look look;

	(void)arg;
	look_closely(heap, &look);
	charge->seen.taken += look.own.taken + look.own.moved;
	charge->seen.returned += look.own.returned;
	charge->seen.pushed += look.own.pushed;
	charge->seen.freed += look.own.freed;
	charge->seen.for_others += look.own.for_others + look.own.moved;
	charge->seen_kept += look.cached;
	for (unsigned int i = 0; i < NR_OWED; i++)
		if (look.owed[i].bytes)
			charge_at(look.owed[i].id)->seen_owed +=
				look.owed[i].bytes;
	for (unsigned int i = 0; i < look.nr_out; i++)
		add_slot(charge, look.out[i]);
}

/* Changes with whatever an account is told. */
static uint64_t sum_of_told(unsigned int end)
{
	uint64_t sum = 0;

	for (unsigned int id = CHARGE_NOBODY; id < end; id++) {
		const struct charge *charge = charge_at(id);

		if (!charge)
			continue;
		sum += load_relaxed(&charge->sum.taken) +
		       load_relaxed(&charge->sum.returned) * 3 +
		       load_relaxed(&charge->sum.freed) * 5 +
		       load_relaxed(&charge->by_others) * 7;
	}
	return sum;
}

static void clear_seen(unsigned int end)
{
	for (unsigned int id = CHARGE_NOBODY; id < end; id++) {
		struct charge *charge = charge_at(id);

		if (!charge)
			continue;
		charge->seen = (struct charge_own){ 0 };
		charge->seen_owed = 0;
		charge->seen_kept = 0;
		charge->seen_cached = 0;
		charge->seen_out = 0;
		charge->seen_out_by = 0;
		charge->seen_out_for = 0;
	}
}

static uint64_t less(uint64_t all, uint64_t part)
{
	return all > part && all - part <= INT64_MAX ? all - part : 0;
}

static void make_row(const struct charge *charge, struct ledger_row *row)
{
	const struct charge_own *sum = &charge->sum, *seen = &charge->seen;
	uint64_t freed = load_relaxed(&sum->freed) + seen->freed;
	uint64_t returned = load_relaxed(&sum->returned) + seen->returned;
	uint64_t by_others = load_relaxed(&charge->by_others) +
			     charge->seen_owed;
	uint64_t taken = load_relaxed(&sum->taken) + seen->taken;

	row->live = less(taken, returned + freed + by_others +
				charge->seen_kept + charge->seen_out +
				charge->seen_out_by);
	row->freed_self = freed + charge->seen_out +
			  (charge_counts_frees ?
			   load_relaxed(&sum->pushed) + seen->pushed :
			   returned);
	row->by_others = by_others + charge->seen_out_by;
	row->for_others = load_relaxed(&sum->for_others) + seen->for_others +
			  charge->seen_out_for;
	row->allocated = row->live + row->freed_self + row->by_others;
	row->cached = charge->seen_kept + charge->seen_cached;
}

static bool has_ended(const struct charge *charge, uint32_t state)
{
	if (state != CHARGE_BARE)
		return state == CHARGE_ENDED;
	return sys_tgkill(sys_getpid(), charge->tid, 0) == -ESRCH;
}

/* False: it is nobody's, and there is nothing to be said of it. */
static cold bool describe(unsigned int id, struct ledger_row *row)
{
	const struct charge *charge = charge_at(id);
	uint32_t state;

	memset(row, 0, sizeof(*row));
	if (!charge)
		return false;
	state = load_acquire(&charge->state);
	if (state == CHARGE_FREE && id != CHARGE_NOBODY)
		return false;
	make_row(charge, row);
	row->id = id;
	row->tid = charge->tid;
	row->ended = has_ended(charge, state);
	if (row->ended)
		memcpy(row->name, charge->name, sizeof(row->name));
	return row->live || (id != CHARGE_NOBODY && !row->ended);
}

cold bool ledger_for_each(void (*fn)(const struct ledger_row *row, void *arg),
		     void *arg)
{
	struct ledger_row row;
	unsigned int end = 0;
	bool done = false;

	if (!lock_try_for(&drain_lock, LOCK_PATIENCE_MS))
		return false;
	for (int i = 0; !done && i < PASSES; i++) {
		uint64_t told;

		end = charge_end();
		told = sum_of_told(end);
		clear_seen(end);
		drain_for_each_held(add_heap, NULL);
		done = told == sum_of_told(end);
	}
	for (unsigned int id = CHARGE_NOBODY; id < end; id++)
		if (describe(id, &row))
			fn(&row, arg);
	lock_release(&drain_lock);
	return true;
}
