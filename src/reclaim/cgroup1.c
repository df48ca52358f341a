/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - cgroup v1 usage thresholds
 *
 * What it is: one eventfd that the kernel signals within 20 us of usage
 * crossing one of several thresholds, registered through cgroup.event_control
 * at the visible level with the lowest limit.
 *
 * Model: the thresholds are shares of the limit.  A crossing is signalled in
 * both directions and without saying which; so on an event usage is read and
 * the number of thresholds below it, the step, compared with the step before.
 * Only upwards is pressure: mild at the first step, severe above.
 *
 * To register one threshold takes the kernel a grace period, 14 ms and more.
 * So they are registered one at a time when the reclaimer has nothing better
 * to do, the one that matters most first.
 *
 * The limit may change at run time.  It is looked at when headroom was told
 * so, else once per RECHECK_MS while the reclaimer is awake, and the thresholds
 * are then registered anew.  An eventfd's registrations go away with it.
 * Without any limit the source is live and waits for one.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "reclaim/source.h"

#define RECHECK_MS	1000

/* Shares of the limit, in 1/1024, rising. */
static const unsigned int shares[] = { 768, 896, 973 };

/* In which order they are registered. */
static const unsigned int urgency[] = { 1, 0, 2 };

_Static_assert(ARRAY_SIZE(urgency) == ARRAY_SIZE(shares),
	       "every threshold is registered once");

/* Reclaimer thread only. */
static const struct cgroup_view *seen;
static struct {
	uint64_t limit;			/* the thresholds are shares of this */
	unsigned int level;		/* and stand here */
	unsigned int step;		/* thresholds below usage when read */
	unsigned int nr_registered;	/* of urgency[] */
	uint64_t checked_ms;
	int usage_fd;			/* -1: no limit, nothing registered */
} armed;

static uint64_t threshold(uint64_t limit, unsigned int i)
{
	return limit / 1024 * shares[i];
}

static unsigned int step_of(uint64_t limit, uint64_t usage)
{
	unsigned int step = 0;

	while (step < ARRAY_SIZE(shares) && usage >= threshold(limit, step))
		step++;
	return step;
}

static int level_limit(unsigned int level, uint64_t *ret_limit)
{
	int fd = cgroup_open(&seen->memory, level, "memory.limit_in_bytes",
			     O_RDONLY);
	int err;

	if (fd < 0)
		return fd;
	err = cgroup_read_number(fd, ret_limit);
	sys_close(fd);
	return err;
}

/* The lowest limit on the path and where it is. */
static int find_limit(uint64_t *ret_limit, unsigned int *ret_level)
{
	uint64_t lowest = CGROUP_NO_LIMIT, limit;
	unsigned int lowest_level = 0;
	int err;

	for (unsigned int level = 0; level < CGROUP_MAX_LEVELS; level++) {
		err = level_limit(level, &limit);
		if (err && !level)
			return err;
		if (!err && limit < lowest) {
			lowest = limit;
			lowest_level = level;
		}
	}
	*ret_limit = lowest;
	*ret_level = lowest_level;
	return 0;
}

static void disarm(struct source *source)
{
	source_close_fds(source);
	if (armed.usage_fd >= 0)
		sys_close(armed.usage_fd);
	armed.usage_fd = -1;
}

/* Register one threshold; the limit has one. */
static int register_threshold(struct source *source, unsigned int i)
{
	char text[96];
	int control_fd;
	size_t len;
	long ret;

	control_fd = cgroup_open(&seen->memory, armed.level,
				 "cgroup.event_control", O_WRONLY);
	if (control_fd < 0)
		return source_refuse(source, "cannot open "
				     "cgroup.event_control", control_fd);
	len = fmt_line(text, sizeof(text), "%d %d %llu", source->fds[0],
		       armed.usage_fd,
		       (unsigned long long)threshold(armed.limit, i));
	ret = sys_write(control_fd, text, len + 1);
	sys_close(control_fd);
	if (ret < 0)
		return source_refuse(source, "cannot register a threshold",
				     (int)ret);
	return 0;
}

