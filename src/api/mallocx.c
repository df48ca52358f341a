/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - jemalloc's extended names: memory
 *
 * What it is: the family of mallocx(), by malloc's own means, so that what it
 * gives may be freed by free() and the other way round.  Arena and cache in
 * the flags have no effect: there is one heap, and its caches see to themselves.
 *
 * Sizes of 0, undefined in jemalloc, count as 1: nothing is freed by them.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "api/fast.h"
#include "ebb/jemalloc.h"
#include "heap/heap.h"

#define LG_ALIGN_MASK	0x3f

static size_t align_of(int flags)
{
	return (size_t)1 << (flags & LG_ALIGN_MASK);
}

static void zero_behind(void *ptr, size_t before, size_t now)
{
	if (now > before)
		memset((char *)ptr + before, 0, now - before);
}

__export void *mallocx(size_t size, int flags)
{
	size_t align = max(align_of(flags), (size_t)ALIGN_MIN);
	void *ptr;

	if (!(flags & MALLOCX_ZERO))
		return alloc_aligned(align, max(size, (size_t)1));
	/*
	 * All of it, not only what was asked for: rallocx() relies on what is
	 * between the two.
	 */
	size = alloc_expect(align, size) ?: size;
	ptr = alloc_zeroed(align, size);
	/* It may be more than was to be expected. */
	if (IS_ENABLED(CONFIG_MEDIUM) && ptr)
		zero_behind(ptr, size, alloc_usable(ptr, "mallocx"));
	return ptr;
}

/* realloc() keeps to no alignment but the least. */
static void *move_aligned(void *ptr, size_t usable, size_t size, size_t align)
{
	void *copy = alloc_aligned(align, size);

	if (!copy)
		return NULL;
	memcpy(copy, ptr, min(usable, size));
	alloc_put(ptr);
	return copy;
}

static void *realloc_aligned(void *ptr, size_t usable, size_t size,
			     size_t align)
{
	bool fits = !((uintptr_t)ptr & (align - 1));
	size_t now = usable;
	void *moved;

	if (fits)
		now = alloc_resize(ptr, usable, size, FRAME);
	if (fits && size <= now && size > now / 2)
		return ptr;
	moved = move_aligned(ptr, now, size, align);
	/* What gets shorter can stay. */
	return moved ?: fits && size <= now ? ptr : NULL;
}

__export void *rallocx(void *ptr, size_t size, int flags)
{
	size_t align = align_of(flags);
	size_t before;
	void *moved;

	size = max(size, (size_t)1);
	if (!ptr)
		return mallocx(size, flags);
	if (align <= ALIGN_MIN && !(flags & MALLOCX_ZERO))
		return alloc_change(ptr, size);
	before = alloc_usable(ptr, "rallocx");
	/* What gets shorter keeps what it has up to its new real size. */
	if (flags & MALLOCX_ZERO)
		size = alloc_expect(max(align, (size_t)ALIGN_MIN), size) ?: size;
	moved = align <= ALIGN_MIN ? alloc_change(ptr, size) :
		realloc_aligned(ptr, before, size, align);
	if (moved && flags & MALLOCX_ZERO)
		zero_behind(moved, moved == ptr ? before : min(before, size),
			    alloc_usable(moved, "rallocx"));
	return moved;
}

__export size_t xallocx(void *ptr, size_t size, size_t extra, int flags)
{
	size_t before = alloc_usable(ptr, "xallocx");
	size_t most = size + min(extra, SIZE_MAX - size);
	size_t now;

	if ((uintptr_t)ptr & (align_of(flags) - 1))
		return before;
	now = alloc_resize(ptr, before, most, FRAME);
	if (now < size)
		now = alloc_resize(ptr, before, size, FRAME);
	if (flags & MALLOCX_ZERO)
		zero_behind(ptr, before, now);
	return now;
}

__export size_t sallocx(const void *ptr, int flags)
{
	(void)flags;
	return alloc_usable((void *)(uintptr_t)ptr, "sallocx");
}

__export void dallocx(void *ptr, int flags)
{
	(void)flags;
	alloc_put(ptr);
}

/*
 * Whether @size can be told of @ptr: anything from what was asked for to what
 * nallocx() says of it, and a guarded object is as long as what was asked for.
 */
static bool may_be_of(void *ptr, size_t size, int flags)
{
	size_t align = max(align_of(flags), (size_t)ALIGN_MIN);

	return alloc_expect(align, size) ==
	       alloc_expect(align, alloc_usable(ptr, "sdallocx"));
}

__export void sdallocx(void *ptr, size_t size, int flags)
{
	if (unlikely(heap_sized) && ptr && !may_be_of(ptr, size, flags))
		alloc_check_size(ptr, size, "sdallocx");
	alloc_put(ptr);
}

__export size_t nallocx(size_t size, int flags)
{
	return alloc_expect(max(align_of(flags), (size_t)ALIGN_MIN), size);
}
