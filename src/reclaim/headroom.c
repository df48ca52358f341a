/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Headroom below the cgroup's limits
 *
 * Model: a gauge is one usage file and up to two limits of it, at one visible
 * level of the cgroup path:
 *	v1	memory.usage_in_bytes below memory.limit_in_bytes,
 *		memory.memsw.usage_in_bytes below memory.memsw.limit_in_bytes
 *	v2	memory.current below memory.high and memory.max
 * and headroom is the least of (limit - usage) over all gauges.  File cache
 * that the kernel can drop is room, too, but memory.stat, which tells how
 * much there is, is dearer to read by an order of magnitude; it is read only
 * below a quarter of the limit, and not more often than CACHE_AGE_MS.
 *
 * Limits are read anew each time, since an admin may change them at run time.
 * Usage moves in steps of 256 KiB per CPU.
 *
 * Where the file table is the application's, nothing is kept open: each look
 * opens, reads and closes.
 */
#include <fcntl.h>
#include "base/err.h"
#include "base/sys.h"
#include "reclaim/source.h"

#define MAX_GAUGES	(2 * CGROUP_MAX_LEVELS)
#define CACHE_AGE_MS	100
#define STAT_SIZE	4096

struct gauge_files {
	const char *usage;
	const char *limit[2];		/* NULL: no second one */
};

static const struct gauge_files v1_files[] = {
	{ "memory.usage_in_bytes", { "memory.limit_in_bytes", NULL } },
	{ "memory.memsw.usage_in_bytes",
	  { "memory.memsw.limit_in_bytes", NULL } },
};

static const struct gauge_files v2_files[] = {
	{ "memory.current", { "memory.high", "memory.max" } },
};

struct gauge {
	const struct gauge_files *files;
	unsigned int level;
	int usage_fd;			/* -1: opened at each look */
	int limit_fd[2];
};

/* Reclaimer thread only. */
static const struct cgroup_view *seen;
static struct gauge gauges[MAX_GAUGES];
static unsigned int nr_gauges;
static int min_fd;			/* memory.min of the own level, or -1 */

static struct {
	unsigned int level;
	uint64_t read_ms;		/* 0: never */
	uint64_t bytes;
} cache;

/* One number from @fd, or, where that is -1, from a file opened for it. */
static int read_file(int fd, unsigned int level, const char *file,
		     uint64_t *ret_value)
{
	int err, tmp;

	if (fd >= 0)
		return cgroup_read_number(fd, ret_value);
	if (source_may_hold_fds())
		return -ENOENT;
	tmp = cgroup_open(&seen->memory, level, file, O_RDONLY);
	if (tmp < 0)
		return tmp;
	err = cgroup_read_number(tmp, ret_value);
	sys_close(tmp);
	return err;
}

/* The lowest limit of @gauge; an error only where none can be read. */
static int gauge_limit(const struct gauge *gauge, uint64_t *ret_limit)
{
	int err = -ENOENT, ret;
	uint64_t limit;

	*ret_limit = CGROUP_NO_LIMIT;
	for (int i = 0; i < 2 && gauge->files->limit[i]; i++) {
		ret = read_file(gauge->limit_fd[i], gauge->level,
				gauge->files->limit[i], &limit);
		if (!ret)
			*ret_limit = min(*ret_limit, limit);
		if (!ret || err == -ENOENT)
			err = ret;
	}
	return err;
}

/* Its headroom and limit, both CGROUP_NO_LIMIT without one. */
static int gauge_read(const struct gauge *gauge, uint64_t *ret_limit,
		      uint64_t *ret_room)
{
	uint64_t limit, usage;
	int err;

	err = gauge_limit(gauge, &limit);
	if (err)
		return err;
	*ret_limit = *ret_room = limit;
	if (limit == CGROUP_NO_LIMIT)
		return 0;
	err = read_file(gauge->usage_fd, gauge->level, gauge->files->usage,
			&usage);
	if (!err)
		*ret_room = limit - min(limit, usage);
	return err;
}

static int open_kept(unsigned int level, const char *file)
{
	return file ? cgroup_open(&seen->memory, level, file, O_RDONLY) : -1;
}

