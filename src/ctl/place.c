/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Where the directory of this process is
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/clock.h"
#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/number.h"
#include "base/own_file.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "ctl/file.h"
#include "ctl/place.h"
#include "ebb/abi.h"

#define SWEEP_MAX	16	/* gone processes seen to at one time */
#define LOOK_MAX	256	/* entries looked at for them */
#define STAT_TEXT	1024	/* /proc/PID/stat */
#define PAGE_MAX	MIB	/* of a page that is worth keeping */
#define PID_MOST	999999999u	/* far more than the kernel has */
#define HELD_AFTER_MS	2000	/* a page is held so soon, at the latest */

/* Set once, at start. */
static char runtime_dir[200];

/* === Self and others ====================================================== */

/*
 * Field 22 of /proc/PID/stat, which may have blanks in its second; 0: it cannot
 * be told.  The first is in *@ret_pid, as whoever mounted /proc counts.
 */
static uint64_t start_of(const char *who, uint32_t *ret_pid)
{
	char path[48], text[STAT_TEXT];
	const char *at = text;

	*ret_pid = 0;
	fmt_line(path, sizeof(path), "/proc/%s/stat", who);
	if (small_file_read(path, text, sizeof(text)) <= 0)
		return 0;
	*ret_pid = (uint32_t)number_or_0(&at, 10);
	at = strrchr(text, ')');
	for (unsigned int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		at += at != NULL;
	}
	return at ? number_or_0(&at, 10) : 0;
}

