/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Charges: whose memory it is
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/sys.h"
#include "heap/charge.h"
#include "heap/heap.h"
#include "os/guard_mark.h"
#include "vm/run.h"

#define NR_FIRST	8u	/* accounts that are always there */
#define CHUNK_SHIFT	8u	/* those that are made together */
#define CHUNK		(1u << CHUNK_SHIFT)
#define NR_CHUNKS	(CHARGE_MAX >> CHUNK_SHIFT)
#define TRIES		16u	/* accounts looked at before one is added */

_Static_assert(CHUNK * sizeof(struct charge) <= SLAB_SIZE, "one slab a chunk");

__startup_data bool charge_keeps_accounts, charge_counts_frees;

static struct charge first[NR_FIRST];
static struct charge *chunks[NR_CHUNKS];	/* atomic */
static uint32_t nr_threads;	/* accounts of threads that were made */
static uint32_t next_try;	/* where the next look for a free one begins */

__startup void charge_init(enum ebb_accounts accounts)
{
	charge_keeps_accounts = accounts != EBB_ACCOUNTS_OFF;
	charge_counts_frees = accounts == EBB_ACCOUNTS_TOTALS;
}

struct charge *charge_at(unsigned int id)
{
	struct charge *chunk;

	if (id < NR_FIRST)
		return &first[id];
	chunk = load_acquire(&chunks[id >> CHUNK_SHIFT]);
	return chunk ? chunk + (id & (CHUNK - 1)) : NULL;
}

unsigned int charge_end(void)
{
	return load_relaxed(&nr_threads) + CHARGE_FIRST;
}

/*
 * Bytes that an account holds whose heap is closed, or that never had one.  What
 * was taken is read last: so whatever comes and goes meanwhile, 0 is 0 then.
 */
static uint64_t held(const struct charge *charge)
{
	uint64_t gone = load_acquire(&charge->sum.returned) +
			load_acquire(&charge->sum.freed) +
			load_acquire(&charge->by_others);

	return load_relaxed(&charge->sum.taken) - gone;
}

static cold bool make_chunk(unsigned int nr)
{
	struct charge *none = NULL, *chunk;
	enum run_state was;
	struct slab *run;

	if (load_acquire(&chunks[nr]))
		return true;
	run = run_alloc(1, 1, &was);
	if (!run)
		return false;
	chunk = (struct charge *)(void *)slab_base(run);
	guard_hand_out(slab_base(run), SLAB_SIZE);
	if (was != RUN_CLEAN)
		memset(chunk, 0, CHUNK * sizeof(*chunk));
	/* Pairs with charge_at(). */
	if (cas_acq_rel(&chunks[nr], &none, chunk))
		store_relaxed(&slab_hot(run)->kind, SLAB_KIND_META);
	else
		run_free(run, 1, was == RUN_CLEAN ? RUN_CLEAN : RUN_DIRTY);
	return true;
}

/* === Getting one ========================================================== */

static bool is_gone(int tid)
{
	return !tid || tid == sys_gettid() ||
	       sys_tgkill(sys_getpid(), tid, 0) == -ESRCH;
}

/*
 * Nothing is held, nor will be: only who is not gone, or has pinned it, adds to
 * an account that holds nothing, so that is looked for first.
 */
static cold bool is_left(const struct charge *charge)
{
	/* Pairs with charge_unpin(). */
	return !load_acquire(&charge->pins) && is_gone(charge->tid) &&
	       !held(charge);
}

/* Whether the account is left, and is the caller's from now on. */
static cold bool take_left(struct charge *charge)
{
	uint32_t state = load_acquire(&charge->state), taken = CHARGE_FREE;

	/* Mostly something is held, which is seen without a system call. */
	if ((state != CHARGE_ENDED && state != CHARGE_BARE) || held(charge) ||
	    !is_left(charge) ||
	    !cas_acq_rel(&charge->state, &state, CHARGE_FREE))
		return false;
	/* It may have been another's in between, who has ended as well. */
	if (!is_left(charge)) {
		(void)cas_acq_rel(&charge->state, &taken, state);
		return false;
	}
	store_relaxed(&charge->by_others, 0);
	memset(&charge->sum, 0, sizeof(charge->sum));
	charge->name[0] = '\0';
	return true;
}

/* One of @nr, the next ones in turn, that is left; 0: none. */
static cold unsigned int find_left(unsigned int nr)
{
	unsigned int all = load_relaxed(&nr_threads);

	for (nr = min(nr, all); nr; nr--) {
		unsigned int id = CHARGE_FIRST +
				  add_relaxed(&next_try, 1) % all;
		struct charge *charge = charge_at(id);

		if (charge && take_left(charge))
			return id;
	}
	return 0;
}

