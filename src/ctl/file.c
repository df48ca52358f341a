/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Small files in a directory that others may write to
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/own_file.h"
#include "base/sys.h"
#include "ctl/file.h"

#define NAMES_SIZE	4096

struct kernel_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

bool file_barred;

struct file_mark file_mark_of(const struct stat *st)
{
	return (struct file_mark){
		.ino = st->st_ino,
		.ns = (uint64_t)st->st_mtim.tv_sec * 1000000000 +
		      (uint64_t)st->st_mtim.tv_nsec,
	};
}

static int open_at(int dir_fd, const char *name, int flags, unsigned int mode)
{
	if (file_barred)
		return -ECANCELED;
	return own_file_open(dir_fd, name, flags, mode);
}

int file_open(int dir_fd, const char *name, int flags)
{
	return open_at(dir_fd, name, flags, 0);
}

int file_open_dir(int dir_fd, const char *name)
{
	return open_at(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
}

/* umask(2) shall not decide who sees it. */
int file_make_dir(int dir_fd, const char *name, unsigned int mode)
{
	int err = file_barred ? -ECANCELED :
		  (int)sys_call3(SYS_mkdirat, dir_fd, (long)name, mode);

	return err ?: (int)sys_call3(SYS_fchmodat, dir_fd, (long)name, mode);
}

int file_remove(int dir_fd, const char *name)
{
	int err = file_barred ? -ECANCELED :
		  (int)sys_call3(SYS_unlinkat, dir_fd, (long)name, 0);

	if (err == -EISDIR)
		err = (int)sys_call3(SYS_unlinkat, dir_fd, (long)name,
				     AT_REMOVEDIR);
	return err == -ENOENT ? 0 : err;
}

struct text {
	const char *at;
	size_t len;
};

static int write_text(int fd, void *arg)
{
	struct text text = *(const struct text *)arg;

	while (text.len) {
		long done = sys_write(fd, text.at, text.len);

		if (done == -EINTR)
			continue;
		if (done <= 0)
			return done ? (int)done : -EIO;
		text.at += done;
		text.len -= (size_t)done;
	}
	return 0;
}

static int rename_new(int dir_fd, const char *name)
{
	if (file_barred)
		return -ECANCELED;
	return (int)sys_call4(SYS_renameat, dir_fd, (long)FILE_NEW_NAME, dir_fd,
			      (long)name);
}

int file_put_by(int dir_fd, const char *name, unsigned int mode,
		int (*write)(int fd, void *arg), void *arg,
		struct file_mark *ret_mark)
{
	struct stat st = { 0 };
	int fd, err;

	/* Whoever may put something in the way may also try this twice. */
	err = file_remove(dir_fd, FILE_NEW_NAME);
	if (err)
		return err;
	fd = open_at(dir_fd, FILE_NEW_NAME, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd < 0)
		return fd;
	err = (int)sys_call2(SYS_fchmod, fd, mode);
	if (!err)
		err = write(fd, arg);
	if (!err)
		err = sys_fstat(fd, &st);
	sys_close(fd);
	if (!err)
		err = rename_new(dir_fd, name);
	/* An empty directory stands there. */
	if (err == -EISDIR && !file_remove(dir_fd, name))
		err = rename_new(dir_fd, name);
	if (err)
		err_ignore(file_remove(dir_fd, FILE_NEW_NAME));
	else if (ret_mark)
		*ret_mark = file_mark_of(&st);
	return err;
}

int file_put(int dir_fd, const char *name, unsigned int mode, const char *text,
	     size_t len, struct file_mark *ret_mark)
{
	struct text all = { text, len };

	return file_put_by(dir_fd, name, mode, write_text, &all, ret_mark);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static bool tell_names(const char *buf, long len,
		       bool (*fn)(const char *name, void *arg), void *arg)
{
	char name[FILE_NAME_SIZE];

	for (long at = 0; at < len;) {
		const struct kernel_dirent *entry = (const void *)(buf + at);
		size_t i = 0;

		at += entry->len;
		for (; i < sizeof(name) - 1 && entry->name[i]; i++)
			name[i] = entry->name[i];
		name[i] = '\0';
		if (entry->name[i] || is_dots(name))
			continue;
		if (!fn(name, arg))
			return false;
	}
	return true;
}

int file_for_each(int dir_fd, bool (*fn)(const char *name, void *arg),
		  void *arg)
{
	static char names[NAMES_SIZE] __aligned_(8);
	long len = sys_call3(SYS_lseek, dir_fd, 0, SEEK_SET);

	if (len < 0)
		return (int)len;
	do {
		len = sys_call3(SYS_getdents64, dir_fd, (long)names,
				sizeof(names));
	} while (len > 0 && tell_names(names, len, fn, arg));
	return len < 0 ? (int)len : 0;
}
