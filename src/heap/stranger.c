/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Strangers: slots that are charged to another account than their
 * slab's
 *
 * Tables are of powers of two bytes, cut from runs of one slab.  Free ones lie on
 * a list for each size, with stranger_lock; who retires a slab, perhaps below
 * other locks, pushes its table on a stack instead, which only the holder of the
 * lock empties.
 *
 * A run counts its tables that are in use or on such a stack.  When there are
 * none a pass takes those it has off the lists, and gives the run back
 * (stranger_trim()).  Who looks at a table of a slab that may be retired at any
 * moment is the reader of accounts alone, and both have drain_lock.
 *
 * Fork: where a vanished thread had stranger_lock the child forgets the lists
 * and runs there were: tables may be used again, but those runs stay.
 */
#include <string.h>

#include "heap/stranger.h"
#include "os/guard_mark.h"
#include "os/map.h"
#include "vm/run.h"

#define ORDER_MIN	7u		/* 128 bytes: 64 slots */
#define NR_ORDERS	7u		/* up to 8 KiB: 4096 slots */

struct free_table {
	struct free_table *next;
};

static struct lock stranger_lock = LOCK_INIT(3);
static struct free_table *tables[NR_ORDERS];	/* stranger_lock */
static struct free_table *retired[NR_ORDERS];	/* atomic; popped all at once */
static char *uncut;				/* stranger_lock */
static size_t uncut_bytes;			/* stranger_lock */
static struct list_head runs;			/* stranger_lock */
static uint32_t nr_runs;			/* on it; read anywhere */
static uint32_t nr_idle;			/* of them without one in use */
static uint32_t turn;				/* of the runs on the list */

/* === Tables =============================================================== */

static size_t table_bytes(unsigned int class)
{
	return sizeclasses[class].nr_slots * sizeof(uint16_t);
}

static unsigned int order_of(unsigned int class)
{
	size_t bytes = table_bytes(class);

	return bytes <= 1u << ORDER_MIN ? 0 :
	       bit_highest(bytes - 1) + 1 - ORDER_MIN;
}

/*
 * One more or less of the tables of @table's run is in use.  Context:
 * stranger_lock held.
 */
static void count_in_use(const void *table, int more)
{
	struct slab *run = slab_of(table);

	if (run->tables.turn != turn)
		return;
	nr_idle -= !run->tables.nr;
	run->tables.nr += (uint32_t)more;
	nr_idle += !run->tables.nr;
}

/* What is left of the last run becomes tables as large as can be. */
static cold void cut_rest(void)
{
	for (int order = NR_ORDERS - 1; order >= 0; order--)
		while (uncut_bytes >= (size_t)1 << (order + ORDER_MIN)) {
			struct free_table *table = (void *)uncut;

			table->next = tables[order];
			tables[order] = table;
			uncut += (size_t)1 << (order + ORDER_MIN);
			uncut_bytes -= (size_t)1 << (order + ORDER_MIN);
		}
}

/* A run of which nothing is cut yet; false: there is no memory. */
static cold bool add_run(void)
{
	enum run_state was;
	struct slab *run = run_alloc(1, 1, &was);

	if (!run)
		return false;
	cut_rest();
	guard_hand_out(slab_base(run), SLAB_SIZE);
	run->tables.nr = 0;
	run->tables.turn = turn;
	store_relaxed(&slab_hot(run)->kind, SLAB_KIND_META);
	if (!nr_runs)
		list_init(&runs);
	list_add(&run->link, &runs);
	store_relaxed(&nr_runs, nr_runs + 1);
	nr_idle++;
	uncut = slab_base(run);
	uncut_bytes = SLAB_SIZE;
	return true;
}

static cold void *cut_table(unsigned int order)
{
	size_t bytes = (size_t)1 << (order + ORDER_MIN);
	char *table;

	if (uncut_bytes < bytes && !add_run())
		return NULL;
	table = uncut;
	uncut += bytes;
	uncut_bytes -= bytes;
	return table;
}

