/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Examination of a program file
 */
#ifndef EBBCTL_INSPECT_H
#define EBBCTL_INSPECT_H

#include <limits.h>
#include <stdbool.h>

enum inspect_verdict {
	INSPECT_YES,		/* nothing speaks against it */
	INSPECT_IN_PART,	/* it loads, but the program has another heap */
	INSPECT_NO,		/* it does not load, or is not used */
	INSPECT_UNKNOWN,	/* the file cannot be examined */
};

#define INSPECT_NOTES	8
#define INSPECT_TEXT	256

struct inspection {
	enum inspect_verdict verdict;
	char path[PATH_MAX];		/* the file examined: an interpreter,
					 * if the program is a script */
	char loader[PATH_MAX];		/* its PT_INTERP, or empty */
	char why[INSPECT_TEXT];		/* one line; what to do instead */
	unsigned int nr_notes;		/* what was found on the way */
	char notes[INSPECT_NOTES][INSPECT_TEXT];
};

/* Find @name as execvp(3) would and examine it, without running it. */
void inspect_program(const char *name, struct inspection *ret_inspection);

/* Whether the file @path is a library with a malloc; if not, @why not. */
bool inspect_library(const char *path, char why[INSPECT_TEXT]);

#endif
