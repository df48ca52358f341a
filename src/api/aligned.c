/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Aligned allocation
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "api/init.h"
#include "base/bits.h"
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

__export int posix_memalign(void **ret_ptr, size_t align, size_t size)
{
	int saved = errno;
	void *ptr;

	if (!is_pow2(align) || align % sizeof(void *))
		return EINVAL;
	ptr = alloc_aligned(align, size);
	errno = saved;
	if (!ptr)
		return ENOMEM;
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
