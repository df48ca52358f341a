/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - cgroup v2 memory.events
 *
 * What it is: POLLPRI on memory.events of the own cgroup and on
 * memory.events.local of the next visible levels above, since a limit that
 * is hit counts where it is set.
 *
 * Model: the counters `high', `max' and `oom' only grow; what grew since the
 * last read tells the kind.
 *	high	memory.high was crossed, and the eater is being throttled:
 *		severe, in time.
 *	max	memory.max was hit: too late to warn of anonymous growth, and
 *		also what a large file read does to a cgroup all day.  Severe,
 *		but at most once per DEBOUNCE_MS, and only where anonymous
 *		memory is at least half of what is used.
 *	oom	severe, always.
 *
 * A descriptor is ready when opened and stays so until it is read, so each is
 * read once before it is polled.  POLLERR is normal here.
 */
#include <fcntl.h>
#include <poll.h>
#include "base/err.h"
#include "base/sys.h"
#include "reclaim/source.h"

#define DEBOUNCE_MS	100
#define TEXT_SIZE	256
#define STAT_SIZE	4096

struct events {
	uint64_t high, max, oom;
};

/* Reclaimer thread only; the index is that of the fd. */
static struct {
	struct events last;
	unsigned int level;
} watched[SOURCE_MAX_FDS];

static const struct cgroup_view *seen;
static uint64_t last_max_ms;

static int events_read(int fd, struct events *ret_events)
{
	char text[TEXT_SIZE];
	long len = cgroup_read_text(fd, text, sizeof(text));

	if (len < 0)
		return (int)len;
	ret_events->high = cgroup_parse_key(text, "high");
	ret_events->max = cgroup_parse_key(text, "max");
	ret_events->oom = cgroup_parse_key(text, "oom");
	return 0;
}

static int watch_level(struct source *source, unsigned int level)
{
	const char *file = level ? "memory.events.local" : "memory.events";
	unsigned int at = source->nr_fds;
	int fd, err;

	fd = cgroup_open(&seen->memory, level, file, O_RDONLY);
	if (fd < 0)
		return fd;
	err = events_read(fd, &watched[at].last);
	if (err) {
		sys_close(fd);
		return err;
	}
	watched[at].level = level;
	source->fds[at] = fd;
	source->nr_fds++;
	return 0;
}

static int cgroup2_open(struct source *source, const struct cgroup_view *view)
{
	int err = -ENOENT, ret;

	if (view->version == CGROUP_V1)
		return source_refuse(source, "the memory controller is on "
				     "cgroup v1", -EOPNOTSUPP);
	if (view->version == CGROUP_NONE)
		return source_refuse(source, view->why, -EOPNOTSUPP);
	seen = view;
	last_max_ms = 0;
	for (unsigned int level = 0; level < CGROUP_MAX_LEVELS &&
	     source->nr_fds < SOURCE_MAX_FDS; level++) {
		ret = watch_level(source, level);
		if (ret && ret != -ENOENT)
			err = ret;
	}
	if (!source->nr_fds && err == -ENOENT)
		return source_refuse(source, "in the root cgroup, or no memory "
				     "controller on the way to it",
				     -EOPNOTSUPP);
	if (!source->nr_fds)
		return source_refuse(source, "cannot read memory.events", err);
	source_watches(source, "memory.events");
	return 0;
}

/* Whether most of what the cgroup at @level uses is anonymous. */
static bool mostly_anonymous(unsigned int level)
{
	static char text[STAT_SIZE];
	bool mostly = true;
	int fd;

	fd = cgroup_open(&seen->memory, level, "memory.stat", O_RDONLY);
	if (fd < 0)
		return true;
	if (cgroup_read_text(fd, text, sizeof(text)) > 0)
		mostly = cgroup_parse_key(text, "anon") >=
			 cgroup_parse_key(text, "file");
	sys_close(fd);
	return mostly;
}

static int cgroup2_event(struct source *source, unsigned int at,
			 struct signals *signals)
{
	struct events *last = &watched[at].last;
	struct events now;
	bool severe;
	int err;

	err = events_read(source->fds[at], &now);
	if (err)
		return source_refuse(source, "memory.events is gone", err);
	severe = now.high != last->high || now.oom != last->oom;
	if (!severe && now.max != last->max &&
	    (!last_max_ms || signals->now_ms - last_max_ms >= DEBOUNCE_MS)) {
		last_max_ms = signals->now_ms;
		severe = mostly_anonymous(watched[at].level);
	}
	*last = now;
	if (severe)
		signals->pressure = PRESSURE_SEVERE;
	return severe;
}

struct source cgroup2_source = {
	.name = "cgroup2",
	.open = cgroup2_open,
	.event = cgroup2_event,
	.poll_events = POLLPRI,
	.needs_fds = true,
	.reason = "not opened",
};
