/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Names of functions, from inside a signal handler
 *
 * What it is: what stands behind an address of code, found by system calls
 * alone: /proc/self/maps says which file it is from, the symbol table of the
 * file which function.  Nothing is allocated, no lock of libc's is taken, and
 * nothing has to be prepared, so objects loaded later are known, too.  A
 * stripped file has names only for what it exports; where files cannot be
 * opened (seccomp, chroot) there is the address.
 *
 * Context: any, but one caller at a time (debug/report.c sees to it): buffers
 * are static, since the stack may be a small alternate one.
 */
#ifndef EBB_DEBUG_SYMBOL_H
#define EBB_DEBUG_SYMBOL_H

#include "base/compiler.h"

/* Forget what was mapped: before the first of several symbol_describe(). */
void symbol_begin(void);

/*
 * " in FUNCTION+0xN (FILE+0xN)", as much of it as is known, to @buf; returns
 * its length.  The second number is what `addr2line -e FILE' takes.
 * @is_return: @pc is where a call returns to, which may be the next function.
 */
size_t symbol_describe(uintptr_t pc, bool is_return, char *buf, size_t size);

#endif