/* What was retired lies on the list. */
static void collect(unsigned int order)
{
	struct free_table *table = NULL, *next;

	if (load_relaxed(&retired[order]))
		/* Pairs with put_table(). */
		table = xchg_acquire(&retired[order], NULL);
	for (; table; table = next) {
		next = table->next;
		count_in_use(table, -1);
		table->next = tables[order];
		tables[order] = table;
	}
}

static void *take_table(unsigned int order)
{
	struct free_table *table;

	if (!tables[order])
		collect(order);
	table = tables[order];
	if (table)
		tables[order] = table->next;
	else
		table = cut_table(order);
	if (table)
		count_in_use(table, 1);
	return table;
}

static void put_table(unsigned int order, void *at)
{
	struct free_table *table = at;
	struct free_table *head = load_relaxed(&retired[order]);

	do
		table->next = head;
	/* Pairs with collect(). */
	while (!cas_acq_rel(&retired[order], &head, table));
}

/*
 * Below a lock, or a handler that interrupted who holds one, nobody waits: the
 * holder of stranger_lock may wait for that of a zone.
 */
static cold uint16_t *make_table(struct slab *slab)
{
	unsigned int class = load_relaxed(&slab_hot(slab)->class);
	unsigned int order = order_of(class);
	uint16_t *none = NULL, *charges;

	if (!lock_try_for(&stranger_lock,
			  lock_holds_any() ? 0 : LOCK_PATIENCE_MS))
		return NULL;
	charges = take_table(order);
	lock_release(&stranger_lock);
	if (!charges)
		return NULL;
	memset(charges, 0, (size_t)1 << (order + ORDER_MIN));
	/* Pairs with stranger_charge(). */
	if (cas_acq_rel(&slab->charges, &none, charges))
		return charges;
	put_table(order, charges);
	return none;
}

static uint16_t *table_of(struct slab *slab)
{
	return load_acquire(&slab->charges) ?: make_table(slab);
}

void stranger_forget(struct slab *slab)
{
	uint16_t *charges = slab->charges;

	/* First, so that nobody finds one that was given back. */
	store_relaxed(&slab->charges, NULL);
	if (charges)
		put_table(order_of(slab_hot(slab)->class), charges);
}

/* Those of runs that have none in use leave the list. */
static void unlist_idle(struct free_table **list)
{
	while (*list) {
		const struct slab *run = slab_of(*list);

		if (run->tables.turn == turn && !run->tables.nr)
			*list = (*list)->next;
		else
			list = &(*list)->next;
	}
}

/* None of its tables is in use, or on a list. */
static void give_back(struct slab *run)
{
	list_del(&run->link);
	store_relaxed(&nr_runs, nr_runs - 1);
	nr_idle--;
	if (uncut_bytes && slab_of(uncut) == run)
		uncut_bytes = 0;
	store_relaxed(&slab_hot(run)->kind, SLAB_KIND_NONE);
	run->run_bytes = 0;
	run_free(run, 1, RUN_DIRTY);
}

uint64_t stranger_bytes(void)
{
	return (uint64_t)load_relaxed(&nr_runs) << SLAB_SHIFT;
}

cold void stranger_trim(void)
{
	struct slab *run, *tmp;

	if (!lock_try_for(&stranger_lock, LOCK_PATIENCE_MS))
		return;
	for (unsigned int order = 0; order < NR_ORDERS; order++)
		collect(order);
	if (nr_idle) {
		for (unsigned int order = 0; order < NR_ORDERS; order++)
			unlist_idle(&tables[order]);
		list_for_each_entry_safe(run, tmp, &runs, link)
			if (!run->tables.nr)
				give_back(run);
	}
	lock_release(&stranger_lock);
}

cold void stranger_after_fork(void)
{
	/* A vanished thread may have left the lists in any state. */
	if (!load_relaxed(&stranger_lock.word) || lock_is_mine(&stranger_lock))
		return;
	memset(tables, 0, sizeof(tables));
	uncut_bytes = 0;
	nr_runs = nr_idle = 0;
	turn++;
	lock_reset(&stranger_lock);
}

