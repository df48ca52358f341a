/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The roster: which processes share a cgroup
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/log.h"
#include "base/own_file.h"
#include "base/sys.h"
#include "reclaim/roster.h"

#define ROW_MAGIC	0x62626531u	/* another layout has another one */
#define ROW_SIZE	(sizeof(struct roster_row))
#define JOIN_TRIES	4
#define CHUNK		16u		/* rows read at one time */
#define BELL_BYTES	4096		/* the least that a pipe has */
#define BELL_READS	64

_Static_assert(ROW_SIZE == 64, "rows are a format that processes share");

/* === Files ================================================================ */

static bool bell_path(const char *path, unsigned int row,
		      char bell[ROSTER_PATH_MAX])
{
	return fmt_line(bell, ROSTER_PATH_MAX, "%s.%u", path, row) <
	       ROSTER_PATH_MAX - 1;
}

static void remove_path(const char *path)
{
	sys_call3(SYS_unlinkat, AT_FDCWD, (long)path, 0);
}

static void remove_bell(const char *path, unsigned int row)
{
	char bell[ROSTER_PATH_MAX];

	if (bell_path(path, row, bell))
		remove_path(bell);
}

int roster_name(const char *path, char name[ROSTER_NAME_SIZE])
{
	struct stat st;
	int fd = sys_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return fd;
	err = sys_fstat(fd, &st);
	sys_close(fd);
	if (!err)
		fmt_line(name, ROSTER_NAME_SIZE, "%llx-%llx",
			 (unsigned long long)st.st_dev,
			 (unsigned long long)st.st_ino);
	return err;
}

/* === Locks ================================================================ */

/* @nr rows from @row on; 0: to the end, and beyond. */
static int lock_rows(int fd, unsigned int row, unsigned int nr, short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)(row * ROW_SIZE),
		.l_len = (off_t)(nr * ROW_SIZE),
	};

	return (int)sys_call3(SYS_fcntl, fd, F_OFD_SETLK, (long)&lock);
}

static struct flock find_lock(int fd, unsigned int row, unsigned int nr)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)(row * ROW_SIZE),
		.l_len = (off_t)(nr * ROW_SIZE),
	};

	if (sys_call3(SYS_fcntl, fd, F_OFD_GETLK, (long)&lock))
		lock.l_type = F_WRLCK;
	return lock;
}

/* Whether somebody else holds a lock there. */
static bool is_locked(int fd, unsigned int row, unsigned int nr)
{
	return find_lock(fd, row, nr).l_type != F_UNLCK;
}

/* By one who is about to remove the file: see clear. */
static bool is_locked_whole(int fd)
{
	struct flock lock = find_lock(fd, 0, 0);

	return lock.l_type != F_UNLCK && !lock.l_start && !lock.l_len;
}

/* === Joining and leaving ================================================== */

static int take_row(int fd)
{
	for (unsigned int row = 1; row < ROSTER_ROWS; row++) {
		int err = lock_rows(fd, row, 1, F_WRLCK);

		if (!err)
			return (int)row;
		if (err != -EAGAIN && err != -EACCES)
			return err;
	}
	return is_locked_whole(fd) ? -ESTALE : -EMFILE;
}

static bool has_name(int fd, uint64_t *ret_ino)
{
	struct stat st;

	if (sys_fstat(fd, &st))
		return false;
	*ret_ino = st.st_ino;
	return st.st_nlink;
}

bool roster_is_lost(const struct roster *self)
{
	uint64_t ino;

	return !has_name(self->fd, &ino) || !has_name(self->bell_fd, &ino);
}

/* What was there is of who had the row before. */
static int make_bell(const struct roster *self, uint32_t uid)
{
	char path[ROSTER_PATH_MAX];
	int fd, err;

	if (!bell_path(self->path, self->row, path))
		return -ENAMETOOLONG;
	remove_path(path);
	err = (int)sys_call4(SYS_mknodat, AT_FDCWD, (long)path, S_IFIFO | 0600,
			     0);
	if (err)
		return err;
	sys_call3(SYS_fchmodat, AT_FDCWD, (long)path, 0600);
	/* Open for writing, too: it never ends, whoever comes and goes. */
	fd = own_file_open_as(path, O_RDWR, S_IFIFO, uid);
	if (fd >= 0)
		sys_call3(SYS_fcntl, fd, F_SETPIPE_SZ, BELL_BYTES);
	return fd;
}

