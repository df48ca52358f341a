/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The counters of ebb/stat_page.h, collected
 */
#include "acct/account.h"
#include "debug/guard.h"
#include "debug/profile.h"
#include "heap/sample.h"
#include "heap/stranger.h"
#include "heap/tally.h"
#include "os/guard_mark.h"
#include "reclaim/counters.h"
#include "reclaim/inband.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "reclaim/sibling.h"
#include "reclaim/written.h"
#include "vm/run.h"

const struct ebb_counter_info *counters_info(enum ebb_counter id)
{
	return &ebb_counters[id];
}

static uint64_t none_is_zero(uint64_t limit)
{
	return limit == UINT64_MAX ? 0 : limit;
}

static void read_heap(uint64_t *values)
{
	values[EBB_COUNTER_LOCKED] = load_relaxed(&account.locked_bytes);
	values[EBB_COUNTER_MAPPED] = load_relaxed(&range.used);
	values[EBB_COUNTER_LARGE] = run_counted(large);
	values[EBB_COUNTER_THREADS] = load_relaxed(&account.nr_heaps);
	values[EBB_COUNTER_STRANDED] = (uint64_t)max(
		load_relaxed(&account.slots_stranded), (int64_t)0);
}

static void read_reclaimer(uint64_t *values)
{
	struct reclaim_stats stats;

	reclaimer_stats(&stats);
	values[EBB_COUNTER_PRESSURE] = stats.pressure;
	values[EBB_COUNTER_NR_PASSES] = stats.nr_passes;
	values[EBB_COUNTER_NR_FORCED] = stats.nr_forced;
	values[EBB_COUNTER_NR_OVER] = stats.nr_over;
	values[EBB_COUNTER_NR_WAKES] = stats.nr_wakes;
	values[EBB_COUNTER_MADE_LAZY] = stats.lazy_bytes;
	values[EBB_COUNTER_GIVEN_BACK] = stats.clean_bytes;
	values[EBB_COUNTER_REFUSED] = stats.refused_bytes;
	values[EBB_COUNTER_RETAKEN] = purge_retaken();
	values[EBB_COUNTER_LAZY_REUSED] = load_relaxed(&account.lazy_reused);
	values[EBB_COUNTER_LAZY_TAKEN] = purge_lazy_taken();
	values[EBB_COUNTER_STRAYS] = purge_strays();
	values[EBB_COUNTER_SPLITS] = purge_splits();
	values[EBB_COUNTER_LIMIT] = none_is_zero(stats.limit);
	values[EBB_COUNTER_HEADROOM] = none_is_zero(stats.headroom);
}

static void read_siblings(uint64_t *values)
{
	struct sibling_stats stats;

	sibling_stats(&stats);
	values[EBB_COUNTER_SIBLINGS] = stats.nr_others;
	values[EBB_COUNTER_SIBLINGS_LED] = stats.leads;
	values[EBB_COUNTER_SIBLINGS_ASKED] = stats.nr_asks;
}

static void read_inband(uint64_t *values)
{
	struct inband_stats stats;

	inband_stats(&stats);
	values[EBB_COUNTER_INBAND_LOOKS] = stats.nr_looks;
	values[EBB_COUNTER_INBAND_NEAR] = stats.nr_near;
	values[EBB_COUNTER_INBAND_PURGES] = stats.nr_purges;
	values[EBB_COUNTER_INBAND_GIVEN] = stats.purged_bytes;
	values[EBB_COUNTER_INBAND_WAITS] = stats.nr_waits;
	values[EBB_COUNTER_INBAND_HELPED] = stats.nr_helped;
	values[EBB_COUNTER_INBAND_WORST] = stats.worst_us;
	values[EBB_COUNTER_INBAND_REFUSED] = stats.nr_refused;
	/* Where the reclaimer has not looked, threads may have. */
	if (!values[EBB_COUNTER_LIMIT]) {
		values[EBB_COUNTER_LIMIT] = stats.limit;
		values[EBB_COUNTER_HEADROOM] = stats.headroom;
	}
}

static void read_profile(uint64_t *values)
{
	struct profile_stats stats = { 0 };

	if (heap_profiled)
		profile_stats(&stats);
	values[EBB_COUNTER_PROFILE_LIVE] = stats.nr_live;
	values[EBB_COUNTER_PROFILE_DROPPED] = stats.nr_dropped;
}

static void read_guard(uint64_t *values)
{
	struct guard_stats stats = { 0 };

	if (guard_mode)
		guard_stats(&stats);
	values[EBB_COUNTER_GUARD_LIVE] = stats.live;
	values[EBB_COUNTER_GUARD_QUARANTINE] = stats.quarantine;
	values[EBB_COUNTER_GUARD_TAKEN] = stats.taken;
	values[EBB_COUNTER_GUARD_SKIPPED] = stats.skipped;
	values[EBB_COUNTER_GUARD_REPORTS] = stats.reports;
}

static void read_marks(uint64_t *values)
{
	struct guard_counters guard;

	guard_mark_count(&guard);
	values[EBB_COUNTER_GUARDED] = guard.marked;
}

static void read_written(uint64_t *values)
{
	struct written_stats stats = { 0 };

	if (IS_ENABLED(CONFIG_TRACK))
		written_stats(&stats);
	values[EBB_COUNTER_COLD] = stats.cold_bytes;
	values[EBB_COUNTER_WRITTEN] = stats.written_bytes;
	values[EBB_COUNTER_NR_SCANS] = stats.nr_scans;
	values[EBB_COUNTER_SCANNED] = stats.scanned_bytes;
	values[EBB_COUNTER_SCAN_TIME] = stats.scan_us;
	values[EBB_COUNTER_PAGED_OUT] = stats.out_bytes;
}

void counters_read(uint64_t values[EBB_NR_COUNTERS])
{
	read_profile(values);
	read_heap(values);
	read_reclaimer(values);
	read_inband(values);
	read_siblings(values);
	read_guard(values);
	read_marks(values);
	read_written(values);
}

uint64_t counters_metadata(uint64_t heap_bytes)
{
	return tally_table_bytes() + heap_bytes + stranger_bytes() +
	       (heap_profiled ? profile_bytes() : 0) +
	       (guard_mode ? guard_bytes() : 0);
}
