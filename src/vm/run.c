/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Runs of slabs
 */

#include <limits.h>

#include "base/clock.h"
#include "base/err.h"
#include "os/map.h"
#include "os/name.h"
#include "vm/run.h"

struct lock vm_lock = LOCK_INIT(2);
struct run_counters run_counters;

/* Others read it at any time; nobody else stores. */
static void count_locked(uint64_t *counter, uint64_t delta)
{
	store_relaxed(counter, *counter + delta);
}

/*
 * Runs of one slab have a bin for each number of pages that are backed.  Lengths
 * up to LINEAR slabs have a bin each, longer ones four bins for each doubling; the
 * last bin takes all that is longer still.
 */
#define SINGLES		(SLAB_PAGES_MAX + 1u)
#define LINEAR_BITS	5
#define LINEAR		(1u << LINEAR_BITS)
#define NR_BINS		128u
#define BIN_WORDS	(NR_BINS / 64)
#define FIT_SEARCH	8	/* runs looked at in a bin of mixed lengths */

/* The free runs in one state. */
struct run_index {
	uint64_t filled[BIN_WORDS];	/* which bins have runs */
	struct list_head bins[NR_BINS];
	struct list_head by_age;	/* oldest first */
};

static struct run_index indexes[RUN_CLEAN + 1];

/* Runs freed by handlers that could not wait for vm_lock; pushed by CAS. */
static struct slab *deferred;

/* Made when they are first needed, so that they cost nobody else a page. */
static void make_ready(struct run_index *index)
{
	if (likely(index->by_age.next))
		return;
	list_init(&index->by_age);
	for (unsigned int bin = 0; bin < NR_BINS; bin++)
		list_init(&index->bins[bin]);
}

/* The oldest run of @index, or NULL. */
static struct slab *oldest_of(struct run_index *index)
{
	if (!index->by_age.next || list_empty(&index->by_age))
		return NULL;
	return list_first(&index->by_age, struct slab, age);
}

/* The first bin that may have runs of @nr slabs. */
static unsigned int bin_of(size_t nr)
{
	unsigned int high, bin;

	if (nr == 1)
		return 0;
	if (nr < LINEAR)
		return SINGLES + (unsigned int)nr;
	high = bit_highest(nr);
	bin = SINGLES + LINEAR + (high - LINEAR_BITS) * 4 +
	      (unsigned int)(nr >> (high - 2) & 3);
	return min(bin, NR_BINS - 1);
}

/* Clean pages of a free run; 0 where its state says it all. */
static uint32_t count_holes(const struct slab *first, size_t nr,
			    enum run_state state)
{
	size_t clean, lazy;

	if (state != RUN_PART)
		return 0;
	run_count_holes(first, nr << SLAB_SHIFT, state, &clean, &lazy);
	return (uint32_t)(clean >> map_page_shift);
}

/* The bin the free run @first of @nr slabs, in @state, is kept in. */
static unsigned int bin_for(const struct slab *first, size_t nr,
			    enum run_state state)
{
	if (nr > 1)
		return bin_of(nr);
	return state == RUN_CLEAN ? 0 : slab_nr_pages() - first->run_holes;
}

static void set_ends(struct slab *first, size_t nr, enum run_state state)
{
	struct slab *last = first + nr - 1;

	first->run_len = last->run_len = (uint32_t)nr;
	first->run_state = last->run_state = (uint8_t)state;
}

static bool is_indexed(const struct slab *slab)
{
	return slab->run_state >= RUN_DIRTY && slab->run_state <= RUN_CLEAN;
}

/*
 * @after: the neighbour in age, or NULL for the youngest of all.  run_holes is
 * set.
 */
static void index_insert(struct slab *first, size_t nr, enum run_state state,
			 uint64_t stamp_ms, struct list_head *after)
{
	struct run_index *index = &indexes[state];
	unsigned int bin = bin_for(first, nr, state);

	make_ready(index);
	set_ends(first, nr, state);
	first->stamp_ms = stamp_ms;
	list_add(&first->link, &index->bins[bin]);
	if (after)
		list_add(&first->age, after);
	else
		list_add_tail(&first->age, &index->by_age);
	index->filled[bin / 64] |= 1ULL << bin % 64;
	count_locked(&run_counters.in_state[state], nr << SLAB_SHIFT);
	count_locked(&run_counters.part_clean, run_hole_bytes(first));
}

