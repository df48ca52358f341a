/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - malloc, free and their family
 *
 * What it is: the entry points.  The fast paths touch the thread block, the
 * size table, one magazine and, to free, one hot descriptor; everything else
 * is in functions of their own, reached by tail calls.
 *
 * Invariants:
 * (1) Between tcb_enter() and tcb_leave() runs either the fast path or one
 *     slow path; a call that finds tcb.busy set is nested in a signal handler
 *     and goes by the bypass.  A longjmp out of a handler that interrupted
 *     the allocator leaves busy set: the thread uses the bypass from then on.
 * (2) A slot in a magazine bears its key; malloc() clears it.  A free that
 *     finds the key most likely frees twice, and looks closer.
 * (3) Nothing here but the exported functions sets errno.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/init.h"
#include "base/err.h"
#include "base/sys.h"
#include "heap/bypass.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/magazine.h"
#include "heap/misuse.h"
#include "os/map.h"
#include "reclaim/inband.h"

#define ALIGN_MIN	16u

/* Offset in struct heap of the bin for (size - 1) / 16; filled by init. */
static uint16_t bin_of_size[FAST_SIZES];

/* --- Allocation --- */

static void *take_slot(struct heap *heap, unsigned int class, bool *ret_zero)
{
	struct magazine *mag = heap_magazine(heap, class);
	uintptr_t slot = (uintptr_t)mag->top[-1];

	if (!slot) {
		if (!magazine_refill(heap, class))
			return NULL;
		slot = (uintptr_t)mag->top[-1];
	}
	mag->top--;
	*ret_zero = slot & MAGAZINE_ZERO;
	return (void *)(slot & ~MAGAZINE_ZERO);
}

static void *alloc_slot(unsigned int class, bool nested, bool *ret_zero)
{
	struct heap *heap = nested ? NULL : heap_get();
	void *ptr = heap ? take_slot(heap, class, ret_zero) :
			   bypass_alloc(class, ret_zero);

	if (ptr && !*ret_zero)
		*heap_key_of(ptr) = 0;
	return ptr;
}

/* The first class from @size on whose slots are aligned to @align. */
static int class_for(size_t align, size_t size)
{
	unsigned int class;

	if (size > CLASS_SIZE_MAX || align > CLASS_SIZE_MAX)
		return -1;
	class = sizeclass_of(max(ALIGN_UP(size, align), (size_t)1));
	while (class < NR_CLASSES && sizeclasses[class].size & (align - 1))
		class++;
	return class < NR_CLASSES ? (int)class : -1;
}

static void *alloc_any(size_t align, size_t size, bool nested, bool *ret_zero)
{
	int class;

	if (size > PTRDIFF_MAX || !init_ready())
		return NULL;
	if (align <= ALIGN_MIN && size <= CLASS_SIZE_MAX)
		class = (int)sizeclass_of(max(size, (size_t)1));
	else
		class = class_for(align, size);
	if (class >= 0)
		return alloc_slot((unsigned int)class, nested, ret_zero);
	return large_alloc(size, align, ret_zero);
}

/* There was no memory: once more, if something was given back. */
static cold void *alloc_again(size_t align, size_t size, bool *ret_zero)
{
	void *ptr;

	if (size > PTRDIFF_MAX || load_relaxed(&init_forking) || !init_ready() ||
	    !inband_make_room(size))
		return NULL;
	tcb_enter(&tcb);
	ptr = alloc_any(align, size, false, ret_zero);
	tcb_leave(&tcb);
	return ptr;
}

static void *alloc_done(void *ptr, const void *caller)
{
	init_after_slow(caller, false);
	if (unlikely(!ptr))
		errno = ENOMEM;
	return ptr;
}

/* Inside the bracket: whatever the fast path could not do. */
static noinline void *malloc_slow(size_t size)
{
	bool zero;
	void *ptr = alloc_any(ALIGN_MIN, size, false, &zero);

	tcb_leave(&tcb);
	if (unlikely(!ptr))
		ptr = alloc_again(ALIGN_MIN, size, &zero);
	return alloc_done(ptr, __builtin_return_address(0));
}

static cold void *malloc_nested(size_t size)
{
	bool zero;
	void *ptr = alloc_any(ALIGN_MIN, size, true, &zero);

	if (!ptr)
		errno = ENOMEM;
	return ptr;
}

__export void *malloc(size_t size)
{
	struct magazine *mag;
	void *ptr;

	if (unlikely(tcb.busy))
		return malloc_nested(size);
	tcb_enter(&tcb);
	/* One compare: 0 wraps around. */
	if (unlikely(size - 1 >= FAST_SIZE_MAX))
		return malloc_slow(size);
	mag = (struct magazine *)((char *)load_dependent(&tcb.heap) +
				  bin_of_size[(size - 1) >> CLASS_STEP_SHIFT]);
	ptr = mag->top[-1];
	if (unlikely(!ptr))
		return malloc_slow(size);
	mag->top--;
	*heap_key_of(ptr) = 0;
	tcb_leave(&tcb);
	return ptr;
}

