/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - A cgroup of one's own, below the present one
 *
 * The test's process is moved into it and back; it is named ebb-test-PID.
 */
#ifndef EBB_TESTS_OWN_CGROUP_H
#define EBB_TESTS_OWN_CGROUP_H

#include <sys/stat.h>
#include "reclaim/cgroup.h"
#include "common.h"

/* ThreadSanitizer's shadow memory fits no limit, and it forbids fork. */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN	1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN	1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN	0
#endif

struct own_cgroup {
	char path[CGROUP_PATH_MAX + 64];	/* "": not made */
	char parent[CGROUP_PATH_MAX];
};

static inline bool own_cgroup_write(const char *dir, const char *file,
				    const char *text)
{
	char path[CGROUP_PATH_MAX + 128];
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

static inline bool own_cgroup_write_number(const char *dir, const char *file,
					   size_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", number);
	return own_cgroup_write(dir, file, text);
}

static inline void own_cgroup_remove(struct own_cgroup *own)
{
	if (!own->path[0])
		return;
	own_cgroup_write(own->parent, "cgroup.procs", "0");
	for (int i = 0; i < 100 && rmdir(own->path); i++)
		sleep_ms(10);
	own->path[0] = '\0';
}

/* False where cgroups may not be made here. */
static inline bool own_cgroup_make(struct own_cgroup *own,
				   const struct cgroup_dir *dir)
{
	own->path[0] = '\0';
	if (!dir->path[0] || UNDER_TSAN)
		return false;
	strcpy(own->parent, dir->path);
	snprintf(own->path, sizeof(own->path), "%s/ebb-test-%d", dir->path,
		 (int)getpid());
	if (mkdir(own->path, 0755)) {
		own->path[0] = '\0';
		return false;
	}
	if (!own_cgroup_write(own->path, "cgroup.procs", "0")) {
		own_cgroup_remove(own);
		return false;
	}
	return true;
}

#endif
