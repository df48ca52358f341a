/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - glibc's extensions, telling the truth about this heap
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "api/init.h"
#include "base/lock.h"
#include "base/param.h"
#include "ebb/stats.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "os/advise.h"
#include "reclaim/inband.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "reclaim/source.h"

#define REPORT_MAX	2048
#define SIGNAL_MAX	256		/* one line of it */

__export size_t malloc_usable_size(void *ptr)
{
	return ptr ? alloc_usable(ptr, "malloc_usable_size") : 0;
}

/*
 * Everything that can be given back, now, whatever @pad says: with magazines
 * apart there is no top of the heap that a pad would keep.  1 if any memory
 * was backed that is not any more.  From a signal handler that interrupted
 * the allocator it does nothing and returns 0.
 */
__export int malloc_trim(size_t pad)
{
	struct purge_order order = {
		.lazy_age_ms = PURGE_NEVER,
		.drain = true,
		.force = true,
	};
	struct purge_result result;
	int saved = errno;

	(void)pad;
	/* In a handler above an interrupted malloc there may be locks held. */
	if (tcb.busy || lock_holds_any() || !init_ready() ||
	    purge_run(&order, &result))
		return 0;
	errno = saved;
	return result.clean_bytes > 0;
}

__export struct mallinfo2 mallinfo2(void)
{
	struct ebb_heap_counts counts;
	struct mallinfo2 info = { 0 };

	if (ebb_heap_count(&counts))
		return info;
	info.arena = counts.mapped_bytes;
	info.hblkhd = load_relaxed(&account.large_bytes);
	info.fsmblks = counts.cached_bytes;
	info.uordblks = counts.live_bytes;
	info.fordblks = counts.mapped_bytes - counts.live_bytes;
	info.ordblks = counts.free_blocks;
	info.keepcost = counts.dirty_bytes + counts.lazy_bytes;
	return info;
}

static int saturate(size_t value)
{
	return value > INT_MAX ? INT_MAX : (int)value;
}

__export struct mallinfo mallinfo(void)
{
	struct mallinfo2 info = mallinfo2();

	return (struct mallinfo){
		.arena = saturate(info.arena),
		.ordblks = saturate(info.ordblks),
		.hblkhd = saturate(info.hblkhd),
		.fsmblks = saturate(info.fsmblks),
		.uordblks = saturate(info.uordblks),
		.fordblks = saturate(info.fordblks),
		.keepcost = saturate(info.keepcost),
	};
}

/* Nothing of what mallopt(3) names exists here, so nothing is set. */
__export int mallopt(int param, int value)
{
	(void)param;
	(void)value;
	return 0;
}

/* The counters by name, for malloc_info() and malloc_stats(). */
struct counter {
	const char *name;
	uint64_t value;
};

/* What the heap is made of. */
#define NR_HEAP_COUNTERS	11

static void name_heap_counters(const struct ebb_heap_counts *counts,
			       struct counter *list)
{
	const struct counter all[NR_HEAP_COUNTERS] = {
		{ "live", counts->live_bytes },
		{ "cached", counts->cached_bytes },
		{ "dirty", counts->dirty_bytes },
		{ "lazy", counts->lazy_bytes },
		{ "clean", counts->clean_bytes },
		{ "metadata", counts->meta_bytes },
		{ "locked", counts->locked_bytes },
		{ "mapped", counts->mapped_bytes },
		{ "slabs", counts->slabs },
		{ "free_blocks", counts->free_blocks },
		{ "stranded_blocks", counts->stranded_blocks },
	};

	memcpy(list, all, sizeof(all));
}

static uint64_t none_is_zero(uint64_t limit)
{
	return limit == UINT64_MAX ? 0 : limit;
}

/* What reclaim has done since the process began; bytes unless it says so. */
#define NR_RECLAIM_COUNTERS	22