void *alloc_aligned(size_t align, size_t size, bool *ret_zero)
{
	bool unused;
	void *ptr;

	if (!ret_zero)
		ret_zero = &unused;
	if (unlikely(tcb.busy)) {
		ptr = alloc_any(align, size, true, ret_zero);
		if (!ptr)
			errno = ENOMEM;
		return ptr;
	}
	tcb_enter(&tcb);
	ptr = alloc_any(align, size, false, ret_zero);
	tcb_leave(&tcb);
	if (unlikely(!ptr))
		ptr = alloc_again(align, size, ret_zero);
	return alloc_done(ptr, __builtin_return_address(0));
}

/* --- Freeing --- */

static void check_slot(const struct slab_hot *hot, const void *ptr,
		       const char *call)
{
	unsigned int slot;

	if (!slab_slot(hot, ptr, &slot))
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	if (slab_slot_is_free(hot, ptr))
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr, NULL);
}

/* @ptr is in a slab of ours: push it, after the tests that cost more. */
static void free_own(struct heap *heap, struct slab_hot *hot, void *ptr,
		     const char *call)
{
	struct magazine *mag = heap_magazine(heap, hot->class);

	/* Holes, where keys have vanished with the pages; or a large slot. */
	if (!load_relaxed(&hot->bin))
		check_slot(hot, ptr, call);
	if (mag->top == mag->end)
		magazine_flush_half(heap, hot->class);
	*heap_key_of(ptr) = heap_key(ptr);
	*mag->top = ptr;
	mag->top++;
}

/* @ptr is in a slab of another heap: it leaves in company. */
static void free_foreign(struct heap *heap, struct slab_hot *hot, void *ptr,
			 const char *call)
{
	int64_t size = sizeclasses[hot->class].size;

	check_slot(hot, ptr, call);
	*heap_key_of(ptr) = heap_key(ptr);
	gather_add(&heap->outbox, ptr);
	heap->delta.handed -= size;
	heap->delta.dirty += size;
	heap_tell(heap);
}

static void free_slot(struct slab_hot *hot, void *ptr, bool nested,
		      const char *call)
{
	struct heap *heap = nested ? NULL : heap_get();

	if (!heap) {
		bypass_free(ptr, call);
		return;
	}
	if (*heap_key_of(ptr) == heap_key(ptr) && drain_slot_is_free(ptr))
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr, NULL);
	if (load_relaxed(&hot->owner) == heap)
		free_own(heap, hot, ptr, call);
	else
		free_foreign(heap, hot, ptr, call);
}

static void free_any(void *ptr, bool nested, const char *call)
{
	struct slab_hot *hot;

	if (!range_contains(ptr))
		misuse_die_pointer(call, ptr);
	hot = slab_hot(slab_of(ptr));
	switch (load_acquire(&hot->kind)) {
	case SLAB_KIND_CLASS:
		free_slot(hot, ptr, nested, call);
		break;
	case SLAB_KIND_RUN:
		large_free(ptr, call);
		break;
	default:
		misuse_die_pointer(call, ptr);
	}
}

static noinline void free_slow(void *ptr)
{
	if (likely(ptr))
		free_any(ptr, false, "free");
	tcb_leave(&tcb);
	init_after_slow(__builtin_return_address(0), true);
}

static cold void free_nested(void *ptr)
{
	if (ptr)
		free_any(ptr, true, "free");
}

__export void free(void *ptr)
{
	uintptr_t offset = (uintptr_t)ptr - (uintptr_t)range.base;
	struct slab_hot *hot;
	struct magazine *mag;
	struct heap *heap;

	if (unlikely(tcb.busy)) {
		free_nested(ptr);
		return;
	}
	tcb_enter(&tcb);
	if (unlikely(offset >= load_relaxed(&range.used))) {
		free_slow(ptr);
		return;
	}
	hot = hot_at(offset >> SLAB_SHIFT);
	heap = load_dependent(&tcb.heap);
	if (unlikely(load_relaxed(&hot->owner) != heap)) {
		free_slow(ptr);
		return;
	}
	mag = (struct magazine *)((char *)heap + load_relaxed(&hot->bin));
	if (unlikely(mag->top == mag->end ||
		     *heap_key_of(ptr) == heap_key(ptr))) {
		free_slow(ptr);
		return;
	}
	*heap_key_of(ptr) = heap_key(ptr);
	*mag->top = ptr;
	mag->top++;
	tcb_leave(&tcb);
}

