/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - jemalloc's extended names: the table, and what it stands for
 *
 * What it is: the names of jemalloc 5 that have a meaning here, and where their
 * values come from.  What is not in the table is unknown: a program that asks
 * first finds out.  Left out on purpose are caches and arenas that a program
 * makes for itself, and jemalloc's own heap profile.
 *
 * Model: the names below `stats' speak of the last refresh, as in jemalloc:
 * when `epoch' was set, or, before that, first asked for.  A refresh adds up
 * what threads have (heap/tally.h) and walks over nothing, since programs do
 * that several times a second.  What counts as what:
 *
 *	allocated	live
 *	active		live, cached, and stranded as the last pass found it
 *	resident	active, dirty, lazy, metadata
 *	retained	address space that was used and is not backed
 *	mapped		slabs, and runs of large objects, whole
 *
 * Locking: none; each number is whole, but of two refreshes at once those of
 * either may stay.
 */
#include <errno.h>
#include <string.h>

#include "api/ext.h"
#include "api/mallctl.h"
#include "api/purge.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "debug/guard.h"
#include "ebb/jemalloc.h"
#include "heap/drain.h"
#include "heap/meter.h"
#include "heap/tally.h"
#include "os/map.h"
#include "reclaim/counters.h"
#include "reclaim/reclaimer.h"

#define ARENAS		1u	/* the heap */
#define LINE_MAX_LEN	160

/* === The table ============================================================ */

enum mallctl_kind {
	KIND_FACT,		/* row->fact */
	KIND_TEXT,		/* texts[row->what] */
	KIND_STAT,		/* enum figure, as of the last refresh */
	KIND_PAGES,		/* the same, in pages */
	KIND_LIVE,		/* enum live */
	KIND_CLASS,		/* enum of_class, of the class in the name */
	KIND_METER,		/* enum of_meter, of the calling thread */
	KIND_DEED,		/* enum deed */
};

enum figure {
	STAT_ALLOCATED,
	STAT_ACTIVE,
	STAT_METADATA,
	STAT_RESIDENT,
	STAT_MAPPED,
	STAT_RETAINED,
	STAT_DIRTY,
	STAT_LAZY,
	STAT_SMALL,
	STAT_LARGE,
	NR_STATS
};

enum live {
	LIVE_EPOCH,
	LIVE_BACKGROUND,
	LIVE_DIRTY_MS,
	LIVE_MUZZY_MS,
	LIVE_PAGE,
	LIVE_HEAPS,
	LIVE_RUNNING,
	LIVE_PASSES,
};

enum of_class {
	CLASS_SIZE,
	CLASS_SLOTS,
};

enum of_meter {
	THREAD_ALLOCATED,
	THREAD_FREED,
	THREAD_ALLOCATED_AT,
	THREAD_FREED_AT,
	THREAD_PEAK,
};

enum deed {
	DEED_PURGE,
	DEED_DECAY,
	DEED_FLUSH,
	DEED_RESET_PEAK,
};

enum text {
	TEXT_VERSION,
	TEXT_NOTHING,
	TEXT_DISABLED,
	TEXT_FALSE,
	TEXT_DEFAULT,
	TEXT_FREE,
};

static const char texts[][40] = {
	[TEXT_VERSION] = ("5.3.0-0-ebbmalloc-" EBB_VERSION),
	[TEXT_NOTHING] = "",
	[TEXT_DISABLED] = "disabled",
	[TEXT_FALSE] = "false",
	[TEXT_DEFAULT] = "default",
	[TEXT_FREE] = "free",
};