static void name_reclaim_counters(struct counter *list)
{
	struct reclaim_stats reclaim;
	struct inband_stats inband;

	reclaimer_stats(&reclaim);
	inband_stats(&inband);
	const struct counter all[NR_RECLAIM_COUNTERS] = {
		{ "nr_passes", reclaim.nr_passes },
		{ "nr_forced_passes", reclaim.nr_forced },
		{ "nr_over_passes", reclaim.nr_over },
		{ "nr_wakes", reclaim.nr_wakes },
		{ "made_lazy", reclaim.lazy_bytes },
		{ "given_back", reclaim.clean_bytes },
		{ "refused", reclaim.refused_bytes },
		{ "retaken", purge_retaken() },
		{ "lazy_reused", load_relaxed(&account.lazy_reused) },
		{ "lazy_taken_by_kernel", purge_lazy_taken() },
		{ "strays_given_back", purge_strays() },
		{ "nr_huge_pages_split", purge_splits() },
		{ "limit", none_is_zero(reclaim.limit) },
		{ "headroom", none_is_zero(reclaim.headroom) },
		{ "inband_looks", inband.nr_looks },
		{ "inband_near", inband.nr_near },
		{ "inband_purges", inband.nr_purges },
		{ "inband_given_back", inband.purged_bytes },
		{ "inband_waits", inband.nr_waits },
		{ "inband_helped", inband.nr_helped },
		{ "inband_worst_us", inband.worst_us },
		{ "inband_refused", inband.nr_refused },
	};

	memcpy(list, all, sizeof(all));
}

#define NR_COUNTERS	(NR_HEAP_COUNTERS + NR_RECLAIM_COUNTERS)

static void name_counters(const struct ebb_heap_counts *counts,
			  struct counter *list)
{
	name_heap_counters(counts, list);
	name_reclaim_counters(list + NR_HEAP_COUNTERS);
}

__export int malloc_info(int options, FILE *stream)
{
	struct counter list[NR_COUNTERS];
	struct ebb_heap_counts counts;
	char signal[SIGNAL_MAX];

	if (options) {
		errno = EINVAL;
		return -1;
	}
	if (ebb_heap_count(&counts))
		return -1;
	name_counters(&counts, list);
	fputs("<malloc version=\"ebbmalloc-1\">\n", stream);
	for (unsigned int i = 0; i < NR_COUNTERS; i++)
		fprintf(stream, "<counter name=\"%s\" value=\"%llu\"/>\n",
			list[i].name, (unsigned long long)list[i].value);
	fprintf(stream, "<reclaimer state=\"%s\" backend=\"%s\"/>\n",
		reclaimer_state(), advise_name());
	for (unsigned int i = 0; source_at(i); i++) {
		const struct source *source = source_at(i);

		source_describe(source, signal, sizeof(signal));
		fprintf(stream, "<signal name=\"%s\" live=\"%d\" "
			"events=\"%llu\" purges=\"%llu\" state=\"%s\"/>\n",
			source->name, source_is_live(source),
			(unsigned long long)load_relaxed(&source->nr_events),
			(unsigned long long)load_relaxed(&source->nr_purges),
			signal);
	}
	return fputs("</malloc>\n", stream) < 0 ? -1 : 0;
}

__export void malloc_stats(void)
{
	const char *undrained = drain_unavailable();
	struct counter list[NR_COUNTERS];
	struct ebb_heap_counts counts;
	char report[REPORT_MAX];

	if (ebb_heap_count(&counts))
		return;
	name_counters(&counts, list);
	fputs("ebbmalloc:\n", stderr);
	for (unsigned int i = 0; i < NR_COUNTERS; i++)
		fprintf(stderr, "  %-20s %12llu\n", list[i].name,
			(unsigned long long)list[i].value);
	fprintf(stderr, "  reclaimer: %s\n", reclaimer_state());
	if (undrained)
		fprintf(stderr, "  caches of idle threads are kept: %s\n",
			undrained);
	source_report(report, sizeof(report));
	fputs(report, stderr);
	advise_report(report, sizeof(report));
	fputs(report, stderr);
}
