/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The service manager's word
 *
 * What it is: systemd's pressure protocol.  $MEMORY_PRESSURE_WATCH is the
 * absolute path of what to wait on, and $MEMORY_PRESSURE_WRITE, if set, the
 * Base64 form of what to write there at once.
 *
 * Model: what the path leads to says how to wait.
 *	regular file	a PSI file: written, POLLPRI, never read
 *	FIFO		written, POLLIN, read and discarded
 *	socket		AF_UNIX, stream: connected, written, POLLIN, read and
 *			discarded
 *	"/dev/null"	the word itself: pressure is not to be watched, by psi
 *			neither
 * There is one degree of pressure, severe: the protocol expects of it what
 * malloc_trim() does.  But the first event of a PSI trigger after arming may
 * be false, and reading, which would tell, is not allowed: it counts as mild.
 *
 * What was written into a FIFO may come back to the writer, if nobody else
 * reads it; the first bytes read are compared with it.
 *
 * Where the variable names a PSI file and nothing is to be written, no
 * trigger is armed and poll() says POLLERR at once: that is no source.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "reclaim/source.h"
#include "reclaim/watch.h"

#define WATCH_ENV	"MEMORY_PRESSURE_WATCH"
#define WRITE_ENV	"MEMORY_PRESSURE_WRITE"
#define PATH_SIZE	4096
#define WRITE_SIZE	512		/* decoded */
#define READ_SIZE	1024
#define MAX_READS	64		/* per event: what a pipe holds */
#define MAX_FULL	4		/* then it is left alone for a while */

#ifndef PROC_SUPER_MAGIC
#define PROC_SUPER_MAGIC	0x9fa0
#endif

enum watch_kind {
	KIND_FILE,
	KIND_FIFO,
	KIND_SOCKET,
};

/* Set once, at start. */
static char watch_path[PATH_SIZE];	/* "": not set */
static unsigned char write_data[WRITE_SIZE];
static size_t write_len;
static const char *env_refused;		/* why the environment is no good */

/* Reclaimer thread only. */
static struct {
	enum watch_kind kind;
	bool psi;		/* the kernel's own PSI file */
	bool proven;		/* it had an event */
	unsigned int nr_full;	/* events in a row with more than we read */
	bool echo;		/* what was written may come back */
} watched;

/* === Environment ====================================================== */

static int decode_digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -EINVAL;
}

/* Four digits give three bytes, less one for each '=' at the end. */
static int decode_group(const char *text, bool last, unsigned char *out)
{
	uint32_t bits = 0;
	int nr = 3, digit;

	if (last && text[3] == '=')
		nr = text[2] == '=' ? 1 : 2;
	for (int i = 0; i < 4; i++) {
		digit = i <= nr ? decode_digit(text[i]) : 0;
		if (digit < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)digit;
	}
	/* Bits that belong to no byte are zero in what an encoder makes. */
	if (bits & ((1u << 8 * (3 - nr)) - 1))
		return -EINVAL;
	for (int i = 0; i < nr; i++)
		out[i] = (unsigned char)(bits >> (16 - 8 * i));
	return nr;
}

long watch_decode(const char *text, unsigned char *buf, size_t size)
{
	size_t len = strlen(text), done = 0;
	unsigned char group[3];
	int nr;

	if (len % 4)
		return -EINVAL;
	for (size_t at = 0; at < len; at += 4) {
		nr = decode_group(text + at, at + 4 == len, group);
		if (nr < 0)
			return nr;
		if (done + (size_t)nr > size)
			return -ENAMETOOLONG;
		memcpy(buf + done, group, (size_t)nr);
		done += (size_t)nr;
	}
	return (long)done;
}

static const char *note_write(const char *text)
{
	long len = watch_decode(text, write_data, sizeof(write_data));

	if (len == -ENAMETOOLONG)
		return "$" WRITE_ENV " is longer than 512 bytes";
	if (len < 0)
		return "$" WRITE_ENV " is not Base64";
	write_len = (size_t)len;
	return NULL;
}

