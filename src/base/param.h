/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Values of the options in uapi/ebb/control.h
 */
#ifndef EBB_BASE_PARAM_H
#define EBB_BASE_PARAM_H

#include "base/compiler.h"
#include "ebb/control.h"

/* Where options come from, each NULL if there is none; the later wins. */
struct param_sources {
	const char *program;	/* "name=value,name=value" */
	const char *file;	/* path; one name=value a line, # comments */
	const char *environment;	/* as @program */
};

/*
 * Read the program's ebb_conf, the file and, unless the program runs with
 * privileges of its own (AT_SECURE), the environment.  Until then, and for
 * what they do not name, the built-in values hold.  Needs log_init(); may be
 * called before libc has set environ.
 */
void param_load(void);

/* The same from @sources; each refused item is one log line. */
void param_load_from(const struct param_sources *sources);

/* The value in force; relaxed, may be called anywhere. */
int64_t param_int(enum ebb_attr_id id);

/* For string options: never NULL.  Valid until the second param_set() of it. */
const char *param_str(enum ebb_attr_id id);

/* @id's value in bytes, percentages taken of @whole. */
uint64_t param_bytes(enum ebb_attr_id id, uint64_t whole);

/*
 * Set one option from text.  Returns 0, or -EINVAL / -ERANGE / -ENOENT /
 * -EOPNOTSUPP, and then @why (of @size bytes) holds one line with the value
 * and the range; the old value stays.  Callers exclude each other: at start
 * the one that initialises, later the reclaimer.
 */
int param_set(const char *name, const char *text, char *why, size_t size)
	__must_check;

/*
 * Its row.  Whoever names ebb_attrs[] gets a copy of the whole table, with a
 * relocation for each string in it.
 */
const struct ebb_attr *param_attr(enum ebb_attr_id id);

/* The enum ebb_attr_id of @name, or -ENOENT. */
int param_find(const char *name) __must_check;

/* The line that param_set() gives for refusing @text with @err. */
void param_explain(enum ebb_attr_id id, const char *text, int err, char *why,
		   size_t size);

/*
 * Read @text as a value of @attr, which is not a string: 0, -EINVAL for what
 * is no such value, -ERANGE for one outside the range.
 */
int param_parse(const struct ebb_attr *attr, const char *text,
		int64_t *ret_value) __must_check;

/* The canonical text of @value; param_parse() reads it back as @value. */
size_t param_format(const struct ebb_attr *attr, int64_t value, char *buf,
		    size_t size);

/* What @attr accepts, as text. */
size_t param_format_range(const struct ebb_attr *attr, char *buf, size_t size);

#endif
