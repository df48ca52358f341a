/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The heap profile: samples that live, and where they came from
 */
#include "base/atomic.h"
#include "base/bits.h"
#include "base/log.h"
#include "base/param.h"
#include "debug/profile.h"
#include "heap/heap.h"
#include "heap/sample.h"
#include "os/map.h"

#define ROW_PLACES	8u		/* samples whose addresses hash alike */
#define NR_ROWS		(1u << 14)
#define ROWS_TRIED	4u
#define NR_SITES	(1u << 14)
#define NR_INDEX	(2 * NR_SITES)
#define INDEX_TRIED	64u

#define TAKEN		((uintptr_t)1)	/* a place that is being filled */

/*
 * One row is two cache lines.  @ptr is 0 while the place is free, TAKEN while
 * it is being filled; @site belongs to who took the place, until @ptr is set.
 */
struct row {
	uintptr_t ptrs[ROW_PLACES];
	uint32_t sites[ROW_PLACES];
	uint32_t overflowed;	/* set for good: the next row may have some */
	uint32_t pad[7];
};

_Static_assert(sizeof(struct row) == 128, "a row is two cache lines");

/*
 * @index holds numbers of sites, by hash; what is published there does not
 * change.  Site 0 is nobody's.
 */
struct tables {
	struct row rows[NR_ROWS];
	uint32_t index[NR_INDEX];
	struct profile_site sites[NR_SITES];
};

static struct tables *tables;	/* set once, before there is a heap */
static uint32_t next_site = 1;
static uint64_t nr_live, nr_dropped;

/* === Sites ================================================================ */

/* FNV-1a, by words. */
static uint64_t hash_of(const uintptr_t *pcs, unsigned int nr, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325ULL ^ size;

	for (unsigned int i = 0; i < nr; i++)
		hash = (hash ^ pcs[i]) * 0x100000001b3ULL;
	return hash ^ hash >> 32;
}

static bool is_site(const struct profile_site *a, const struct profile_site *b)
{
	if (a->hash != b->hash || a->size != b->size || a->nr_pcs != b->nr_pcs)
		return false;
	for (unsigned int i = 0; i < a->nr_pcs; i++)
		if (a->pcs[i] != b->pcs[i])
			return false;
	return true;
}

/* A number of a site that nobody knows yet, like @want; 0: none is left. */
static uint32_t new_site(const struct profile_site *want)
{
	uint32_t nr = load_relaxed(&next_site);
	struct profile_site *site;

	do
		if (nr >= NR_SITES)
			return 0;
	while (!cas_relaxed(&next_site, &nr, nr + 1));
	site = &tables->sites[nr];
	site->hash = want->hash;
	site->size = want->size;
	site->nr_pcs = want->nr_pcs;
	for (unsigned int i = 0; i < want->nr_pcs; i++)
		site->pcs[i] = want->pcs[i];
	return nr;
}

/*
 * The number of the site that is as @want.  Of two that come with a new one at
 * once the second may find that its number is not needed: that site stays
 * without samples.  A site that comes twice does no harm.
 */
static uint32_t find_site(const struct profile_site *want)
{
	uint32_t mine = 0;

	for (unsigned int i = 0; i < INDEX_TRIED; i++) {
		uint32_t *place = &tables->index[(want->hash + i) % NR_INDEX];
		/* Pairs with find_site() itself, below. */
		uint32_t nr = load_acquire(place);

		if (!nr) {
			mine = mine ?: new_site(want);
			if (!mine || cas_acq_rel(place, &nr, mine))
				return mine;
		}
		if (is_site(&tables->sites[nr], want))
			return nr;
	}
	return mine;
}

struct profile_site *profile_site_at(uint32_t index)
{
	if (!index || index >= load_relaxed(&next_site))
		return NULL;
	return &tables->sites[index];
}

/* === Samples ============================================================== */

static struct row *row_of(uintptr_t ptr, unsigned int nth)
{
	uint64_t hash = (ptr >> 4) * 0x9e3779b97f4a7c15ULL;

	return &tables->rows[((hash >> 32) + nth) % NR_ROWS];
}

static bool put(struct row *row, uintptr_t ptr, uint32_t site)
{
	for (unsigned int i = 0; i < ROW_PLACES; i++) {
		uintptr_t none = 0;

		if (load_relaxed(&row->ptrs[i]) ||
		    !cas_acq_rel(&row->ptrs[i], &none, TAKEN))
			continue;
		store_relaxed(&row->sites[i], site);
		/* Pairs with take_out() and profile_count_live(). */
		store_release(&row->ptrs[i], ptr);
		return true;
	}
	return false;
}

