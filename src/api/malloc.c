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
#include "heap/outbox.h"
#include "os/map.h"
#include "reclaim/batch.h"
#include "reclaim/inband.h"

#define ALIGN_MIN	16u
#define AGAIN_TRIES	3	/* others take what was given back, too */

/*
 * Offset in struct heap of the magazine for (size - 1) / 16.  A constant, so
 * that it is no process's own memory.
 */
#define SIZES(class, above, upto)					\
	[(above) >> CLASS_STEP_SHIFT ...				\
	 ((upto) >> CLASS_STEP_SHIFT) - 1] = HEAP_BIN_OFFSET(class)
#define LINEAR(class)							\
	SIZES(class, (class) * 16, ((class) + 1) * 16)
#define EIGHTH(doubling, j)						\
	SIZES((doubling) * 8 + (j), (8 + (j)) << ((doubling) + 3),	\
	      (9 + (j)) << ((doubling) + 3))
#define DOUBLING(d)							\
	EIGHTH(d, 0), EIGHTH(d, 1), EIGHTH(d, 2), EIGHTH(d, 3),		\
	EIGHTH(d, 4), EIGHTH(d, 5), EIGHTH(d, 6), EIGHTH(d, 7)

static const uint16_t bin_of_size[CLASS_SIZE_MAX >> CLASS_STEP_SHIFT] = {
	LINEAR(0), LINEAR(1), LINEAR(2), LINEAR(3),
	LINEAR(4), LINEAR(5), LINEAR(6), LINEAR(7),
	DOUBLING(1), DOUBLING(2), DOUBLING(3), DOUBLING(4),
	DOUBLING(5), DOUBLING(6), DOUBLING(7), DOUBLING(8),
};

/* --- Allocation --- */

/*
 * The newest slot of the magazine for @size; NULL: the slow path has to see to
 * it.  The bracket is left with the slot, and only then.
 */
__always_inline_ void *fast_alloc(size_t size)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct magazine *mag;
	void *ptr;

	/* One compare: 0 wraps around. */
	if (unlikely(size - 1 >= CLASS_SIZE_MAX))
		return NULL;
	mag = (struct magazine *)((char *)heap +
				  bin_of_size[(size - 1) >> CLASS_STEP_SHIFT]);
	ptr = mag->top[-1];
	/* There is none, or it is known to be zero: see heap/magazine.h. */
	if (unlikely((intptr_t)ptr <= 0))
		return NULL;
	mag->top--;
	*heap_key_of(ptr) = 0;
	tcb_leave(&tcb);
	return ptr;
}

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

/*
 * The class whose slots have room for @size and are aligned to @align, -1: none.
 * What is a multiple of @align is either a class's size itself, or its class's
 * step, and so that class's size, is a multiple, too.
 */
static int class_for(size_t align, size_t size)
{
	if (size > CLASS_SIZE_MAX || align > CLASS_SIZE_MAX)
		return -1;
	size = ALIGN_UP(max(size, (size_t)1), align);
	return size <= CLASS_SIZE_MAX ? (int)sizeclass_of(size) : -1;
}

/* This thread's heap, if it has one that it may use now. */
static struct heap *open_heap(bool nested)
{
	struct heap *heap = load_dependent(&tcb.heap);

	return nested || heap == EMPTY_HEAP ? NULL : heap;
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
	return large_alloc(open_heap(nested), size, align, ret_zero);
}

/* There was no memory: again, as long as something was given back. */
static cold void *alloc_again(size_t align, size_t size, bool *ret_zero)
{
	void *ptr = NULL;

	if (size > PTRDIFF_MAX || load_relaxed(&init_forking) || !init_ready())
		return NULL;
	for (int i = 0; !ptr && i < AGAIN_TRIES && inband_make_room(size); i++) {
		tcb_enter(&tcb);
		ptr = alloc_any(align, size, false, ret_zero);
		tcb_leave(&tcb);
	}
	return ptr;
}

/* Inside the bracket: whatever the fast path could not do. */
__always_inline_ void *alloc_slow(size_t align, size_t size, bool *ret_zero)
{
	void *ptr = alloc_any(align, size, false, ret_zero);

	tcb_leave(&tcb);
	if (unlikely(!ptr))
		ptr = alloc_again(align, size, ret_zero);
	init_after_slow(__builtin_return_address(0), false);
	if (unlikely(!ptr))
		errno = ENOMEM;
	return ptr;
}

