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

#define COMM_SIZE	16u	/* the kernel's TASK_COMM_LEN */

/*
 * The name of thread @tid of this process, or with 0 of the process; empty if
 * it has gone.
 */
void small_file_comm(int tid, char name[COMM_SIZE]);

#endif
