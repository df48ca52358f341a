/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Sources of options
 *
 * Reads the program's string, the file and the environment, in this order.
 * It does so twice: first for the option `log` alone, so that what is refused
 * the second time is reported where the last source wants it.
 *
 * Nothing is allocated, and malloc may be inside this for its first call:
 * before libc has set environ the environment is read from /proc.
 */
#include <fcntl.h>
#include <sys/auxv.h>
#include "base/param.h"
#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"

/* A name, '=', and the longest string. */
#define ITEM_MAX	(EBB_STRING_MAX + 33)
#define CHUNK_MAX	1024

/* Set by the program, if it likes. */
extern const char *ebb_conf
	__attribute__((weak, visibility("default")));
extern char **environ;

enum load_pass {
	LOAD_LOG,		/* the option `log`, silently */
	LOAD_REST,		/* all others, and reports */
};

struct origin {
	enum load_pass pass;
	const char *name;
	unsigned int line;	/* 0: not made of lines */
};

/* === Items ================================================================ */

static void report(const struct origin *from, const char *why)
{
	if (from->pass == LOAD_LOG)
		return;
	if (from->line)
		log_line("%s:%u: %s", from->name, from->line, why);
	else
		log_line("%s: %s", from->name, why);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(const char **text, size_t *len)
{
	while (*len && is_blank(**text)) {
		(*text)++;
		(*len)--;
	}
	while (*len && is_blank((*text)[*len - 1]))
		(*len)--;
}

static void copy_trimmed(char *to, const char *text, size_t len)
{
	trim(&text, &len);
	for (size_t i = 0; i < len; i++)
		to[i] = text[i];
	to[len] = '\0';
}

/* `log` was set in the first pass: here its errors are reported, no more. */
static int load_option(enum load_pass pass, const char *name,
		       const char *value, char *why, size_t size)
{
	bool is_log = param_find(name) == EBB_ATTR_LOG;
	int err;

	if (is_log != (pass == LOAD_LOG)) {
		err = is_log ? log_check_target(value) : 0;
		if (err)
			param_explain(EBB_ATTR_LOG, value, err, why, size);
		return err;
	}
	return param_set(name, value, why, size);
}

/* One name=value of @len bytes. */
static void load_item(const struct origin *from, const char *text, size_t len)
{
	char name[ITEM_MAX], value[ITEM_MAX], why[LOG_LINE_MAX / 2];
	size_t split = 0;

	trim(&text, &len);
	if (!len)
		return;
	if (len >= ITEM_MAX) {
		fmt_line(why, sizeof(why), "option of %zu bytes or more "
			 "refused: accepts up to %d", len, ITEM_MAX - 1);
		report(from, why);
		return;
	}
	while (split < len && text[split] != '=')
		split++;
	copy_trimmed(name, text, split);
	if (split == len) {
		fmt_line(why, sizeof(why), "\"%s\" refused: not name=value",
			 name);
		report(from, why);
		return;
	}
	copy_trimmed(value, text + split + 1, len - split - 1);
	if (load_option(from->pass, name, value, why, sizeof(why)))
		report(from, why);
}

/* "name=value,name=value" */
static void load_list(enum load_pass pass, const char *name, const char *text)
{
	struct origin from = { .pass = pass, .name = name };
	size_t len;

	for (;;) {
		for (len = 0; text[len] && text[len] != ','; )
			len++;
		load_item(&from, text, len);
		if (!text[len])
			return;
		text += len + 1;
	}
}

/* === Files ================================================================ */

/* Splits a file at a byte; a piece too long for the buffer is cut. */
struct reader {
	int fd;
	char separator;
	bool cut;		/* the piece is longer than what is shown */
	bool ended;
	size_t start;		/* first byte not handed out yet */
	size_t end;
	char buf[CHUNK_MAX];
};

/* Have more bytes behind end; false at the end of the file. */
static bool reader_fill(struct reader *r)
{
	long ret;

	for (size_t i = r->start; i < r->end; i++)
		r->buf[i - r->start] = r->buf[i];
	r->end -= r->start;
	r->start = 0;
	ret = sys_read(r->fd, r->buf + r->end, sizeof(r->buf) - r->end);
	if (ret <= 0)
		r->ended = true;
	else
		r->end += (size_t)ret;
	return !r->ended;
}

/* Where the next separator is, at or behind @at; r->end if not in sight. */
static size_t reader_scan(const struct reader *r, size_t at)
{
	while (at < r->end && r->buf[at] != r->separator)
		at++;
	return at;
}

/* Drop the rest of a piece that was cut. */
static void reader_skip(struct reader *r)
{
	size_t at;

	do {
		at = reader_scan(r, r->start);
		r->start = at;
	} while (at == r->end && reader_fill(r));
	if (r->start < r->end)
		r->start++;
}

/* The next piece, without its separator; false when there is none. */
static bool reader_next(struct reader *r, const char **ret_text,
			size_t *ret_len)
{
	size_t at;

	if (r->cut)
		reader_skip(r);
	r->cut = false;
	while ((at = reader_scan(r, r->start)) == r->end && !r->ended) {
		if (r->end - r->start == sizeof(r->buf)) {
			r->cut = true;
			break;
		}
		reader_fill(r);
	}
	if (at == r->start && at == r->end)
		return false;
	*ret_text = r->buf + r->start;
	*ret_len = at - r->start;
	r->start = at < r->end ? at + 1 : at;
	return true;
}

static int open_read(const char *path)
{
	return sys_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
}

/* One name=value a line; lines that begin with # are comments.  False: none. */
static __startup bool load_file(enum load_pass pass, const char *path)
{
	struct origin from = { .pass = pass, .name = path };
	struct reader r = { .separator = '\n' };
	const char *text;
	char why[48];
	size_t len;

	r.fd = open_read(path);
	if (r.fd == -ENOENT || r.fd == -ENOTDIR)
		return false;
	if (r.fd < 0) {
		fmt_line(why, sizeof(why), "cannot be read: error %d", -r.fd);
		report(&from, why);
		return true;
	}
	while (reader_next(&r, &text, &len)) {
		from.line++;
		trim(&text, &len);
		if (len && *text != '#')
			load_item(&from, text, len);
	}
	sys_close(r.fd);
	return true;
}

/* === Environment ========================================================== */

/* The environment that the process was started with. */
static const char *lookup_in_proc(char *buf)
{
	struct reader r = { .separator = '\0' };
	const char *text, *value = NULL;
	size_t len;

	r.fd = open_read("/proc/self/environ");
	if (r.fd < 0)
		return NULL;
	while (!value && reader_next(&r, &text, &len))
		value = env_value(text, len, EBB_CONF_ENV);
	sys_close(r.fd);
	if (!value)
		return NULL;
	if (r.cut) {
		log_line(EBB_CONF_ENV " of %d bytes or more refused: the "
			 "program allocates before libc is ready", CHUNK_MAX);
		return NULL;
	}
	len -= (size_t)(value - text);
	for (size_t i = 0; i < len; i++)
		buf[i] = value[i];
	buf[len] = '\0';
	return buf;
}

/* === Loading ============================================================== */

__startup void param_load_from(const struct param_sources *sources)
{
	const char *file = sources->file;
	enum load_pass pass;

	for (pass = LOAD_LOG; pass <= LOAD_REST; pass++) {
		if (sources->program)
			load_list(pass, "ebb_conf", sources->program);
		/* Most machines have none: then it is not looked for again. */
		if (file && !load_file(pass, file))
			file = NULL;
		if (sources->environment)
			load_list(pass, EBB_CONF_ENV, sources->environment);
	}
}

__startup void param_load(void)
{
	struct param_sources sources = { .file = EBB_CONF_FILE };
	char early[CHUNK_MAX];

	if (&ebb_conf)
		sources.program = ebb_conf;
	if (!getauxval(AT_SECURE)) {
		if (environ)
			sources.environment = env_lookup(environ, EBB_CONF_ENV);
		else
			sources.environment = lookup_in_proc(early);
	}
	param_load_from(&sources);
}
