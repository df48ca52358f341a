/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Batches of claimed memory on its way to the kernel
 */

#include "acct/account.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/trace.h"
#include "heap/slab.h"
#include "heap/stranger.h"
#include "heap/tail.h"
#include "os/guard_mark.h"
#include "os/huge.h"
#include "os/map.h"
#include "os/resident.h"
#include "reclaim/batch.h"
#include "vm/run.h"

#define BATCH_RANGES	512u
#define UNCOMMIT_MIN	16u	/* slabs; each such run costs mappings */
#define NO_HUGE_MAX	64u	/* huge pages turned off one by one */

static struct lock batch_lock = LOCK_INIT(5);

/* A claimed part of a slab: @pages are in our hand. */
struct claim {
	struct slab *slab;
	uint32_t pages;		/* mask; 0: a whole run of @nr slabs */
	uint32_t nr;
	uint32_t first_range;	/* the range its first byte lies in */
	uint32_t lazy;		/* of @pages those that are lazy; runs: 0 or 1 */
	uint32_t hollow;	/* bytes of it that are clean already */
	struct slab *run;	/* @slab is the last of this large object, and
				 * @pages are its tail; NULL: no tail */
};

struct batch {
	struct advise_range ranges[BATCH_RANGES];
	bool ok[BATCH_RANGES];
	uint64_t resident[BATCH_RANGES];	/* bytes, before it was advised */
	uint64_t lazy[BATCH_RANGES];	/* bytes that were lazy already */
	uint64_t hollow[BATCH_RANGES];	/* bytes that were clean already */
	bool huge[BATCH_RANGES];	/* mapped by a huge page, in part at least */
	struct claim claims[BATCH_RANGES];
	unsigned int nr_ranges, nr_claims;
	enum advise_kind kind;
};

static struct batch batch;		/* pass_lock */
static struct resident resident = { .fd = -1 };	/* pass_lock; in a pass only */

/* pass_lock: bytes that were lazy, and not backed when given back. */
static uint64_t lazy_gone;
static uint64_t strays, splits;		/* pass_lock; see batch.h */
static unsigned int nr_no_huge;
static bool strict_commit;		/* vm.overcommit_memory was 2 at first */

/* === Ranges =========================================================== */

struct advise_range batch_part_of(const struct slab *slab, uint64_t pages)
{
	return (struct advise_range){
		slab_base(slab) +
			((size_t)bit_lowest(pages) << map_page_shift),
		pages_bytes((unsigned int)pages),
	};
}

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
	batch.hollow[batch.nr_ranges] = 0;
	return batch.nr_ranges++;
}

/* The ranges of one claim, joined with those before where they touch. */
static void add_ranges(struct claim *claim)
{
	uint64_t pages = claim->pages;

	if (!pages) {
		size_t len = (size_t)claim->nr << SLAB_SHIFT;

		claim->first_range = add_range(slab_base(claim->slab), len);
		if (claim->lazy)
			batch.lazy[claim->first_range] += len;
		return;
	}
	while (pages) {
		bool first = pages == claim->pages;
		uint64_t span = bits_take_run(&pages);
		struct advise_range part = batch_part_of(claim->slab, span);
		unsigned int at = add_range(part.start, part.len);

		if (first)
			claim->first_range = at;
		batch.lazy[at] += (uint64_t)bits_count(claim->lazy & span) <<
				  map_page_shift;
	}
}

/* === What became of it ================================================ */