static void index_remove(struct slab *first)
{
	struct run_index *index = &indexes[first->run_state];
	unsigned int bin = bin_for(first, first->run_len, first->run_state);

	list_del(&first->link);
	list_del(&first->age);
	if (list_empty(&index->bins[bin]))
		index->filled[bin / 64] &= ~(1ULL << bin % 64);
	count_locked(&run_counters.in_state[first->run_state],
		     -((uint64_t)first->run_len << SLAB_SHIFT));
	count_locked(&run_counters.part_clean, -run_hole_bytes(first));
}

/*
 * Put a free run into the index, joined with its neighbours in the same
 * state.  The older stamp holds for the whole, at the older one's place.
 */
static void index_add(struct slab *first, size_t nr, enum run_state state,
		      uint64_t stamp_ms)
{
	size_t end = slab_index(first) + nr;
	uint32_t holes = count_holes(first, nr, state);
	struct list_head *after = NULL;

	if (end < load_relaxed(&range.fresh) >> SLAB_SHIFT &&
	    first[nr].run_state == state &&
	    first[nr].uncommitted == first->uncommitted) {
		struct slab *next = first + nr;

		after = next->age.prev;
		stamp_ms = min(stamp_ms, next->stamp_ms);
		nr += next->run_len;
		holes += next->run_holes;
		index_remove(next);
	}
	if (slab_index(first) && first[-1].run_state == state &&
	    first[-1].uncommitted == first->uncommitted) {
		struct slab *prev = first - first[-1].run_len;

		if (!after || prev->stamp_ms <= stamp_ms)
			after = prev->age.prev;
		if (after == &prev->age)
			after = prev->age.prev;
		stamp_ms = min(stamp_ms, prev->stamp_ms);
		nr += prev->run_len;
		holes += prev->run_holes;
		first = prev;
		index_remove(prev);
	}
	first->run_holes = holes;
	index_insert(first, nr, state, stamp_ms, after);
}

/* Slabs from @run to the first whose address is a multiple of @align. */
static size_t skip_to(const struct slab *run, size_t align)
{
	size_t at = (uintptr_t)slab_base(run) >> SLAB_SHIFT;

	return ALIGN_UP(at, align) - at;
}

/* Whether a run of @nr slabs at a multiple of @align fits into @run. */
static bool run_fits(const struct slab *run, size_t nr, size_t align)
{
	return skip_to(run, align) + nr <= run->run_len;
}

/*
 * Of two runs of one length that which served @bytes, or a little more, before:
 * then nothing that is backed is left behind, and nothing has to be backed.
 */
static bool fits_better(const struct slab *run, const struct slab *best,
			size_t bytes)
{
	if (run->run_len != best->run_len)
		return run->run_len < best->run_len;
	if (best->run_bytes < bytes)
		return run->run_bytes > best->run_bytes;
	return run->run_bytes >= bytes && run->run_bytes < best->run_bytes;
}

static struct slab *bin_find(struct list_head *bin, size_t nr, size_t align,
			     size_t bytes)
{
	struct slab *run, *tmp, *best = NULL;
	int left = FIT_SEARCH;

	list_for_each_entry_safe(run, tmp, bin, link) {
		if (run_fits(run, nr, align) &&
		    (!best || fits_better(run, best, bytes)))
			best = run;
		if (best && ((best->run_len == nr &&
			      best->run_bytes == bytes) || !--left))
			break;
	}
	return best;
}

static struct slab *index_find(struct run_index *index, size_t nr,
			       size_t align, size_t bytes)
{
	unsigned int bin = bin_of(nr);

	while (bin < NR_BINS) {
		uint64_t filled = index->filled[bin / 64] >> bin % 64;
		struct slab *run;

		if (!filled) {
			bin = ALIGN_DOWN(bin, 64u) + 64;
			continue;
		}
		bin += bit_lowest(filled);
		run = bin_find(&index->bins[bin], nr, align, bytes);
		if (run)
			return run;
		bin++;
	}
	return NULL;
}

/* Cut [@skip, @skip + @nr) out of the indexed @run; the rest stays indexed. */
static struct slab *run_carve(struct slab *run, size_t skip, size_t nr,
			      enum run_state new_state)
{
	enum run_state state = run->run_state;
	uint64_t stamp_ms = run->stamp_ms;
	struct list_head *after = run->age.prev;
	size_t len = run->run_len;
	bool uncommitted = run->uncommitted;
	uint32_t taken = count_holes(run + skip, nr, state);
	uint32_t holes = run->run_holes - taken;

