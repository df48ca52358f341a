/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Snapshots: the heap as one sum
 *
 * Model: the space in use, without what the allocator has of it, is
 *
 *	mapped = live + cached + dirty + lazy + clean
 *
 * Of a slab that serves a class: slots that are taken; pages that are wholly
 * free, by their state; what is left, which is stranded, counts as dirty.  Of a
 * large object what was promised; its tail is dirty as far as it is on offer.
 * Of a guarded one its size; the rest of its pages is stranded.
 * Live is what is left of mapped, and is counted as well: as long as both differ
 * something was under way, and it is done again, a few times.
 *
 * No thread is stopped; passes wait, since what they have claimed is neither
 * free nor in use.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "api/init.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "debug/guard.h"
#include "ebb/abi.h"
#include "ebb/ebb.h"
#include "heap/drain.h"
#include "heap/slab.h"
#include "reclaim/counters.h"
#include "reclaim/purge.h"
#include "vm/run.h"

#define TRIES		16
#define JSON_THREADS	64u

_Static_assert(sizeof(((struct ebb_stats *)0)->counters) ==
	       EBB_NR_COUNTERS_MAX * sizeof(uint64_t), "all counters have room");

/* What one walk over the slabs comes to, in bytes. */
struct walk {
	uint64_t taken;		/* slots, those in caches included */
	uint64_t dirty;
	uint64_t lazy;
	uint64_t clean;
	uint64_t stranded;
	uint64_t meta;		/* runs of our own */
	uint64_t tails;		/* behind large objects */
	uint64_t guarded;	/* pages, which are not in the range */
	uint64_t nr_slabs;
};

static void add_slab(struct walk *walk, const struct slab *slab)
{
	struct slab_parts parts;

	slab_read(slab, &parts);
	walk->nr_slabs++;
	walk->taken += parts.taken;
	walk->clean += parts.clean;
	walk->lazy += parts.lazy;
	walk->dirty += parts.dirty;
	walk->stranded += SLAB_SIZE - parts.taken - parts.clean - parts.lazy -
			  parts.dirty;
}

static void add_any(struct walk *walk, size_t index)
{
	struct slab *slab = range.slabs + index;
	uint64_t bytes;

	switch (load_acquire(&hot_at(index)->kind)) {
	case SLAB_KIND_CLASS:
	case SLAB_KIND_MEDIUM:
		add_slab(walk, slab);
		break;
	case SLAB_KIND_META:
		walk->meta += (uint64_t)load_relaxed(&slab->run_len)
			      << SLAB_SHIFT;
		break;
	case SLAB_KIND_RUN:
		bytes = (uint64_t)load_relaxed(&slab->run_len) << SLAB_SHIFT;
		walk->tails += bytes - min(bytes, load_relaxed(
						   &slab->run_bytes));
		break;
	default:
		break;
	}
}

static uint64_t in_state(enum run_state state)
{
	return run_counted(in_state[state]);
}

/* What is free beside slabs, for which no walk is needed. */
static void add_runs(struct walk *walk, uint64_t mapped, uint64_t cached_runs)
{
	uint64_t offered = min(run_counted(tails), walk->tails);

	walk->dirty += in_state(RUN_DIRTY) + run_part_bytes() +
		       in_state(RUN_LEAVING) + cached_runs + offered;
	walk->lazy += in_state(RUN_LAZY);
	walk->clean += run_clean_bytes() + walk->tails - offered +
		       mapped - min(mapped, load_relaxed(&range.fresh));
}

static void add_guarded(struct walk *walk)
{
	struct guard_stats stats = { 0 };

	if (guard_mode)
		guard_stats(&stats);
	walk->guarded = stats.live;
	walk->stranded += stats.beside;
}

/*
 * Whether the sum came out; in any case it is one, with live as what is left.
 */
static cold bool try_once(struct ebb_stats *stats)
{
	uint64_t mapped = load_relaxed(&range.used), free, live;
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT, cached_runs;
	struct walk walk = { 0 };

	for (size_t i = 0; i < nr; i++)
		add_any(&walk, i);
	stats->cached = drain_cached_bytes(&cached_runs);
	add_runs(&walk, mapped, cached_runs);
	add_guarded(&walk);
	stats->mapped = mapped - min(mapped, walk.meta) + walk.guarded;
	stats->dirty = walk.dirty + walk.stranded;
	stats->stranded = walk.stranded;
	stats->lazy = walk.lazy;
	stats->clean = walk.clean;
	stats->counters[EBB_COUNTER_SLABS] = walk.nr_slabs;
	free = stats->cached + stats->dirty + stats->lazy + stats->clean;
	stats->live = stats->mapped - min(stats->mapped, free);
	/* Far from it: what was free was counted twice. */
	if (free > stats->mapped)
		stats->mapped = free;
	live = walk.taken - min(walk.taken, (uint64_t)stats->cached) +
	       run_counted(large);
	return live == stats->live;
}

static void fill_counters(struct ebb_stats *stats)
{
	uint64_t *values = stats->counters;
	uint64_t slabs = values[EBB_COUNTER_SLABS];

	counters_read(values);
	values[EBB_COUNTER_LIVE] = stats->live;
	values[EBB_COUNTER_CACHED] = stats->cached;
	values[EBB_COUNTER_DIRTY] = stats->dirty - stats->stranded;
	values[EBB_COUNTER_LAZY] = stats->lazy;
	values[EBB_COUNTER_CLEAN] = stats->clean;
	values[EBB_COUNTER_STRANDED] = stats->stranded;
	values[EBB_COUNTER_METADATA] = stats->metadata;
	values[EBB_COUNTER_SLABS] = slabs;
	stats->nr_counters = EBB_NR_COUNTERS;
}