static void close_kept(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

/* Add the gauge of @files at @level if the kernel shows it there. */
static int gauge_add(const struct gauge_files *files, unsigned int level)
{
	struct gauge *gauge = &gauges[nr_gauges];
	uint64_t usage;
	int err;

	gauge->files = files;
	gauge->level = level;
	gauge->usage_fd = open_kept(level, files->usage);
	if (gauge->usage_fd < 0)
		return gauge->usage_fd;
	err = cgroup_read_number(gauge->usage_fd, &usage);
	if (err) {
		close_kept(&gauge->usage_fd);
		return err;
	}
	for (int i = 0; i < 2; i++)
		gauge->limit_fd[i] = open_kept(level, files->limit[i]);
	if (!source_may_hold_fds()) {
		close_kept(&gauge->usage_fd);
		close_kept(&gauge->limit_fd[0]);
		close_kept(&gauge->limit_fd[1]);
	}
	nr_gauges++;
	return 0;
}

static int headroom_open(struct source *source, const struct cgroup_view *view)
{
	const struct gauge_files *files = v1_files;
	unsigned int nr_files = ARRAY_SIZE(v1_files);
	int err = -ENOENT, ret;

	if (view->version == CGROUP_NONE)
		return source_refuse(source, view->why, -EOPNOTSUPP);
	if (view->version == CGROUP_V2) {
		files = v2_files;
		nr_files = ARRAY_SIZE(v2_files);
	}
	seen = view;
	nr_gauges = 0;
	cache.read_ms = 0;
	min_fd = -1;
	if (view->version == CGROUP_V2 && source_may_hold_fds())
		min_fd = open_kept(0, "memory.min");
	for (unsigned int level = 0; level < CGROUP_MAX_LEVELS; level++)
		for (unsigned int i = 0; i < nr_files; i++) {
			ret = gauge_add(&files[i], level);
			if (ret && ret != -ENOENT)
				err = ret;
		}
	if (!nr_gauges) {
		close_kept(&min_fd);
		if (view->version == CGROUP_V2 && err == -ENOENT)
			return source_refuse(source, "in the root cgroup, or "
					     "no memory controller on the way "
					     "to it", -EOPNOTSUPP);
		return source_refuse(source, view->version == CGROUP_V1 ?
				     "cannot read memory.usage_in_bytes" :
				     "cannot read memory.current", err);
	}
	source_watches(source, view->version == CGROUP_V1 ? "cgroup v1" :
		       "cgroup v2");
	return 0;
}

/* Bytes of file cache at @level that the kernel can drop at once. */
static uint64_t droppable(unsigned int level, uint64_t now_ms)
{
	static char text[STAT_SIZE];
	int fd;

	if (cache.read_ms && cache.level == level &&
	    now_ms - cache.read_ms < CACHE_AGE_MS)
		return cache.bytes;
	cache.level = level;
	cache.read_ms = now_ms;
	cache.bytes = 0;
	fd = cgroup_open(&seen->memory, level, "memory.stat", O_RDONLY);
	if (fd < 0)
		return 0;
	if (cgroup_read_text(fd, text, sizeof(text)) > 0)
		cache.bytes = cgroup_parse_key(text,
					       seen->version == CGROUP_V1 ?
					       "total_inactive_file" :
					       "inactive_file");
	sys_close(fd);
	return cache.bytes;
}

static int headroom_sample(struct source *source, struct signals *signals)
{
	unsigned int level = 0, nr_read = 0;
	uint64_t limit, room, floor;
	int err = 0, ret;

	for (unsigned int i = 0; i < nr_gauges; i++) {
		ret = gauge_read(&gauges[i], &limit, &room);
		if (ret) {
			err = ret;
			continue;
		}
		nr_read++;
		if (room >= signals->headroom)
			continue;
		signals->headroom = room;
		signals->limit = limit;
		level = gauges[i].level;
	}
	if (!nr_read)
		return source_refuse(source, "the cgroup is gone", err);
	if (signals->limit != CGROUP_NO_LIMIT &&
	    signals->headroom < signals->limit / 4)
		signals->headroom += droppable(level, signals->now_ms);
	if (min_fd >= 0 && !cgroup_read_number(min_fd, &floor))
		signals->protected = floor > 0;
	return 0;
}

struct source headroom_source = {
	.name = "headroom",
	.open = headroom_open,
	.sample = headroom_sample,
	.reason = "not opened",
};
