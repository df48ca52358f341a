/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Large objects: runs of slabs handed to the user
 */
#include "acct/account.h"
#include "base/fd_window.h"
#include "heap/charge.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/misuse.h"
#include "heap/run_cache.h"
#include "heap/tail.h"
#include "os/guard_mark.h"
#include "os/map.h"
#include "os/resident.h"
#include "vm/run.h"

#define DISPLACED_MAX	1024	/* of the 65530 mappings a process may have */

#define RECENT_MIN	(256 * KIB)
#define NR_RECENT	16u

/* Set for good when the kernel refused to move pages. */
static bool move_refused;

/*
 * Large objects of each zone handed out lately, for who asks how much of them is
 * still to be backed.  Entries are hints: threads overwrite each other's, and
 * what is freed stays.
 */
static struct recent {
	struct {
		char *start;
		size_t len;
	} objects[NR_RECENT];
	uint32_t next;
} __attribute__((aligned(64))) recent[ZONES_MAX];

/* @more bytes of @run are promised to its user. */
static void count_large(const struct slab *run, size_t more)
{
	add_relaxed(&zone_of(run)->counters.large, more);
}

static size_t slabs_for(size_t size)
{
	return ALIGN_UP(size, SLAB_SIZE) >> SLAB_SHIFT;
}

static void note_recent(const struct slab *run, size_t len)
{
	struct recent *zone = &recent[run->zone];
	char *start = slab_base(run);
	unsigned int at = NR_RECENT;

	if (len < RECENT_MIN)
		return;
	for (unsigned int i = 0; i < NR_RECENT; i++)
		if (load_relaxed(&zone->objects[i].start) == start)
			at = i;
	if (at == NR_RECENT)
		at = add_relaxed(&zone->next, 1) % NR_RECENT;
	store_relaxed(&zone->objects[at].start, start);
	store_relaxed(&zone->objects[at].len, len);
}

void large_note_private(void)
{
	map_note_private(recent, sizeof(recent));
}

static uint64_t unbacked_of(struct recent *zone, struct resident *resident)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < NR_RECENT; i++) {
		struct advise_range object = {
			load_relaxed(&zone->objects[i].start),
			load_relaxed(&zone->objects[i].len),
		};
		uint64_t backed, missing;

		if (!object.start || !range_contains(object.start) ||
		    load_relaxed(&slab_hot(slab_of(object.start))->kind) !=
		    SLAB_KIND_RUN)
			continue;
		object.len = min(object.len, load_relaxed(
					&slab_of(object.start)->run_bytes));
		resident_count(resident, &object, 1, &backed, NULL);
		missing = object.len - min(backed, (uint64_t)object.len);
		sum += missing;
		/* All of it is backed: it need not be asked about again. */
		if (!missing)
			store_relaxed(&zone->objects[i].start, NULL);
	}
	return sum;
}

uint64_t large_unbacked(void)
{
	struct resident resident;
	bool open = false;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < ZONES_MAX; i++) {
		if (!load_relaxed(&recent[i].next))
			continue;
		if (!open) {
			fd_window_enter();
			resident_open(&resident);
			open = true;
		}
		sum += unbacked_of(&recent[i], &resident);
	}
	if (open) {
		resident_close(&resident);
		fd_window_leave();
	}
	return sum;
}

/* The run is used up to run_bytes; what is behind was in state @was. */
static void offer_tail(struct slab *run, enum run_state was)
{
	struct slab *last = tail_slab(run);
	uint64_t word = run_page_word(last, was) &
			~PAGES_ALL(run_last_pages(run->run_bytes));

	store_relaxed(&last->pages, word);
	if (tail_pages(run) & ~pages_clean(word))
		tail_offer(run);
}

/* @bytes more of @run are handed out, @clean and @lazy of them not backed. */
static void take_holes(size_t clean, size_t lazy, enum run_state was)
{
	if (clean || lazy)
		account_take((int64_t)clean, (int64_t)lazy);
	/* Those of clean runs are counted where they are taken. */
	if (clean && was == RUN_PART)
		add_relaxed(&account.retaken, clean);
}

/* The same as large_alloc(), with the tail not on offer yet. */
static struct slab *alloc_run(struct heap *heap, size_t size, size_t align,
			      enum run_state *ret_was)
{
	size_t bytes = ALIGN_UP(max(size, (size_t)1), map_page_size);
	size_t clean, lazy;
	struct slab *run = run_cache_alloc(heap, bytes, max(align, SLAB_SIZE) >>
							SLAB_SHIFT, ret_was);

	if (!run)
		return NULL;
	count_large(run, bytes);
	/* Counted first: of two at once at most one stays below the bound. */
	if (!heap_may_back(0)) {
		count_large(run, -bytes);
		run_free(run, slabs_for(bytes), *ret_was);
		return NULL;
	}
	guard_hand_out(slab_base(run), bytes);
	run->run_bytes = bytes;
	run_count_holes(run, bytes, *ret_was, &clean, &lazy);
	take_holes(clean, lazy, *ret_was);
	/* Dirty ones, too: not all of what was freed had been touched. */
	note_recent(run, bytes);
	return run;
}

void *large_alloc(struct heap *heap, size_t size, size_t align, bool *ret_zero)
{
	enum run_state was;
	struct slab *run = alloc_run(heap, size, align, &was);

	if (!run)
		return NULL;
	*ret_zero = was == RUN_CLEAN;
	offer_tail(run, was);
	slab_hot(run)->charge = heap_charge(heap, run->run_bytes);
	store_release(&slab_hot(run)->kind, SLAB_KIND_RUN);
	return slab_base(run);
}

