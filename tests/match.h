/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Whether a text is as it shall be
 */
#ifndef EBB_TESTS_MATCH_H
#define EBB_TESTS_MATCH_H

#include <regex.h>
#include <stdbool.h>
#include <stdlib.h>

/*
 * Whether the extended regular expression matches; with @flags of regcomp(3),
 * REG_NEWLINE for one of a line.
 */
static inline bool text_fits(const char *text, const char *pattern, int flags)
{
	regex_t regex;
	bool found;

	if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | flags))
		abort();
	found = !regexec(&regex, text, 0, NULL, 0);
	regfree(&regex);
	return found;
}

#endif
