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
 * set-up; else to /proc/pressure/memory, whose pressure may be somebody
 * else's and therefore is mild.  The window is the one that needs no
 * privilege.  The kernel takes the last byte written for the terminator, so
 * the final zero byte is written, too.
 *
 * The first event after arming may be false: the stall time `total=' is
 * compared with that of the event before, and an event without half the
 * threshold of new stall is not one.  It is read on events only (at most once
 * per window), since readers of this file eat others' stall time.
 *
 * Invariant: an armed descriptor is not closed while the process runs; that
 * takes the kernel a grace period of many milliseconds.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "reclaim/source.h"

#define TEXT_SIZE	256
#define SYSTEM_FILE	"/proc/pressure/memory"

/* Reclaimer thread only. */
static uint64_t threshold_us;
static uint64_t last_total_us;
static bool own_file;			/* else the system's */

/* The `total=' of the line `some'. */
static int read_total(int fd, uint64_t *ret_total)
{
	char text[TEXT_SIZE];
	long len = cgroup_read_text(fd, text, sizeof(text));
	char *at;

	if (len < 0)
		return (int)len;
	at = strstr(text, "total=");
	return at ? cgroup_parse_number(at + strlen("total="), ret_total) :
		    -EINVAL;
}

/* Arm a trigger on @fd, which is closed where that fails: it is not armed. */
static int arm(struct source *source, int fd)
{
	char text[64];
	size_t len;
	long ret;

	if (fd < 0)
		return fd;
	len = fmt_line(text, sizeof(text), "some %llu %d",
		       (unsigned long long)threshold_us, EBB_PSI_WINDOW_US);
	ret = sys_write(fd, text, len + 1);
	if (ret < 0) {
		sys_close(fd);
		return (int)ret;
	}
	source->fds[0] = fd;
	source->nr_fds = 1;
	if (read_total(fd, &last_total_us))
		last_total_us = 0;
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

static int psi_open(struct source *source, const struct cgroup_view *view)
{
	int own_err, err;

	threshold_us = (uint64_t)param_int(EBB_ATTR_PSI_US);
	if (!threshold_us)
		return source_refuse(source, "turned off by psi_us=0",
				     -EOPNOTSUPP);
	own_err = -ENOENT;
	if (!is_root(&view->unified))
		own_err = arm(source, cgroup_open(&view->unified, 0,
						  "memory.pressure",
						  O_RDWR | O_NONBLOCK));
	own_file = !own_err;
	if (own_file) {
		source_watches(source, "memory.pressure of the own cgroup");
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

static int psi_event(struct source *source, unsigned int at,
		     struct signals *signals)
{
	uint64_t total_us, stall_us;
	int err;

	err = read_total(source->fds[at], &total_us);
	if (err)
		return source_refuse(source, "memory.pressure is gone", err);
	stall_us = total_us - min(total_us, last_total_us);
	if (stall_us < threshold_us / 2)
		return 0;
	last_total_us = total_us;
	signals->pressure = own_file ? PRESSURE_SEVERE : PRESSURE_MILD;
	return 1;
}

struct source psi_source = {
	.name = "psi",
	.open = psi_open,
	.event = psi_event,
	.poll_events = POLLPRI,
	.needs_fds = true,
	.slow_close = true,
	.reason = "not opened",
};