/* NULL, or what is wrong with it. */
__startup static const char *note(char *const *env)
{
	const char *path = env_lookup(env, WATCH_ENV);
	const char *data = env_lookup(env, WRITE_ENV);

	if (!path)
		return NULL;
	if (*path != '/')
		return "$" WATCH_ENV " is not absolute";
	if (strlen(path) >= sizeof(watch_path))
		return "$" WATCH_ENV " is too long";
	memcpy(watch_path, path, strlen(path) + 1);
	return data ? note_write(data) : NULL;
}

__startup void watch_note_environment(char *const *env, bool secure)
{
	const char *refused;

	/* Only what was noted before: an untouched page stays so. */
	if (watch_path[0])
		watch_path[0] = '\0';
	if (write_len)
		write_len = 0;
	refused = secure ? "the environment of a privileged program is not "
			   "trusted" : note(env);
	if (refused || env_refused)
		env_refused = refused;
}

static bool is_off(void)
{
	return !env_refused && !strcmp(watch_path, "/dev/null");
}

/* === Opening ========================================================== */

static int find_kind(struct source *source, int path_fd)
{
	struct stat st;

	if (sys_fstat(path_fd, &st))
		return source_refuse(source, "no stat of what $" WATCH_ENV
				     " names", -EIO);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		watched.kind = KIND_FILE;
		return 0;
	case S_IFIFO:
		watched.kind = KIND_FIFO;
		return 0;
	case S_IFSOCK:
		watched.kind = KIND_SOCKET;
		return 0;
	case S_IFDIR:
		return source_refuse(source, "$" WATCH_ENV " is a directory",
				     -EISDIR);
	default:
		return source_refuse(source, "$" WATCH_ENV " is neither file, "
				     "FIFO nor socket", -EINVAL);
	}
}

/* A path too long for an address is named by a descriptor of it. */
static int connect_to(int fd, int path_fd)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (strlen(watch_path) < sizeof(to.sun_path))
		fmt_line(to.sun_path, sizeof(to.sun_path), "%s", watch_path);
	else
		fmt_line(to.sun_path, sizeof(to.sun_path),
			 "/proc/thread-self/fd/%d", path_fd);
	return (int)sys_call3(SYS_connect, fd, (long)&to, sizeof(to));
}

static int open_socket(struct source *source, int path_fd)
{
	int fd, err;

	fd = (int)sys_call3(SYS_socket, AF_UNIX,
			    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	err = source_take_fd(source, fd, POLLIN, "no socket");
	if (err)
		return err;
	err = connect_to(fd, path_fd);
	return err ? source_refuse(source, "cannot connect to $" WATCH_ENV,
				   err) : 0;
}

/*
 * Read and write, so that a FIFO does not end when its last writer leaves;
 * where that is not allowed, and nothing is to be written, for reading.
 */
static int open_file(struct source *source, short events)
{
	const int flags = O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	int fd = sys_open(watch_path, O_RDWR | flags, 0);

	if ((fd == -EACCES || fd == -EROFS) && !write_len)
		fd = sys_open(watch_path, O_RDONLY | flags, 0);
	return source_take_fd(source, fd, events, "cannot open $" WATCH_ENV);
}

static int open_kind(struct source *source)
{
	int path_fd, err;

	path_fd = sys_open(watch_path, O_PATH | O_CLOEXEC, 0);
	if (path_fd < 0)
		return source_refuse(source, "cannot find $" WATCH_ENV,
				     path_fd);
	err = find_kind(source, path_fd);
	if (!err && watched.kind == KIND_SOCKET)
		err = open_socket(source, path_fd);
	else if (!err)
		err = open_file(source, watched.kind == KIND_FILE ? POLLPRI :
				POLLIN);
	sys_close(path_fd);
	return err;
}

static int write_request(struct source *source)
{
	int fd = source->fds[0];
	long ret;

	if (!write_len)
		return 0;
	if (watched.kind == KIND_SOCKET)
		ret = sys_call6(SYS_sendto, fd, (long)write_data,
				(long)write_len, MSG_NOSIGNAL, 0, 0);
	else
		ret = sys_write(fd, write_data, write_len);
	if (ret < 0)
		return source_refuse(source, "cannot write $" WRITE_ENV,
				     (int)ret);
	if ((size_t)ret < write_len)
		return source_refuse(source, "$" WRITE_ENV " was taken in part",
				     -EIO);
	watched.echo = watched.kind == KIND_FIFO;
	return 0;
}

/* A PSI file without a trigger says POLLERR, and goes on saying it. */
static bool is_armed(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLPRI };
	struct timespec at_once = { 0 };

	return sys_ppoll(&pfd, 1, &at_once) <= 0 ||
	       !(pfd.revents & (POLLERR | POLLNVAL));
}