/* === The bin ============================================================== */

static uint64_t taken_of(const struct slab *slab, unsigned int word)
{
	unsigned int left = slab->nr_slots - word * 64u;

	return ~load_relaxed(&slab->free[word]) & bits_range(0, min(left, 64u));
}

static bool any_of_four(const struct slab *slab, unsigned int own,
			const uint16_t *charges, unsigned int slot)
{
	unsigned int end = min(slot + 4, (unsigned int)slab->nr_slots);

	for (; slot < end; slot++) {
		unsigned int entry = load_relaxed(&charges[slot]);

		if (entry && entry != own &&
		    taken_of(slab, slot / 64) >> slot % 64 & 1)
			return true;
	}
	return false;
}

cold bool stranger_any(const struct slab *slab)
{
	const struct slab_hot *hot = slab_hot(slab);
	const uint16_t *charges = load_acquire(&slab->charges);

	if (!charges)
		return false;
	for (unsigned int slot = 0; slot < slab->nr_slots; slot += 4)
		/* Tables are of powers of two bytes, and zero at the end. */
		if (load_relaxed((const uint64_t *)(charges + slot)) &&
		    any_of_four(slab, hot->charge, charges, slot))
			return true;
	return false;
}

__guesses unsigned int stranger_guess(const struct slab *slab,
				      const struct slab_hot *hot,
				      unsigned int slot)
{
	unsigned int of_slab = load_acquire(&hot->charge);
	const uint16_t *charges, *entry;

	if (likely(stranger_none(hot)))
		return of_slab;
	charges = load_acquire(&slab->charges);
	entry = charges + slot;
	/* It may be a size by now, or a table for fewer slots. */
	if (!charges || !range_contains(charges) ||
	    slab_of(entry) != slab_of(charges))
		return of_slab;
	return load_guess(entry) ?: of_slab;
}

/* The heap's thread takes over what @holder has: freed, and cached by it. */
static inline void move(struct heap *heap, unsigned int holder, size_t size)
{
	heap->own.moved += size;
	heap_owe(heap, holder, size);
}

/* === Taking and freeing =================================================== */

bool stranger_note(struct slab *slab, unsigned int word, uint64_t mask,
		   unsigned int id)
{
	uint16_t *charges;

	/*
	 * Pairs with stranger_adopt(): they were claimed before, so who changes
	 * the account sees them taken, or we see the change.
	 */
	fence_seq_cst();
	if (load_acquire(&slab_hot(slab)->charge) == id &&
	    !load_acquire(&slab->charges))
		return true;
	charges = table_of(slab);
	if (!charges)
		return false;
	for (; mask; mask &= mask - 1)
		store_relaxed(&charges[word * 64 + bit_lowest(mask)],
			      (uint16_t)id);
	fence_seq_cst();
	stranger_mark(slab_hot(slab));
	return true;
}

void stranger_took_one(struct slab *slab, const void *ptr)
{
	struct slab_hot *hot = slab_hot(slab);
	unsigned int id = charge_self(), slot;

	if (!slab_slot(hot, ptr, &slot))
		return;
	if (!stranger_note(slab, slot / 64, 1ULL << slot % 64, id))
		id = load_relaxed(&hot->charge);
	charge_add(id, sizeclasses[hot->class].size);
}

bool stranger_note_kept(struct heap *heap, struct slab_hot *hot,
			const void *ptr)
{
	/* As in stranger_charge(). */
	unsigned int holder = load_acquire(&hot->charge);
	struct slab *slab = slab_of(ptr);
	uint16_t *charges = table_of(slab);
	unsigned int slot;

	if (unlikely(!charges || !slab_slot(hot, ptr, &slot)))
		return false;
	holder = load_relaxed(&charges[slot]) ?: holder;
	if (holder == heap->charge) {
		heap->own.pushed += sizeclasses[hot->class].size;
		return true;
	}
	/* Pairs with stranger_settle(): the entry, then the bin. */
	xchg_seq_cst(&charges[slot], heap->charge);
	stranger_mark(hot);
	move(heap, holder, sizeclasses[hot->class].size);
	return true;
}