	index_remove(run);
	if (skip) {
		run->run_holes = count_holes(run, skip, state);
		holes -= run->run_holes;
		index_insert(run, skip, state, stamp_ms, after);
		run[skip - 1].uncommitted = uncommitted;
	}
	if (skip + nr < len) {
		run[skip + nr].run_holes = holes;
		run[skip + nr].uncommitted = uncommitted;
		index_insert(run + skip + nr, len - skip - nr, state, stamp_ms,
			     after);
	}
	run += skip;
	run->run_holes = taken;
	run->uncommitted = run[nr - 1].uncommitted = uncommitted;
	set_ends(run, nr, new_state);
	return run;
}

/* Debug builds: nothing that is in use lies in [@first, @first + @nr). */
static void assert_unused(const struct slab *first, size_t nr)
{
	if (!IS_ENABLED(CONFIG_DEBUG))
		return;
	for (size_t i = 0; i < nr; i++)
		ebb_assert(slab_hot(first + i)->kind == SLAB_KIND_NONE);
}

/*
 * Take vm_lock, for what can be put off: false below a handler that
 * interrupted the holder, and where the holder seems to be stopped.  While
 * something waits to be taken in, nobody waits for it again.
 */
static bool take_patiently(void)
{
	return !lock_is_mine(&vm_lock) &&
	       lock_try_for(&vm_lock,
			    load_relaxed(&deferred) ? 0 : LOCK_PATIENCE_MS);
}

/* A USED or LEAVING run is to get @state, by who has the lock next. */
static void deferred_push(struct slab *first, size_t nr, enum run_state state)
{
	struct slab *head = load_relaxed(&deferred);

	first->run_len = (uint32_t)nr;
	first->run_bytes = state;
	do
		first->avail_next = head;
	/* Pairs with deferred_drain(). */
	while (!cas_acq_rel(&deferred, &head, first));
}

static void run_free_locked(struct slab *first, size_t nr,
			    enum run_state state)
{
	assert_unused(first, nr);
	sub_relaxed(&run_counters.used, nr << SLAB_SHIFT);
	index_add(first, nr, state, clock_coarse_ms());
}

static void run_settle_locked(struct slab *first, size_t nr,
			      enum run_state state, uint64_t stamp_ms)
{
	count_locked(&run_counters.in_state[RUN_LEAVING],
		     -(nr << SLAB_SHIFT));
	index_add(first, nr, state, stamp_ms);
}

static void deferred_drain(void)
{
	struct slab *slab;

	if (likely(!load_relaxed(&deferred)))
		return;
	/* Pairs with deferred_push(). */
	slab = xchg_acquire(&deferred, NULL);
	while (slab) {
		struct slab *next = slab->avail_next;

		enum run_state state = (enum run_state)slab->run_bytes;

		if (slab->run_state == RUN_LEAVING)
			run_settle_locked(slab, slab->run_len, state,
					  slab->stamp_ms);
		else
			run_free_locked(slab, slab->run_len, state);
		slab = next;
	}
}

/*
 * Take in what was put off while somebody had the lock: who has pushed looks
 * whether the lock is free, who has released it whether something was pushed.
 */
static void catch_up(void)
{
	fence_seq_cst();
	while (load_relaxed(&deferred) && lock_try(&vm_lock)) {
		deferred_drain();
		lock_release(&vm_lock);
		fence_seq_cst();
	}
}

static void release(void)
{
	lock_release(&vm_lock);
	catch_up();
}

/* Uncommitted memory (strict overcommit) is charged again before it is used. */
static bool run_recommit(struct slab *first, size_t nr)
{
	if (likely(!first->uncommitted))
		return true;
	if (map_commit(slab_base(first), nr << SLAB_SHIFT))
		return false;
	first->uncommitted = first[nr - 1].uncommitted = 0;
	return true;
}

/* A run of one slab of which about @want pages are backed; *@ret_off: misfit. */
static struct slab *single_near(struct run_index *index, unsigned int want,
				unsigned int *ret_off)
{
	uint64_t filled = index->filled[0] & bits_range(0, SINGLES);
	uint64_t below = filled & bits_range(0, want);
	unsigned int more = UINT_MAX, less = UINT_MAX, bin;

	if (!filled)
		return NULL;
	if (filled != below)
		more = bit_lowest(filled ^ below) - want;
	if (below)
		less = want - bit_highest(below);
	bin = more <= less ? want + more : want - less;
	*ret_off = min(more, less);
	return list_first(&index->bins[bin], struct slab, link);
}

