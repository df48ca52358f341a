/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - jemalloc's names, for programs that were written for them
 *
 * The library answers to the functions that jemalloc 5 adds to malloc, so that
 * a program built for it works on this heap and no other, preloaded or linked.
 * ebb_mallocx(3) and ebb_mallctl(3) say what is as there and what is not.  New
 * programs have no reason to use them: see ebb/ebb.h.  C and C++.
 */
#ifndef EBB_JEMALLOC_H
#define EBB_JEMALLOC_H

#include <limits.h>
#include <stddef.h>
#include <strings.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where a program includes jemalloc's own header, too, that goes first. */
#ifndef MALLOCX_ZERO

/* Flags.  To be combined by or; the bits are those of jemalloc 5. */
#define MALLOCX_LG_ALIGN(la)	((int)(la))
#define MALLOCX_ALIGN(a)	((int)(__builtin_ctzl(a)))
#define MALLOCX_ZERO		((int)0x40)
#define MALLOCX_TCACHE(tc)	((int)(((tc) + 2) << 8))
#define MALLOCX_TCACHE_NONE	MALLOCX_TCACHE(-1)
#define MALLOCX_ARENA(a)	((((int)(a)) + 1) << 20)

/* In names: all arenas together. */
#define MALLCTL_ARENAS_ALL	4096

#endif

/* === Memory =============================================================== */

/**
 * mallocx() - Allocate
 * @size: bytes, at least
 * @flags: alignment, MALLOCX_ZERO: all of its real size reads as zero
 *
 * Arena and cache in the flags have no effect: there is one heap.
 *
 * Context: any thread, signal handlers included.
 * Return: the memory, for free() or dallocx(); NULL: there is none.
 * Since: 0.1
 */
void *mallocx(size_t size, int flags);

/**
 * rallocx() - Change the size, moving what does not fit
 * @ptr: allocated
 * @size: bytes, at least
 * @flags: alignment; MALLOCX_ZERO: what is behind the old real size is zeroed
 *
 * Return: where it is now; NULL: there is no memory, and @ptr is as it was.
 * Since: 0.1
 */
void *rallocx(void *ptr, size_t size, int flags);

/**
 * xallocx() - Change the size without moving
 * @ptr: allocated
 * @size: bytes, at least
 * @extra: so many more, if they are to be had
 * @flags: see rallocx()
 *
 * Return: the real size now, less than @size if it could not be had.
 * Since: 0.1
 */
size_t xallocx(void *ptr, size_t size, size_t extra, int flags);

/** sallocx() - The real size of @ptr; as malloc_usable_size() */
size_t sallocx(const void *ptr, int flags);

/** dallocx() - Free; as free() */
void dallocx(void *ptr, int flags);

/**
 * sdallocx() - Free what has a known size
 * @ptr: allocated
 * @size: between what was asked for and the real size; checked with check=1
 * @flags: no effect
 *
 * Since: 0.1
 */
void sdallocx(void *ptr, size_t size, int flags);

/**
 * nallocx() - The real size that mallocx() would give
 *
 * Return: it, or 0 where mallocx() could not succeed.
 * Since: 0.1
 */
size_t nallocx(size_t size, int flags);

/* === What there is to know ================================================ */

/**
 * mallctl() - Read, set or do what has a name
 * @name: see ebb_mallctl(3)
 * @oldp: where the value before is stored, or NULL
 * @oldlenp: its size, which must be right, or NULL
 * @newp: the value to set, or NULL
 * @newlen: its size
 *
 * Return: 0, or an error number: ENOENT, EINVAL, EPERM, EFAULT, EAGAIN.
 * Since: 0.1
 */
int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp,
	    size_t newlen);

/**
 * mallctlnametomib() - Look a name up once
 * @name: see mallctl()
 * @mibp: where numbers are stored, one for each part of the name; a part that
 *	is a number is that number, and may be changed
 * @miblenp: how many there is room for, then how many were stored
 *
 * Return: 0, or ENOENT.
 * Since: 0.1
 */
int mallctlnametomib(const char *name, size_t *mibp, size_t *miblenp);

/** mallctlbymib() - mallctl() for what was looked up */
int mallctlbymib(const size_t *mib, size_t miblen, void *oldp, size_t *oldlenp,
		 void *newp, size_t newlen);

/**
 * malloc_stats_print() - Write what the heap says of itself
 * @write_cb: called with pieces of text; NULL: malloc_message is
 * @cbopaque: its first argument
 * @opts: J: as JSON; g: without what never changes; others have no effect;
 *	may be NULL
 *
 * Context: any thread; no lock is held while @write_cb runs, which may
 * allocate.
 * Since: 0.1
 */
void malloc_stats_print(void (*write_cb)(void *, const char *), void *cbopaque,
			const char *opts);

/* Where malloc_stats_print() writes by itself; NULL: to standard error. */
extern void (*malloc_message)(void *cbopaque, const char *s);

#ifdef __cplusplus
}
#endif

#endif
