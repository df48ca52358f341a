/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reading a small file of the kernel's
 */
#ifndef EBB_BASE_SMALL_FILE_H
#define EBB_BASE_SMALL_FILE_H

#include "base/compiler.h"

/*
 * What @path holds, as a string of at most @size - 1 bytes; empty where it
 * cannot be read.  Returns its length or -errno.
 */
long small_file_read(const char *path, char *buf, size_t size) __must_check;

#endif
