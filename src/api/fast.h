/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The fast path of allocation, and the ways out of it
 *
 * What it is: what each exported function that allocates begins with, in line:
 *
 *	if (unlikely(tcb.busy))
 *		return foo_nested(size);
 *	tcb_enter(&tcb);
 *	ptr = fast_alloc(size);
 *	return likely(ptr) ? ptr : foo_slow(size);
 *
 * Both ways out are tail calls, with what the program has in its registers, so
 * the frame that foo_slow() makes (FRAME) is the one that foo() would have
 * made, and the heap profile begins where the program called.
 */
#ifndef EBB_API_FAST_H
#define EBB_API_FAST_H

#include "debug/stack.h"
#include "heap/heap.h"

#define FRAME	((const struct stack_frame *)__builtin_frame_address(0))

/* This thread's heap, if it has one that it may use now. */
static inline struct heap *usable_heap(bool nested)
{
	return nested ? NULL : tcb_heap();
}

/*
 * The newest slot of @heap's magazine for @size; NULL: the slow path has to see
 * to it.  The bracket is left with the slot, and only then.
 */
__always_inline_ void *fast_pop(struct heap *heap, size_t size)
{
	struct magazine *mag;
	void *ptr;

	/* One compare: 0 wraps around. */
	if (unlikely(size - 1 >= CLASS_SIZE_MAX))
		return NULL;
	mag = (struct magazine *)((char *)heap +
				  bin_of_size[(size - 1) >> CLASS_STEP_SHIFT]);
	ptr = mag->top[-1];
	/* There is none, or it is marked: see heap/magazine.h. */
	if (unlikely((intptr_t)ptr <= 0))
		return NULL;
	mag->top--;
	*heap_key_of(ptr) = 0;
	tcb_leave(&tcb);
	return ptr;
}

__always_inline_ void *fast_alloc(size_t size)
{
	return fast_pop(load_dependent(&tcb.heap), size);
}

/* The same for what shall be aligned: as in sizeclass_for(), what overflows
 * becomes 0, which is no fast size. */
__always_inline_ void *fast_aligned(size_t align, size_t size)
{
	return fast_alloc(ALIGN_UP(size, align));
}

/*
 * Inside the bracket: whatever the fast path could not do, and out of it.
 * @frame: of who was called.  NULL: no memory; errno is set.
 */
void *alloc_rest(size_t align, size_t size, const struct stack_frame *frame);

/* From a handler that interrupted the allocator: no bracket. */
void *alloc_above(size_t align, size_t size, const struct stack_frame *frame);

/* Every slot has it, so no less makes a difference.  Guarded objects may have
 * ALIGN_ANY, as malloc() asks for it: what fits the size. */
#define ALIGN_MIN	16u
#define ALIGN_ANY	1u

#endif
