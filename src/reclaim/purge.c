/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - One pass of giving memory back
 *
 * What it is: visits the slabs that were published to since the last pass
 * and those that are still ageing, finds pages without a live slot, claims
 * them, advises them in batches and publishes them again.  The same is done
 * for free runs.
 *
 * Model: a page goes dirty -> lazy -> clean.  A sweep that finds a page free
 * sets its idle bit; whoever takes a slot of the page clears it.  So a page
 * that is free and idle has not been used since an earlier sweep, and the
 * slab's stamp says since when at least one of them is.  Ages are compared
 * with that stamp: a page can be taken early, when it joins older ones in its
 * slab, but never on the sweep that first saw it.
 *
 * Invariants:
 * (1) A page is advised only while all slots that touch it are claimed by us;
 *     its clean or lazy bit is set before they are published.
 * (2) A batch holds its claims for the time of its kernel calls and no
 *     longer; no lock that an application thread takes is held meanwhile.
 * (3) A slab on the aging list has swept != 0; nobody else touches that list.
 *
 * Locking: pass_lock (rank 5) for a pass and all state here.  A pass may run
 * on any thread; a signal handler that interrupted one gets -EDEADLK.
 *
 * Fork: purge_prefork() waits for the batch in progress (batch_lock), not
 * for the pass.  The child's aging list is as the parent's was.
 */
#include <limits.h>

#include "acct/account.h"
#include "base/err.h"
#include "heap/bypass.h"
#include "heap/drain.h"
#include "heap/misuse.h"
#include "heap/orphan.h"
#include "os/advise.h"
#include "os/map.h"
#include "os/resident.h"
#include "reclaim/purge.h"

#define BATCH_RANGES	512u
#define UNCOMMIT_MIN	16u	/* slabs; each such run costs mappings */
#define RUN_CHUNK	(16u * (MIB >> SLAB_SHIFT))	/* slabs a claim takes */

static struct lock pass_lock = LOCK_INIT(5);
static struct lock batch_lock = LOCK_INIT(5);

static struct list_head aging;		/* pass_lock */
static bool ready;			/* pass_lock: the first pass has begun */
static bool strict_commit;		/* vm.overcommit_memory was 2 then */

/* A claimed part of a slab: @pages are in our hand. */
struct claim {
	struct slab *slab;
	uint32_t pages;		/* mask; 0: a whole run of @nr slabs */
	uint32_t nr;
	uint32_t first_range;	/* the range its first byte lies in */
	uint32_t lazy;		/* of @pages those that are lazy; runs: 0 or 1 */
};

struct batch {
	struct advise_range ranges[BATCH_RANGES];
	bool ok[BATCH_RANGES];
	uint64_t resident[BATCH_RANGES];	/* bytes, before it was advised */
	uint64_t lazy[BATCH_RANGES];	/* bytes that were lazy already */
	struct claim claims[BATCH_RANGES];
	unsigned int nr_ranges, nr_claims;
	enum advise_kind kind;
};

static struct batch batch;		/* pass_lock */
static int64_t slots_cleaned;		/* pass_lock: bytes, by this pass */
static struct resident resident = { .fd = -1 };	/* pass_lock; in a pass only */

/* pass_lock: bytes that were lazy, and not backed when given back. */
static uint64_t lazy_gone;

struct pass {
	const struct purge_order *order;
	struct purge_result *result;
	uint64_t now_ms;
	uint64_t young_bytes;	/* free pages of slabs that stay backed */
	bool refused;		/* by the kernel, in the last batches */
	bool enough;		/* the order is filled, or its time is up */
};

uint64_t purge_dirty_estimate(void)
{
	return account_slots_dirty() + run_dirty_bytes();
}

uint64_t purge_retaken(void)
{
	return load_relaxed(&account.retaken) +
	       load_relaxed(&run_counters.retaken);
}

/* --- Claiming pages of a slab --- */

/* The bits of @word that belong to slots on @pages. */
static uint64_t word_mask(const struct sizeclass *sc, unsigned int word,
			  unsigned int pages)
{
	uint64_t mask = 0;

	for (; pages; pages &= pages - 1) {
		unsigned int first, end;

		slab_slots_on_page(sc, bit_lowest(pages), &first, &end);
		if (end <= word * 64 || first >= word * 64 + 64)
			continue;
		first = first > word * 64 ? first - word * 64 : 0;
		end = min(end - word * 64, 64u);
		mask |= bits_range(first, end);
	}
	return mask;
}