static int join_once(struct roster *self, uint32_t uid)
{
	int row;

	self->fd = own_file_open_as(self->path, O_RDWR | O_CREAT, S_IFREG, uid);
	if (self->fd < 0)
		return self->fd;
	/* umask(2) shall not decide who of us can open it. */
	sys_call2(SYS_fchmod, self->fd, 0600);
	row = take_row(self->fd);
	/* Who clears it held all rows, or does after we locked: see clear. */
	if (!has_name(self->fd, &self->ino))
		return -ESTALE;
	if (row < 0)
		return row;
	self->row = (unsigned int)row;
	self->bell_fd = make_bell(self, uid);
	/* Who was the last one removed it just then, and the file with it. */
	if (self->bell_fd == -ENOENT || self->bell_fd == -EEXIST)
		return -ESTALE;
	return min(self->bell_fd, 0);
}

int roster_join(struct roster *self, uint32_t uid, uint32_t pid)
{
	int err = -ESTALE;

	for (unsigned int i = 0; i < JOIN_TRIES && err == -ESTALE; i++) {
		err = join_once(self, uid) ?: roster_tell(self, pid, 0);
		if (err && self->row)
			roster_clean(self->path, self->row, self->ino);
		if (err)
			roster_close(self);
	}
	return err;
}

void roster_close(struct roster *self)
{
	int *const fds[] = { &self->fd, &self->bell_fd };

	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			sys_close(*fds[i]);
		*fds[i] = -1;
	}
	self->row = 0;
	self->leads = false;
}

/* === Rows ================================================================= */

int roster_tell(struct roster *self, uint32_t pid, uint64_t spare)
{
	struct roster_row row = {
		.magic = ROW_MAGIC,
		.pid = pid,
		.spare = spare,
	};
	long len = sys_call4(SYS_pwrite64, self->fd, (long)&row, ROW_SIZE,
			     (long)(self->row * ROW_SIZE));

	return len == (long)ROW_SIZE ? 0 : len < 0 ? (int)len : -ENOSPC;
}

/* Who had the row is gone: nobody is to be asked there. */
static void bury(const struct roster *self, unsigned int row)
{
	static const struct roster_row none;

	if (lock_rows(self->fd, row, 1, F_WRLCK))
		return;
	remove_bell(self->path, row);
	sys_call4(SYS_pwrite64, self->fd, (long)&none, ROW_SIZE,
		  (long)(row * ROW_SIZE));
	err_ignore(lock_rows(self->fd, row, 1, F_UNLCK));
}

/* Rows @from and on, CHUNK at most; how many there are. */
static int read_chunk(int fd, unsigned int from, struct roster_row *rows)
{
	long len = sys_pread(fd, rows, CHUNK * ROW_SIZE,
			     (int64_t)(from * ROW_SIZE));

	return len < 0 ? (int)len : (int)((size_t)len / ROW_SIZE);
}

static bool is_written(const struct roster_row *row)
{
	return row->magic == ROW_MAGIC && row->pid;
}

int roster_count(struct roster *self)
{
	struct roster_row rows[CHUNK];
	int others = 0, nr;

	for (unsigned int from = 0; from < ROSTER_ROWS; from += CHUNK) {
		nr = read_chunk(self->fd, from, rows);
		if (nr < 0)
			return nr;
		for (unsigned int i = 0; i < (unsigned int)nr; i++) {
			if (from + i == self->row || !is_written(&rows[i]))
				continue;
			if (is_locked(self->fd, from + i, 1))
				others++;
			else
				bury(self, from + i);
		}
		if (nr < (int)CHUNK)
			break;
	}
	return others;
}

bool roster_lead(struct roster *self)
{
	if (!self->leads)
		self->leads = !lock_rows(self->fd, 0, 1, F_WRLCK);
	return self->leads;
}

/* === Cleaning up ========================================================== */

static void remove_bells(int fd, const char *path)
{
	struct roster_row rows[CHUNK];
	int nr;

	for (unsigned int from = 0; from < ROSTER_ROWS; from += CHUNK) {
		nr = read_chunk(fd, from, rows);
		for (int i = 0; i < nr; i++)
			if (is_written(&rows[i]))
				remove_bell(path, from + (unsigned int)i);
		if (nr < (int)CHUNK)
			return;
	}
}

