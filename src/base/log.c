/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Log lines without stdio and without allocation
 *
 * What: formats a line on the stack and writes it to the file that fd 2 was
 * at start, or appends it to a file opened for that line only.  Nothing is
 * kept open, nothing is allocated, errno is not touched.
 *
 * Invariants:
 * (1) No byte goes to fd 2 unless it is the file, by device and inode, that
 *     it was in log_init().
 * (2) A line never waits for its reader, and never raises SIGPIPE for one
 *     that has gone: what cannot be written now is dropped and counted.
 *
 * A thread with a private file table (the reclaimer) has no fd 2.  It takes
 * the process's by pidfd_getfd(2), which a thread may always do to its own
 * process and which works for sockets, too (under systemd fd 2 is one).  Where
 * a seccomp profile forbids that, it opens /proc/PID/fd/2, which does not.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include "base/log.h"
#include "base/atomic.h"
#include "base/err.h"
#include "base/fd_window.h"
#include "base/sys.h"

#define LOG_PATH_MAX	256

enum log_target {
	LOG_STDERR,
	LOG_OFF,
	LOG_PATH,
};

/* Where lines go.  Written by log_set_target(), read by any thread. */
static enum log_target target;
static char target_path[LOG_PATH_MAX];

/* What fd 2 was at start; set once. */
static struct {
	bool ready;		/* log_init() has run */
	bool open;
	dev_t dev;
	ino_t ino;
} start_fd;

static uint64_t nr_dropped;

/* The process whose fd 2 this thread writes; 0: that of its own table. */
static __thread int table_pid __attribute__((tls_model("initial-exec")));
static __thread bool table_may_getfd
	__attribute__((tls_model("initial-exec")));

/* === Formatting =========================================================== */

struct fmt_out {
	char *buf;
	size_t size;
	size_t len;
};

static void put_char(struct fmt_out *out, char c)
{
	if (out->len + 1 < out->size)
		out->buf[out->len++] = c;
}

static void put_str(struct fmt_out *out, const char *s)
{
	for (s = s ? s : "(null)"; *s; s++)
		put_char(out, *s);
}

static __startup void put_number(struct fmt_out *out, uint64_t n,
				 unsigned int base)
{
	char digits[20];	/* of UINT64_MAX, in decimal */
	unsigned int nr = 0;

	do {
		digits[nr++] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	while (nr)
		put_char(out, digits[--nr]);
}

static void put_signed(struct fmt_out *out, int64_t n)
{
	if (n < 0)
		put_char(out, '-');
	put_number(out, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 10);
}

/* Skip l, ll and z at *fmt; whether there was one: the argument is 64 bits. */
static bool skip_length(const char **fmt)
{
	const char *start = *fmt;

	while (**fmt == 'l' || **fmt == 'z')
		(*fmt)++;
	return *fmt != start;
}

/* The conversions of one argument that is a number. */
static __startup void put_argument(struct fmt_out *out, char conv, uint64_t n)
{
	switch (conv) {
	case 'd':
	case 'i':
		put_signed(out, (int64_t)n);
		break;
	case 'u':
		put_number(out, n, 10);
		break;
	default:
		put_number(out, n, 16);
		break;
	}
}

__startup size_t fmt_vline(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct fmt_out out = { .buf = buf, .size = size };
	bool wide;

	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put_char(&out, *fmt);
			continue;
		}
		fmt++;
		wide = skip_length(&fmt);
		if (!*fmt)
			break;
		if (*fmt == 's') {
			put_str(&out, va_arg(ap, const char *));
		} else if (*fmt == 'c') {
			put_char(&out, (char)va_arg(ap, int));
		} else if (*fmt == '%') {
			put_char(&out, '%');
		} else if (*fmt == 'p') {
			put_str(&out, "0x");
			put_number(&out, (uintptr_t)va_arg(ap, void *), 16);
		} else if (wide) {
			put_argument(&out, *fmt, va_arg(ap, uint64_t));
		} else if (*fmt == 'd' || *fmt == 'i') {
			put_signed(&out, va_arg(ap, int));
		} else {
			put_argument(&out, *fmt, va_arg(ap, unsigned int));
		}
	}
	if (size)
		buf[out.len] = '\0';
	return out.len;
}

__startup size_t fmt_line(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = fmt_vline(buf, size, fmt, ap);
	va_end(ap);
	return len;
}

/* A whole line with prefix and newline; returns its length, at least 1. */
static size_t compose(char *line, const char *fmt, va_list ap)
{
	size_t len;

	len = fmt_line(line, LOG_LINE_MAX - 1, "ebbmalloc[%d]: ", sys_getpid());
	len += fmt_vline(line + len, LOG_LINE_MAX - 1 - len, fmt, ap);
	/*
	 * What is named in a line may come from a hostile environment: it must
	 * neither forge a second line nor command a terminal.
	 */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	return len;
}

/* === Writing ============================================================== */

