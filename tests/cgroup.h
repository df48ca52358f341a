/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A memory cgroup of one's own
 *
 * Made below the cgroup of the caller, named ebb-test-PID, on the memory
 * controller's v1 hierarchy or on v2.  group_make() fails where that is not
 * allowed, and tests skip with group_why().
 */
#ifndef EBB_TESTS_CGROUP_H
#define EBB_TESTS_CGROUP_H

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include "common.h"

#define GROUP_PATH_MAX	600

struct group {
	char path[GROUP_PATH_MAX + 64];	/* "": there is none */
	char parent[GROUP_PATH_MAX];
	bool v2;
};

static inline bool group_write(const char *dir, const char *file,
			       const char *text)
{
	char path[GROUP_PATH_MAX + 128];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = write(fd, text, strlen(text));
	close(fd);
	return len == (ssize_t)strlen(text);
}

static inline bool group_write_number(const char *dir, const char *file,
				      size_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", number);
	return group_write(dir, file, text);
}

static inline size_t group_read(const struct group *group, const char *file)
{
	char path[GROUP_PATH_MAX + 128], buf[64];

	snprintf(path, sizeof(path), "%s/%s", group->path, file);
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	return strtoul(buf, NULL, 10);
}

/* The rest of the line after @key in /proc/self/cgroup; "" if missing. */
static inline void group_of_self(const char *key, char *ret, size_t size)
{
	char buf[8192];
	char *at, *end;

	*ret = '\0';
	if (read_file("/proc/self/cgroup", buf, sizeof(buf)) <= 0)
		return;
	at = strstr(buf, key);
	if (!at)
		return;
	at += strlen(key);
	end = strchr(at, '\n');
	if (end)
		*end = '\0';
	/* A root below the namespace's, or the root itself. */
	if (strncmp(at, "/..", 3))
		snprintf(ret, size, "%s", !strcmp(at, "/") ? "/." : at);
}

/* The caller's own memory cgroup as a directory. */
static inline bool group_find_parent(struct group *group)
{
	char rest[GROUP_PATH_MAX - 64];

	group_of_self(":memory:", rest, sizeof(rest));
	group->v2 = !*rest;
	if (group->v2)
		group_of_self("0::", rest, sizeof(rest));
	snprintf(group->parent, sizeof(group->parent), "/sys/fs/cgroup%s%s",
		 group->v2 ? "" : "/memory", rest);
	return *rest && !access(group->parent, W_OK);
}

/* The directory alone, below @group->parent. */
static inline bool group_make_dir(struct group *group)
{
	int len = snprintf(group->path, sizeof(group->path),
			   "%s/ebb-test-%d", group->parent, (int)getpid());

	if (len < (int)sizeof(group->path) && !mkdir(group->path, 0755))
		return true;
	group->path[0] = '\0';
	return false;
}

static inline bool group_make(struct group *group)
{
	group->path[0] = '\0';
	if (!group_find_parent(group) || !group_make_dir(group))
		return false;
	if (group_write(group->path, group->v2 ? "memory.max" :
			"memory.limit_in_bytes", "-1") || group->v2)
		return true;
	rmdir(group->path);
	group->path[0] = '\0';
	return false;
}

static inline bool group_set_limit(const struct group *group, size_t bytes)
{
	return group_write_number(group->path, group->v2 ? "memory.max" :
				  "memory.limit_in_bytes", bytes);
}

static inline size_t group_usage(const struct group *group)
{
	return group_read(group, group->v2 ? "memory.current" :
			  "memory.usage_in_bytes");
}

/* Move the calling process there. */
static inline bool group_enter(const struct group *group)
{
	return group_write(group->path, "cgroup.procs", "0");
}

static inline void group_remove(struct group *group)
{
	if (!group->path[0])
		return;
	group_write(group->parent, "cgroup.procs", "0");
	for (int i = 0; i < 200 && rmdir(group->path) && errno == EBUSY; i++)
		sleep_ms(10);
	group->path[0] = '\0';
}

#endif