#define ROW(name, type, mode, kind, what)				\
	{ name, MALLCTL_##type, MALLCTL_##mode, KIND_##kind, what, 0 }
#define FACT(name, type, mode, fact)					\
	{ name, MALLCTL_##type, MALLCTL_##mode, KIND_FACT, 0, fact }

/* No name is the beginning of another, up to a dot. */
static const struct mallctl_row rows[] = {
	ROW("version", TEXT, READ, TEXT, TEXT_VERSION),
	ROW("epoch", U64, WRITE, LIVE, LIVE_EPOCH),
	ROW("background_thread", BOOL, KEEP, LIVE, LIVE_BACKGROUND),
	FACT("max_background_threads", SIZE, KEEP, 1),

	FACT("config.cache_oblivious", BOOL, READ, 0),
	FACT("config.debug", BOOL, READ, IS_ENABLED(CONFIG_DEBUG)),
	FACT("config.fill", BOOL, READ, 0),
	FACT("config.lazy_lock", BOOL, READ, 0),
	ROW("config.malloc_conf", TEXT, READ, TEXT, TEXT_NOTHING),
	FACT("config.opt_safety_checks", BOOL, READ, 1),
	FACT("config.prof", BOOL, READ, 0),
	FACT("config.prof_libgcc", BOOL, READ, 0),
	FACT("config.prof_libunwind", BOOL, READ, 0),
	FACT("config.stats", BOOL, READ, 1),
	FACT("config.utrace", BOOL, READ, 0),
	FACT("config.xmalloc", BOOL, READ, 0),

	FACT("opt.abort", BOOL, READ, 0),
	FACT("opt.abort_conf", BOOL, READ, 0),
	FACT("opt.cache_oblivious", BOOL, READ, 0),
	FACT("opt.confirm_conf", BOOL, READ, 0),
	ROW("opt.metadata_thp", TEXT, READ, TEXT, TEXT_DISABLED),
	FACT("opt.retain", BOOL, READ, 1),
	FACT("opt.hpa", BOOL, READ, 0),
	FACT("opt.oversize_threshold", SIZE, READ, 0),
	ROW("opt.dss", TEXT, READ, TEXT, TEXT_DISABLED),
	FACT("opt.narenas", UNSIGNED, READ, ARENAS),
	ROW("opt.percpu_arena", TEXT, READ, TEXT, TEXT_DISABLED),
	ROW("opt.background_thread", BOOL, READ, LIVE, LIVE_BACKGROUND),
	FACT("opt.max_background_threads", SIZE, READ, 1),
	ROW("opt.dirty_decay_ms", SSIZE, READ, LIVE, LIVE_DIRTY_MS),
	ROW("opt.muzzy_decay_ms", SSIZE, READ, LIVE, LIVE_MUZZY_MS),
	FACT("opt.stats_print", BOOL, READ, 0),
	ROW("opt.stats_print_opts", TEXT, READ, TEXT, TEXT_NOTHING),
	ROW("opt.junk", TEXT, READ, TEXT, TEXT_FALSE),
	FACT("opt.zero", BOOL, READ, 0),
	FACT("opt.utrace", BOOL, READ, 0),
	FACT("opt.xmalloc", BOOL, READ, 0),
	FACT("opt.tcache", BOOL, READ, 1),
	FACT("opt.tcache_max", SIZE, READ, CLASS_SIZE_MAX),
	FACT("opt.lg_tcache_max", SIZE, READ, 15),
	ROW("opt.thp", TEXT, READ, TEXT, TEXT_DEFAULT),
	FACT("opt.prof", BOOL, READ, 0),
	ROW("opt.zero_realloc", TEXT, READ, TEXT, TEXT_FREE),

	FACT("thread.arena", UNSIGNED, KEEP, 0),
	FACT("thread.tcache.enabled", BOOL, KEEP, 1),
	ROW("thread.tcache.flush", VOID, READ, DEED, DEED_FLUSH),
	ROW("thread.idle", VOID, READ, DEED, DEED_FLUSH),
	ROW("thread.allocated", U64, READ, METER, THREAD_ALLOCATED),
	ROW("thread.deallocated", U64, READ, METER, THREAD_FREED),
	ROW("thread.allocatedp", POINTER, READ, METER, THREAD_ALLOCATED_AT),
	ROW("thread.deallocatedp", POINTER, READ, METER, THREAD_FREED_AT),
	ROW("thread.peak.read", U64, READ, METER, THREAD_PEAK),
	ROW("thread.peak.reset", VOID, READ, DEED, DEED_RESET_PEAK),

	FACT("arena.#.initialized", BOOL, READ, 1),
	ROW("arena.#.decay", VOID, READ, DEED, DEED_DECAY),
	ROW("arena.#.purge", VOID, READ, DEED, DEED_PURGE),
	ROW("arena.#.dss", TEXT, KEEP, TEXT, TEXT_DISABLED),
	ROW("arena.#.dirty_decay_ms", SSIZE, KEEP, LIVE, LIVE_DIRTY_MS),
	ROW("arena.#.muzzy_decay_ms", SSIZE, KEEP, LIVE, LIVE_MUZZY_MS),

	FACT("arenas.narenas", UNSIGNED, READ, ARENAS),
	ROW("arenas.dirty_decay_ms", SSIZE, KEEP, LIVE, LIVE_DIRTY_MS),
	ROW("arenas.muzzy_decay_ms", SSIZE, KEEP, LIVE, LIVE_MUZZY_MS),
	FACT("arenas.quantum", SIZE, READ, 1u << CLASS_STEP_SHIFT),
	ROW("arenas.page", SIZE, READ, LIVE, LIVE_PAGE),
	FACT("arenas.tcache_max", SIZE, READ, CLASS_SIZE_MAX),
	FACT("arenas.nbins", UNSIGNED, READ, NR_CLASSES),
	FACT("arenas.nhbins", UNSIGNED, READ, NR_CLASSES),
	ROW("arenas.bin.#.size", SIZE, READ, CLASS, CLASS_SIZE),
	ROW("arenas.bin.#.nregs", U32, READ, CLASS, CLASS_SLOTS),
	FACT("arenas.bin.#.slab_size", SIZE, READ, SLAB_SIZE),
	FACT("arenas.nlextents", UNSIGNED, READ, 0),
	FACT("arenas.lookup", UNSIGNED, ASK, 0),

	ROW("stats.allocated", SIZE, READ, STAT, STAT_ALLOCATED),
	ROW("stats.active", SIZE, READ, STAT, STAT_ACTIVE),
	ROW("stats.metadata", SIZE, READ, STAT, STAT_METADATA),
	FACT("stats.metadata_thp", SIZE, READ, 0),
	ROW("stats.resident", SIZE, READ, STAT, STAT_RESIDENT),
	ROW("stats.mapped", SIZE, READ, STAT, STAT_MAPPED),
	ROW("stats.retained", SIZE, READ, STAT, STAT_RETAINED),
	ROW("stats.background_thread.num_threads", SIZE, READ, LIVE,
	    LIVE_RUNNING),
	ROW("stats.background_thread.num_runs", U64, READ, LIVE, LIVE_PASSES),
	ROW("stats.arenas.#.dss", TEXT, READ, TEXT, TEXT_DISABLED),
	ROW("stats.arenas.#.dirty_decay_ms", SSIZE, READ, LIVE, LIVE_DIRTY_MS),
	ROW("stats.arenas.#.muzzy_decay_ms", SSIZE, READ, LIVE, LIVE_MUZZY_MS),
	ROW("stats.arenas.#.nthreads", UNSIGNED, READ, LIVE, LIVE_HEAPS),
	ROW("stats.arenas.#.pactive", SIZE, READ, PAGES, STAT_ACTIVE),
	ROW("stats.arenas.#.pdirty", SIZE, READ, PAGES, STAT_DIRTY),
	ROW("stats.arenas.#.pmuzzy", SIZE, READ, PAGES, STAT_LAZY),
	ROW("stats.arenas.#.mapped", SIZE, READ, STAT, STAT_MAPPED),
	ROW("stats.arenas.#.retained", SIZE, READ, STAT, STAT_RETAINED),
	ROW("stats.arenas.#.base", SIZE, READ, STAT, STAT_METADATA),
	FACT("stats.arenas.#.internal", SIZE, READ, 0),
	ROW("stats.arenas.#.resident", SIZE, READ, STAT, STAT_RESIDENT),
	ROW("stats.arenas.#.small.allocated", SIZE, READ, STAT, STAT_SMALL),
	ROW("stats.arenas.#.large.allocated", SIZE, READ, STAT, STAT_LARGE),
};

const struct mallctl_row *mallctl_row(size_t i)
{
	return i < ARRAY_SIZE(rows) ? &rows[i] : NULL;
}

/* The number behind the last arena is all of them, as it once was. */
bool mallctl_ref_is_valid(const struct mallctl_ref *ref)
{
	if (ref->row->kind == KIND_CLASS ||
	    !strncmp(ref->row->name, "arenas.", 7))
		return ref->index < NR_CLASSES;
	return ref->index <= ARENAS || ref->index == MALLCTL_ARENAS_ALL;
}

/* === Figures ============================================================== */

static uint64_t figures[NR_STATS];	/* atomic */
static uint64_t epoch;			/* atomic; 0: not refreshed yet */

static uint64_t not_negative(int64_t bytes)
{
	return bytes > 0 ? (uint64_t)bytes : 0;
}

/* Guarded objects are large ones, but not of the range. */
static uint64_t guarded_bytes(void)
{
	struct guard_stats stats = { 0 };

	if (guard_mode)
		guard_stats(&stats);
	return stats.live;
}

static void derive(const struct tally_sums *sums)
{
	uint64_t large = run_counted(large);
	uint64_t handed = not_negative(sums->slots_handed);
	uint64_t lazy = run_counted(in_state[RUN_LAZY]);
	uint64_t beside = not_negative(sums->slots_dirty);
	uint64_t stranded = min(beside, not_negative(
				load_relaxed(&account.slots_stranded)));
	uint64_t unused = beside - stranded + run_dirty_bytes() +
			  sums->run_cache_bytes;
	uint64_t active = ALIGN_UP(handed + stranded + large, map_page_size);
	uint64_t small = handed - min(handed, sums->cached_bytes);
	uint64_t metadata = counters_metadata(sums->heap_bytes);
	uint64_t fresh = load_relaxed(&range.fresh);
	const uint64_t found[NR_STATS] = {
		[STAT_ALLOCATED] = small + large,
		[STAT_ACTIVE] = active,
		[STAT_METADATA] = metadata,
		[STAT_RESIDENT] = active + ALIGN_UP(unused, map_page_size) +
				  metadata,
		[STAT_MAPPED] = run_counted(used) + guarded_bytes(),
		[STAT_RETAINED] = fresh - min(fresh, active + unused),
		[STAT_DIRTY] = unused - min(unused, lazy),
		[STAT_LAZY] = lazy,
		[STAT_SMALL] = small,
		[STAT_LARGE] = large,
	};

	for (unsigned int i = 0; i < NR_STATS; i++)
		store_relaxed(&figures[i], found[i]);
}

/* Whoever holds drain_lock does not let go: the figures stay. */
static int refresh(void)
{
	struct tally_sums sums;

	if (!tally_sum(&sums))
		return -EAGAIN;
	derive(&sums);
	add_relaxed(&epoch, 1);
	return 0;
}

static uint64_t figure_of(enum figure figure)
{
	if (!load_relaxed(&epoch) && refresh())
		return 0;
	return load_relaxed(&figures[figure]);
}

/* Since when free a page stops being dirty, and how long it then is lazy. */
static int64_t decay_of(enum live which)
{
	int64_t clean_ms = param_int(EBB_ATTR_DECAY_MS);
	int64_t lazy_ms = param_int(EBB_ATTR_LAZY) ?
			  param_int(EBB_ATTR_LAZY_MS) : -1;
	bool is_lazy = lazy_ms >= 0 && (clean_ms < 0 || lazy_ms < clean_ms);

	if (!param_int(EBB_ATTR_RECLAIM))
		return -1;
	if (which == LIVE_DIRTY_MS)
		return is_lazy ? lazy_ms : clean_ms;
	if (!is_lazy)
		return 0;
	return clean_ms < 0 ? -1 : clean_ms - lazy_ms;
}

static uint64_t passes(void)
{
	struct reclaim_stats now;

	reclaimer_stats(&now);
	return now.nr_passes;
}

static uint64_t live_of(enum live which)
{
	switch (which) {
	case LIVE_EPOCH:
		return load_relaxed(&epoch);
	case LIVE_BACKGROUND:
		return param_int(EBB_ATTR_RECLAIM) != 0;
	case LIVE_DIRTY_MS:
	case LIVE_MUZZY_MS:
		return (uint64_t)decay_of(which);
	case LIVE_PAGE:
		return map_page_size;
	case LIVE_HEAPS:
		return load_relaxed(&account.nr_heaps);
	case LIVE_RUNNING:
		return reclaimer_running();
	case LIVE_PASSES:
		return passes();
	}
	return 0;
}

static uint64_t metered(enum of_meter which)
{
	meter_begin();
	switch (which) {
	case THREAD_ALLOCATED:
		return load_relaxed(meter_counter(METER_ALLOCATED));
	case THREAD_FREED:
		return load_relaxed(meter_counter(METER_FREED));
	case THREAD_ALLOCATED_AT:
		return (uintptr_t)meter_counter(METER_ALLOCATED);
	case THREAD_FREED_AT:
		return (uintptr_t)meter_counter(METER_FREED);
	case THREAD_PEAK:
		return meter_peak();
	}
	return 0;
}

uint64_t mallctl_get(const struct mallctl_ref *ref)
{
	const struct mallctl_row *row = ref->row;

	switch ((enum mallctl_kind)row->kind) {
	case KIND_STAT:
		return figure_of((enum figure)row->what);
	case KIND_PAGES:
		return figure_of((enum figure)row->what) >> map_page_shift;
	case KIND_LIVE:
		return live_of((enum live)row->what);
	case KIND_CLASS:
		return row->what == CLASS_SIZE ?
		       sizeclasses[ref->index].size :
		       sizeclasses[ref->index].nr_slots;
	case KIND_METER:
		return metered((enum of_meter)row->what);
	case KIND_FACT:
	case KIND_TEXT:
	case KIND_DEED:
		break;
	}
	return row->fact;
}

const char *mallctl_get_text(const struct mallctl_ref *ref)
{
	return texts[ref->row->what];
}

/* === What is set, asked and done ========================================== */

/* The only one is the epoch, whose new value is not that which is given. */
int mallctl_set(const struct mallctl_ref *ref, uint64_t value)
{
	(void)ref;
	(void)value;
	return refresh();
}

/* Which arena it belongs to. */
int mallctl_ask(const void *ptr, uint64_t *ret_value)
{
	if (!range_contains(ptr) ||
	    load_acquire(&slab_hot(slab_of(ptr))->kind) == SLAB_KIND_NONE)
		return -EINVAL;
	*ret_value = 0;
	return 0;
}

int mallctl_do(const struct mallctl_ref *ref)
{
	struct purge_result result;

	switch ((enum deed)ref->row->what) {
	case DEED_PURGE:
		return purge_all(&result) ? -EFAULT : 0;
	case DEED_DECAY:
		return purge_due(&result) ? -EFAULT : 0;
	case DEED_FLUSH:
		return drain_mine() ? 0 : -EFAULT;
	case DEED_RESET_PEAK:
		meter_begin();
		meter_reset_peak();
		return 0;
	}
	return -ENOENT;
}

/* === Report =============================================================== */

__export void (*malloc_message)(void *cbopaque, const char *s);

struct printout {
	void (*write_cb)(void *cbopaque, const char *s);
	void *cbopaque;
	bool json;
	bool general;		/* what never changes, too */
	char group[16];		/* JSON: the object that is open */
};

static void write_stderr(void *cbopaque, const char *s)
{
	(void)cbopaque;
	/* Who does not listen does not hear. */
	(void)sys_write(2, s, strlen(s));
}

static __printf_(2, 3) void write_line(const struct printout *report,
				       const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	fmt_vline(line, sizeof(line), fmt, ap);
	va_end(ap);
	report->write_cb(report->cbopaque, line);
}

static void print_value(char *buf, size_t size, const struct mallctl_ref *ref)
{
	uint64_t value;

	if (ref->row->type == MALLCTL_TEXT) {
		fmt_line(buf, size, "\"%s\"", mallctl_get_text(ref));
		return;
	}
	value = mallctl_get(ref);
	if (ref->row->type == MALLCTL_BOOL)
		fmt_line(buf, size, "%s", value ? "true" : "false");
	else if (ref->row->type == MALLCTL_SSIZE)
		fmt_line(buf, size, "%lld", (long long)value);
	else
		fmt_line(buf, size, "%llu", (unsigned long long)value);
}

/* Of the heap as a whole, not of a thread, a class, or to be done. */
static bool is_reported(const struct printout *report,
			const struct mallctl_row *row)
{
	bool of_stats = !strncmp(row->name, "stats.", 6);

	return row->type != MALLCTL_VOID && row->mode != MALLCTL_ASK &&
	       row->mode != MALLCTL_WRITE &&
	       !strchr(row->name, '#') && strncmp(row->name, "thread.", 7) &&
	       (of_stats || report->general);
}

/* "stats.active" is "active" in the object "stats". */
static const char *open_group(struct printout *report, const char *name,
			      const char **ret_before)
{
	const char *dot = strchr(name, '.');
	size_t len = dot ? (size_t)(dot - name) : 0;
	bool same = !strncmp(report->group, name, len) && !report->group[len];

	*ret_before = ",\n";
	if (same)
		return dot ? dot + 1 : name;
	write_line(report, "%s", report->group[0] ? "\n}" : "");
	memcpy(report->group, name, len);
	report->group[len] = '\0';
	write_line(report, ",\n\"%s\": {", report->group);
	*ret_before = "\n";
	return dot + 1;
}

static void print_row(struct printout *report, const struct mallctl_row *row)
{
	const struct mallctl_ref ref = { row, 0 };
	const char *name = row->name, *before = "";
	char value[64];

	print_value(value, sizeof(value), &ref);
	if (!report->json) {
		write_line(report, "%s: %s\n", name, value);
		return;
	}
	name = open_group(report, name, &before);
	write_line(report, "%s\"%s\": %s", before, name, value);
}

static void print_counters(const struct printout *report,
			   const uint64_t *values)
{
	for (unsigned int i = 0; i < EBB_NR_COUNTERS; i++)
		write_line(report, report->json ? "%s\"%s\": %llu" :
						  "%s%s: %llu\n",
			   report->json && i ? ",\n" : "",
			   counters_info((enum ebb_counter)i)->name,
			   (unsigned long long)values[i]);
}

static void print_all(struct printout *report, const uint64_t *values)
{
	write_line(report, report->json ? "{\n\"jemalloc\": {\n\"epoch\": %llu" :
			   "___ Begin ebbmalloc statistics ___\nepoch: %llu\n",
		   (unsigned long long)load_relaxed(&epoch));
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++)
		if (is_reported(report, &rows[i]))
			print_row(report, &rows[i]);
	if (report->json)
		write_line(report, "\n}\n},\n\"ebbmalloc\": {\n");
	print_counters(report, values);
	write_line(report, "%s", report->json ? "\n}\n}\n" :
			   "--- End ebbmalloc statistics ---\n");
}

__export void malloc_stats_print(void (*write_cb)(void *, const char *),
				 void *cbopaque, const char *opts)
{
	struct printout report = {
		.write_cb = write_cb ?: malloc_message ?: write_stderr,
		.cbopaque = cbopaque,
		.json = opts && strchr(opts, 'J'),
		.general = !opts || !strchr(opts, 'g'),
	};
	uint64_t values[EBB_NR_COUNTERS];

	/* In a handler above an interrupted malloc nothing can be counted. */
	if (ext_counters(values) || refresh())
		return;
	print_all(&report, values);
}
