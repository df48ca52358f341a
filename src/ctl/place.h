/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Where the directory of this process is
 *
 * What it is: finding a directory that only this user and root may write to,
 * making PID/ in it, and clearing up after processes that are gone.
 *
 * Trust: a directory is used if nobody but root and the process's effective
 * user can rename or remove what the process puts there: it is not a symbolic
 * link, it is owned by one of the two, and others may write to it only if it
 * is sticky.  It lies on tmpfs, unless the admin named it: the page is written
 * once a second, and is to cost no disk anything.
 *
 * Sweeping: what processes of this user have left behind, who are gone or who
 * were others with the same number, is removed; their pages are kept in
 * EBB_DEAD_DIR, the newest EBB_DEAD_MAX of them.
 *
 * Locking: one caller at a time (ctl_lock).
 */
#ifndef EBB_CTL_PLACE_H
#define EBB_CTL_PLACE_H

#include "base/compiler.h"
#include "ebb/stat_page.h"

#define PLACE_PATH_MAX	320

/* Where the process itself is to be found. */
struct place_self {
	uint32_t pid;
	uint32_t uid;
	uint64_t start_ticks;	/* 0: cannot be told */
	uint64_t pid_ns;	/* 0: cannot be told */
	bool proc_is_ours;	/* /proc counts processes as we do */
};

void place_look_at_self(struct place_self *ret_self);

/* Keep $XDG_RUNTIME_DIR of @env, unless the program is @secure (AT_SECURE). */
void place_note_environment(char *const *env, bool secure);

/*
 * Find a base, sweep there, make PID/.  @wanted is the option control_dir,
 * "auto" or a path.  Returns a descriptor of PID/, with its path in @path (of
 * PLACE_PATH_MAX bytes); or -errno, and *@ret_why says what was tried last.
 */
int place_make(const struct place_self *self, const char *wanted, char *path,
	       const char **ret_why) __must_check;

/*
 * The directory @name-UID in the same base, made if need be, and empty of what
 * @is_abandoned says may go.  The rest as with place_make().
 */
int place_make_side(const struct place_self *self, const char *wanted,
		    const char *name,
		    bool (*is_abandoned)(int dir_fd, const char *name,
					 int *ret_fd),
		    char *path, const char **ret_why) __must_check;

/* Where that may be, the @i-th place; false behind the last. */
bool place_side_at(unsigned int i, const char *wanted, const char *name,
		   uint32_t uid, char *path);

/* That directory again: a descriptor; -errno where it is gone or not ours. */
int place_open(const char *path, uint32_t uid) __must_check;

/* Remove @path, PID/ behind @dir_fd, and all that is in it. */
void place_remove(int dir_fd, const char *path);

#endif
