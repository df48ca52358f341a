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
 *		but at most once in debounce_ms, and only where anonymous
 *		memory is at least half of what is used.
 *	oom	severe, always.
 *
 * A descriptor is ready when opened and stays so until it is read, so each is
 * read once before it is polled.  POLLERR is normal here.
 *
 * The files of another file system that stands in for the kernel's (FUSE, as
 * in containers of some kinds) never become ready, or always are: where that
 * is found, one inotify instance tells of all of them instead.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/vfs.h>
#include "base/err.h"
#include "base/param.h"
#include "base/sys.h"
#include "reclaim/source.h"

#define TEXT_SIZE	256
#define STAT_SIZE	4096

struct events {
	uint64_t high, max, oom;
};

/* Reclaimer thread only. */
static struct {
	struct events last;
	unsigned int level;
	int fd;
} watched[SOURCE_MAX_FDS];
static unsigned int nr_watched;
static bool by_notes;			/* fds[0] is an inotify instance, else
					 * the fds are those of @watched */
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

static int watch_level(unsigned int level)
{
	const char *file = level ? "memory.events.local" : "memory.events";
	int fd, err;

	fd = cgroup_open(&seen->memory, level, file, O_RDONLY);
	if (fd < 0)
		return fd;
	err = events_read(fd, &watched[nr_watched].last);
	if (err) {
		sys_close(fd);
		return err;
	}
	watched[nr_watched].level = level;
	watched[nr_watched].fd = fd;
	nr_watched++;
	return 0;
}

/* Whether @fd, just read, is the kernel's own file and waits for an event. */
static bool can_be_polled(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLPRI };
	struct timespec at_once = { 0 };
	struct statfs fs;
	struct events now;

	if (sys_call2(SYS_fstatfs, fd, (long)&fs) ||
	    fs.f_type != CGROUP2_SUPER_MAGIC)
		return false;
	/* An event in between is no reason to think that it is always ready. */
	return !sys_ppoll(&pfd, 1, &at_once) ||
	       (!events_read(fd, &now) && !sys_ppoll(&pfd, 1, &at_once));
}

static int poll_notes(struct source *source)
{
	int fd = cgroup_notes_open(), err = 0;

	for (unsigned int i = 0; fd >= 0 && !err && i < nr_watched; i++)
		err = cgroup_notes_add(fd, &seen->memory, watched[i].level,
				       watched[i].level ?
				       "memory.events.local" : "memory.events");
	if (err) {
		sys_close(fd);
		fd = err;
	}
	source_watches(source, "memory.events, by inotify");
	return source_take_fd(source, fd, POLLIN, "memory.events cannot be "
			      "polled, nor be watched by inotify");
}

static int poll_watched(struct source *source)
{
	for (unsigned int i = 0; i < nr_watched && !by_notes; i++)
		by_notes = !can_be_polled(watched[i].fd);
	if (by_notes)
		return poll_notes(source);
	for (unsigned int i = 0; i < nr_watched; i++)
		source_add_fd(source, watched[i].fd, POLLPRI);
	source_watches(source, "memory.events");
	return 0;
}

static void cgroup2_close(struct source *source)
{
	(void)source;
	for (unsigned int i = 0; i < nr_watched; i++)
		sys_close(watched[i].fd);
	nr_watched = 0;
	if (!by_notes)
		source->nr_fds = 0;
}

static int cgroup2_open(struct source *source, const struct cgroup_view *view)
{
	int err = -ENOENT, ret;

	nr_watched = 0;
	by_notes = false;
	last_max_ms = 0;
	if (view->version == CGROUP_V1)
		return source_refuse(source, "the memory controller is on "
				     "cgroup v1", -EOPNOTSUPP);
	if (view->version == CGROUP_NONE)
		return source_refuse(source, view->why, -EOPNOTSUPP);
	seen = view;
	for (unsigned int level = 0; level < CGROUP_MAX_LEVELS &&
	     nr_watched < SOURCE_MAX_FDS; level++) {
		ret = watch_level(level);
		if (ret && ret != -ENOENT)
			err = ret;
	}
	if (!nr_watched && err == -ENOENT)
		return source_refuse(source, "in the root cgroup, or no memory "
				     "controller on the way to it",
				     -EOPNOTSUPP);
	if (!nr_watched)
		return source_refuse(source, "cannot read memory.events", err);
	return poll_watched(source);
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

/* What the @at-th file says now; 1, 0 or -errno. */
static int hear_level(unsigned int at, struct signals *signals)
{
	struct events *last = &watched[at].last;
	struct events now;
	bool severe;
	uint64_t gap_ms = (uint64_t)param_int(EBB_ATTR_DEBOUNCE_MS);
	int err;

	err = events_read(watched[at].fd, &now);
	if (err)
		return err;
	severe = now.high != last->high || now.oom != last->oom;
	if (!severe && now.max != last->max &&
	    (!last_max_ms || signals->now_ms - last_max_ms >= gap_ms)) {
		last_max_ms = signals->now_ms;
		severe = mostly_anonymous(watched[at].level);
	}
	*last = now;
	if (severe)
		signals->pressure = PRESSURE_SEVERE;
	return severe;
}

static int cgroup2_event(struct source *source, unsigned int at,
			 struct signals *signals)
{
	unsigned int end = at + 1;
	bool any = false;
	int ret;

	if (by_notes && !cgroup_notes_drain(source->fds[at]))
		return 0;
	if (by_notes)
		end = nr_watched;
	for (; at < end; at++) {
		ret = hear_level(at, signals);
		if (ret < 0)
			return source_refuse(source, "memory.events is gone",
					     ret);
		any |= ret;
	}
	return any;
}

struct source cgroup2_source = {
	.name = "cgroup2",
	.open = cgroup2_open,
	.close = cgroup2_close,
	.event = cgroup2_event,
	.needs_fds = true,
	.reason = "not opened",
};
