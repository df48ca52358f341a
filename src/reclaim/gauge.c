/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Gauges: usage below limits, level by level
 */
#include <fcntl.h>

#include "base/err.h"
#include "base/sys.h"
#include "reclaim/gauge.h"

struct gauge_files {
	const char *usage;
	const char *limit[2];		/* NULL: no second one */
	int soft;			/* which limit only throttles; -1: none */
};

static const struct gauge_files v1_files[] = {
	{ "memory.usage_in_bytes", { "memory.limit_in_bytes", NULL }, -1 },
	{ "memory.memsw.usage_in_bytes",
	  { "memory.memsw.limit_in_bytes", NULL }, -1 },
};

static const struct gauge_files v2_files[] = {
	{ "memory.current", { "memory.high", "memory.max" }, 0 },
};

/* One number from @fd, or, where that is -1, from a file opened for it. */
static int read_file(const struct gauge_set *set, int fd, unsigned int level,
		     const char *file, uint64_t *ret_value)
{
	int err, tmp;

	if (fd >= 0)
		return cgroup_read_number(fd, ret_value);
	if (set->hold)
		return -ENOENT;
	tmp = cgroup_open(&set->view->memory, level, file, O_RDONLY);
	if (tmp < 0)
		return tmp;
	err = cgroup_read_number(tmp, ret_value);
	sys_close(tmp);
	return err;
}

/* The lowest limit of @gauge; an error only where none can be read. */
static int read_limit(const struct gauge_set *set, const struct gauge *gauge,
		      uint64_t *ret_limit, bool *ret_soft)
{
	int err = -ENOENT, ret;
	uint64_t limit;

	*ret_limit = CGROUP_NO_LIMIT;
	*ret_soft = false;
	for (int i = 0; i < 2 && gauge->files->limit[i]; i++) {
		ret = read_file(set, gauge->limit_fd[i], gauge->level,
				gauge->files->limit[i], &limit);
		if (!ret && limit < *ret_limit) {
			*ret_limit = limit;
			*ret_soft = i == gauge->files->soft;
		}
		if (!ret || err == -ENOENT)
			err = ret;
	}
	return err;
}

int gauge_read_one(struct gauge_set *set, unsigned int index,
		   struct gauge_reading *ret_reading)
{
	const struct gauge *gauge = &set->gauges[index];
	struct gauge_reading reading = { .tightest = index };
	uint64_t usage;
	int err;

	err = read_limit(set, gauge, &reading.limit, &reading.soft);
	if (err)
		return err;
	reading.room = reading.limit;
	if (reading.limit != CGROUP_NO_LIMIT) {
		err = read_file(set, gauge->usage_fd, gauge->level,
				gauge->files->usage, &usage);
		if (err)
			return err;
		reading.room -= min(reading.limit, usage);
	}
	*ret_reading = reading;
	return 0;
}

int gauge_read(struct gauge_set *set, struct gauge_reading *ret_reading)
{
	struct gauge_reading tightest = {
		.limit = CGROUP_NO_LIMIT,
		.room = CGROUP_NO_LIMIT,
	};
	unsigned int nr_read = 0;
	int err = -ENOENT;

	for (unsigned int i = 0; i < set->nr; i++) {
		struct gauge_reading one;
		int ret = gauge_read_one(set, i, &one);

		if (ret) {
			err = ret;
			continue;
		}
		nr_read++;
		if (one.room < tightest.room)
			tightest = one;
	}
	if (!nr_read)
		return err;
	*ret_reading = tightest;
	return 0;
}

static int open_kept(const struct gauge_set *set, unsigned int level,
		     const char *file)
{
	return file ? cgroup_open(&set->view->memory, level, file, O_RDONLY) :
		      -1;
}

static void close_kept(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

static void close_one(struct gauge *gauge)
{
	close_kept(&gauge->usage_fd);
	close_kept(&gauge->limit_fd[0]);
	close_kept(&gauge->limit_fd[1]);
}

/* Add the gauge of @files at @level if the kernel shows it there. */
static int gauge_add(struct gauge_set *set, const struct gauge_files *files,
		     unsigned int level)
{
	struct gauge *gauge = &set->gauges[set->nr];
	uint64_t usage;
	int err;

	*gauge = (struct gauge){ files, level, -1, { -1, -1 } };
	gauge->usage_fd = open_kept(set, level, files->usage);
	if (gauge->usage_fd < 0)
		return gauge->usage_fd;
	err = cgroup_read_number(gauge->usage_fd, &usage);
	if (err) {
		close_kept(&gauge->usage_fd);
		return err;
	}
	for (int i = 0; i < 2; i++)
		gauge->limit_fd[i] = open_kept(set, level, files->limit[i]);
	if (!set->hold)
		close_one(gauge);
	set->nr++;
	return 0;
}

int gauge_open(struct gauge_set *set, const struct cgroup_view *view,
	       bool hold)
{
	bool v2 = view->version == CGROUP_V2;
	const struct gauge_files *files = v2 ? v2_files : v1_files;
	unsigned int nr_files = v2 ? ARRAY_SIZE(v2_files) :
				     ARRAY_SIZE(v1_files);
	int err = -ENOENT, ret;

	set->view = view;
	set->hold = hold;
	set->nr = 0;
	set->min_fd = v2 && hold ? open_kept(set, 0, "memory.min") : -1;
	for (unsigned int level = 0; level < CGROUP_MAX_LEVELS; level++)
		for (unsigned int i = 0; i < nr_files; i++) {
			ret = gauge_add(set, &files[i], level);
			if (ret && ret != -ENOENT)
				err = ret;
		}
	if (set->nr)
		return 0;
	close_kept(&set->min_fd);
	return err;
}

void gauge_close(struct gauge_set *set)
{
	for (unsigned int i = 0; i < set->nr; i++)
		close_one(&set->gauges[i]);
	set->nr = 0;
	close_kept(&set->min_fd);
}

unsigned int gauge_tell(const struct gauge_set *set, int notes_fd)
{
	unsigned int nr = 0;

	for (unsigned int at = 0; at < set->nr; at++) {
		const struct gauge *gauge = &set->gauges[at];

		for (int i = 0; i < 2 && gauge->files->limit[i]; i++)
			nr += !cgroup_notes_add(notes_fd, &set->view->memory,
						gauge->level,
						gauge->files->limit[i]);
	}
	return nr;
}

uint64_t gauge_droppable(struct gauge_set *set, unsigned int index)
{
	int fd = cgroup_open(&set->view->memory, set->gauges[index].level,
			     "memory.stat", O_RDONLY);
	uint64_t bytes = 0;

	if (fd < 0)
		return 0;
	if (cgroup_read_text(fd, set->text, sizeof(set->text)) > 0)
		bytes = cgroup_parse_key(set->text,
			set->view->version == CGROUP_V1 ?
			"total_inactive_file" : "inactive_file");
	sys_close(fd);
	return bytes;
}

bool gauge_protected(struct gauge_set *set)
{
	uint64_t floor;

	return set->min_fd >= 0 && !cgroup_read_number(set->min_fd, &floor) &&
	       floor;
}
