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

#include "api/ext.h"
#include "api/init.h"
#include "base/param.h"
#include "ctl/ctl.h"
#include "debug/profile.h"
#include "ebb/ebb.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/sample.h"
#include "os/advise.h"
#include "os/guard_mark.h"
#include "reclaim/counters.h"
#include "os/name.h"
#include "reclaim/inband.h"
#include "reclaim/reclaimer.h"
#include "reclaim/source.h"
#include "reclaim/written.h"

#define REPORT_MAX	2048
#define SIGNAL_MAX	256		/* one line of it */

__export size_t malloc_usable_size(void *ptr)
{
	return ptr ? alloc_usable(ptr, "malloc_usable_size") : 0;
}

__export struct mallinfo2 mallinfo2(void)
{
	struct ebb_heap_counts counts;
	struct mallinfo2 info = { 0 };

	if (ebb_heap_count(&counts))
		return info;
	info.arena = counts.mapped_bytes;
	info.hblkhd = run_counted(large);
	info.fsmblks = counts.cached_bytes;
	info.uordblks = counts.live_bytes;
	info.fordblks = counts.mapped_bytes -
			min(counts.mapped_bytes, counts.live_bytes);
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

int ext_counters(uint64_t *values)
{
	struct ebb_heap_counts counts;

	if (ebb_heap_count(&counts))
		return -1;
	counters_read(values);
	values[EBB_COUNTER_LIVE] = counts.live_bytes;
	values[EBB_COUNTER_CACHED] = counts.cached_bytes;
	values[EBB_COUNTER_DIRTY] = counts.dirty_bytes;
	values[EBB_COUNTER_LAZY] = counts.lazy_bytes;
	values[EBB_COUNTER_CLEAN] = counts.clean_bytes;
	values[EBB_COUNTER_METADATA] = counts.meta_bytes;
	values[EBB_COUNTER_MAPPED] = counts.mapped_bytes;
	values[EBB_COUNTER_SLABS] = counts.slabs;
	values[EBB_COUNTER_STRANDED] = counts.stranded_blocks << BLOCK_SHIFT;
	return 0;
}

__export int malloc_info(int options, FILE *stream)
{
	uint64_t values[EBB_NR_COUNTERS];
	char signal[SIGNAL_MAX];

	if (options) {
		errno = EINVAL;
		return -1;
	}
	if (ext_counters(values))
		return -1;
	fputs("<malloc version=\"ebbmalloc-1\">\n", stream);
	for (unsigned int i = 0; i < EBB_NR_COUNTERS; i++)
		fprintf(stream, "<counter name=\"%s\" value=\"%llu\"/>\n",
			counters_info(i)->name, (unsigned long long)values[i]);
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
	uint64_t values[EBB_NR_COUNTERS];
	char report[REPORT_MAX];

	if (ext_counters(values))
		return;
	fputs("ebbmalloc:\n", stderr);
	for (unsigned int i = 0; i < EBB_NR_COUNTERS; i++)
		fprintf(stderr, "  %-20s %12llu\n", counters_info(i)->name,
			(unsigned long long)values[i]);
	fprintf(stderr, "  reclaimer: %s\n", reclaimer_state());
	if (IS_ENABLED(CONFIG_CONTROL) && ctl_describe(report, sizeof(report)))
		fprintf(stderr, "  %s\n", report);
	if (undrained)
		fprintf(stderr, "  caches of idle threads are kept: %s\n",
			undrained);
	if (heap_profiled)
		fprintf(stderr, "  profile: a sample in %llu bytes, %s\n",
			(unsigned long long)sample_mean(), stack_describe());
	if (IS_ENABLED(CONFIG_VMA_NAME))
		fprintf(stderr, "  names of mappings: %s\n", name_describe());
	source_report(report, sizeof(report));
	fputs(report, stderr);
	advise_report(report, sizeof(report));
	fputs(report, stderr);
	if (guard_mark_describe(report, sizeof(report)))
		fprintf(stderr, "%s\n", report);
	if (IS_ENABLED(CONFIG_TRACK) &&
	    written_describe(report, sizeof(report)))
		fprintf(stderr, "%s\n", report);
}
