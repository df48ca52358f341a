/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - realloc, and how large an object is
 *
 * What it is: an object that changes its size stays where it is if that fits,
 * a large one has its pages moved if that costs less, and else it is copied to
 * what malloc() gives.
 *
 * Invariant: nothing is freed before its copy is made, so what fails leaves the
 * object as it was.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acct/account.h"
#include "api/fast.h"
#include "api/init.h"
#include "debug/guard.h"
#include "debug/profile.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/meter.h"
#include "heap/misuse.h"
#include "heap/sample.h"
#include "reclaim/batch.h"
#include "reclaim/inband.h"

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
		     !slab_slot(hot, ptr, &slot) || heap_watched ||
		     *heap_key_of(ptr) == heap_key(ptr)))
		return 0;
	return sizeclasses[hot->class].size;
}

static cold size_t usable_other(void *ptr, const char *call)
{
	if (!guard_owns(ptr))
		misuse_die_pointer(call, ptr);
	return guard_usable(ptr, call, FRAME);
}

/* @ptr is in the range. */
static size_t usable_inside(void *ptr, const char *call)
{
	struct slab_hot *hot;
	unsigned int slot;

	hot = slab_hot(slab_of(ptr));
	if (hot->kind == SLAB_KIND_CLASS) {
		if (!slab_slot(hot, ptr, &slot))
			misuse_die_pointer(call, ptr);
		if (*heap_key_of(ptr) == heap_key(ptr) &&
		    drain_slot_is_free(ptr))
			misuse_die(MISUSE_DOUBLE_FREE, call, ptr, NULL);
		return sizeclasses[hot->class].size;
	}
	if (hot->kind == SLAB_KIND_MEDIUM) {
		size_t usable = medium_usable(ptr);

		if (!usable)
			misuse_die_pointer(call, ptr);
		return usable;
	}
	if (hot->kind != SLAB_KIND_RUN || (uintptr_t)ptr & (SLAB_SIZE - 1))
		misuse_die_pointer(call, ptr);
	return large_usable(ptr);
}

size_t alloc_usable(void *ptr, const char *call)
{
	if (!range_contains(ptr))
		return usable_other(ptr, call);
	return usable_inside(ptr, call);
}

/* --- realloc --- */

/* Whether the object of @usable bytes stays where it is for @size. */
static bool fits_in_place(void *ptr, size_t usable, size_t size)
{
	if (usable <= CLASS_SIZE_MAX)
		return size <= usable && size > usable / 2;
	if (size <= CLASS_SIZE_MAX)
		return false;
	if (medium_is(ptr))
		return medium_resize(tcb_heap(), ptr, size) ||
		       (size <= usable && size > usable / 2);
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
	if (meter_on() && fits)
		meter_resized(usable, object_usable(ptr));
	tcb_leave(&tcb);
	return fits;
}

/* The same of one whose tail is being given back: that does not take long. */
static cold bool resize_settled(void *ptr, size_t usable, size_t size)
{
	if (usable <= CLASS_SIZE_MAX || medium_is(ptr) || tcb.busy)
		return false;
	batch_wait();
	return in_bracket_resize(ptr, usable, size);
}

