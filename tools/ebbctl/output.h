/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Where a command's output goes: a file as a whole, or stdout
 */
#ifndef EBBCTL_OUTPUT_H
#define EBBCTL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Put @text into the place of the file @path, with @mode, so that who reads it
 * meanwhile sees the old one or the new one; NULL: to stdout.  False, with a
 * message: what was there is as it was.
 */
bool output_put(const char *path, unsigned int mode, const char *text,
		size_t len);

#endif