/* One slab, dirty or part: that which comes nearest to @bytes. */
static struct slab *alloc_single(size_t bytes, enum run_state *ret_was)
{
	unsigned int want = run_pages_used(bytes), least = UINT_MAX, off;
	struct slab *best = NULL;

	for (int state = RUN_DIRTY; state <= RUN_PART; state++) {
		struct slab *run = single_near(&indexes[state], want, &off);

		if (run && off < least) {
			best = run;
			least = off;
		}
	}
	if (!best)
		return NULL;
	*ret_was = (enum run_state)best->run_state;
	return run_carve(best, 0, 1, RUN_USED);
}

static struct slab *alloc_indexed(size_t nr, size_t align, size_t bytes,
				  enum run_state *ret_was)
{
	struct slab *single = NULL;

	if (nr == 1 && align == 1)
		single = alloc_single(bytes, ret_was);
	if (single)
		return single;
	for (int state = RUN_DIRTY; state <= RUN_CLEAN; state++) {
		struct slab *run = index_find(&indexes[state], nr, align,
					      bytes);
		size_t skip;

		if (!run)
			continue;
		skip = skip_to(run, align);
		run = run_carve(run, skip, nr, RUN_USED);
		if (!run_recommit(run, nr)) {
			index_add(run, nr, RUN_CLEAN, clock_coarse_ms());
			return NULL;
		}
		if (state == RUN_CLEAN)
			count_locked(&run_counters.retaken, nr << SLAB_SHIFT);
		*ret_was = (enum run_state)state;
		return run;
	}
	return NULL;
}

/* Fresh slabs at a multiple of @align; what is skipped becomes clean runs. */
static struct slab *alloc_fresh(size_t nr, size_t align, bool locked)
{
	size_t skip, whole = nr + align - 1;
	struct slab *first;

	if (whole < nr)
		return NULL;
	first = range_take_fresh(whole, locked);
	if (!first)
		return NULL;
	skip = skip_to(first, align);
	set_ends(first + skip, nr, RUN_USED);
	if (!locked || align == 1)
		return first + skip;
	if (skip)
		index_add(first, skip, RUN_CLEAN, clock_coarse_ms());
	if (skip + nr < whole)
		index_add(first + skip + nr, whole - skip - nr, RUN_CLEAN,
			  clock_coarse_ms());
	return first + skip;
}

struct slab *run_alloc(size_t nr, size_t align, enum run_state *ret_was)
{
	return run_alloc_for(nr << SLAB_SHIFT, align, ret_was);
}

struct slab *run_alloc_for(size_t bytes, size_t align, enum run_state *ret_was)
{
	size_t nr = ALIGN_UP(bytes, SLAB_SIZE) >> SLAB_SHIFT;
	enum run_state was = RUN_CLEAN;
	struct slab *run;

	if (nr > range.span >> SLAB_SHIFT || align > range.span >> SLAB_SHIFT)
		return NULL;
	if (unlikely(lock_is_mine(&vm_lock))) {
		/* Below a signal handler: the counter is the holder's. */
		run = align == 1 ? alloc_fresh(nr, 1, false) : NULL;
		if (run)
			add_relaxed(&run_counters.used, nr << SLAB_SHIFT);
	} else {
		lock_take(&vm_lock);
		deferred_drain();
		run = alloc_indexed(nr, align, bytes, &was);
		if (!run)
			run = alloc_fresh(nr, align, true);
		if (run)
			add_relaxed(&run_counters.used, nr << SLAB_SHIFT);
		release();
	}
	if (run)
		assert_unused(run, nr);
	if (ret_was)
		*ret_was = was;
	return run;
}

/* What was mapped anew can merge with what is around it. */
static void name_part(const struct slab *first, size_t nr)
{
	name_renewed(slab_base(first), nr << SLAB_SHIFT);
}

/*
 * A range that mremap put here is made ordinary again, which empties it.
 * False: the kernel failed, perhaps after it removed what was there.
 */
static bool settle_displaced(struct slab *first, size_t nr)
{
	if (map_renew(slab_base(first), nr << SLAB_SHIFT))
		return false;
	name_part(first, nr);
	first->displaced = 0;
	sub_relaxed(&run_counters.nr_displaced, 1);
	return true;
}

