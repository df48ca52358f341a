/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Own memory cgroup
 */
#ifndef EBB_RECLAIM_CGROUP_H
#define EBB_RECLAIM_CGROUP_H

#include "base/compiler.h"

#define CGROUP_PATH_MAX		1024
#define CGROUP_MAX_LEVELS	16	/* looked at, own one included */

enum cgroup_version {
	CGROUP_NONE,
	CGROUP_V1,
	CGROUP_V2,
};

struct cgroup_dir {
	char path[CGROUP_PATH_MAX];	/* own directory; "": none visible */
	size_t top_len;			/* path[0..top_len) is the mount point,
					 * the outermost visible level */
};

struct cgroup_view {
	enum cgroup_version version;	/* where the memory controller is */
	struct cgroup_dir memory;	/* valid unless version is NONE */
	struct cgroup_dir unified;	/* own place in the v2 tree; equals
					 * @memory if version is V2 */
	const char *why;		/* version is NONE: the reason */
	uint64_t place;			/* hash of the own paths it is for */
};

/*
 * Find the calling process's cgroups.  @prefix is put before every absolute
 * path ("" outside tests).  Always fills @ret_view; what is not visible is
 * NONE or "" there, with the reason.  Opens and closes files.  Callers exclude
 * each other by a lock of its own (rank 5, after inband_lock).
 */
void cgroup_find(const char *prefix, struct cgroup_view *ret_view);

/* Nobody is inside any more. */
void cgroup_postfork_child(void);

/*
 * Whether the process is in other cgroups than those that @view was made for.
 * Under 10 us.  Context: as above.
 */
bool cgroup_has_moved(const char *prefix, const struct cgroup_view *view);

/* Whether they show the same, wherever in a namespace it is. */
bool cgroup_view_equals(const struct cgroup_view *a,
			const struct cgroup_view *b);

/*
 * Path of @file in the directory @level levels above the own one.  -ENOENT
 * above the outermost visible level, -ENAMETOOLONG where @size is too small.
 */
int cgroup_path(const struct cgroup_dir *dir, unsigned int level,
		const char *file, char *buf, size_t size) __must_check;

/* Open that file; an fd or -errno. */
int cgroup_open(const struct cgroup_dir *dir, unsigned int level,
		const char *file, int flags) __must_check;

/*
 * An inotify instance that becomes readable (POLLIN) when one of the files
 * added to it is written to; an fd or -errno.  Each user has only so many
 * (fs.inotify.max_user_instances), which are needed elsewhere, too.
 */
int cgroup_notes_open(void) __must_check;
int cgroup_notes_add(int notes_fd, const struct cgroup_dir *dir,
		     unsigned int level, const char *file) __must_check;

/* Take what it has to tell; whether there was anything. */
bool cgroup_notes_drain(int notes_fd);

/* Pure parsers of one line each; they write into it. */

/* "4:memory:/a/b": V1 and "/a/b"; "0::/a": V2; others: NONE. */
enum cgroup_version cgroup_parse_self(char *line, char **ret_path);

struct cgroup_mount {
	enum cgroup_version version;
	char *root;		/* which part of the hierarchy is mounted */
	char *point;		/* where */
};

/* -ENOENT unless @line of mountinfo is a memory v1 or a v2 mount. */
int cgroup_parse_mount(char *line, struct cgroup_mount *ret_mount)
	__must_check;

/*
 * Where @path (of /proc/thread-self/cgroup) is below a mount of @root:
 * *ret_rest is the last part of the way, and the result the number of
 * directories of unknown name before it; -ENOENT where the mount does not
 * show it.
 */
int cgroup_locate(const char *root, const char *path, const char **ret_rest)
	__must_check;

/*
 * A number as cgroup files hold it.  "max", and the huge values by which v1
 * says so, give CGROUP_NO_LIMIT.  -EINVAL where there is none.
 */
#define CGROUP_NO_LIMIT	UINT64_MAX
int cgroup_parse_number(const char *text, uint64_t *ret_value) __must_check;

/* The number after "@key " at the start of a line; 0 where there is none. */
uint64_t cgroup_parse_key(const char *text, const char *key);

/* pread @fd into @buf as a string; its length or -errno. */
long cgroup_read_text(int fd, char *buf, size_t size) __must_check;

/* pread @fd, a file of one number. */
int cgroup_read_number(int fd, uint64_t *ret_value) __must_check;

#endif