void large_free(struct heap *heap, void *ptr, const char *call)
{
	struct slab *run = slab_of(ptr);
	uint8_t kind = SLAB_KIND_RUN;

	if ((uintptr_t)ptr & (SLAB_SIZE - 1))
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	/* Of two frees at once one wins, the other is the double one. */
	if (!cas_acq_rel(&slab_hot(run)->kind, &kind, SLAB_KIND_NONE))
		misuse_die_pointer(call, ptr);
	count_large(run, -run->run_bytes);
	heap_discharge(heap, slab_hot(run)->charge, run->run_bytes);
	if (tail_free(run))
		run_cache_free(heap, run, run->run_len, tail_run_state(run));
	run_look();
}

bool large_is_leaving(const void *ptr)
{
	return load_relaxed(&slab_of(ptr)->tail) == TAIL_LEAVING;
}

/*
 * To copy what is at least doubled costs no more than the faults of what is
 * added, and leaves memory as it is that would be backed for good.  Below
 * `limit' there may be no room for both.
 */
static bool may_move(size_t before, size_t bytes)
{
	return before < LARGE_MOVE_MIN && bytes / 2 >= before &&
	       !load_relaxed(&account.backed_max);
}

/* The last slab of @run, which has grown from @before in it, is the same. */
static void grow_in_last(struct slab *run, size_t before)
{
	struct slab *last = tail_slab(run);
	unsigned int more = run_last_pages(run->run_bytes) &
			    ~run_last_pages(before);
	uint64_t word = run_page_word(last, RUN_PART);

	take_holes(pages_bytes(pages_clean(word) & more),
		   pages_bytes(pages_lazy(word) & more), RUN_PART);
	store_relaxed(&last->pages, word & ~PAGES_ALL(more));
}

bool large_resize(void *ptr, size_t size)
{
	struct slab *run = slab_of(ptr);
	size_t bytes = ALIGN_UP(size, map_page_size);
	size_t before = run->run_bytes;
	bool offered;

	if (bytes > before && !heap_may_back(bytes - before))
		return false;
	if (!tail_take(run, &offered))
		return false;
	if (!run_resize(run, run->run_len, slabs_for(bytes),
			may_move(before, bytes))) {
		if (offered)
			tail_offer(run);
		return false;
	}
	if (bytes > before) {
		/* Its tail, too, may have been given back. */
		guard_hand_out((char *)ptr + before, bytes - before);
		note_recent(run, bytes);
	}
	count_large(run, bytes - before);
	/* What keeps its place keeps its account, whoever resizes it. */
	if (bytes > before)
		charge_add(slab_hot(run)->charge, bytes - before);
	else
		charge_sub(slab_hot(run)->charge, before - bytes);
	run->run_bytes = bytes;
	if (slabs_for(bytes) != slabs_for(before)) {
		/* Another slab is its last one now, of which nothing is known. */
		store_relaxed(&tail_slab(run)->pages, 0);
		if (bytes > before)
			take_holes(bytes - before, 0, RUN_CLEAN);
	} else if (bytes > before) {
		grow_in_last(run, before);
	}
	if (offered || bytes < before)
		tail_offer(run);
	if (bytes < before)
		run_look();
	return true;
}

void *large_move(void *ptr, size_t size)
{
	struct slab *from = slab_of(ptr), *to;
	/* All of the run: beyond run_bytes may be what was there before. */
	size_t len = (size_t)from->run_len << SLAB_SHIFT;
	enum run_state was;
	bool offered;
	char *moved;

	if (!IS_ENABLED(CONFIG_MREMAP) || len < LARGE_MOVE_MIN ||
	    load_relaxed(&move_refused) || range.pieces ||
	    guard_missing_traps() ||
	    run_counted(nr_displaced) >= DISPLACED_MAX ||
	    !map_may_move(ptr, len) || !tail_take(from, &offered))
		return NULL;
	/* Below `limit' the pages that move count once. */
	count_large(from, -from->run_bytes);
	to = alloc_run(NULL, size, SLAB_SIZE, &was);
	if (!to) {
		count_large(from, from->run_bytes);
		if (offered)
			tail_offer(from);
		return NULL;
	}
	moved = slab_base(to);
	/* A tail's traps would move along, to where the user may go. */
	guard_hand_out(ptr, len);
	/* What is backed there goes now: later it may be somebody else's. */
	if (was != RUN_CLEAN)
		map_discard(moved, len);
	if (map_move(ptr, moved, len)) {
		size_t whole = (size_t)to->run_len << SLAB_SHIFT;

		/*
		 * The kernel may have unmapped the target before it failed,
		 * and it may be somebody else's by now: it is never touched
		 * again, and this is not tried again.
		 */
		store_relaxed(&move_refused, true);
		if (was != RUN_CLEAN && whole > len)
			map_discard(moved + len, whole - len);
		count_large(to, -to->run_bytes);
		account_take(-(int64_t)to->run_bytes, 0);
		to->run_bytes = 0;
		count_large(from, from->run_bytes);
		if (offered)
			tail_offer(from);
		return NULL;
	}
	/* What has moved is backed already. */
	account_take(-(int64_t)len, 0);
	to->displaced = 1;
	add_relaxed(&zone_of(to)->counters.nr_displaced, 1);
	/* Of a last slab that has moved along nothing is known. */
	offer_tail(to, to->run_len > from->run_len ? was : RUN_DIRTY);
	charge_sub(slab_hot(from)->charge, from->run_bytes);
	slab_hot(to)->charge = heap_charge(NULL, to->run_bytes);
	store_release(&slab_hot(to)->kind, SLAB_KIND_RUN);
	store_relaxed(&slab_hot(from)->kind, SLAB_KIND_NONE);
	run_free(from, from->run_len, RUN_CLEAN);
	return moved;
}