static noinline void *malloc_slow(size_t size)
{
	bool zero;

	return alloc_slow(ALIGN_MIN, size, &zero);
}

static cold void *alloc_nested(size_t align, size_t size, bool *ret_zero)
{
	void *ptr = alloc_any(align, size, true, ret_zero);

	if (!ptr)
		errno = ENOMEM;
	return ptr;
}

static cold void *malloc_nested(size_t size)
{
	bool zero;

	return alloc_nested(ALIGN_MIN, size, &zero);
}

__export void *malloc(size_t size)
{
	void *ptr;

	if (unlikely(tcb.busy))
		return malloc_nested(size);
	tcb_enter(&tcb);
	ptr = fast_alloc(size);
	return likely(ptr) ? ptr : malloc_slow(size);
}

static noinline void *aligned_slow(size_t align, size_t size)
{
	bool zero;

	return alloc_slow(align, size, &zero);
}

static cold void *aligned_nested(size_t align, size_t size)
{
	bool zero;

	return alloc_nested(align, size, &zero);
}

void *alloc_aligned(size_t align, size_t size)
{
	void *ptr;

	if (unlikely(tcb.busy))
		return aligned_nested(align, size);
	tcb_enter(&tcb);
	/* As in class_for(); what overflows becomes 0, which is no fast size. */
	ptr = fast_alloc(ALIGN_UP(size, align));
	return likely(ptr) ? ptr : aligned_slow(align, size);
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

/* Into @mag, which has room, with the mark by which it is known to be free. */
__always_inline_ void push(struct magazine *mag, void *ptr)
{
	*heap_key_of(ptr) = heap_key(ptr);
	*mag->top = ptr;
	mag->top++;
}

/* @ptr is in a slab of ours: push it, after the tests that cost more. */
static void free_own(struct heap *heap, struct slab_hot *hot, void *ptr,
		     const char *call)
{
	struct magazine *mag = heap_magazine(heap, hot->class);

	/* Holes, where keys have vanished with the pages. */
	if (!load_relaxed(&hot->bin))
		check_slot(hot, ptr, call);
	if (mag->top == mag->end)
		magazine_flush_half(heap, hot->class);
	push(mag, ptr);
}

/* @ptr is in a slab of another heap: it leaves in company. */
static void free_foreign(struct heap *heap, struct slab_hot *hot, void *ptr,
			 const char *call)
{
	check_slot(hot, ptr, call);
	*heap_key_of(ptr) = heap_key(ptr);
	outbox_put(heap, hot, ptr);
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
		large_free(open_heap(nested), ptr, call);
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

/*
 * Inside the bracket: a slot of a slab that is not ours, if it can go to the
 * magazine or the outbox without a closer look.  No slab: a run, or not in use.
 */
static noinline void free_away(void *ptr, struct slab_hot *hot)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct magazine *box = &heap->outbox;

	if (unlikely(!load_relaxed(&hot->owner) || !load_relaxed(&hot->bin) ||
		     *heap_key_of(ptr) == heap_key(ptr))) {
		free_slow(ptr);
		return;
	}
	if (magazine_wants(heap, hot->class)) {
		push(heap_magazine(heap, hot->class), ptr);
		tcb_leave(&tcb);
		return;
	}
	if (unlikely(hot->class > OUTBOX_CLASS_MAX || box->top == box->end)) {
		free_slow(ptr);
		return;
	}
	push(box, ptr);
	/* Now, not when it is flushed: else nobody knows that it is free. */
	outbox_account(heap, hot);
	heap_tell(heap);
	tcb_leave(&tcb);
	if (unlikely(load_relaxed(&account.wanted)))
		init_after_slow(__builtin_return_address(0), true);
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
	hot = hot_of_offset(offset);
	heap = load_dependent(&tcb.heap);
	if (unlikely(load_relaxed(&hot->owner) != heap)) {
		free_away(ptr, hot);
		return;
	}
	mag = (struct magazine *)((char *)heap + load_relaxed(&hot->bin));
	if (unlikely(mag->top == mag->end ||
		     *heap_key_of(ptr) == heap_key(ptr))) {
		free_slow(ptr);
		return;
	}
	push(mag, ptr);
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

/*
 * The usable bytes of a slot; 0: not the start of a slot that is in use, or one
 * that has to be looked at more closely.
 */
__always_inline_ size_t slot_usable(void *ptr)
{
	uintptr_t offset = (uintptr_t)ptr - (uintptr_t)range.base;
	struct slab_hot *hot;
	unsigned int slot;

	if (unlikely(offset >= load_relaxed(&range.used)))
		return 0;
	hot = hot_of_offset(offset);
	if (unlikely(load_relaxed(&hot->kind) != SLAB_KIND_CLASS ||
		     !slab_slot(hot, ptr, &slot) || heap_checked ||
		     *heap_key_of(ptr) == heap_key(ptr)))
		return 0;
	return sizeclasses[hot->class].size;
}

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

/* Whether it may be known to be zero, which the fast path does not look at. */
static noinline void *calloc_slow(size_t size)
{
	bool zero = false;
	void *ptr = alloc_slow(ALIGN_MIN, size, &zero);

	return ptr && !zero ? memset(ptr, 0, size) : ptr;
}

static cold void *calloc_nested(size_t size)
{
	bool zero = false;
	void *ptr = alloc_nested(ALIGN_MIN, size, &zero);

	return ptr && !zero ? memset(ptr, 0, size) : ptr;
}

__export void *calloc(size_t nr, size_t size)
{
	size_t bytes;
	void *ptr;

	if (unlikely(__builtin_mul_overflow(nr, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	if (unlikely(tcb.busy))
		return calloc_nested(bytes);
	tcb_enter(&tcb);
	ptr = fast_alloc(bytes);
	return likely(ptr) ? memset(ptr, 0, bytes) : calloc_slow(bytes);
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

/* The same of one whose tail is being given back: that does not take long. */
static cold bool resize_settled(void *ptr, size_t usable, size_t size)
{
	if (usable <= CLASS_SIZE_MAX || tcb.busy)
		return false;
	batch_wait();
	return in_bracket_resize(ptr, usable, size);
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

/*
 * What is made a little longer is likely to be made so again: a quarter more,
 * so that it is copied a few times for each doubling, not at every class.
 */
static size_t with_room(size_t usable, size_t size)
{
	if (size <= usable || size - usable > usable / 8 ||
	    size > CLASS_SIZE_MAX / 2)
		return size;
	return usable + usable / 4;
}

/* The object elsewhere, by copying.  What gets shorter can stay where it is. */
static void *realloc_copy(void *ptr, size_t usable, size_t size)
{
	size_t more = with_room(usable, size);
	int saved = errno;
	void *copy = malloc(more);

	/* Room is a wish: what was asked for may still be had. */
	if (unlikely(!copy) && more != size) {
		errno = saved;
		copy = malloc(size);
	}
	/* No room for a second one. */
	if (unlikely(!copy)) {
		if (size > usable && !resize_settled(ptr, usable, size))
			return NULL;
		errno = saved;
		return ptr;
	}
	memcpy(copy, ptr, min(usable, size));
	free(ptr);
	return copy;
}

static void *realloc_move(void *ptr, size_t usable, size_t size)
{
	return move_pages(ptr, usable, size) ?: realloc_copy(ptr, usable, size);
}

/* In place; once more if it was `limit' that forbade it, and room was made. */
static bool resize_bounded(void *ptr, size_t usable, size_t size)
{
	if (in_bracket_resize(ptr, usable, size))
		return true;
	/* To wait costs less than to copy it. */
	if (usable >= LARGE_MOVE_MIN && unlikely(large_is_leaving(ptr)) &&
	    resize_settled(ptr, usable, size))
		return true;
	return unlikely(load_relaxed(&account.backed_max)) && !tcb.busy &&
	       usable > CLASS_SIZE_MAX && size > usable &&
	       inband_make_room(size - usable) &&
	       in_bracket_resize(ptr, usable, size);
}

static noinline void *realloc_slow(void *ptr, size_t size)
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

__export void *realloc(void *ptr, size_t size)
{
	size_t usable = slot_usable(ptr);

	/* 0, of a slot or of an answer, does not pass. */
	if (likely(size <= usable && size > usable / 2))
		return ptr;
	/* One compare: 0 wraps around. */
	if (likely(usable && size - 1 < PTRDIFF_MAX))
		return realloc_copy(ptr, usable, size);
	return realloc_slow(ptr, size);
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
