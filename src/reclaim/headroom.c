/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Headroom below the cgroup's limits, as a source
 *
 * Sampled once a round; see reclaim/gauge.h for what is read.  Below a quarter
 * of the limit file cache that can be dropped counts as room, too.
 *
 * Where there is a limit, an inotify instance tells of writes to the limits'
 * files, so that one that shrinks while the process sleeps is seen.  (The
 * kernel tells of a write through any mount of the hierarchy.  Without a limit
 * none is made: each user has few.)
 */
#include <poll.h>
#include "base/err.h"
#include "base/sys.h"
#include "reclaim/gauge.h"
#include "reclaim/source.h"

#define CACHE_SHARE	4	/* of the limit: below it the cache is read */

/* Reclaimer thread only. */
static struct gauge_set gauges;
static bool told;			/* notes were opened, or tried to be */

static void headroom_close(struct source *source)
{
	(void)source;
	gauge_close(&gauges);
}

static int headroom_open(struct source *source, const struct cgroup_view *view)
{
	bool v2 = view->version == CGROUP_V2;
	int err;

	/* What it held before is another process's. */
	gauges.nr = 0;
	gauges.min_fd = -1;
	told = false;
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

/* Have it told when a limit is written to; tried once. */
static void tell_of_limits(struct source *source)
{
	bool v1 = gauges.view->version == CGROUP_V1;
	int fd = cgroup_notes_open();

	told = true;
	if (fd >= 0 && !gauge_tell(&gauges, fd)) {
		sys_close(fd);
		fd = -ENOENT;
	}
	if (fd < 0) {
		source_watches(source, v1 ?
			       "cgroup v1; no inotify: limits read each round" :
			       "cgroup v2; no inotify: limits read each round");
		return;
	}
	source_add_fd(source, fd, POLLIN);
	source_watches(source, v1 ? "cgroup v1, changes of limits" :
		       "cgroup v2, changes of limits");
}

static int headroom_event(struct source *source, unsigned int at,
			  struct signals *signals)
{
	if (!cgroup_notes_drain(source->fds[at]))
		return 0;
	signals->limits_changed = true;
	return 1;
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
		signals->headroom += gauge_droppable(&gauges,
						     reading.tightest);
	signals->protected = gauge_protected(&gauges);
	if (reading.limit != CGROUP_NO_LIMIT && !told &&
	    source_may_hold_fds())
		tell_of_limits(source);
	return 0;
}

struct source headroom_source = {
	.name = "headroom",
	.open = headroom_open,
	.close = headroom_close,
	.event = headroom_event,
	.sample = headroom_sample,
	.sampled = true,
	.level = true,
	.reason = "not opened",
};