static cold int take(struct ebb_stats *stats)
{
	bool inside = tcb.busy || lock_holds_any(), held;

	if (inside || !init_ready())
		return inside ? -EDEADLK : -ENOMEM;
	memset(stats, 0, sizeof(*stats));
	held = purge_hold();
	stats->flags = EBB_STATS_MOVING;
	for (int i = 0; i < TRIES && stats->flags; i++)
		if (try_once(stats))
			stats->flags = 0;
	if (held)
		purge_release();
	stats->version = EBB_ABI_VERSION;
	stats->size = sizeof(*stats);
	stats->time_ms = clock_realtime_ms();
	stats->metadata = counters_metadata(drain_heap_bytes());
	fill_counters(stats);
	return 0;
}

__export int ebb_stats_snapshot(struct ebb_stats *ret_stats, size_t size)
{
	struct ebb_stats stats;
	int err = size < offsetof(struct ebb_stats, counters) ? -EINVAL :
								take(&stats);

	if (err) {
		errno = -err;
		return -1;
	}
	stats.size = (uint32_t)min(size, sizeof(stats));
	memcpy(ret_stats, &stats, stats.size);
	return 0;
}

/* === As JSON ============================================================== */

struct json {
	char *buf;
	size_t size;
	size_t len;		/* of all of it, also of what had no room */
	unsigned int nr_threads;
};

static __printf_(2, 3) void add(struct json *json, const char *fmt, ...)
{
	char piece[160];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = fmt_vline(piece, sizeof(piece), fmt, ap);
	va_end(ap);
	if (json->len < json->size)
		memcpy(json->buf + json->len, piece,
		       min(len, json->size - json->len));
	json->len += len;
}

static unsigned long long ull(uint64_t value)
{
	return value;
}

/* A name may have any bytes; what is not plain is left out. */
static void add_name(struct json *json, const char *name)
{
	char plain[16];
	size_t len = 0;

	for (; *name && len < sizeof(plain) - 1; name++)
		if (*name >= ' ' && *name < 0x7f && *name != '"' &&
		    *name != '\\')
			plain[len++] = *name;
	plain[len] = '\0';
	add(json, "\"name\": \"%s\", ", plain);
}

static void add_thread(struct json *json, const struct ebb_thread_counts *row)
{
	add(json, "%s\n\t\t{\"tid\": %d, ", json->nr_threads++ ? "," : "",
	    row->tid);
	add_name(json, row->name);
	add(json, "\"ended\": %s, \"live\": %llu, \"cached\": %llu, ",
	    row->flags & EBB_THREAD_ENDED ? "true" : "false", ull(row->live),
	    ull(row->cached));
	add(json, "\"allocated\": %llu, \"freed_self\": %llu, ",
	    ull(row->allocated), ull(row->freed_self));
	add(json, "\"freed_by_others\": %llu, \"freed_for_others\": %llu}",
	    ull(row->freed_by_others), ull(row->freed_for_others));
}

static cold void add_threads(struct json *json)
{
	struct ebb_thread_counts rows[JSON_THREADS];
	int nr = ebb_thread_stats_all(rows, sizeof(rows[0]), JSON_THREADS);

	add(json, ",\n\t\"threads\": [");
	for (int i = 0; i < min(nr, (int)JSON_THREADS); i++)
		add_thread(json, &rows[i]);
	add(json, "\n\t]\n}\n");
}

static cold void add_stats(struct json *json, const struct ebb_stats *stats)
{
	add(json, "{\n\t\"version\": %u,\n\t\"time_ms\": %llu,\n",
	    stats->version, ull(stats->time_ms));
	add(json, "\t\"moving\": %s,\n",
	    stats->flags & EBB_STATS_MOVING ? "true" : "false");
	add(json, "\t\"mapped\": %llu,\n\t\"live\": %llu,\n"
	    "\t\"cached\": %llu,\n", ull(stats->mapped), ull(stats->live),
	    ull(stats->cached));
	add(json, "\t\"dirty\": %llu,\n\t\"lazy\": %llu,\n\t\"clean\": %llu,\n",
	    ull(stats->dirty), ull(stats->lazy), ull(stats->clean));
	add(json, "\t\"stranded\": %llu,\n\t\"metadata\": %llu,\n"
	    "\t\"counters\": {", ull(stats->stranded), ull(stats->metadata));
	for (unsigned int i = 0; i < stats->nr_counters; i++)
		add(json, "%s\n\t\t\"%s\": %llu", i ? "," : "",
		    counters_info((enum ebb_counter)i)->name,
		    ull(stats->counters[i]));
	add(json, "\n\t}");
}

__export int ebb_stats_json(char *buf, size_t size)
{
	struct json json = { .buf = buf, .size = size };
	struct ebb_stats stats;
	int err = take(&stats);
	int saved = errno;

	if (err) {
		errno = -err;
		return -1;
	}
	add_stats(&json, &stats);
	add_threads(&json);
	if (size)
		buf[min(json.len, size - 1)] = '\0';
	errno = saved;
	return (int)json.len;
}