void stranger_take_in(struct heap *heap, struct slab *slab, unsigned int slot)
{
	size_t size = sizeclasses[slab_hot(slab)->class].size;
	uint16_t *charges = load_acquire(&slab->charges);
	unsigned int holder = 0;

	if (charges) {
		holder = load_relaxed(&charges[slot]);
		if (holder)
			store_relaxed(&charges[slot], 0);
	}
	if (holder && holder != heap->charge)
		move(heap, holder, size);
	else
		heap->own.pushed += size;
}

void stranger_charge_freed(struct heap *heap, struct slab *slab,
			   unsigned int word, uint64_t mask)
{
	struct slab_hot *hot = slab_hot(slab);
	size_t size = sizeclasses[hot->class].size, bytes = 0;
	/* As in stranger_charge(). */
	unsigned int of_slab = load_acquire(&hot->charge), holder = of_slab;
	const uint16_t *charges = NULL;

	if (!stranger_none(hot))
		charges = load_acquire(&slab->charges);
	if (!charges) {
		charge_free(heap, of_slab, bits_count_few(mask) * size);
		return;
	}
	/* Neighbours are often one thread's: it is told once. */
	for (charges += word * 64; mask; mask &= mask - 1) {
		unsigned int id = load_relaxed(&charges[bit_lowest(mask)]) ?:
				  of_slab;

		if (id != holder && bytes) {
			charge_free(heap, holder, bytes);
			bytes = 0;
		}
		holder = id;
		bytes += size;
	}
	charge_free(heap, holder, bytes);
}

void stranger_free_one(struct slab *slab, unsigned int slot)
{
	struct slab_hot *hot = slab_hot(slab);

	charge_sub(stranger_charge(slab, hot, slot),
		   sizeclasses[hot->class].size);
}

/* Make strangers of all in use that are charged to @holder as the slab says. */
static void name_all(struct slab *slab, uint16_t *charges, uint16_t holder)
{
	unsigned int nr_words = sizeclasses[slab_hot(slab)->class].nr_words;

	for (unsigned int word = 0; word < nr_words; word++) {
		uint64_t taken = taken_of(slab, word);

		for (; taken; taken &= taken - 1) {
			uint16_t none = 0;

			/* Who frees it at this moment may write its own. */
			cas_acq_rel(&charges[word * 64 + bit_lowest(taken)],
				    &none, holder);
		}
	}
}

static bool all_free(const struct slab *slab)
{
	unsigned int nr_words = sizeclasses[slab_hot(slab)->class].nr_words;

	for (unsigned int word = 0; word < nr_words; word++)
		if (taken_of(slab, word))
			return false;
	return true;
}

cold bool stranger_adopt(struct slab *slab, unsigned int id)
{
	struct slab_hot *hot = slab_hot(slab);
	uint16_t holder = load_relaxed(&hot->charge);
	uint16_t *charges;

	if (holder == id)
		return true;
	charges = all_free(slab) ? NULL : table_of(slab);
	if (charges) {
		name_all(slab, charges, holder);
		stranger_mark(hot);
	} else if (!all_free(slab)) {
		return false;
	}
	/* Pairs with stranger_charge(): the entries and the bin first. */
	xchg_seq_cst(&hot->charge, (uint16_t)id);
	/* Pairs with stranger_note(). */
	fence_seq_cst();
	/*
	 * A spare slab's slots may have been taken meanwhile by who it was
	 * charged to, who saw no need to note it.
	 */
	charges = all_free(slab) ? NULL : table_of(slab);
	if (charges) {
		name_all(slab, charges, holder);
		stranger_mark(hot);
	}
	return true;
}