/* Words that slots on @pages have bits in: [*@ret_first, *@ret_end). */
static void words_of(const struct sizeclass *sc, unsigned int pages,
		     unsigned int *ret_first, unsigned int *ret_end)
{
	unsigned int first, end, unused;

	slab_slots_on_page(sc, bit_lowest(pages), &first, &unused);
	slab_slots_on_page(sc, bit_highest(pages), &unused, &end);
	*ret_first = first / 64;
	*ret_end = (end + 63) / 64;
}

/* The pages of @pages whose slots are all in @got. */
static unsigned int pages_got(const struct sizeclass *sc, unsigned int pages,
			      const uint64_t *got)
{
	unsigned int whole = 0;

	for (unsigned int left = pages; left; left &= left - 1) {
		unsigned int page = left & -left;
		unsigned int word, end;
		bool all = true;

		words_of(sc, page, &word, &end);
		for (; all && word < end; word++) {
			uint64_t need = word_mask(sc, word, page);

			all = (got[word] & need) == need;
		}
		if (all)
			whole |= page;
	}
	return whole;
}

/*
 * Claim @pages of @slab, all slots of them; returns those that could be had.
 * What was claimed of the others goes back at once.
 */
static unsigned int claim_pages(struct slab *slab, const struct sizeclass *sc,
				unsigned int pages, uint64_t gen)
{
	uint64_t got[SLAB_WORDS] = { 0 };
	unsigned int word, first, end, whole, nr = 0;

	words_of(sc, pages, &first, &end);
	for (word = first; word < end; word++)
		got[word] = slab_claim(slab, word, word_mask(sc, word, pages));
	whole = pages_got(sc, pages, got);
	for (word = first; word < end; word++) {
		uint64_t keep = word_mask(sc, word, whole);

		if (got[word] & ~keep)
			slab_unclaim(slab, word, got[word] & ~keep);
		got[word] = keep;
		nr += bits_count(keep);
	}
	if (whole && slab_debit(slab, nr, gen))
		return whole;
	for (word = first; whole && word < end; word++)
		if (got[word])
			slab_unclaim(slab, word, got[word]);
	return 0;
}

/* The other end of claim_pages(): the slots are free again. */
static void publish_pages(struct slab *slab, unsigned int pages)
{
	const struct sizeclass *sc = &sizeclasses[slab_hot(slab)->class];
	unsigned int word, end;

	words_of(sc, pages, &word, &end);
	for (; word < end; word++) {
		uint64_t mask = word_mask(sc, word, pages);
		uint64_t twice = 0;

		if (mask)
			twice = slab_publish(slab, word, mask, PUBLISH_QUIET);
		/* It was free before we claimed it, and was freed again. */
		if (twice)
			misuse_die(MISUSE_DOUBLE_FREE, "free", slab_base(slab) +
				   (word * 64 + bit_lowest(twice)) * sc->size,
				   NULL);
	}
}

/* --- Batches --- */

static void range_sift(unsigned int root, unsigned int nr)
{
	struct claim *claims = batch.claims;

	for (;;) {
		unsigned int child = 2 * root + 1;
		struct claim swap;

		if (child >= nr)
			return;
		if (child + 1 < nr &&
		    claims[child + 1].slab > claims[child].slab)
			child++;
		if (claims[root].slab >= claims[child].slab)
			return;
		swap = claims[root];
		claims[root] = claims[child];
		claims[child] = swap;
		root = child;
	}
}

/* Heap sort by address: neither recursion nor memory. */
static void sort_claims(void)
{
	for (unsigned int i = batch.nr_claims / 2; i-- > 0;)
		range_sift(i, batch.nr_claims);
	for (unsigned int nr = batch.nr_claims; nr > 1;) {
		struct claim swap = batch.claims[0];

		batch.claims[0] = batch.claims[--nr];
		batch.claims[nr] = swap;
		range_sift(0, nr);
	}
}

/* Returns the index of the range that holds it now. */
static unsigned int add_range(char *start, size_t len)
{
	struct advise_range *last = batch.ranges;

	if (batch.nr_ranges) {
		last += batch.nr_ranges - 1;
		if (last->start + last->len == start) {
			last->len += len;
			return batch.nr_ranges - 1;
		}
	}
	batch.ranges[batch.nr_ranges] = (struct advise_range){ start, len };
	batch.lazy[batch.nr_ranges] = 0;
	return batch.nr_ranges++;
}

