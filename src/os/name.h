/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Names for the heap's mappings
 *
 * What it is: kernels since 5.17 with CONFIG_ANON_VMA_NAME show the window as
 * [anon:ebbmalloc: heap] in /proc/PID/maps and smaps.
 *
 * Model: the kernel merges neighbours only if they have one name.  So either all
 * of the window has it, tables and what is only reserved included, or nothing
 * of it; what is mapped there anew later gets it, too.  Parts of a mapping that
 * are changed by mprotect, and what mremap moves, keep theirs.
 *
 * A seccomp filter may kill who makes a call that it does not know: below one
 * no names are given.
 */
#ifndef EBB_OS_NAME_H
#define EBB_OS_NAME_H

#include "base/compiler.h"

/* What became of it, in words. */
const char *name_describe(void);

#if IS_ENABLED(CONFIG_VMA_NAME)

/* [@addr, @addr + @len) is the window, or a part of it: all that is mapped. */
void name_give(char *addr, size_t len);

/* The same of a part that was mapped anew; nothing if there are no names. */
void name_renewed(char *addr, size_t len);

#else

static inline void name_give(char *addr, size_t len)
{
	(void)addr;
	(void)len;
}

static inline void name_renewed(char *addr, size_t len)
{
	(void)addr;
	(void)len;
}

#endif

#endif