void alloc_free(void *ptr, const char *call)
{
	if (!ptr)
		return;
	if (unlikely(tcb.busy)) {
		free_any(ptr, true, call);
		return;
	}
	tcb_enter(&tcb);
	free_any(ptr, false, call);
	tcb_leave(&tcb);
	init_after_slow(__builtin_return_address(0), true);
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

/* --- Sizes --- */

size_t alloc_usable(void *ptr, const char *call)
{
	struct slab_hot *hot;
	unsigned int slot;

	if (!range_contains(ptr))
		misuse_die_pointer(call, ptr);
	hot = slab_hot(slab_of(ptr));
	if (hot->kind == SLAB_KIND_CLASS) {
		if (!slab_slot(hot, ptr, &slot))
			misuse_die_pointer(call, ptr);
		if (*heap_key_of(ptr) == heap_key(ptr) &&
		    drain_slot_is_free(ptr))
			misuse_die(MISUSE_DOUBLE_FREE, call, ptr, NULL);
		return sizeclasses[hot->class].size;
	}
	if (hot->kind != SLAB_KIND_RUN || (uintptr_t)ptr & (SLAB_SIZE - 1))
		misuse_die_pointer(call, ptr);
	return large_usable(ptr);
}

void alloc_check_size(void *ptr, size_t size, const char *call)
{
	if (unlikely(heap_checked) && ptr && size > alloc_usable(ptr, call))
		misuse_die(MISUSE_SIZE, call, ptr, "sized free of more");
}

/* --- calloc, realloc --- */

__export void *calloc(size_t nr, size_t size)
{
	bool zero = false;
	size_t bytes;
	void *ptr;

	if (unlikely(__builtin_mul_overflow(nr, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	ptr = bytes <= FAST_SIZE_MAX ? malloc(bytes) :
				       alloc_aligned(ALIGN_MIN, bytes, &zero);
	if (ptr && !zero)
		memset(ptr, 0, bytes);
	return ptr;
}

/* Whether the object of @usable bytes stays where it is for @size. */
static bool fits_in_place(void *ptr, size_t usable, size_t size)
{
	if (usable <= CLASS_SIZE_MAX)
		return size <= usable && size > usable / 2;
	if (size <= CLASS_SIZE_MAX)
		return false;
	/* What mremap put there keeps its place unless much is saved. */
	return large_resize(ptr, size) ||
	       (size <= usable && size > usable / 2);
}

static bool in_bracket_resize(void *ptr, size_t usable, size_t size)
{
	bool fits;

	if (tcb.busy)
		return size <= usable;
	tcb_enter(&tcb);
	fits = fits_in_place(ptr, usable, size);
	tcb_leave(&tcb);
	return fits;
}

static void *move_pages(void *ptr, size_t usable, size_t size)
{
	void *moved;

	if (usable <= CLASS_SIZE_MAX || size <= usable || tcb.busy)
		return NULL;
	tcb_enter(&tcb);
	moved = large_move(ptr, size);
	tcb_leave(&tcb);
	return moved;
}

static void *realloc_move(void *ptr, size_t usable, size_t size)
{
	void *moved = move_pages(ptr, usable, size);

	if (moved)
		return moved;
	moved = malloc(size);
	if (!moved)
		return NULL;
	memcpy(moved, ptr, min(usable, size));
	free(ptr);
	return moved;
}

/* In place; once more if it was `limit' that forbade it, and room was made. */
static bool resize_bounded(void *ptr, size_t usable, size_t size)
{
	if (in_bracket_resize(ptr, usable, size))
		return true;
	return unlikely(load_relaxed(&account.backed_max)) && !tcb.busy &&
	       usable > CLASS_SIZE_MAX && size > usable &&
	       inband_make_room(size - usable) &&
	       in_bracket_resize(ptr, usable, size);
}

__export void *realloc(void *ptr, size_t size)
{
	size_t usable;
	void *moved;

	if (!ptr)
		return malloc(size);
	if (!size) {
		alloc_free(ptr, "realloc");
		return NULL;
	}
	if (unlikely(size > PTRDIFF_MAX)) {
		errno = ENOMEM;
		return NULL;
	}
	usable = alloc_usable(ptr, "realloc");
	moved = resize_bounded(ptr, usable, size) ? ptr :
		realloc_move(ptr, usable, size);
	/* What grew where it was has not been through malloc(). */
	init_after_slow(__builtin_return_address(0), false);
	return moved;
}

__export void *reallocarray(void *ptr, size_t nr, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(nr, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(ptr, bytes);
}

void malloc_init_table(void)
{
	for (unsigned int i = 0; i < FAST_SIZES; i++)
		bin_of_size[i] = heap_bin_offset(
			sizeclass_of((i + 1) << CLASS_STEP_SHIFT));
}