/* The ranges of one claim, joined with those before where they touch. */
static void add_ranges(struct claim *claim)
{
	char *base = slab_base(claim->slab);
	uint32_t pages = claim->pages;

	if (!pages) {
		size_t len = (size_t)claim->nr << SLAB_SHIFT;

		claim->first_range = add_range(base, len);
		if (claim->lazy)
			batch.lazy[claim->first_range] += len;
		return;
	}
	while (pages) {
		unsigned int first = bit_lowest(pages);
		unsigned int nr = bit_lowest(~((uint64_t)pages >> first));
		uint32_t span = (uint32_t)bits_range(first, first + nr);
		unsigned int at;

		at = add_range(base + ((size_t)first << map_page_shift),
				       (size_t)nr << map_page_shift);
		if (pages == claim->pages)
			claim->first_range = at;
		batch.lazy[at] += (uint64_t)bits_count(claim->lazy & span) <<
				  map_page_shift;
		pages &= ~span;
	}
}

/* Store what became of claimed pages, then let go of them. */
static void settle_pages(const struct claim *claim, unsigned int done)
{
	struct slab *slab = claim->slab;
	uint64_t bytes = (uint64_t)bits_count(done) << map_page_shift;

	if (done && batch.kind == ADVISE_CLEAN) {
		store_relaxed(&slab->given, 1);
		and_relaxed(&slab->pages, ~PAGES_ALL(done));
		/* Pairs with slab_touch(). */
		or_release(&slab->pages, (uint64_t)done << PAGES_CLEAN);
		sub_relaxed(&account.slots_dirty, (int64_t)bytes);
		slots_cleaned += (int64_t)bytes;
	} else if (done) {
		or_release(&slab->pages, (uint64_t)done << PAGES_LAZY);
	}
	/*
	 * From here on frees to this slab are tested: keys may be gone.
	 * Pairs with touch_pages(): the pages first.
	 */
	if (done)
		store_release(&slab_hot(slab)->bin, 0);
	publish_pages(slab, claim->pages);
	/* What was refused is looked at by the next pass, whenever it is. */
	if (done != claim->pages)
		slab_dirty_push(slab);
}

/* Which pages of @claim the kernel took. */
static unsigned int pages_done(const struct claim *claim)
{
	unsigned int at = claim->first_range, done = 0;
	char *base = slab_base(claim->slab);

	for (uint32_t pages = claim->pages; pages; pages &= pages - 1) {
		char *page = base + ((size_t)bit_lowest(pages) <<
				     map_page_shift);

		while (page >= batch.ranges[at].start +
			       batch.ranges[at].len)
			at++;
		if (batch.ok[at])
			done |= pages & -pages;
	}
	return done;
}

static void settle(const struct claim *claim)
{
	enum run_state state;

	if (claim->pages) {
		settle_pages(claim, pages_done(claim));
		return;
	}
	/* A failed uncommit may have left a hole: LEAVING for ever. */
	if (batch.kind == ADVISE_CLEAN && strict_commit &&
	    claim->nr >= UNCOMMIT_MIN && batch.ok[claim->first_range] &&
	    !run_uncommit(claim->slab, claim->nr))
		return;
	if (!batch.ok[claim->first_range])
		state = RUN_DIRTY;
	else
		state = batch.kind == ADVISE_CLEAN ? RUN_CLEAN : RUN_LAZY;
	/* What was refused waits its age again. */
	run_settle(claim->slab, claim->nr, state,
		   state == RUN_DIRTY ? run_clock_ms() :
					claim->slab->stamp_ms);
}

/*
 * What is backed, before it is advised: what was lazy and is not backed any
 * more the kernel took.  False: not counted.  Without a scan it would cost
 * more than the advice, so it is done until malloc_trim() knows its answer; and
 * a descriptor held for a whole pass might be closed, and another opened in
 * its place, by an application that shares the table.
 */
static bool count_resident(const struct pass *pass)
{
	const struct purge_order *order = pass->order;

	if (order->own_table && resident.fd < 0)
		resident_open(&resident);
	if (resident.fd < 0 && (!order->force || order->try ||
				order->own_table || pass->result->clean_bytes))
		return false;
	resident_count(&resident, batch.ranges, batch.nr_ranges,
		       batch.resident);
	return true;
}

