/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - PSI trigger
 *
 * What it is: a trigger of the kernel's pressure stall information, for
 * sustained pressure: reclaim that goes on, refaults, swapping.  (It never
 * comes before the OOM kill of a process whose memory is all anonymous.)
 *
 * Model: `some THRESHOLD WINDOW' is written to memory.pressure of the own
 * cgroup in the v2 tree, which also counts stalls at v1 limits in a hybrid
 * set-up; else to /proc/pressure/memory.  The kernel takes the last byte
 * written for the terminator, so the final zero byte is written, too.
 *
 * The window is FINE_WINDOW_US where the kernel grants it (CAP_SYS_RESOURCE),
 * else EBB_PSI_WINDOW_US, multiples of which need no privilege.  (Much finer
 * ones are no good: below a tenth of a second kernels miss events.)  The
 * threshold is the same share of either.
 *
 * Grades: what stalled since the last event, as a share of the time since,
 *	some >= psi_some or full >= psi_full	severe
 *	less					mild
 * and system-wide, where it may be somebody else's, only `full' makes it
 * severe.  After a pause of more than two windows that share is not known,
 * and the event is mild; if the pressure lasts, the next one tells.
 *
 * The first event after arming may be false: the stall time `total=' is
 * compared with that of the event before, and an event without half the
 * threshold of new stall is not one.  It is read before arming and on events
 * only (at most once per window), since readers of this file eat others'
 * stall time, and an unprivileged trigger's events.  For the same reason
 * there is no trigger where the service manager has one set (watch.c).
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "reclaim/source.h"
#include "reclaim/watch.h"

#define TEXT_SIZE		256
#define SYSTEM_FILE		"/proc/pressure/memory"
/* No option: finer ones miss events, and EBB_PSI_WINDOW_US is the ABI's. */
#define FINE_WINDOW_US		500000

struct totals {
	uint64_t some_us, full_us;
};

/* Reclaimer thread only. */
static uint64_t window_us;
static uint64_t threshold_us;		/* per window */
static struct totals last;		/* at the last event, or arming */
static uint64_t last_ms;
static bool own_file;			/* else the system's */

/* === Files ============================================================ */

/* The `total=' of the line that begins with @word; 0: there is none. */
static uint64_t find_total(const char *text, const char *word)
{
	const char *line = strstr(text, word);
	const char *at = line ? strstr(line, "total=") : NULL;
	uint64_t total;

	return at && !cgroup_parse_number(at + strlen("total="), &total) ?
	       total : 0;
}

static int read_totals(int fd, struct totals *ret_totals)
{
	char text[TEXT_SIZE];
	long len = cgroup_read_text(fd, text, sizeof(text));

	if (len < 0)
		return (int)len;
	ret_totals->some_us = find_total(text, "some");
	ret_totals->full_us = find_total(text, "full");
	return 0;
}

/* Write a trigger of @window; 0 or -errno. */
static int write_trigger(int fd, uint64_t window)
{
	char text[64];
	size_t len;
	long ret;

	window_us = window;
	threshold_us = (uint64_t)param_int(EBB_ATTR_PSI_US) * window /
		       EBB_PSI_WINDOW_US;
	threshold_us = max(threshold_us, (uint64_t)1);
	len = fmt_line(text, sizeof(text), "some %llu %llu",
		       (unsigned long long)threshold_us,
		       (unsigned long long)window_us);
	ret = sys_write(fd, text, len + 1);
	return ret < 0 ? (int)ret : 0;
}

/* Arm a trigger on @fd, which is closed where that fails: it is not armed. */
static int arm(struct source *source, int fd)
{
	int err;

	if (fd < 0)
		return fd;
	if (read_totals(fd, &last))
		last = (struct totals){ 0 };
	last_ms = clock_ms();
	err = write_trigger(fd, FINE_WINDOW_US);
	if (err == -EINVAL || err == -EPERM)
		err = write_trigger(fd, EBB_PSI_WINDOW_US);
	if (err) {
		sys_close(fd);
		return err;
	}
	source_add_fd(source, fd, POLLPRI);
	return 0;
}

