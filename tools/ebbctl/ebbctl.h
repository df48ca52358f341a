/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Shared declarations
 *
 * The tool uses libc, libcgroup and uapi/, nothing of src/.
 */
#ifndef EBBCTL_H
#define EBBCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* Where `make install` puts the library; the build may say otherwise. */
#ifndef EBB_LIBDIR
#define EBB_LIBDIR	"/usr/local/lib"
#endif
#define EBB_LIBRARY	"libebbmalloc.so.1"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define MIB		(UINT64_C(1) << 20)
#define UNKNOWN		UINT64_MAX	/* a number that could not be read */

/* Exit statuses of every command; those of `run` are env(1)'s. */
enum {
	STATUS_OK	= 0,
	STATUS_NO	= 1,	/* doctor: the library does not load there;
				 * set, trim, profile: refused */
	STATUS_USAGE	= 2,
	STATUS_ABSENT	= 3,	/* no such process, or none on ebbmalloc */
	STATUS_PENDING	= 4,	/* set, trim, profile: not answered yet */
	STATUS_FAILED	= 125,
	STATUS_NO_EXEC	= 126,
	STATUS_NO_FILE	= 127,
};

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
};

int cmd_run(int argc, char **argv);
int cmd_options(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_threads(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_trim(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_postmortem(int argc, char **argv);

/* === util.c =============================================================== */

/* One line on stderr, "ebbctl: " in front. */
void message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Bytes with a suffix K, M, G or T; false for anything else or overflow. */
bool size_parse(const char *text, uint64_t *ret_bytes);

/* As an option's value is written: the largest exact suffix. */
#define SIZE_TEXT	32
const char *size_exact(int64_t bytes, char buf[SIZE_TEXT]);

/* For reading: at most five characters, or "unknown". */
const char *size_human(uint64_t bytes, char buf[SIZE_TEXT]);

/* Microseconds in at most five characters: 340us, 1.2ms, 17s. */
#define TIME_TEXT	32
const char *time_human(uint64_t us, char buf[TIME_TEXT]);

/* snprintf into a path; false, with errno, if it does not fit. */
bool path_make(char *path, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The contents of @dir/@name, up to its final newline; false with errno. */
bool file_get(const char *dir, const char *name, char *buf, size_t size);

/* Write @text to @dir/@name; false with errno. */
bool file_put(const char *dir, const char *name, const char *text);

/* The first number in @text, or behind the @key of a line; else UNKNOWN. */
uint64_t text_number(const char *text, const char *key);

/* The same in the file @dir/@name. */
uint64_t file_number(const char *dir, const char *name, const char *key);

/* Whether a line of @text, as in /proc/PID/cgroup, is @path or below it. */
bool cgroup_lists(const char *text, const char *path);

/* Find @name as execvp(3) would; false with errno. */
bool program_find(const char *name, char *path, size_t size);

/*
 * The library: @given, or the one beside this tool, or the installed one.
 * False if there is none, and then @path names where it should be.
 */
bool library_find(const char *given, char *path, size_t size);

/* Whether @path can stand in LD_PRELOAD; else a message says why not. */
bool library_fits(const char *path);

/* Milliseconds of @id: CLOCK_REALTIME since 1970. */
uint64_t clock_ms(clockid_t id);

/*
 * For commands whose only option is --json: -1, and optind is at the first
 * argument; else the exit status, of what asked for help or was refused.
 */
int json_option(int argc, char **argv, const char *usage, bool *ret_json);

/* === json.c =============================================================== */

struct json {
	FILE *out;
	bool more;		/* a comma is due before the next item */
};

/* @key is NULL inside arrays and for the outermost value. */
void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_text(struct json *json, const char *key, const char *text);
/* UNKNOWN is written as null. */
void json_number(struct json *json, const char *key, uint64_t number);
/* Infinite or not a number is written as null. */
void json_real(struct json *json, const char *key, double number);
void json_signed(struct json *json, const char *key, int64_t number);
void json_bool(struct json *json, const char *key, bool value);

#endif