static void count_lazy(void)
{
	uint64_t empty = 0, gone = 0;

	for (unsigned int i = 0; i < batch.nr_ranges; i++) {
		uint64_t len = batch.ranges[i].len;

		if (!batch.ok[i])
			continue;
		if (batch.kind == ADVISE_LAZY)
			empty += len - min(len, batch.resident[i]);
		else
			gone += batch.lazy[i] -
				min(batch.lazy[i], batch.resident[i]);
	}
	if (empty)
		add_relaxed(&account.lazy_empty, empty);
	store_relaxed(&lazy_gone, lazy_gone + gone);
}

uint64_t purge_lazy_taken(void)
{
	uint64_t gone = load_relaxed(&lazy_gone);
	uint64_t empty = load_relaxed(&account.lazy_empty);

	return gone - min(gone, empty);
}

static uint64_t resident_done(void)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < batch.nr_ranges; i++)
		if (batch.ok[i])
			bytes += batch.resident[i];
	return bytes;
}

static void batch_advise(struct pass *pass)
{
	struct purge_result *result = pass->result;
	bool counted = count_resident(pass);
	struct advise_result done = { 0 };

	advise_ranges(batch.ranges, batch.nr_ranges, batch.kind,
		      batch.ok, &done);
	if (counted)
		count_lazy();
	pass->refused |= done.refused_bytes > 0;
	result->refused_bytes += done.refused_bytes;
	if (batch.kind == ADVISE_LAZY)
		result->lazy_bytes += done.done_bytes;
	else
		result->clean_bytes += counted ? resident_done() :
						 done.done_bytes;
}

static void batch_run(struct pass *pass)
{
	const struct purge_order *order = pass->order;

	batch.nr_ranges = 0;
	sort_claims();
	for (unsigned int i = 0; i < batch.nr_claims; i++)
		add_ranges(&batch.claims[i]);
	batch_advise(pass);
	for (unsigned int i = 0; i < batch.nr_claims; i++)
		settle(&batch.claims[i]);
	batch.nr_claims = 0;
	if (order->want_bytes &&
	    pass->result->clean_bytes >= order->want_bytes)
		pass->enough = true;
	if (order->budget_ms &&
	    run_clock_ms() - pass->now_ms >= order->budget_ms)
		pass->enough = true;
}

/*
 * A slab has up to SLAB_PAGES_MAX / 2 separate ranges, which must still fit;
 * a batch holds batch_lock from its first claim to its last settling.
 */
static void batch_end(struct pass *pass)
{
	if (batch.nr_claims) {
		batch_run(pass);
		lock_release(&batch_lock);
	}
}

static void batch_add(struct pass *pass, struct claim claim)
{
	batch.claims[batch.nr_claims++] = claim;
	if (batch.nr_claims >= BATCH_RANGES / (SLAB_PAGES_MAX / 2))
		batch_end(pass);
}

static void batch_begin(struct pass *pass, enum advise_kind kind)
{
	if (batch.nr_claims && batch.kind != kind)
		batch_end(pass);
	if (!batch.nr_claims)
		lock_take(&batch_lock);
	batch.kind = kind;
}

/* If begin was not followed by an add: no claim, so no lock. */
static void batch_cancel(void)
{
	if (!batch.nr_claims)
		lock_release(&batch_lock);
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

/*
 * Returns whether the slab has free pages that stay backed, so that it has to
 * be found again: by the next pass, or by a malloc_trim much later.
 */
static bool sweep(struct pass *pass, struct slab *slab)
{
	uint64_t ctl = load_acquire(&slab->ctl);
	/* Perhaps of another life: then slab_debit() refuses. */
	unsigned int class = load_relaxed(&slab_hot(slab)->class);
	const struct sizeclass *sc = &sizeclasses[class];
	unsigned int claimed = 0, left;
	struct verdict verdict;

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
		batch_begin(pass, verdict.kind);
		claimed = claim_pages(slab, sc, verdict.pages, ctl_gen(ctl));
		if (claimed)
			batch_add(pass, (struct claim){
				.slab = slab,
				.pages = claimed,
				.lazy = claimed & pages_lazy(
					load_relaxed(&slab->pages)),
			});
		else
			batch_cancel();
		if (verdict.kind == ADVISE_CLEAN)
			left &= ~claimed;
	}
	pass->young_bytes += (uint64_t)bits_count(left) << map_page_shift;
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
		if (pass->enough)
			break;
		if (sweep(pass, slab))
			continue;
		list_del(&slab->sweep);
		slab->swept = 0;
	}
	batch_end(pass);
}

