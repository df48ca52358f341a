/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Aligned allocation, sized frees
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "api/fast.h"
#include "api/init.h"
#include "base/bits.h"
#include "debug/guard.h"
#include "heap/misuse.h"
#include "os/map.h"

__export void *aligned_alloc(size_t align, size_t size)
{
	if (!is_pow2(align)) {
		errno = EINVAL;
		return NULL;
	}
	return alloc_aligned(align, size);
}

/* As in glibc, an alignment that is no power of two is rounded up to one. */
__export void *memalign(size_t align, size_t size)
{
	if (align > PTRDIFF_MAX) {
		errno = EINVAL;
		return NULL;
	}
	if (!is_pow2(align))
		align = align ? (size_t)2 << bit_highest(align) : 1;
	return alloc_aligned(align, size);
}

static noinline int posix_slow(void **ret_ptr, size_t align, size_t size)
{
	int saved = errno;
	void *ptr = alloc_rest(align, size, FRAME);

	errno = saved;
	if (!ptr)
		return ENOMEM;
	*ret_ptr = ptr;
	return 0;
}

static cold int posix_nested(void **ret_ptr, size_t align, size_t size)
{
	int saved = errno;
	void *ptr = alloc_above(align, size, FRAME);

	errno = saved;
	if (!ptr)
		return ENOMEM;
	*ret_ptr = ptr;
	return 0;
}

__export int posix_memalign(void **ret_ptr, size_t align, size_t size)
{
	void *ptr;

	if (!is_pow2(align) || align % sizeof(void *))
		return EINVAL;
	if (unlikely(tcb.busy))
		return posix_nested(ret_ptr, align, size);
	tcb_enter(&tcb);
	ptr = fast_aligned(align, size);
	if (unlikely(!ptr))
		return posix_slow(ret_ptr, align, size);
	*ret_ptr = ptr;
	return 0;
}

static void *alloc_pages(size_t size, bool whole)
{
	if (!init_ready() || size > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	if (whole)
		size = ALIGN_UP(size ? size : 1, map_page_size);
	return alloc_aligned(map_page_size, size);
}

__export void *valloc(size_t size)
{
	return alloc_pages(size, false);
}

__export void *pvalloc(size_t size)
{
	return alloc_pages(size, true);
}

/* --- Sized frees --- */

static cold void check_size(void *ptr, size_t size, const char *call)
{
	if (guard_owns(ptr))
		guard_check_size(ptr, size, call, FRAME);
	else if (heap_checked && size > alloc_usable(ptr, call))
		misuse_die(MISUSE_SIZE, call, ptr, "sized free of more");
}

void alloc_check_size(void *ptr, size_t size, const char *call)
{
	if (unlikely(heap_sized) && ptr)
		check_size(ptr, size, call);
}

__export void free_sized(void *ptr, size_t size);
__export void free_aligned_sized(void *ptr, size_t align, size_t size);

__export void free_sized(void *ptr, size_t size)
{
	alloc_check_size(ptr, size, "free_sized");
	free(ptr);
}

__export void free_aligned_sized(void *ptr, size_t align, size_t size)
{
	(void)align;
	alloc_check_size(ptr, size, "free_aligned_sized");
	free(ptr);
}