/* One more; 0: there is no room. */
static __startup unsigned int add_one(void)
{
	uint32_t nr = load_relaxed(&nr_threads), id;

	do {
		id = nr + CHARGE_FIRST;
		if (id == CHARGE_MAX ||
		    (id >= NR_FIRST && !make_chunk(id >> CHUNK_SHIFT)))
			return 0;
	} while (!cas_relaxed(&nr_threads, &nr, nr + 1));
	return id;
}

static __startup unsigned int open_account(void)
{
	unsigned int id = 0;
	struct charge *charge;

	if (charge_keeps_accounts)
		id = find_left(TRIES) ?: add_one() ?: find_left(CHARGE_MAX);
	else
		thread.charge = CHARGE_NOBODY;
	if (!id)
		return CHARGE_NOBODY;
	charge = charge_at(id);
	charge->tid = sys_gettid();
	/* A handler that came by has opened one, which the thread keeps. */
	if (thread.charge) {
		charge->tid = 0;
		store_release(&charge->state, CHARGE_ENDED);
	} else {
		thread.charge = (uint16_t)id;
		store_release(&charge->state, CHARGE_BARE);
	}
	return thread.charge;
}

unsigned int charge_self(void)
{
	return likely(thread.charge) ? thread.charge : open_account();
}

__startup void charge_open(struct heap *heap)
{
	unsigned int id = charge_self();

	heap->charge = (uint16_t)id;
	heap->own = (struct charge_own){ 0 };
	memset(heap->owed, 0, sizeof(heap->owed));
	if (id != CHARGE_NOBODY)
		store_relaxed(&charge_at(id)->state, CHARGE_OPEN);
}

void charge_close(struct heap *heap, bool ends)
{
	struct charge *charge = charge_at(heap->charge);

	charge_settle(heap);
	/* What is held goes first. */
	add_relaxed(&charge->sum.taken, heap->own.taken + heap->own.moved);
	add_relaxed(&charge->sum.returned, heap->own.returned);
	add_relaxed(&charge->sum.pushed, heap->own.pushed);
	add_relaxed(&charge->sum.freed, heap->own.freed);
	add_relaxed(&charge->sum.for_others,
		    heap->own.for_others + heap->own.moved);
	heap->own = (struct charge_own){ 0 };
	if (!ends || heap->charge == CHARGE_NOBODY)
		return;
	if (prctl(PR_GET_NAME, charge->name))
		charge->name[0] = '\0';
	/* Pairs with take_left(). */
	store_release(&charge->state, CHARGE_ENDED);
}

unsigned int charge_pin(void)
{
	unsigned int id = charge_self();

	add_relaxed(&charge_at(id)->pins, 1);
	return id;
}

void charge_unpin(unsigned int id)
{
	/* Pairs with is_left(). */
	sub_release(&charge_at(id)->pins, 1);
}

cold void charge_after_fork(void)
{
	for (unsigned int id = CHARGE_FIRST; id < charge_end(); id++) {
		struct charge *charge = charge_at(id);

		if (id == thread.charge) {
			charge->tid = sys_gettid();
		} else if (charge && charge->state != CHARGE_FREE) {
			charge->tid = 0;
			charge->state = CHARGE_ENDED;
		}
	}
}

/* === Charging ============================================================= */

void charge_add(unsigned int id, uint64_t bytes)
{
	add_relaxed(&charge_at(id)->sum.taken, bytes);
}

void charge_sub(unsigned int id, uint64_t bytes)
{
	unsigned int self = charge_self();

	if (id == self) {
		add_relaxed(&charge_at(id)->sum.freed, bytes);
		return;
	}
	/* Once nothing is held the account may be another's. */
	add_relaxed(&charge_at(self)->sum.for_others, bytes);
	add_relaxed(&charge_at(id)->by_others, bytes);
}

void charge_tell(struct charge_owed *owed)
{
	uint64_t bytes = owed->bytes;

	owed->bytes = 0;
	if (bytes)
		add_relaxed(&charge_at(owed->id)->by_others, bytes);
}

void charge_free(struct heap *heap, unsigned int id, uint64_t bytes)
{
	if (id == heap->charge) {
		heap->own.freed += bytes;
		return;
	}
	heap_owe(heap, id, bytes);
	heap->own.for_others += bytes;
}

void charge_settle(struct heap *heap)
{
	for (unsigned int i = 0; i < NR_OWED; i++)
		charge_tell(&heap->owed[i]);
}
