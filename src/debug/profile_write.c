/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Writing the heap profile
 *
 * The format is the text that gperftools calls heap_v2: a line for each site
 * with "live: bytes [allocated: bytes] @ stack", then the process's mappings.
 */
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/fd_window.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mappings.h"
#include "base/param.h"
#include "base/sys.h"
#include "debug/profile.h"
#include "heap/heap.h"
#include "heap/sample.h"

#define LINE_LEN	128u	/* of what has no stack */
#define PC_LEN		20u
#define OUT_LEN		4096u
#define PATH_LEN	(EBB_STRING_MAX + 64)

_Static_assert(OUT_LEN > LINE_LEN + STACK_MAX * PC_LEN, "a site's line fits");

static struct lock write_lock = LOCK_INIT(4);

struct out {
	int fd;
	int err;
	size_t len;
	char buf[OUT_LEN];
};

static void out_flush(struct out *out)
{
	size_t at = 0;

	while (!out->err && at < out->len) {
		long got = sys_write(out->fd, out->buf + at, out->len - at);

		if (got > 0)
			at += (size_t)got;
		else if (got != -EINTR)
			out->err = got ? (int)got : -EIO;
	}
	out->len = 0;
}

/* Where the next @need bytes go. */
static char *out_room(struct out *out, size_t need)
{
	if (sizeof(out->buf) - out->len < need)
		out_flush(out);
	return out->buf + out->len;
}

static void put_counts(struct out *out, const char *before,
		       const uint64_t *counts)
{
	char *at = out_room(out, LINE_LEN);

	out->len += fmt_line(at, LINE_LEN, "%s%llu: %llu [%llu: %llu] @",
			     before, (unsigned long long)counts[0],
			     (unsigned long long)counts[1],
			     (unsigned long long)counts[2],
			     (unsigned long long)counts[3]);
}

static void put_word(struct out *out, const char *format, uint64_t word)
{
	char *at = out_room(out, LINE_LEN);

	out->len += fmt_line(at, LINE_LEN, format, (unsigned long long)word);
}

static void put_text(struct out *out, const char *text)
{
	char *at = out_room(out, LINE_LEN);

	out->len += fmt_line(at, LINE_LEN, "%s", text);
}

static void count_site(const struct profile_site *site, uint64_t *counts)
{
	/* Pairs with profile_take(): 0 may be one that is not there yet. */
	uint64_t allocated = load_acquire(&site->nr_allocated);

	if (!allocated)
		return;
	counts[0] += site->nr_live;
	counts[1] += site->nr_live * site->size;
	counts[2] += allocated;
	counts[3] += allocated * site->size;
}

static void put_sites(struct out *out)
{
	struct profile_site *site;
	uint64_t total[4] = { 0 };

	for (uint32_t i = 1; (site = profile_site_at(i)); i++)
		count_site(site, total);
	put_counts(out, "heap profile: ", total);
	put_word(out, " heap_v2/%llu\n", sample_mean());
	for (uint32_t i = 1; (site = profile_site_at(i)); i++) {
		uint64_t counts[4] = { 0 };

		count_site(site, counts);
		if (!counts[2])
			continue;
		put_counts(out, "", counts);
		for (unsigned int k = 0; k < site->nr_pcs; k++)
			put_word(out, " 0x%llx", site->pcs[k]);
		put_text(out, "\n");
	}
}

/* The text comes by way of the buffer, which is empty before. */
static void put_mappings(struct out *out)
{
	struct mappings maps;

	put_text(out, "\nMAPPED_LIBRARIES:\n");
	out_flush(out);
	fd_window_enter();
	if (!mappings_open(&maps, out->buf, sizeof(out->buf))) {
		while ((out->len = mappings_text(&maps)))
			out_flush(out);
		mappings_close(&maps);
	}
	fd_window_leave();
}

int profile_write(int fd)
{
	struct out out = { .fd = fd };

	if (!heap_profiled)
		return -ENODATA;
	if (lock_is_mine(&write_lock))
		return -EDEADLK;
	lock_take(&write_lock);
	profile_count_live();
	put_sites(&out);
	lock_release(&write_lock);
	put_mappings(&out);
	out_flush(&out);
	return out.err;
}

void profile_postfork_child(void)
{
	if (!lock_is_mine(&write_lock))
		lock_reset(&write_lock);
}

/* --- To a file --- */

/* @format with each %p replaced by the process's number. */
static int make_path(const char *format, char *path, size_t size)
{
	size_t len = 0;

	for (const char *at = format; *at; at++) {
		if (len + 16 > size)
			return -ENAMETOOLONG;
		if (at[0] == '%' && at[1] == 'p') {
			len += fmt_line(path + len, size - len, "%d",
					sys_getpid());
			at++;
		} else {
			path[len++] = *at;
		}
	}
	path[len] = '\0';
	return 0;
}

/* What is there already is used only if it can be nobody else's. */
static int open_again(const char *path)
{
	int fd = sys_open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK |
			  O_CLOEXEC, 0);
	struct stat st;
	int err;

	if (fd < 0)
		return fd;
	err = sys_fstat(fd, &st);
	if (!err && (!S_ISREG(st.st_mode) || st.st_nlink != 1 ||
		     st.st_mode & 077 ||
		     st.st_uid != (uid_t)sys_call0(SYS_geteuid)))
		err = -EPERM;
	if (!err)
		err = (int)sys_call2(SYS_ftruncate, fd, 0);
	if (!err)
		return fd;
	sys_close(fd);
	return err;
}

static int open_new(const char *path)
{
	int fd = sys_open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
			  O_NOCTTY | O_CLOEXEC, 0600);

	return fd == -EEXIST ? open_again(path) : fd;
}

int profile_dump(void)
{
	const char *format = param_str(EBB_ATTR_PROFILE_DUMP);
	char path[PATH_LEN];
	int fd, err;

	if (lock_holds_any())
		return -EDEADLK;
	if (!heap_profiled || !format[0])
		return -ENODATA;
	if (getauxval(AT_SECURE))
		return -EACCES;
	err = make_path(format, path, sizeof(path));
	if (err) {
		log_line("profile: %s: not written: error %d", format, -err);
		return err;
	}
	fd_window_enter();
	fd = open_new(path);
	if (fd >= 0) {
		err = profile_write(fd);
		sys_close(fd);
	}
	fd_window_leave();
	if (fd < 0) {
		log_line("profile: %s: not written: error %d", path, -fd);
		return fd;
	}
	if (err)
		log_line("profile: %s: error %d", path, -err);
	return err;
}