/* Why only the system-wide file is watched. */
static const char *explain(int own_err)
{
	switch (own_err) {
	case -ENOENT:
		return "system-wide; no memory.pressure of its own";
	case -EROFS:
		return "system-wide; own memory.pressure is read-only";
	case -EACCES:
	case -EPERM:
		return "system-wide; own memory.pressure may not be written";
	default:
		return "system-wide; own memory.pressure takes no trigger";
	}
}

/* Only the root of the v2 tree lacks cgroup.type. */
static bool is_root(const struct cgroup_dir *dir)
{
	int fd = cgroup_open(dir, 0, "cgroup.type", O_RDONLY);

	if (fd >= 0)
		sys_close(fd);
	return fd == -ENOENT;
}

/* === The source ======================================================= */

/* 0, or refused since the service manager has its say. */
static int give_way(struct source *source)
{
	switch (IS_ENABLED(CONFIG_WATCH) ? watch_claims() : WATCH_NONE) {
	case WATCH_OFF:
		return source_refuse(source, "turned off by "
				     "$MEMORY_PRESSURE_WATCH=/dev/null",
				     -EOPNOTSUPP);
	case WATCH_PSI:
		return source_refuse(source, "$MEMORY_PRESSURE_WATCH is "
				     "watched instead", -EBUSY);
	case WATCH_NONE:
		break;
	}
	return 0;
}

static int psi_open(struct source *source, const struct cgroup_view *view)
{
	int own_err, err;

	if (!param_int(EBB_ATTR_PSI_US))
		return source_refuse(source, "turned off by psi_us=0",
				     -EOPNOTSUPP);
	err = give_way(source);
	if (err)
		return err;
	own_err = -ENOENT;
	if (!is_root(&view->unified))
		own_err = arm(source, cgroup_open(&view->unified, 0,
						  "memory.pressure",
						  O_RDWR | O_NONBLOCK));
	own_file = !own_err;
	if (own_file) {
		source_watches(source, window_us == FINE_WINDOW_US ?
			       "memory.pressure of the own cgroup, fine" :
			       "memory.pressure of the own cgroup");
		return 0;
	}
	err = arm(source, sys_open(SYSTEM_FILE,
				   O_RDWR | O_NONBLOCK | O_CLOEXEC, 0));
	if (err == -ENOENT)
		return source_refuse(source, "the kernel has PSI off "
				     "(boot with psi=1)", err);
	if (err)
		return source_refuse(source, "cannot arm a trigger on "
				     SYSTEM_FILE, err);
	source_watches(source, explain(own_err));
	return 0;
}

static bool reaches(uint64_t stall_us, uint64_t span_us, enum ebb_attr_id id)
{
	uint64_t percent = (uint64_t)param_int(id);

	return percent && stall_us * 100 >= span_us * percent;
}

/* @stall since the last event, which was @span_us ago. */
static enum pressure grade(const struct totals *stall, uint64_t span_us)
{
	if (span_us > 2 * window_us)
		return PRESSURE_MILD;
	span_us = max(span_us, window_us);
	if (reaches(stall->full_us, span_us, EBB_ATTR_PSI_FULL))
		return PRESSURE_SEVERE;
	if (own_file && reaches(stall->some_us, span_us, EBB_ATTR_PSI_SOME))
		return PRESSURE_SEVERE;
	return PRESSURE_MILD;
}

static int psi_event(struct source *source, unsigned int at,
		     struct signals *signals)
{
	struct totals now = { 0 }, stall;
	int err;

	err = read_totals(source->fds[at], &now);
	if (err)
		return source_refuse(source, "memory.pressure is gone", err);
	stall.some_us = now.some_us - min(now.some_us, last.some_us);
	stall.full_us = now.full_us - min(now.full_us, last.full_us);
	if (stall.some_us < threshold_us / 2 || !stall.some_us)
		return 0;
	signals->pressure = grade(&stall, (signals->now_ms - last_ms) * 1000);
	last = now;
	last_ms = signals->now_ms;
	return 1;
}

static int psi_sample(struct source *source, struct signals *signals)
{
	(void)signals;
	return give_way(source);
}

struct source psi_source = {
	.name = "psi",
	.open = psi_open,
	.event = psi_event,
	.sample = psi_sample,
	.needs_fds = true,
	.slow_close = true,
	.reason = "not opened",
};