static bool is_psi(int fd)
{
	struct statfs fs;

	return !sys_call2(SYS_fstatfs, fd, (long)&fs) &&
	       (fs.f_type == CGROUP2_SUPER_MAGIC ||
		fs.f_type == CGROUP_SUPER_MAGIC ||
		fs.f_type == PROC_SUPER_MAGIC);
}

static int check_file(struct source *source)
{
	if (!is_armed(source->fds[0]))
		return source_refuse(source, write_len ? "$" WATCH_ENV
				     " is not a PSI file" : "$" WRITE_ENV
				     " is not set, so there is no trigger",
				     -EINVAL);
	/* Without a trigger of ours no event will come from it. */
	watched.psi = write_len && is_psi(source->fds[0]);
	/* Until here it was no trigger, which alone is slow to close. */
	source->slow_close = watched.psi;
	return 0;
}

static int watch_open(struct source *source, const struct cgroup_view *view)
{
	static const char *const what[] = {
		[KIND_FILE] = "POLLPRI on $" WATCH_ENV ", a file",
		[KIND_FIFO] = "$" WATCH_ENV ", a FIFO",
		[KIND_SOCKET] = "$" WATCH_ENV ", a socket",
	};
	int err;

	(void)view;
	memset(&watched, 0, sizeof(watched));
	source->slow_close = false;
	if (env_refused || !*watch_path)
		return source_refuse(source, env_refused ?: "$" WATCH_ENV
				     " is not set", -EOPNOTSUPP);
	if (is_off())
		return source_refuse(source, "turned off by $" WATCH_ENV
				     "=/dev/null", -EOPNOTSUPP);
	err = open_kind(source);
	if (!err)
		err = write_request(source);
	if (!err && watched.kind == KIND_FILE)
		err = check_file(source);
	if (!err)
		source_watches(source, what[watched.kind]);
	return err;
}

/* === Events =========================================================== */

/* Whether the @len bytes at @buf are more than an echo of our own. */
static bool is_news(const char *buf, size_t len)
{
	bool echo = watched.echo && len >= write_len &&
		    !memcmp(buf, write_data, write_len);

	watched.echo = false;
	return !echo || len > write_len;
}

static int discard(struct source *source, int fd)
{
	char buf[READ_SIZE];
	bool news = false;
	long len = 0;

	for (int i = 0; i < MAX_READS; i++) {
		len = sys_read(fd, buf, sizeof(buf));
		if (len <= 0)
			break;
		news |= is_news(buf, (size_t)len);
	}
	watched.nr_full = len > 0 ? watched.nr_full + 1 : 0;
	if (watched.nr_full >= MAX_FULL)
		return source_refuse(source, "floods", -ENOSPC);
	/* What was said before the end is heard; the end is there next time. */
	if (news || len > 0 || len == -EAGAIN)
		return news;
	return source_refuse(source, len ? "cannot read $" WATCH_ENV :
			     "the other end of $" WATCH_ENV " was closed",
			     len ? (int)len : -ECONNRESET);
}

static int watch_event(struct source *source, unsigned int at,
		       struct signals *signals)
{
	int ret = 1;

	if (watched.kind != KIND_FILE)
		ret = discard(source, source->fds[at]);
	else if (source->revents & (POLLERR | POLLNVAL))
		ret = source_refuse(source, "what $" WATCH_ENV " names is gone",
				    -ENODEV);
	if (ret > 0) {
		signals->pressure = watched.psi && !watched.proven ?
				    PRESSURE_MILD : PRESSURE_SEVERE;
		watched.proven = true;
	}
	return ret;
}

enum watch_claim watch_claims(void)
{
	if (is_off())
		return WATCH_OFF;
	return watch_source.state == SOURCE_LIVE && watched.psi ? WATCH_PSI :
	       WATCH_NONE;
}

struct source watch_source = {
	.name = "watch",
	.open = watch_open,
	.event = watch_event,
	.needs_fds = true,
	.reason = "not opened",
};
