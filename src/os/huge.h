/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which huge pages the kernel may use for the heap
 *
 * Model: the kernel has huge pages of several sizes, each of which the admin
 * allows always, where a program asks for it (madvise), or never.  A slab is
 * 64 KiB, so folios of that size are wanted: one fault backs a slab, and one
 * call gives it back.  Larger ones are not: one slot in use would keep all of
 * it.  The kernel takes the largest that is allowed, and one flag of the
 * mapping allows or forbids all sizes alike; so
 *
 *	folios		any larger size	the heap
 *	never		any		is exempt
 *	any		always		is exempt, and has no folios either
 *	always		not always	is left alone, and has folios
 *	madvise		never		asks, and has folios
 *	madvise		madvise		is exempt, and has no folios
 *
 * Folios are off unless an admin turned them on; then one file says all.  Where
 * the program asks for huge pages itself, for a part of the heap, it gets them.
 *
 * Source: Documentation/admin-guide/mm/transhuge.rst of the kernel.
 */
#ifndef EBB_OS_HUGE_H
#define EBB_OS_HUGE_H

#include "base/compiler.h"

#define HUGE_DIR	"/sys/kernel/mm/transparent_hugepage"

/* Look what is allowed, in @dir.  Called once, by map_init(). */
void huge_init(const char *dir, size_t page_size);

/* Have [@addr, @addr + @len), a new part of the heap, be as above. */
void huge_advise(char *addr, size_t len);

/* Bytes that one fault backs beside pages; 0: pages alone. */
size_t huge_folio(void);

/* One line on what is allowed, as snprintf(3). */
size_t huge_describe(char *buf, size_t size);

#endif