void roster_clean(const char *path, unsigned int row, uint64_t ino)
{
	int fd = own_file_open(AT_FDCWD, path, O_RDWR, 0);
	uint64_t there;

	if (fd < 0)
		return;
	if (has_name(fd, &there) && there == ino) {
		remove_bell(path, row);
		/* A length of 0 would be all that follows. */
		if ((row == 1 || !is_locked(fd, 1, row - 1)) &&
		    !is_locked(fd, row + 1, 0)) {
			remove_bells(fd, path);
			remove_path(path);
		}
	}
	sys_close(fd);
}

bool roster_is_abandoned(int dir_fd, const char *name, int *ret_fd)
{
	char board[ROSTER_NAME_SIZE];
	size_t len = strcspn(name, ".");
	int fd;

	*ret_fd = -1;
	if (len >= sizeof(board))
		return false;
	memcpy(board, name, len);
	board[len] = '\0';
	fd = own_file_open(dir_fd, board, O_RDWR, 0);
	if (fd < 0)
		return fd == -ENOENT;
	*ret_fd = fd;
	return !lock_rows(fd, 0, 0, F_WRLCK);
}

/* === Bells ================================================================ */

static int read_all(int fd, struct roster_row *rows)
{
	unsigned int total = 0;
	int nr;

	do {
		nr = read_chunk(fd, total, rows + total);
		total += (unsigned int)max(nr, 0);
	} while (nr == (int)CHUNK && total < ROSTER_ROWS);
	return nr < 0 ? nr : (int)total;
}

/* The row with the most to spare that was not taken yet; 0: none has enough. */
static unsigned int take_richest(struct roster_row *rows, unsigned int nr,
				 uint64_t least, uint64_t *ret_spare)
{
	unsigned int richest = 0;

	*ret_spare = 0;
	for (unsigned int row = 1; row < nr; row++) {
		if (!is_written(&rows[row]) || rows[row].spare <= *ret_spare ||
		    rows[row].spare < least)
			continue;
		richest = row;
		*ret_spare = rows[row].spare;
	}
	rows[richest].pid = 0;
	return richest;
}

/*
 * Opened for reading, too: a reader that goes in between would make it SIGPIPE,
 * which is the program's.  That somebody hears is told by the row's lock.
 */
static bool ring(const char *path, unsigned int row, uint32_t uid,
		 uint64_t bytes)
{
	char bell[ROSTER_PATH_MAX];
	long len;
	int fd;

	if (!bell_path(path, row, bell))
		return false;
	fd = own_file_open_as(bell, O_RDWR, S_IFIFO, uid);
	if (fd < 0)
		return false;
	len = sys_write(fd, &bytes, sizeof(bytes));
	sys_close(fd);
	/* Full: it was rung before, and has not heard yet. */
	return len == (long)sizeof(bytes) || len == -EAGAIN;
}

int roster_ask(const char *path, uint32_t uid, struct roster_request *request,
	       struct roster_row *rows)
{
	int fd = own_file_open_as(path, O_RDONLY, S_IFREG, uid);
	unsigned int row;
	uint64_t spare;
	int nr;

	request->nr_asked = 0;
	request->hoped = 0;
	if (fd < 0)
		return fd;
	nr = read_all(fd, rows);
	while (nr > 0 && request->hoped < request->want) {
		row = take_richest(rows, (unsigned int)nr, request->least,
				   &spare);
		if (!row)
			break;
		if (row == request->own_row || !is_locked(fd, row, 1) ||
		    !ring(path, row, uid, request->want))
			continue;
		request->nr_asked++;
		/* Any number may stand there. */
		request->hoped += min(spare, request->want);
	}
	sys_close(fd);
	return min(nr, 0);
}

int64_t roster_hear(struct roster *self)
{
	uint64_t asked = 0;

	for (unsigned int i = 0; i < BELL_READS; i++) {
		uint64_t bytes[64];
		long len = sys_read(self->bell_fd, bytes, sizeof(bytes));

		if (len == -EAGAIN || !len)
			break;
		if (len < 0)
			return len;
		for (size_t at = 0; at < (size_t)len / sizeof(*bytes); at++)
			asked = max(asked, bytes[at]);
	}
	return (int64_t)min(asked, (uint64_t)INT64_MAX);
}