/*
 * Write if that is possible within @wait_ms.  A pipe that poll(2) calls
 * writable has room for a page, so the write does not wait; one whose reader
 * has gone shows POLLERR, and writing it would raise SIGPIPE.  Last words
 * (those that may wait) are also tried where poll itself fails.
 */
static int write_ready(int fd, const char *line, size_t len, int wait_ms)
{
	struct timespec wait = { .tv_nsec = wait_ms * 1000000L };
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	long ret;

	ret = sys_ppoll(&pfd, 1, &wait);
	if (ret < 0 && !wait_ms)
		return (int)ret;
	if (ret >= 0 && pfd.revents != POLLOUT)
		return -EAGAIN;
	do {
		ret = sys_write(fd, line, len);
	} while (ret == -EINTR);
	return ret < 0 ? (int)ret : 0;
}

static bool is_start_fd(int fd)
{
	struct stat st;

	if (!start_fd.open || sys_fstat(fd, &st))
		return false;
	return st.st_dev == start_fd.dev && st.st_ino == start_fd.ino;
}

/* A descriptor, in this thread's table, of what process @pid has as fd 2. */
static int borrow_stderr(int pid)
{
	char path[32];
	int pidfd = -1, fd;

	if (table_may_getfd)
		pidfd = (int)sys_call2(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0) {
		fd = (int)sys_call3(SYS_pidfd_getfd, pidfd, 2, 0);
		sys_close(pidfd);
		if (fd >= 0)
			return fd;
	}
	fmt_line(path, sizeof(path), "/proc/%d/fd/2", pid);
	return sys_open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC |
			O_NONBLOCK, 0);
}

static int write_stderr(const char *line, size_t len, int wait_ms)
{
	int fd = 2, err;

	if (table_pid)
		fd = borrow_stderr(table_pid);
	if (fd < 0)
		return fd;
	err = is_start_fd(fd) ? write_ready(fd, line, len, wait_ms) : -EBADF;
	if (table_pid)
		sys_close(fd);
	return err;
}

static int write_path(const char *line, size_t len)
{
	int fd, err;

	fd_window_enter();
	fd = sys_open(target_path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW |
		      O_NOCTTY | O_CLOEXEC | O_NONBLOCK, 0600);
	err = fd < 0 ? fd : write_ready(fd, line, len, 0);
	if (fd >= 0)
		sys_close(fd);
	fd_window_leave();
	return err;
}

void log_line(const char *fmt, ...)
{
	enum log_target where = load_acquire(&target);
	char line[LOG_LINE_MAX];
	va_list ap;
	size_t len;
	int err;

	if (where == LOG_OFF)
		return;
	va_start(ap, fmt);
	len = compose(line, fmt, ap);
	va_end(ap);
	if (where == LOG_PATH)
		err = write_path(line, len);
	else
		err = write_stderr(line, len, 0);
	if (err)
		add_relaxed(&nr_dropped, 1);
}

/* A process that dies silently helps nobody. */
void log_last_words(const char *text, size_t len)
{
	int err;

	if (!start_fd.ready)
		log_init();
	err = write_stderr(text, len, 100);
	if (load_acquire(&target) == LOG_PATH)
		err = write_path(text, len);
	if (err)
		add_relaxed(&nr_dropped, 1);
}

void ebb_bug(const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = compose(line, fmt, ap);
	va_end(ap);
	log_last_words(line, len);
	abort();
}

/* === Target =============================================================== */

__startup void log_init(void)
{
	struct stat st;

	start_fd.open = !sys_fstat(2, &st);
	if (start_fd.open) {
		start_fd.dev = st.st_dev;
		start_fd.ino = st.st_ino;
	}
	start_fd.ready = true;
}

static bool str_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

int log_check_target(const char *text)
{
	size_t len = 0;

	if (str_equal(text, "stderr") || str_equal(text, "off"))
		return 0;
	if (text[0] != '/')
		return -EINVAL;
	while (text[len])
		len++;
	return len < LOG_PATH_MAX ? 0 : -ENAMETOOLONG;
}

int log_set_target(const char *text)
{
	enum log_target where = LOG_PATH;
	int err;

	err = log_check_target(text);
	if (err)
		return err;
	if (str_equal(text, "stderr"))
		where = LOG_STDERR;
	else if (str_equal(text, "off"))
		where = LOG_OFF;
	/*
	 * Off while the path changes; a thread that is between its look at the
	 * target and its open may still see part of each and drops its line.
	 */
	store_relaxed(&target, LOG_OFF);
	if (where == LOG_PATH)
		fmt_line(target_path, sizeof(target_path), "%s", text);
	/* Pairs with log_line(). */
	store_release(&target, where);
	return 0;
}

void log_use_private_table(int pid, bool may_getfd)
{
	table_pid = pid;
	table_may_getfd = may_getfd;
}

uint64_t log_dropped(void)
{
	return load_relaxed(&nr_dropped);
}