/* Prepare for the thresholds of armed.limit at armed.level. */
static int arm(struct source *source)
{
	uint64_t usage;
	int fd;

	armed.nr_registered = 0;
	armed.usage_fd = cgroup_open(&seen->memory, armed.level,
				     "memory.usage_in_bytes", O_RDONLY);
	if (armed.usage_fd < 0)
		return source_refuse(source, "cannot open "
				     "memory.usage_in_bytes", armed.usage_fd);
	fd = cgroup_open(&seen->memory, armed.level, "cgroup.event_control",
			 O_WRONLY);
	if (fd < 0)
		return source_refuse(source, "cannot open "
				     "cgroup.event_control", fd);
	sys_close(fd);
	fd = (int)sys_call2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	fd = source_take_fd(source, fd, POLLIN, "no eventfd");
	if (fd)
		return fd;
	armed.step = cgroup_read_number(armed.usage_fd, &usage) ? 0 :
		     step_of(armed.limit, usage);
	return 0;
}

/* Make the thresholds those of the limit as it is now. */
static int rearm(struct source *source)
{
	unsigned int level;
	uint64_t limit;
	int err;

	err = find_limit(&limit, &level);
	if (err)
		return source_refuse(source, "cannot read "
				     "memory.limit_in_bytes", err);
	if (limit == armed.limit && level == armed.level)
		return 0;
	disarm(source);
	armed.limit = limit;
	armed.level = level;
	if (limit == CGROUP_NO_LIMIT) {
		source_watches(source, "no limit set");
		return 0;
	}
	err = arm(source);
	if (!err)
		source_watches(source, "usage thresholds");
	return err;
}

static int cgroup1_open(struct source *source, const struct cgroup_view *view)
{
	armed.usage_fd = -1;
	if (view->version == CGROUP_V2)
		return source_refuse(source, "the memory controller is on "
				     "cgroup v2", -EOPNOTSUPP);
	if (view->version == CGROUP_NONE)
		return source_refuse(source, view->why, -EOPNOTSUPP);
	seen = view;
	armed.limit = 0;
	armed.checked_ms = clock_ms();
	return rearm(source);
}

static int cgroup1_event(struct source *source, unsigned int at,
			 struct signals *signals)
{
	unsigned int before = armed.step;
	uint64_t counter, usage;
	int err;

	if (sys_read(source->fds[at], &counter, sizeof(counter)) < 0)
		return 0;
	err = cgroup_read_number(armed.usage_fd, &usage);
	if (err)
		return source_refuse(source, "memory.usage_in_bytes is gone",
				     err);
	armed.step = step_of(armed.limit, usage);
	if (armed.step <= before)
		return 0;
	signals->pressure = armed.step > 1 ? PRESSURE_SEVERE : PRESSURE_MILD;
	return 1;
}

static int cgroup1_sample(struct source *source, struct signals *signals)
{
	if (!signals->limits_changed &&
	    signals->now_ms < armed.checked_ms + RECHECK_MS)
		return 0;
	armed.checked_ms = signals->now_ms;
	return rearm(source);
}

static int cgroup1_settle(struct source *source)
{
	int err;

	if (armed.usage_fd < 0 || armed.nr_registered == ARRAY_SIZE(shares))
		return 0;
	err = register_threshold(source, urgency[armed.nr_registered]);
	if (err)
		return err;
	armed.nr_registered++;
	return 1;
}

struct source cgroup1_source = {
	.name = "cgroup1",
	.open = cgroup1_open,
	.close = disarm,
	.event = cgroup1_event,
	.sample = cgroup1_sample,
	.settle = cgroup1_settle,
	.needs_fds = true,
	.level = true,
	.reason = "not opened",
};