static uint64_t inode_of(const char *path)
{
	struct stat st;
	int fd = sys_open(path, O_PATH | O_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return 0;
	err = sys_fstat(fd, &st);
	sys_close(fd);
	return err ? 0 : st.st_ino;
}

void place_look_at_self(struct place_self *ret_self)
{
	uint32_t pid;

	ret_self->pid = (uint32_t)sys_getpid();
	ret_self->uid = (uint32_t)sys_call0(SYS_geteuid);
	ret_self->start_ticks = start_of("self", &pid);
	/* Else it is another namespace's, and has others by our numbers. */
	ret_self->proc_is_ours = pid == ret_self->pid;
	ret_self->pid_ns = inode_of("/proc/self/ns/pid");
}

__startup void place_note_environment(char *const *env, bool secure)
{
	const char *dir = secure ? NULL : env_lookup(env, "XDG_RUNTIME_DIR");
	size_t len = 0;

	if (!dir || *dir != '/')
		return;
	for (; len < sizeof(runtime_dir) - 1 && dir[len]; len++)
		runtime_dir[len] = dir[len];
	if (dir[len])
		runtime_dir[0] = '\0';
}

/* === Trust ================================================================ */

static bool may_trust(int fd, uint32_t uid)
{
	struct stat st;

	if (sys_fstat(fd, &st) || !S_ISDIR(st.st_mode))
		return false;
	if (st.st_uid && st.st_uid != uid)
		return false;
	return !(st.st_mode & (S_IWGRP | S_IWOTH)) || st.st_mode & S_ISVTX;
}

static bool is_ours(int fd, uint32_t uid)
{
	return own_file_is(fd, S_IFDIR, uid);
}

static bool is_memory(int fd)
{
	struct statfs fs;

	return !sys_call2(SYS_fstatfs, fd, (long)&fs) &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* === Sweeping ============================================================= */

/* What one sweep has found. */
struct sweep {
	const struct place_self *self;
	int base_fd;
	unsigned int nr_looked;
	unsigned int nr;
	char names[SWEEP_MAX][16];
};

/* "123", with nothing before or behind it; 0 for anything else. */
static uint32_t parse_pid(const char *name)
{
	uint64_t pid = number_or_0(&name, 10);

	return *name || pid > PID_MOST ? 0 : (uint32_t)pid;
}

static bool read_head(int dir_fd, struct ebb_page_head *head)
{
	int fd = file_open(dir_fd, EBB_PAGE_FILE, O_RDONLY);
	struct stat st;
	long len = -EINVAL;

	if (fd < 0)
		return false;
	/* Not what somebody else put there: it may be kept for long. */
	if (!sys_fstat(fd, &st) && S_ISREG(st.st_mode) &&
	    st.st_size <= (long)PAGE_MAX)
		len = sys_pread(fd, head, sizeof(*head), 0);
	sys_close(fd);
	return len == (long)sizeof(*head) &&
	       !memcmp(head->magic, EBB_PAGE_MAGIC, sizeof(head->magic));
}

/* Who wrote the page is alive: it holds its lock. */
static bool is_held(int dir_fd)
{
	int fd = file_open(dir_fd, EBB_PAGE_FILE, O_RDONLY);
	long err;

	if (fd < 0)
		return false;
	err = sys_call2(SYS_flock, fd, LOCK_SH | LOCK_NB);
	sys_close(fd);
	return err;
}

/* A number of another namespace says nothing here. */
static bool is_known_here(const struct place_self *self,
			  const struct ebb_page_head *head)
{
	return self->pid_ns && head->pid_ns == self->pid_ns;
}

/* What it wrote is not just being written: then it may not be held yet. */
static bool is_old(const struct ebb_page_head *head)
{
	return clock_realtime_ms() >= head->time_ms + HELD_AFTER_MS;
}

/* Who made PID/ behind @dir_fd is not there any more. */
static bool is_gone(const struct place_self *self, int dir_fd,
		    const char *name)
{
	struct ebb_page_head head;
	uint64_t now;
	uint32_t pid;

	if (!read_head(dir_fd, &head))
		return sys_call2(SYS_kill, (long)parse_pid(name), 0) == -ESRCH;
	if (!is_known_here(self, &head))
		return head.features & EBB_FEATURE_HELD && is_old(&head) &&
		       !is_held(dir_fd);
	if (sys_call2(SYS_kill, (long)parse_pid(name), 0) == -ESRCH)
		return true;
	if (!self->proc_is_ours)
		return false;
	now = start_of(name, &pid);
	return now && head.start_ticks && now != head.start_ticks;
}

static bool note_gone(const char *name, void *arg)
{
	struct sweep *sweep = arg;
	int fd;

	if (!parse_pid(name))
		return true;
	fd = file_open_dir(sweep->base_fd, name);
	if (fd >= 0 && is_ours(fd, sweep->self->uid) &&
	    is_gone(sweep->self, fd, name))
		fmt_line(sweep->names[sweep->nr++], sizeof(sweep->names[0]),
			 "%s", name);
	if (fd >= 0)
		sys_close(fd);
	return sweep->nr < SWEEP_MAX && ++sweep->nr_looked < LOOK_MAX;
}

/* The names of a directory, as far as they fit; removing goes on the side. */
struct names {
	unsigned int nr;
	char names[64][FILE_NAME_SIZE];
};

static bool note_name(const char *name, void *arg)
{
	struct names *names = arg;

	memcpy(names->names[names->nr++], name, FILE_NAME_SIZE);
	return names->nr < ARRAY_SIZE(names->names);
}

static struct names seen;	/* one user at a time */

static void empty_dir(int fd)
{
	/* Each turn removes something, or is the last. */
	for (unsigned int turn = 0; turn < 8; turn++) {
		unsigned int failed = 0;

		seen.nr = 0;
		if (file_for_each(fd, note_name, &seen) || !seen.nr)
			return;
		for (unsigned int i = 0; i < seen.nr; i++)
			failed += file_remove(fd, seen.names[i]) != 0;
		if (failed == seen.nr)
			return;
	}
}

/* Names begin with a time of fixed width: the least is the oldest. */
static void keep_newest(int dead_fd)
{
	/* Others may put there what they like, as fast as we remove it. */
	for (unsigned int turn = 0; turn < ARRAY_SIZE(seen.names); turn++) {
		unsigned int oldest = 0;

		seen.nr = 0;
		if (file_for_each(dead_fd, note_name, &seen) ||
		    seen.nr <= EBB_DEAD_MAX)
			return;
		for (unsigned int i = 1; i < seen.nr; i++)
			if (strcmp(seen.names[i], seen.names[oldest]) < 0)
				oldest = i;
		if (file_remove(dead_fd, seen.names[oldest]))
			return;
	}
}

/* A directory of this user's alone, beside PID/. */
static int open_side(int base_fd, const char *prefix, uint32_t uid)
{
	char name[FILE_NAME_SIZE];
	int fd, err;

	fmt_line(name, sizeof(name), "%s%u", prefix, uid);
	err = file_make_dir(base_fd, name, 0700);
	if (err && err != -EEXIST)
		return err;
	fd = file_open_dir(base_fd, name);
	if (fd < 0 || is_ours(fd, uid))
		return fd;
	sys_close(fd);
	return -EPERM;
}

/* The page of who did not end by itself tells how it stood. */
static void keep_page(const struct sweep *sweep, int dir_fd, const char *pid)
{
	struct ebb_page_head head;
	char name[FILE_NAME_SIZE];
	int dead_fd;

	if (!read_head(dir_fd, &head) || head.state == EBB_PAGE_EXITED ||
	    head.time_ms / 10000000000000)
		return;
	dead_fd = open_side(sweep->base_fd, EBB_DEAD_DIR, sweep->self->uid);
	if (dead_fd < 0)
		return;
	/* 13 digits until the year 2286. */
	fmt_line(name, sizeof(name), "%llu-%s",
		 (unsigned long long)head.time_ms, pid);
	if (!file_barred &&
	    !sys_call4(SYS_renameat, dir_fd, (long)EBB_PAGE_FILE, dead_fd,
		       (long)name))
		keep_newest(dead_fd);
	sys_close(dead_fd);
}

static void bury(const struct sweep *sweep, const char *pid)
{
	int fd = file_open_dir(sweep->base_fd, pid);

	/* Somebody may have that number again, since it was looked at. */
	if (fd < 0 || !is_ours(fd, sweep->self->uid) ||
	    !is_gone(sweep->self, fd, pid)) {
		if (fd >= 0)
			sys_close(fd);
		return;
	}
	keep_page(sweep, fd, pid);
	empty_dir(fd);
	sys_close(fd);
	/* Who comes after us tries again. */
	err_ignore(file_remove(sweep->base_fd, pid));
}

static void sweep_base(int base_fd, const struct place_self *self)
{
	static struct sweep sweep;

	sweep = (struct sweep){ .self = self, .base_fd = base_fd };
	if (file_for_each(base_fd, note_gone, &sweep))
		return;
	for (unsigned int i = 0; i < sweep.nr; i++)
		bury(&sweep, sweep.names[i]);
}

/* === Bases ================================================================ */

/* A directory named by the system or the admin; it is there, or it is not. */
static int open_base(const char *path, uint32_t uid, bool any_fs)
{
	int fd = sys_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
			  0);

	if (fd < 0)
		return fd;
	if (may_trust(fd, uid) && (any_fs || is_memory(fd)))
		return fd;
	sys_close(fd);
	return -EPERM;
}

/* @name in @parent, for this user alone. */
static int open_own(const char *parent, const char *name, uint32_t uid)
{
	int parent_fd = open_base(parent, uid, false);
	int fd, err;

	if (parent_fd < 0)
		return parent_fd;
	err = file_make_dir(parent_fd, name, 0700);
	fd = err && err != -EEXIST ? err : file_open_dir(parent_fd, name);
	sys_close(parent_fd);
	if (fd >= 0 && !is_ours(fd, uid)) {
		sys_close(fd);
		return -EPERM;
	}
	return fd;
}

/*
 * Root makes what tmpfiles.d did not, but on no disk, where it would stay; for
 * others that is root's to do.
 */
static int open_run(uint32_t uid)
{
	int fd = open_base(EBB_DIR_RUN, uid, false);
	int run_fd;

	if (fd != -ENOENT || uid)
		return fd;
	run_fd = open_base("/run", uid, false);
	if (run_fd < 0)
		return run_fd;
	fd = file_make_dir(run_fd, "ebb", 0755);
	sys_close(run_fd);
	return fd && fd != -EEXIST ? fd : open_base(EBB_DIR_RUN, uid, false);
}

enum base {
	BASE_RUN,
	BASE_RUNTIME,
	BASE_SHM,
	NR_BASES
};

static void base_path(enum base base, uint32_t uid, char *path)
{
	switch (base) {
	case BASE_RUN:
		fmt_line(path, PLACE_PATH_MAX, "%s", EBB_DIR_RUN);
		break;
	case BASE_RUNTIME:
		fmt_line(path, PLACE_PATH_MAX, "%s/%s", runtime_dir,
			 EBB_DIR_RUNTIME);
		break;
	default:
		fmt_line(path, PLACE_PATH_MAX, "%s%u", EBB_DIR_SHM, uid);
	}
}

/* Open it, and say where it is. */
static int open_auto(enum base base, uint32_t uid, char *path)
{
	char name[FILE_NAME_SIZE];

	base_path(base, uid, path);
	switch (base) {
	case BASE_RUN:
		return open_run(uid);
	case BASE_RUNTIME:
		if (!runtime_dir[0])
			return -ENOENT;
		return open_own(runtime_dir, EBB_DIR_RUNTIME, uid);
	default:
		fmt_line(name, sizeof(name), "ebb-%u", uid);
		return open_own("/dev/shm", name, uid);
	}
}

/* === PID/ ================================================================= */

/*
 * What is there under our number is of a process that had it before us, or of
 * one that has it in another namespace.
 */
static int take_over(int base_fd, const struct place_self *self,
		     const char *name)
{
	struct sweep sweep = { .self = self, .base_fd = base_fd };
	struct ebb_page_head head;
	int fd = file_open_dir(base_fd, name);
	bool known;

	if (fd < 0)
		return fd;
	known = read_head(fd, &head);
	if (!is_ours(fd, self->uid) ||
	    (known && !is_known_here(self, &head) && is_held(fd))) {
		sys_close(fd);
		return -EEXIST;
	}
	/* The same process: it was another program before execve(2). */
	if (known && head.start_ticks != self->start_ticks)
		keep_page(&sweep, fd, name);
	empty_dir(fd);
	return fd;
}

/* What is made in a base: PID/, or a directory beside it. */
struct making {
	const struct place_self *self;
	const char *side;		/* NULL: PID/ */
	bool (*is_abandoned)(int dir_fd, const char *name, int *ret_fd);
};

static int make_pid(int base_fd, const struct making *making, const char *name)
{
	int err;

	sweep_base(base_fd, making->self);
	err = file_make_dir(base_fd, name, 0700);
	if (err == -EEXIST)
		return take_over(base_fd, making->self, name);
	return err ?: file_open_dir(base_fd, name);
}

/* Whether @name is; removed while nobody can begin to use it, if @remove. */
static bool see_to(int fd, const struct making *making, const char *name,
		   bool remove)
{
	bool ret;
	int held;

	ret = making->is_abandoned(fd, name, &held);
	if (ret && remove)
		err_ignore(file_remove(fd, name));
	if (held >= 0)
		sys_close(held);
	return ret;
}

struct side {
	int fd;
	const struct making *making;
};

static bool note_abandoned(const char *name, void *arg)
{
	const struct side *side = arg;

	return !see_to(side->fd, side->making, name, false) ||
	       note_name(name, &seen);
}

static int make_side(int base_fd, const struct making *making)
{
	struct side side = { .making = making };

	side.fd = open_side(base_fd, making->side, making->self->uid);
	seen.nr = 0;
	if (side.fd < 0 || file_for_each(side.fd, note_abandoned, &side))
		return side.fd;
	for (unsigned int i = 0; i < seen.nr; i++)
		see_to(side.fd, making, seen.names[i], true);
	return side.fd;
}

/* In @base_fd, which is closed; its name is added to @path. */
static int make_in(int base_fd, const struct making *making, char *path)
{
	char name[FILE_NAME_SIZE];
	size_t len = strlen(path);
	int fd;

	fmt_line(name, sizeof(name), "%s%u", making->side ?: "",
		 making->side ? making->self->uid : making->self->pid);
	fmt_line(path + len, PLACE_PATH_MAX - len, "/%s", name);
	fd = making->side ? make_side(base_fd, making) :
			    make_pid(base_fd, making, name);
	sys_close(base_fd);
	return fd;
}

static int make_named(const struct making *making, const char *wanted,
		      char *path, const char **ret_why)
{
	int fd = open_base(wanted, making->self->uid, true);

	*ret_why = "control_dir cannot be used: it must exist, be root's or "
		   "the user's, and nobody else's to write to";
	if (fd < 0)
		return fd;
	fmt_line(path, PLACE_PATH_MAX, "%s", wanted);
	fd = make_in(fd, making, path);
	if (fd < 0)
		*ret_why = making->side ?
			   "siblings-UID/ cannot be made in control_dir" :
			   "PID/ cannot be made in control_dir";
	return fd;
}

static int make_anywhere(const struct making *making, const char *wanted,
			 char *path, const char **ret_why)
{
	int fd = -ENOENT;

	if (*wanted == '/')
		return make_named(making, wanted, path, ret_why);
	for (enum base base = BASE_RUN; base < NR_BASES; base++) {
		fd = open_auto(base, making->self->uid, path);
		if (fd >= 0)
			fd = make_in(fd, making, path);
		if (fd >= 0)
			return fd;
	}
	*ret_why = "neither " EBB_DIR_RUN " nor $XDG_RUNTIME_DIR nor /dev/shm "
		   "can be used";
	return fd;
}

int place_make(const struct place_self *self, const char *wanted, char *path,
	       const char **ret_why)
{
	const struct making making = { .self = self };

	return make_anywhere(&making, wanted, path, ret_why);
}

int place_make_side(const struct place_self *self, const char *wanted,
		    const char *name,
		    bool (*is_abandoned)(int dir_fd, const char *name,
					 int *ret_fd),
		    char *path, const char **ret_why)
{
	const struct making making = {
		.self = self,
		.side = name,
		.is_abandoned = is_abandoned,
	};

	return make_anywhere(&making, wanted, path, ret_why);
}

bool place_side_at(unsigned int i, const char *wanted, const char *name,
		   uint32_t uid, char *path)
{
	if (*wanted == '/') {
		fmt_line(path, PLACE_PATH_MAX, "%s/%s%u", wanted, name, uid);
		return !i;
	}
	/* Without $XDG_RUNTIME_DIR there is one place less. */
	i += i >= BASE_RUNTIME && !runtime_dir[0];
	if (i >= NR_BASES)
		return false;
	base_path((enum base)i, uid, path);
	fmt_line(path + strlen(path), PLACE_PATH_MAX - strlen(path), "/%s%u",
		 name, uid);
	return true;
}

int place_open(const char *path, uint32_t uid)
{
	return own_file_open_as(path, O_RDONLY | O_DIRECTORY, S_IFDIR, uid);
}

void place_remove(int dir_fd, const char *path)
{
	empty_dir(dir_fd);
	/* What was put into it meanwhile is swept with it one day. */
	if (!file_barred)
		sys_call3(SYS_unlinkat, AT_FDCWD, (long)path, AT_REMOVEDIR);
}
