/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - What the exported functions share
 */
#ifndef EBB_API_ALLOC_H
#define EBB_API_ALLOC_H

#include "base/compiler.h"

/*
 * Where a sanitizer has a malloc of its own, ours is tested under another
 * name (make D=asan).
 */
#if defined(EBB_SANITIZE) && EBB_SANITIZE
#define malloc			ebb_malloc
#define calloc			ebb_calloc
#define realloc			ebb_realloc
#define reallocarray		ebb_reallocarray
#define free			ebb_free
#define free_sized		ebb_free_sized
#define free_aligned_sized	ebb_free_aligned_sized
#define aligned_alloc		ebb_aligned_alloc
#define posix_memalign		ebb_posix_memalign
#define memalign		ebb_memalign
#define valloc			ebb_valloc
#define pvalloc			ebb_pvalloc
#define malloc_usable_size	ebb_malloc_usable_size
#define malloc_trim		ebb_malloc_trim
#define mallinfo		ebb_mallinfo
#define mallinfo2		ebb_mallinfo2
#define malloc_info		ebb_malloc_info
#define malloc_stats		ebb_malloc_stats
#define mallopt			ebb_mallopt
#define sigaction(...)		ebb_sigaction(__VA_ARGS__)
#define signal(...)		ebb_signal(__VA_ARGS__)
#define ssignal			ebb_ssignal
#define bsd_signal		ebb_bsd_signal
#define __sysv_signal		ebb_sysv_signal_internal
#define sysv_signal		ebb_sysv_signal
#define sigset			ebb_sigset
#define sigignore		ebb_sigignore
#endif

/* Any size, any alignment (a power of two).  NULL: no memory; errno is set. */
void *alloc_aligned(size_t align, size_t size);

/* free() with the name of the exported function for reports. */
void alloc_free(void *ptr, const char *call);

/* free() itself, whatever another object in the process calls so. */
void alloc_put(void *ptr) __attribute__((nothrow, leaf));

/* malloc() and realloc() themselves, likewise. */
void *alloc_get(size_t size)
	__attribute__((nothrow, leaf, __malloc__, alloc_size(1)));
void *alloc_change(void *ptr, size_t size)
	__attribute__((nothrow, leaf, alloc_size(2)));

/* Bytes usable at @ptr, which must be allocated; dies naming @call if not. */
size_t alloc_usable(void *ptr, const char *call);

/*
 * Sized free: dies if @size cannot be what was asked for at @ptr.  Checked
 * with check=1 only, and of guarded objects.
 */
void alloc_check_size(void *ptr, size_t size, const char *call);

/* The same as alloc_aligned(), and @size bytes of it read as zero. */
void *alloc_zeroed(size_t align, size_t size);

/* Bytes usable of what alloc_aligned() would give; 0: it would not. */
size_t alloc_expect(size_t align, size_t size);

/* For an alias: what a function is called here. */
#define NAME_OF(function)	NAME_AS_IT_IS(function)
#define NAME_AS_IT_IS(name)	#name

struct stack_frame;

/*
 * Make @ptr, of @usable bytes, as long as @size where it is, if that can be
 * done; the bytes usable then.  @frame: of the exported function.
 */
size_t alloc_resize(void *ptr, size_t usable, size_t size,
		    const struct stack_frame *frame);

#endif
