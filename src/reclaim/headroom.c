/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Headroom below the cgroup's limits, as a source
 *
 * Sampled once a round; see reclaim/gauge.h for what is read.  Below a quarter
 * of the limit file cache that can be dropped counts as room, too.
 */
#include "base/err.h"
#include "reclaim/gauge.h"
#include "reclaim/source.h"

#define CACHE_SHARE	4	/* of the limit: below it the cache is read */

/* Reclaimer thread only. */
static struct gauge_set gauges;

static int headroom_open(struct source *source, const struct cgroup_view *view)
{
	bool v2 = view->version == CGROUP_V2;
	int err;

	if (view->version == CGROUP_NONE)
		return source_refuse(source, view->why, -EOPNOTSUPP);
	err = gauge_open(&gauges, view, source_may_hold_fds());
	if (!err) {
		source_watches(source, v2 ? "cgroup v2" : "cgroup v1");
		return 0;
	}
	if (v2 && err == -ENOENT)
		return source_refuse(source, "in the root cgroup, or no memory "
				     "controller on the way to it",
				     -EOPNOTSUPP);
	return source_refuse(source, v2 ? "cannot read memory.current" :
			     "cannot read memory.usage_in_bytes", err);
}

static int headroom_sample(struct source *source, struct signals *signals)
{
	struct gauge_reading reading;
	int err;

	err = gauge_read(&gauges, &reading);
	if (err)
		return source_refuse(source, "the cgroup is gone", err);
	signals->limit = reading.limit;
	signals->headroom = reading.room;
	signals->soft = reading.soft;
	if (reading.limit != CGROUP_NO_LIMIT &&
	    reading.room < reading.limit / CACHE_SHARE)
		signals->headroom += gauge_droppable(&gauges, reading.tightest,
						     signals->now_ms);
	signals->protected = gauge_protected(&gauges);
	return 0;
}

struct source headroom_source = {
	.name = "headroom",
	.open = headroom_open,
	.sample = headroom_sample,
	.reason = "not opened",
};
