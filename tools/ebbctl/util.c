/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Files, sizes, messages, clocks
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include "ebbctl.h"

void message(const char *fmt, ...)
{
	va_list ap;

	fputs("ebbctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* === Sizes ================================================================ */

static const char suffixes[] = "KMGT";

bool size_parse(const char *text, uint64_t *ret_bytes)
{
	const char *suffix;
	uint64_t value;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (!suffix || end[1])
			return false;
		for (; suffix >= suffixes; suffix--)
			if (__builtin_mul_overflow(value, 1024, &value))
				return false;
	}
	/* The kernel counts in signed 64 bits. */
	if (value > INT64_MAX)
		return false;
	*ret_bytes = value;
	return true;
}

const char *size_exact(int64_t bytes, char buf[SIZE_TEXT])
{
	const char *next = suffixes;
	char suffix[2] = "";

	while (bytes && bytes % 1024 == 0 && *next) {
		bytes /= 1024;
		suffix[0] = *next++;
	}
	snprintf(buf, SIZE_TEXT, "%" PRId64 "%s", bytes, suffix);
	return buf;
}

const char *size_human(uint64_t bytes, char buf[SIZE_TEXT])
{
	static const char larger[] = "KMGTPE";
	double value = (double)bytes;
	char suffix[2] = "";

	if (bytes == UNKNOWN)
		return "unknown";
	for (unsigned int i = 0; value >= 1024 && larger[i]; i++) {
		value /= 1024;
		suffix[0] = larger[i];
	}
	snprintf(buf, SIZE_TEXT, "%.*f%s", suffix[0] && value < 100 ? 1 : 0,
		 value, suffix);
	return buf;
}

const char *time_human(uint64_t us, char buf[TIME_TEXT])
{
	if (us < 1000)
		snprintf(buf, TIME_TEXT, "%" PRIu64 "us", us);
	else if (us < 9950)
		snprintf(buf, TIME_TEXT, "%.1fms", (double)us / 1000);
	else if (us < 999500)
		snprintf(buf, TIME_TEXT, "%.0fms", (double)us / 1000);
	else if (us < 9950000)
		snprintf(buf, TIME_TEXT, "%.1fs", (double)us / 1000000);
	else
		snprintf(buf, TIME_TEXT, "%.0fs", (double)us / 1000000);
	return buf;
}

/* === Files ================================================================ */

bool path_make(char *path, size_t size, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(path, size, fmt, ap);
	va_end(ap);
	if (len >= 0 && (size_t)len < size)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

bool file_get(const char *dir, const char *name, char *buf, size_t size)
{
	char path[PATH_MAX];
	size_t len = 0;
	ssize_t ret;
	int fd, err;

	if (!path_make(path, sizeof(path), "%s/%s", dir, name))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	do {
		ret = read(fd, buf + len, size - 1 - len);
		len += ret > 0 ? (size_t)ret : 0;
	} while (ret > 0 && len < size - 1);
	err = errno;
	close(fd);
	buf[len] = '\0';
	if (len && buf[len - 1] == '\n')
		buf[len - 1] = '\0';
	errno = err;
	return ret >= 0;
}

bool file_put(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX];
	ssize_t ret;
	int fd, err;

	if (!path_make(path, sizeof(path), "%s/%s", dir, name))
		return false;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ret = write(fd, text, strlen(text));
	err = errno;
	close(fd);
	errno = err;
	return ret >= 0;
}

uint64_t text_number(const char *text, const char *key)
{
	size_t len = key ? strlen(key) : 0;
	uint64_t number;
	char *end;

	while (len && (strncmp(text, key, len) || text[len] != ' ')) {
		text = strchr(text, '\n');
		if (!text)
			return UNKNOWN;
		text++;
	}
	errno = 0;
	number = strtoull(text + len, &end, 10);
	return end == text + len || errno ? UNKNOWN : number;
}

uint64_t file_number(const char *dir, const char *name, const char *key)
{
	char text[8192];

	return file_get(dir, name, text, sizeof(text)) ?
	       text_number(text, key) : UNKNOWN;
}

bool cgroup_lists(const char *text, const char *path)
{
	size_t len = strlen(path), end;
	const char *at;

	while (len && path[len - 1] == '/')
		len--;
	for (; *text; text += end + (text[end] != '\0')) {
		end = strcspn(text, "\n");
		at = memchr(text, ':', end);
		at = at ? memchr(at + 1, ':', end - (size_t)(at + 1 - text)) :
			  NULL;
		if (at && !strncmp(at + 1, path, len) &&
		    strchr("/\n", at[1 + len]))
			return true;
	}
	return false;
}

/* === Finding programs and the library ===================================== */

static bool is_program(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return false;
	if (S_ISREG(st.st_mode) && !access(path, X_OK))
		return true;
	errno = EACCES;
	return false;
}

bool program_find(const char *name, char *path, size_t size)
{
	const char *dirs = getenv("PATH");
	size_t len;

	if (strchr(name, '/'))
		return path_make(path, size, "%s", name) && is_program(path);
	for (dirs = dirs ? dirs : "/bin:/usr/bin"; *dirs; dirs += len) {
		dirs += *dirs == ':';
		len = strcspn(dirs, ":");
		if (path_make(path, size, "%.*s/%s", (int)len, len ? dirs : ".",
			      name) && is_program(path))
			return true;
	}
	errno = ENOENT;
	return false;
}

static bool is_readable(const char *path)
{
	return !access(path, R_OK);
}

/* build/bin/ebbctl has it in build/lib, PREFIX/bin/ebbctl in PREFIX/lib. */
static bool beside_tool(char *path, size_t size)
{
	char exe[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (len < 0)
		return false;
	exe[len] = '\0';
	for (int i = 0; i < 2; i++) {
		slash = strrchr(exe, '/');
		if (!slash)
			return false;
		*slash = '\0';
	}
	return path_make(path, size, "%s/lib/" EBB_LIBRARY, exe) &&
	       is_readable(path);
}

bool library_find(const char *given, char *path, size_t size)
{
	char full[PATH_MAX];

	if (given) {
		if (realpath(given, full) && is_readable(full))
			return path_make(path, size, "%s", full);
		snprintf(path, size, "%s", given);
		return false;
	}
	if (beside_tool(path, size))
		return true;
	snprintf(path, size, "%s", EBB_LIBDIR "/" EBB_LIBRARY);
	return is_readable(path);
}

bool library_fits(const char *path)
{
	if (!strpbrk(path, " :"))
		return true;
	message("cannot preload %s: blanks and colons separate libraries in "
		"LD_PRELOAD", path);
	return false;
}

/* === Clocks and options =================================================== */

uint64_t clock_ms(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int json_option(int argc, char **argv, const char *usage, bool *ret_json)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*ret_json = false;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			fputs(usage, stdout);
		if (c != 'j')
			return c == 'h' ? STATUS_OK : STATUS_USAGE;
		*ret_json = true;
	}
	return -1;
}