void run_free(struct slab *first, size_t nr, enum run_state state)
{
	ebb_assert(nr && first->run_state == RUN_USED);
	if (unlikely(first->displaced)) {
		/* What may be a hole is never handed out again. */
		if (!settle_displaced(first, nr))
			return;
		state = RUN_CLEAN;
	}
	if (unlikely(!take_patiently())) {
		deferred_push(first, nr, state);
		catch_up();
		return;
	}
	deferred_drain();
	run_free_locked(first, nr, state);
	release();
}

/* Whether there is a free run of @nr slabs that is backed. */
static bool backed_fits(size_t nr)
{
	for (int state = RUN_DIRTY; state < RUN_CLEAN; state++)
		if (index_find(&indexes[state], nr, 1, nr << SLAB_SHIFT))
			return true;
	return false;
}

static bool grow_in_place(struct slab *first, size_t nr, size_t more,
			  bool may_move)
{
	size_t end = slab_index(first) + nr;
	struct slab *next = first + nr;
	bool last = end >= load_relaxed(&range.fresh) >> SLAB_SHIFT;

	if (may_move && (last || next->run_state == RUN_CLEAN) &&
	    backed_fits(nr + more))
		return false;
	if (last) {
		/* The last run of all: fresh space follows. */
		struct slab *got = range_take_fresh(more, true);

		if (got == next)
			return true;
		if (got)
			index_add(got, more, RUN_CLEAN, clock_coarse_ms());
		return false;
	}
	if (!is_indexed(next) || next->run_len < more)
		return false;
	next = run_carve(next, 0, more, RUN_USED);
	if (run_recommit(next, more))
		return true;
	index_add(next, more, RUN_CLEAN, clock_coarse_ms());
	return false;
}

bool run_resize(struct slab *first, size_t nr, size_t new_nr, bool may_move)
{
	bool done = true;

	if (new_nr == nr)
		return true;
	if (lock_is_mine(&vm_lock) || first->displaced)
		return false;
	lock_take(&vm_lock);
	deferred_drain();
	if (new_nr > nr) {
		done = grow_in_place(first, nr, new_nr - nr, may_move);
	} else {
		/* Both ends first: what joins neighbours looks at them. */
		set_ends(first, new_nr, RUN_USED);
		set_ends(first + new_nr, nr - new_nr, RUN_USED);
		first[new_nr - 1].uncommitted = 0;
		first[new_nr].uncommitted = first[nr - 1].uncommitted = 0;
		index_add(first + new_nr, nr - new_nr, RUN_DIRTY,
			  clock_coarse_ms());
	}
	if (done) {
		set_ends(first, new_nr, RUN_USED);
		add_relaxed(&run_counters.used,
			    (new_nr - nr) << SLAB_SHIFT);
	}
	release();
	return done;
}

struct slab *run_claim(enum run_state state, uint64_t until_ms, size_t max_nr,
		       size_t *ret_nr)
{
	struct slab *run;
	size_t nr;

	if (!take_patiently())
		return NULL;
	deferred_drain();
	run = oldest_of(&indexes[state]);
	if (run && run->stamp_ms > until_ms)
		run = NULL;
	if (run) {
		uint64_t stamp_ms = run->stamp_ms;

		nr = min((size_t)run->run_len, max_nr);
		run = run_carve(run, 0, nr, RUN_LEAVING);
		run->stamp_ms = stamp_ms;
		count_locked(&run_counters.in_state[RUN_LEAVING],
			     nr << SLAB_SHIFT);
		*ret_nr = nr;
	}
	release();
	return run;
}

void run_settle(struct slab *first, size_t nr, enum run_state state,
		uint64_t stamp_ms)
{
	if (unlikely(!take_patiently())) {
		first->stamp_ms = stamp_ms;
		deferred_push(first, nr, state);
		catch_up();
		return;
	}
	run_settle_locked(first, nr, state, stamp_ms);
	release();
}

bool run_uncommit(struct slab *first, size_t nr)
{
	if (map_uncommit(slab_base(first), nr << SLAB_SHIFT))
		return false;
	name_part(first, nr);
	first->uncommitted = first[nr - 1].uncommitted = 1;
	return true;
}

uint64_t run_oldest(enum run_state state)
{
	uint64_t stamp_ms = UINT64_MAX;
	struct slab *run;

	if (!take_patiently())
		return 0;
	run = oldest_of(&indexes[state]);
	if (run)
		stamp_ms = run->stamp_ms;
	release();
	return stamp_ms;
}