/* Store what became of claimed pages, then let go of them. */
static void settle_pages(struct pass *pass, const struct claim *claim,
			 unsigned int done)
{
	struct slab *slab = claim->slab;

	if (done && batch.kind == ADVISE_CLEAN) {
		/* What an audit gives back once more is clean already. */
		unsigned int fresh = done &
			~pages_clean(load_relaxed(&slab->pages));
		int64_t bytes = (int64_t)pages_bytes(fresh);

		store_relaxed(&slab->given, 1);
		if (load_relaxed(&guard_marks_on))
			or_relaxed(&slab->pages, PAGES_GUARDED);
		and_relaxed(&slab->pages, ~PAGES_ALL(done));
		/* Pairs with slab_touch(). */
		or_release(&slab->pages, (uint64_t)done << PAGES_CLEAN);
		sub_relaxed(&account.slots_dirty, bytes);
		pass->slots_cleaned += bytes;
	} else if (done) {
		or_release(&slab->pages, (uint64_t)done << PAGES_LAZY);
	}
	/*
	 * From here on frees to this slab are tested: keys may be gone.
	 */
	if (done)
		stranger_note_holes(slab_hot(slab));
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

/* The tail of a large object; what the kernel refused is on offer again. */
static void settle_tail(struct pass *pass, const struct claim *claim, bool done)
{
	struct slab *run = claim->run;
	size_t bytes;

	if (done)
		tail_gone(run);
	if (!(done ? tail_settle(run) : tail_refused(run)))
		return;
	bytes = (size_t)run->run_len << SLAB_SHIFT;
	run_free(run, run->run_len, tail_run_state(run));
	sub_relaxed(&zone_of(run)->counters.tails_freed, bytes);
	/* Who freed it looked before it counted as dirty, as did this pass. */
	pass->result->aging = true;
	run_look();
}

/* What was refused waits its age again, what is audited until the next pass. */
static uint64_t stamp_of(const struct pass *pass, const struct claim *claim,
			 enum run_state state)
{
	if (pass->auditing)
		return pass->now_ms + 1;
	return state == RUN_DIRTY ? clock_coarse_ms() : claim->slab->stamp_ms;
}

static void settle(struct pass *pass, const struct claim *claim)
{
	enum run_state state;

	if (claim->run) {
		settle_tail(pass, claim, pages_done(claim) == claim->pages);
		return;
	}
	if (claim->pages) {
		settle_pages(pass, claim, pages_done(claim));
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
	run_settle(claim->slab, claim->nr, state, stamp_of(pass, claim, state));
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

	if (!order->own_table && (!order->force || order->try ||
				  pass->result->clean_bytes))
		return false;
	if (resident.fd < 0)
		resident_open(&resident);
	if (order->own_table && resident.fd < 0)
		return false;
	resident_count(&resident, batch.ranges, batch.nr_ranges,
		       batch.resident, batch.huge);
	if (!order->own_table)
		resident_close(&resident);
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

/* The sum of @bytes, of each range, of those that the kernel took. */
static uint64_t sum_done(const uint64_t *bytes)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < batch.nr_ranges; i++)
		if (batch.ok[i])
			sum += bytes[i];
	return sum;
}

/* The whole of the pages of @unit bytes that @part lies in. */
static struct advise_range units_around(const struct advise_range *part,
					size_t unit)
{
	uintptr_t start = ALIGN_DOWN((uintptr_t)part->start, unit);
	uintptr_t end = ALIGN_UP((uintptr_t)part->start + part->len, unit);

	return (struct advise_range){ (char *)start, end - start };
}

/*
 * Usage falls by a part of a huge page only when it is split, and it must
 * fall.  Costs a quarter of a millisecond each, and a folio of a slab's size
 * some microseconds.
 */
static void split_parts(bool counted)
{
	for (unsigned int i = 0; i < batch.nr_ranges; i++) {
		size_t unit = counted && batch.huge[i] ? map_huge_size() :
							 huge_folio();
		struct advise_range whole;

		if (!unit || !batch.ok[i])
			continue;
		whole = units_around(&batch.ranges[i], unit);
		if (whole.len == batch.ranges[i].len)
			continue;
		store_relaxed(&splits, splits + advise_split(whole.start,
							     whole.len, unit));
	}
}

/*
 * Backed though it was given back: somebody wrote to freed memory, or the
 * kernel made a huge page of what is around it; that it does not do again.
 */
static void count_strays(void)
{
	store_relaxed(&strays, strays + sum_done(batch.resident));
	for (unsigned int i = 0; i < batch.nr_ranges; i++) {
		struct advise_range whole;

		if (!batch.huge[i] || nr_no_huge >= NO_HUGE_MAX)
			continue;
		whole = units_around(&batch.ranges[i], map_huge_size());
		map_no_huge(whole.start, whole.len);
		nr_no_huge++;
	}
}

static void count_clean(struct pass *pass, uint64_t done_bytes, bool counted)
{
	if (batch.kind == ADVISE_LAZY)
		pass->result->lazy_bytes += done_bytes;
	else if (counted)
		pass->result->clean_bytes += sum_done(batch.resident);
	else
		pass->result->clean_bytes += done_bytes -
				min(done_bytes, sum_done(batch.hollow));
	if (counted)
		count_lazy();
	if (pass->order->force && batch.kind == ADVISE_CLEAN)
		split_parts(counted);
}

/* Give back, and have it trap. */
static void advise_guarded(struct advise_result *done)
{
	uint64_t before = clock_ns();

	guard_mark_give(batch.ranges, batch.nr_ranges);
	advise_ranges(batch.ranges, batch.nr_ranges, guard_mark_advice(),
		      batch.ok, done);
	guard_mark_gave(batch.ranges, batch.nr_ranges, batch.ok,
			clock_ns() - before);
}

static void batch_advise(struct pass *pass)
{
	bool counted = count_resident(pass);
	struct advise_result done = { 0 };

	if (batch.kind == ADVISE_CLEAN && load_relaxed(&guard_marks_on))
		advise_guarded(&done);
	else
		advise_ranges(batch.ranges, batch.nr_ranges, batch.kind,
			      batch.ok, &done);
	TRACE4(decommit, batch.kind == ADVISE_CLEAN, done.done_bytes,
	       done.refused_bytes, batch.nr_ranges);
	pass->refused |= done.refused_bytes > 0;
	pass->result->refused_bytes += done.refused_bytes;
	if (pass->auditing && counted)
		count_strays();
	else if (!pass->auditing)
		count_clean(pass, done.done_bytes, counted);
}

/*
 * Who waits for memory waits for the pass, not for the CPU: on a busy machine
 * a pass that ends by the clock has done next to nothing.
 */
static bool is_time_up(const struct pass *pass)
{
	uint64_t budget_us = pass->order->budget_ms * 1000ULL;
	uint64_t took_us;

	if (!budget_us)
		return false;
	took_us = clock_us() - pass->start_us;
	return took_us >= budget_us &&
	       (took_us >= budget_us * PURGE_PATIENCE ||
		clock_cpu_us() - pass->start_cpu_us >= budget_us);
}

static void batch_run(struct pass *pass)
{
	const struct purge_order *order = pass->order;

	batch.nr_ranges = 0;
	sort_claims();
	for (unsigned int i = 0; i < batch.nr_claims; i++) {
		struct claim *claim = &batch.claims[i];

		add_ranges(claim);
		batch.hollow[claim->first_range] += claim->hollow;
	}
	batch_advise(pass);
	for (unsigned int i = 0; i < batch.nr_claims; i++)
		settle(pass, &batch.claims[i]);
	batch.nr_claims = 0;
	pass->claimed_bytes = 0;
	if (order->want_bytes &&
	    pass->result->clean_bytes >= order->want_bytes)
		pass->enough = true;
	if (is_time_up(pass))
		pass->enough = true;
}

/* === The interface ==================================================== */

void batch_open(struct pass *pass)
{
	static bool asked;

	if (!asked)
		strict_commit = map_strict_commit();
	asked = true;
	if (pass->order->budget_ms) {
		pass->start_us = clock_us();
		pass->start_cpu_us = clock_cpu_us();
	}
}

void batch_close(void)
{
	resident_close(&resident);
}

bool batch_is_strict(void)
{
	return strict_commit;
}

uint64_t batch_lazy_gone(void)
{
	return load_relaxed(&lazy_gone);
}

uint64_t batch_strays(void)
{
	return load_relaxed(&strays);
}

uint64_t batch_splits(void)
{
	return load_relaxed(&splits);
}

/*
 * A slab has up to SLAB_PAGES_MAX / 2 separate ranges, which must still fit;
 * a batch holds batch_lock from its first claim to its last settling.
 */
void batch_end(struct pass *pass)
{
	if (batch.nr_claims) {
		batch_run(pass);
		lock_release(&batch_lock);
	}
}

/* Before each claim; followed by add, or by cancel. */
static void begin(struct pass *pass, enum advise_kind kind)
{
	if (batch.nr_claims && batch.kind != kind)
		batch_end(pass);
	if (!batch.nr_claims)
		lock_take(&batch_lock);
	batch.kind = kind;
}

/* No claim, so no lock. */
static void cancel(void)
{
	if (!batch.nr_claims)
		lock_release(&batch_lock);
}

/* With it the batch is full, or is all that is wanted. */
static void add(struct pass *pass, struct claim claim)
{
	uint64_t want = pass->order->want_bytes;

	batch.claims[batch.nr_claims++] = claim;
	pass->claimed_bytes += (claim.pages ? pages_bytes(claim.pages) :
				(uint64_t)claim.nr << SLAB_SHIFT) -
			       claim.hollow;
	if (batch.nr_claims >= BATCH_RANGES / (SLAB_PAGES_MAX / 2) ||
	    (want && pass->result->clean_bytes + pass->claimed_bytes >= want))
		batch_end(pass);
}

unsigned int batch_take_pages(struct pass *pass, enum advise_kind kind,
			      const struct slab_life *life, unsigned int pages)
{
	struct slab *slab = life->slab;

	begin(pass, kind);
	pages = claim_pages(life, pages);
	if (pages)
		add(pass, (struct claim){
			.slab = slab,
			.pages = pages,
			.lazy = pages & pages_lazy(load_relaxed(&slab->pages)),
		});
	else
		cancel();
	return pages;
}

bool batch_take_tail(struct pass *pass, struct slab *run, uint8_t state)
{
	struct slab *last;
	bool taken;

	begin(pass, ADVISE_CLEAN);
	taken = tail_claim(run, state);
	if (taken) {
		last = tail_slab(run);
		add(pass, (struct claim){
			.slab = last,
			.pages = tail_pages(run),
			.hollow = (uint32_t)pages_bytes(pages_clean(
					run_page_word(last, RUN_PART))),
			.run = run,
		});
	} else {
		cancel();
	}
	return taken;
}

size_t batch_take_run(struct pass *pass, enum advise_kind kind,
		      const struct run_order *wanted)
{
	struct slab *run;
	size_t nr;

	begin(pass, kind);
	run = run_claim(wanted->from, wanted->until_ms, wanted->max_nr, &nr);
	if (!run) {
		cancel();
		return 0;
	}
	add(pass, (struct claim){ .slab = run, .nr = (uint32_t)nr,
				  .lazy = wanted->from == RUN_LAZY,
				  .hollow = (uint32_t)run_hole_bytes(run) });
	return nr << SLAB_SHIFT;
}

void batch_wait(void)
{
	if (!lock_holds_any() && lock_try_for(&batch_lock, LOCK_PATIENCE_MS))
		lock_release(&batch_lock);
}

/* Whether prefork took batch_lock: not where a handler forks in a batch. */
static bool batch_taken;

void batch_prefork(bool may_wait)
{
	batch_taken = lock_take_for_fork(&batch_lock, may_wait);
}

void batch_postfork_parent(void)
{
	if (batch_taken)
		lock_release(&batch_lock);
}

void batch_postfork_child(void)
{
	/* A descriptor of the parent's reclaimer: here it is somebody else's. */
	resident.fd = -1;
	if (batch_taken)
		lock_reset(&batch_lock);
}