static void *move_pages(void *ptr, size_t usable, size_t size)
{
	void *moved;

	if (usable <= CLASS_SIZE_MAX || medium_is(ptr) || size <= usable ||
	    tcb.busy)
		return NULL;
	tcb_enter(&tcb);
	moved = large_move(ptr, size);
	if (meter_on() && moved)
		meter_resized(usable, large_usable(moved));
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

/* malloc() for a function that was called at @frame; NULL: it does not matter. */
__always_inline_ void *malloc_for(size_t size, const struct stack_frame *frame)
{
	if (!frame)
		return alloc_get(size);
	if (tcb.busy)
		return alloc_above(ALIGN_ANY, size, frame);
	tcb_enter(&tcb);
	return alloc_rest(ALIGN_ANY, size, frame);
}

/* The object elsewhere, by copying.  What gets shorter can stay where it is. */
__always_inline_ void *copy_for(void *ptr, size_t usable, size_t size,
				const struct stack_frame *frame)
{
	size_t more = with_room(usable, size);
	int saved = errno;
	void *copy = malloc_for(more, frame);

	/* Room is a wish: what was asked for may still be had. */
	if (unlikely(!copy) && more != size) {
		errno = saved;
		copy = malloc_for(size, frame);
	}
	/* No room for a second one. */
	if (unlikely(!copy)) {
		if (size > usable && !resize_settled(ptr, usable, size))
			return NULL;
		errno = saved;
		return ptr;
	}
	memcpy(copy, ptr, min(usable, size));
	alloc_put(ptr);
	return copy;
}

static void *realloc_copy(void *ptr, size_t usable, size_t size)
{
	return copy_for(ptr, usable, size, NULL);
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

/*
 * What was @usable bytes at @ptr, and the sample @was, is at @now, and another
 * object if anything of that has changed.
 */
static cold void sample_again(void *ptr, size_t usable,
			      struct profile_sample was, void *now,
			      const struct stack_frame *frame)
{
	size_t size = object_usable(now);

	if (now == ptr && size == usable)
		profile_restore(ptr, was);
	else if (sample_draw(size))
		profile_take(now, size, frame);
}

/*
 * With a heap profile: an object that changes its size counts as freed and
 * allocated, however that is done.
 */
static cold void *resize_sampled(void *ptr, size_t usable, size_t size,
				 const struct stack_frame *frame)
{
	struct profile_sample was;
	void *moved = ptr;

	if (usable <= CLASS_SIZE_MAX)
		return fits_in_place(ptr, usable, size) ? ptr :
			copy_for(ptr, usable, size, frame);
	/* First, as in free_any(): what it leaves may be another's at once. */
	was = profile_forget(ptr);
	if (!resize_bounded(ptr, usable, size))
		moved = move_pages(ptr, usable, size);
	sample_again(ptr, usable, was, moved ?: ptr, frame);
	return moved ?: copy_for(ptr, usable, size, frame);
}

size_t alloc_resize(void *ptr, size_t usable, size_t size,
		    const struct stack_frame *frame)
{
	struct profile_sample was;

	if (usable <= CLASS_SIZE_MAX || size > PTRDIFF_MAX)
		return usable;
	/* A guarded object stays as it is. */
	if (!range_contains(ptr))
		return usable;
	size = max(size, (size_t)CLASS_SIZE_MAX + 1);
	if (unlikely(heap_profiled))
		was = profile_forget(ptr);
	/* False: it is as it was. */
	(void)resize_bounded(ptr, usable, size);
	if (unlikely(heap_profiled))
		sample_again(ptr, usable, was, ptr, frame);
	init_after_slow((const void *)stack_pc(frame), false);
	return object_usable(ptr);
}

/*
 * @ptr is not in the range.  A guarded object always moves, and gets no room to
 * grow in, so that its end is where it is said to be.
 */
static cold void *realloc_other(void *ptr, size_t size,
				const struct stack_frame *frame)
{
	size_t usable = usable_other(ptr, "realloc");
	int saved = errno;
	void *copy = malloc_for(size, frame);

	if (!copy) {
		if (size > usable)
			return NULL;
		errno = saved;
		return ptr;
	}
	memcpy(copy, ptr, min(usable, size));
	alloc_free(ptr, "realloc");
	return copy;
}

static noinline void *realloc_slow(void *ptr, size_t size)
{
	size_t usable;
	void *moved;

	if (!ptr)
		return unlikely(heap_profiled) ? malloc_for(size, FRAME) :
						 alloc_get(size);
	if (!size) {
		alloc_free(ptr, "realloc");
		return NULL;
	}
	if (unlikely(size > PTRDIFF_MAX)) {
		errno = ENOMEM;
		return NULL;
	}
	if (unlikely(!range_contains(ptr)))
		return realloc_other(ptr, size, FRAME);
	usable = usable_inside(ptr, "realloc");
	if (unlikely(heap_profiled))
		moved = resize_sampled(ptr, usable, size, FRAME);
	else
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

extern __typeof__(alloc_change) alloc_change
	__attribute__((alias(NAME_OF(realloc)), visibility("hidden")));

__export void *reallocarray(void *ptr, size_t nr, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(nr, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(ptr, bytes);
}
