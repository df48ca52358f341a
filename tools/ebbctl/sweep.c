/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Burying processes that have died
 *
 * What it is: what the library does when a process makes its directory, done
 * when somebody asks how a process died.
 *
 * Model: the directory belongs to a user who may put anything anywhere in it
 * and below it at any time.  Root therefore does all this as that user, and
 * the kernel sees to it that nothing else is touched.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ebbctl.h"
#include "sweep.h"

#define TIME_MAX	UINT64_C(10000000000000)	/* 13 digits: 2286 */
#define TURNS		8	/* at a directory that somebody fills again */

static int open_dir(int parent_fd, const char *name)
{
	return openat(parent_fd, name,
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A stream of its own on the directory behind @fd. */
static DIR *list_dir(int fd)
{
	int again = open_dir(fd, ".");
	DIR *dir = again < 0 ? NULL : fdopendir(again);

	if (!dir && again >= 0)
		close(again);
	return dir;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static bool remove_one(int fd, const char *name)
{
	return !unlinkat(fd, name, 0) ||
	       (errno == EISDIR && !unlinkat(fd, name, AT_REMOVEDIR));
}

/* True if something was removed. */
static bool empty_once(int fd)
{
	DIR *dir = list_dir(fd);
	struct dirent *entry;
	bool any = false;

	while (dir && (entry = readdir(dir)))
		if (!is_dots(entry->d_name))
			any |= remove_one(fd, entry->d_name);
	if (dir)
		closedir(dir);
	return any;
}

/* Removes the name that sorts first if there are more than may be. */
static bool drop_oldest(int dead_fd)
{
	char oldest[NAME_MAX + 1] = "";
	DIR *dir = list_dir(dead_fd);
	struct dirent *entry;
	unsigned int nr = 0;

	while (dir && (entry = readdir(dir))) {
		if (is_dots(entry->d_name))
			continue;
		if (!nr++ || strcmp(entry->d_name, oldest) < 0)
			snprintf(oldest, sizeof(oldest), "%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return nr > EBB_DEAD_MAX && remove_one(dead_fd, oldest);
}

static bool is_of(int fd, unsigned int uid)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode) && st.st_uid == uid &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

static int open_dead(int base_fd, unsigned int uid)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), EBB_DEAD_DIR "%u", uid);
	/* Without regard to umask(2). */
	if (!mkdirat(base_fd, name, 0700) && fchmodat(base_fd, name, 0700, 0))
		return -1;
	fd = open_dir(base_fd, name);
	if (fd < 0 || is_of(fd, uid))
		return fd;
	close(fd);
	return -1;
}

/* The page of who did not end by itself; false: it is still where it was. */
static bool keep_page(const struct process *dead, int base_fd, const char *pid)
{
	const struct ebb_page_head *head = &dead->page.head;
	char name[64];
	int dead_fd;
	bool ok;

	if (head->state == EBB_PAGE_EXITED || head->time_ms >= TIME_MAX)
		return true;
	dead_fd = open_dead(base_fd, dead->uid);
	if (dead_fd < 0)
		return false;
	snprintf(name, sizeof(name), "%llu-%s",
		 (unsigned long long)head->time_ms, pid);
	ok = !renameat(dead->dir_fd, EBB_PAGE_FILE, dead_fd, name);
	while (ok && drop_oldest(dead_fd))
		;
	close(dead_fd);
	return ok;
}

/* Another process may have got its number, and its directory, meanwhile. */
static bool is_still_there(struct process *dead, int base_fd, const char *pid)
{
	struct ebb_page_head head = dead->page.head;
	struct stat st;

	return !fstatat(base_fd, pid, &st, AT_SYMLINK_NOFOLLOW) &&
	       st.st_dev == dead->dev && st.st_ino == dead->ino &&
	       process_refresh(dead) && dead->page.head.seq == head.seq &&
	       dead->page.head.start_ticks == head.start_ticks;
}

static bool bury(struct process *dead)
{
	const char *pid = strrchr(dead->dir, '/') + 1;
	int base_fd = open_dir(dead->dir_fd, "..");
	bool ok;

	if (base_fd < 0)
		return false;
	ok = is_still_there(dead, base_fd, pid) &&
	     keep_page(dead, base_fd, pid);
	for (int turn = 0; ok && turn < TURNS && empty_once(dead->dir_fd);)
		turn++;
	ok = ok && !unlinkat(base_fd, pid, AT_REMOVEDIR);
	close(base_fd);
	return ok;
}

bool sweep_bury(struct process *dead)
{
	uid_t self = geteuid();
	bool ok;

	if (self && self != dead->uid)
		return false;
	if (self != dead->uid && seteuid(dead->uid))
		return false;
	ok = bury(dead);
	if (geteuid() != self && seteuid(self)) {
		message("cannot become user %u again", self);
		exit(STATUS_FAILED);
	}
	return ok;
}