/* The site of the sample; 0: it is not in @row. */
static uint32_t take_out(struct row *row, uintptr_t ptr)
{
	for (unsigned int i = 0; i < ROW_PLACES; i++) {
		uintptr_t here = ptr;
		uint32_t site;

		/* Of two that free it at once one finds it. */
		if (load_relaxed(&row->ptrs[i]) != ptr ||
		    !cas_acq_rel(&row->ptrs[i], &here, TAKEN))
			continue;
		site = load_relaxed(&row->sites[i]);
		/* Pairs with put(), which takes the place. */
		store_release(&row->ptrs[i], 0);
		return site;
	}
	return 0;
}

static void insert(const void *ptr, uint32_t site)
{
	for (unsigned int i = 0; i < ROWS_TRIED; i++) {
		struct row *row = row_of((uintptr_t)ptr, i);

		/* First: who frees looks there if nr_samples is not 0. */
		add_relaxed(&slab_of(ptr)->nr_samples, 1);
		if (put(row, (uintptr_t)ptr, site)) {
			add_relaxed(&nr_live, 1);
			return;
		}
		sub_relaxed(&slab_of(ptr)->nr_samples, 1);
		store_relaxed(&row->overflowed, 1);
	}
	add_relaxed(&nr_dropped, 1);
}

void profile_take(void *ptr, size_t bytes, const struct stack_frame *frame)
{
	struct profile_site want = { .size = bytes };
	uint32_t site;

	want.nr_pcs = stack_take(frame, want.pcs);
	want.hash = hash_of(want.pcs, want.nr_pcs, bytes);
	site = find_site(&want);
	if (!site) {
		add_relaxed(&nr_dropped, 1);
		return;
	}
	/*
	 * First: what was allocated is never less than what lives.  Pairs with
	 * count_site(), which looks at what was written before.
	 */
	add_release(&tables->sites[site].nr_allocated, 1);
	insert(ptr, site);
}

struct profile_sample profile_forget(const void *ptr)
{
	struct profile_sample none = { 0 };

	if (likely(!load_relaxed(&slab_of(ptr)->nr_samples)))
		return none;
	for (unsigned int i = 0; i < ROWS_TRIED; i++) {
		struct row *row = row_of((uintptr_t)ptr, i);
		uint32_t site = take_out(row, (uintptr_t)ptr);

		if (site) {
			sub_relaxed(&slab_of(ptr)->nr_samples, 1);
			sub_relaxed(&nr_live, 1);
			return (struct profile_sample){ site };
		}
		if (!load_relaxed(&row->overflowed))
			break;
	}
	return none;
}

void profile_restore(const void *ptr, struct profile_sample sample)
{
	if (sample.site)
		insert(ptr, sample.site);
}

void profile_count_live(void)
{
	uint32_t nr = load_relaxed(&next_site);

	for (uint32_t i = 1; i < nr; i++)
		tables->sites[i].nr_live = 0;
	for (unsigned int r = 0; r < NR_ROWS; r++) {
		struct row *row = &tables->rows[r];

		for (unsigned int i = 0; i < ROW_PLACES; i++) {
			/* Pairs with put(). */
			uintptr_t ptr = load_acquire(&row->ptrs[i]);
			uint32_t site = load_relaxed(&row->sites[i]);

			if (ptr > TAKEN && site < nr)
				tables->sites[site].nr_live++;
		}
	}
}

void profile_stats(struct profile_stats *ret_stats)
{
	ret_stats->nr_live = load_relaxed(&nr_live);
	ret_stats->nr_dropped = load_relaxed(&nr_dropped);
}

uint64_t profile_bytes(void)
{
	return offsetof(struct tables, sites) +
	       load_relaxed(&next_site) * sizeof(struct profile_site);
}

/* === Beginning ============================================================ */

void profile_init(void)
{
	uint64_t mean = (uint64_t)param_int(EBB_ATTR_PROFILE);
	size_t len = ALIGN_UP(sizeof(struct tables), map_page_size);
	char *at;
	int err;

	err = map_reserve(len, map_page_size, &at);
	if (!err)
		err = map_commit(at, len);
	if (err) {
		log_line("profile: off, no memory for its tables: error %d",
			 -err);
		return;
	}
	tables = (struct tables *)at;
	map_note_private(at, len);
	sample_init(mean, (uint64_t)param_int(EBB_ATTR_PROFILE_SEED));
}

void profile_start(void)
{
	stack_init(param_int(EBB_ATTR_PROFILE_STACK) ==
		   EBB_PROFILE_STACK_UNWIND);
}