/* --- Runs --- */

static void purge_runs_of(struct pass *pass, enum run_state from,
			  enum advise_kind kind, uint32_t age_ms)
{
	uint64_t until_ms = pass->now_ms;

	if (age_ms == PURGE_NEVER || age_ms > until_ms)
		return;
	until_ms -= age_ms;
	/*
	 * What was refused is indexed again and would be found again, so the
	 * first refusal ends it, as does having seen all that there was.
	 */
	pass->refused = false;
	for (uint64_t left = load_relaxed(&run_counters.in_state[from]);
	     left && !pass->refused && !pass->enough;) {
		struct slab *run;
		size_t nr;

		batch_begin(pass, kind);
		run = run_claim(from, until_ms, RUN_CHUNK, &nr);
		if (!run) {
			batch_cancel();
			break;
		}
		batch_add(pass, (struct claim){ .slab = run,
						.nr = (uint32_t)nr,
						.lazy = from == RUN_LAZY });
		left -= min(left, (uint64_t)nr << SLAB_SHIFT);
	}
	batch_end(pass);
}

static void purge_runs(struct pass *pass)
{
	const struct purge_order *order = pass->order;
	uint32_t clean_age = order->force ? 0 : order->clean_age_ms;

	purge_runs_of(pass, RUN_DIRTY, ADVISE_CLEAN, clean_age);
	purge_runs_of(pass, RUN_LAZY, ADVISE_CLEAN, clean_age);
	if (!order->force)
		purge_runs_of(pass, RUN_DIRTY, ADVISE_LAZY,
			      order->lazy_age_ms);
	if ((order->clean_age_ms != PURGE_NEVER && run_dirty_bytes()) ||
	    (order->lazy_age_ms != PURGE_NEVER &&
	     run_oldest(RUN_DIRTY) != UINT64_MAX))
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
			    before - slots_cleaned);

	store_relaxed(&account.slots_stranded,
		      dirty - (int64_t)pass->young_bytes);
}

static void pass_run(struct pass *pass)
{
	int64_t before;

	if (!ready) {
		list_init(&aging);
		strict_commit = map_strict_commit();
		ready = true;
	}
	store_relaxed(&slab_tick, slab_tick + 1);
	if (pass->order->force)
		bypass_release();
	if (pass->order->drain || pass->order->force) {
		bool left;

		/* Without membarrier only our own; drain_unavailable() tells. */
		if (drain_caches(pass->order->force, &left))
			pass->result->undrained = true;
		else
			pass->result->aging |= left;
		orphan_reap();
	}
	pass->now_ms = run_clock_ms();
	slots_cleaned = 0;
	before = load_relaxed(&account.slots_dirty);
	collect_published();
	/* Dirty runs give most for a call; holes in slabs least. */
	purge_runs(pass);
	purge_slabs(pass);
	resident_close(&resident);
	if (!pass->enough)
		note_stranded(pass, before);
	else
		pass->result->aging = true;
	/* What was refused is in that queue, too, and does not get older. */
	if (slab_dirty_pending() && !pass->result->refused_bytes)
		pass->result->aging = true;
	pass->result->dirty_left = purge_dirty_estimate();
	pass->result->live_bytes = account_slots_handed() +
		load_relaxed(&account.large_bytes);
	store_relaxed(&account.locked_bytes, pass->result->refused_bytes);
}

int purge_run(const struct purge_order *order, struct purge_result *ret_result)
{
	struct pass pass = { .order = order, .result = ret_result };

	*ret_result = (struct purge_result){ 0 };
	if (lock_is_mine(&pass_lock))
		return -EDEADLK;
	if (!order->try)
		lock_take(&pass_lock);
	else if (!lock_try(&pass_lock))
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

/* Whether prefork took batch_lock: not where a handler forks in a batch. */
static bool batch_taken;

void purge_prefork(bool may_wait)
{
	bool take = !lock_is_mine(&batch_lock);

	if (take && may_wait)
		lock_take(&batch_lock);
	else if (take)
		take = lock_try(&batch_lock);
	batch_taken = take;
}

void purge_postfork_parent(void)
{
	if (batch_taken)
		lock_release(&batch_lock);
}

/*
 * A pass of another thread was cut off wherever it was, and so was a pusher:
 * the aging list and the dirty queue are made anew.
 */
void purge_postfork_child(bool threaded)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	if (batch_taken)
		lock_reset(&batch_lock);
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
