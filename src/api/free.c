/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - free
 *
 * What it is: where what malloc() gave goes back to.  The fast path, a slot of a
 * slab of this thread's, touches the thread block, one magazine and one hot
 * descriptor; everything else is in functions of their own, reached by tail
 * calls.  Invariants: api/malloc.c.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <stdlib.h>

#include "api/fast.h"
#include "api/init.h"
#include "debug/guard.h"
#include "debug/profile.h"
#include "heap/bypass.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/magazine.h"
#include "heap/meter.h"
#include "heap/misuse.h"
#include "heap/outbox.h"
#include "heap/sample.h"
#include "heap/stranger.h"

static unsigned int check_slot(const struct slab_hot *hot, const void *ptr,
			       const char *call)
{
	unsigned int slot;

	if (!slab_slot(hot, ptr, &slot))
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	if (slab_slot_is_free(hot, ptr))
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr, NULL);
	return slot;
}

/* Into @mag, which has room, with the mark by which it is known to be free. */
__always_inline_ void push(struct magazine *mag, void *ptr)
{
	*heap_key_of(ptr) = heap_key(ptr);
	*mag->top = ptr;
	mag->top++;
}

/* What is pushed while there is a heap profile covers what is allocated later. */
static cold void push_profiled(struct heap *heap, unsigned int class, void *ptr)
{
	sample_push_begin(heap, class);
	push(heap_magazine(heap, class), ptr);
	sample_push_end(heap, class);
}

static inline void push_any(struct heap *heap, unsigned int class, void *ptr)
{
	if (unlikely(heap_profiled))
		push_profiled(heap, class, ptr);
	else
		push(heap_magazine(heap, class), ptr);
}

/* @ptr is in a slab of ours: push it, after the tests that cost more. */
static void free_own(struct heap *heap, struct slab_hot *hot, void *ptr,
		     const char *call)
{
	struct magazine *mag = heap_magazine(heap, hot->class);

	/* Holes, where keys have vanished with the pages, or strangers. */
	if (!stranger_none(hot))
		stranger_take_in(heap, slab_of(ptr),
				 check_slot(hot, ptr, call));
	if (mag->top == mag->end)
		magazine_flush_half(heap, hot->class);
	push_any(heap, hot->class, ptr);
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

/* A guarded object is about to be freed. */
static void note_guarded(void *ptr, const char *call,
			 const struct stack_frame *frame)
{
	if (meter_on())
		meter_freed(guard_usable(ptr, call, frame));
}

/* @ptr is not in the range. */
static cold void free_other(void *ptr, const char *call,
			    const struct stack_frame *frame)
{
	if (!guard_owns(ptr))
		misuse_die_pointer(call, ptr);
	note_guarded(ptr, call, frame);
	guard_free(ptr, call, frame);
}

/*
 * What is in the range is about to be freed, if it is an object: before that,
 * since then another thread may get it, and be sampled.
 */
static cold void note_freed(void *ptr)
{
	if (heap_profiled)
		(void)profile_forget(ptr);
	if (meter_on())
		meter_freed(object_usable(ptr));
}

static void free_any(void *ptr, bool nested, const char *call)
{
	struct slab_hot *hot;

	if (!range_contains(ptr)) {
		free_other(ptr, call, FRAME);
		return;
	}
	if (unlikely(load_relaxed(&heap_noted)))
		note_freed(ptr);
	hot = slab_hot(slab_of(ptr));
	switch (load_acquire(&hot->kind)) {
	case SLAB_KIND_CLASS:
		free_slot(hot, ptr, nested, call);
		break;
	case SLAB_KIND_MEDIUM:
		medium_free(usable_heap(nested), ptr, call);
		break;
	case SLAB_KIND_RUN:
		large_free(usable_heap(nested), ptr, call);
		break;
	default:
		misuse_die_pointer(call, ptr);
	}
}

/*
 * With a heap profile every free takes the slow path, and so does every one of a
 * thread that is metered.  What the fast one would have done otherwise is done
 * here.
 */
static bool free_counted(void *ptr)
{
	struct heap *heap = tcb_heap();
	struct slab *slab = slab_of(ptr);
	struct magazine *mag;
	struct slab_hot *hot;
	unsigned int slot;

	if (!heap || !range_contains(ptr))
		return false;
	hot = slab_hot(slab);
	if (load_relaxed(&hot->owner) != heap || slab_keys_may_be_gone(slab) ||
	    !slab_slot(hot, ptr, &slot))
		return false;
	mag = heap_magazine(heap, hot->class);
	if (mag->top == mag->end || *heap_key_of(ptr) == heap_key(ptr))
		return false;
	note_freed(ptr);
	stranger_take_in(heap, slab, slot);
	push_any(heap, hot->class, ptr);
	tcb_leave(&tcb);
	return true;
}

static noinline void free_slow(void *ptr)
{
	if (unlikely(load_relaxed(&heap_noted)) && free_counted(ptr))
		return;
	if (likely(ptr))
		free_any(ptr, false, "free");
	tcb_leave(&tcb);
	init_after_slow(__builtin_return_address(0), true);
}

/* Inside the bracket: a guarded object, in the frame that free() has. */
static cold void free_guarded(void *ptr)
{
	note_guarded(ptr, "free", FRAME);
	guard_free(ptr, "free", FRAME);
	tcb_leave(&tcb);
	init_after_slow(__builtin_return_address(0), true);
}

/* Inside the bracket: NULL, or it is not in the range. */
static noinline void free_outside(void *ptr)
{
	if (ptr && guard_owns(ptr))
		free_guarded(ptr);
	else
		free_slow(ptr);
}

static cold void free_nested(void *ptr)
{
	if (ptr)
		free_any(ptr, true, "free");
}

static noinline void free_to_outbox(void *ptr, struct slab_hot *hot)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct magazine *box = &heap->outbox;

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

/* What free_noted() keeps and cannot note without a call. */
static noinline void free_noted_first(void *ptr, struct slab_hot *hot)
{
	struct heap *heap = load_dependent(&tcb.heap);

	if (!stranger_keep(heap, hot, ptr)) {
		free_to_outbox(ptr, hot);
		return;
	}
	push(heap_magazine(heap, hot->class), ptr);
	tcb_leave(&tcb);
}

/*
 * The rest of free_away() where accounts are kept.  Who takes a slot over from a
 * thread that has ended would note and look for it until the slab is adopted, and
 * this thread is who may adopt it: it goes back.
 */
static noinline void free_noted(void *ptr, struct slab_hot *hot)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct magazine *mag = heap_magazine(heap, hot->class);

	if (unlikely(!magazine_wants(heap, hot->class) ||
		     load_relaxed(&hot->owner) == &orphan_heap)) {
		free_to_outbox(ptr, hot);
		return;
	}
	if (unlikely(!stranger_keep_quick(heap, hot, ptr))) {
		free_noted_first(ptr, hot);
		return;
	}
	push(mag, ptr);
	tcb_leave(&tcb);
}

/*
 * Inside the bracket: a slot of a slab that is not ours, if it can go to the
 * magazine or the outbox without a closer look.  No slab: a run, or not in use.
 */
static noinline void free_away(void *ptr, struct slab_hot *hot)
{
	struct heap *heap = load_dependent(&tcb.heap);
	uint16_t bin = load_relaxed(&hot->bin);

	if (unlikely(!load_relaxed(&hot->owner) || bin == BIN_HOLES ||
		     *heap_key_of(ptr) == heap_key(ptr))) {
		free_slow(ptr);
		return;
	}
	if (bin == BIN_STRANGERS) {
		free_noted(ptr, hot);
		return;
	}
	if (!magazine_wants(heap, hot->class)) {
		free_to_outbox(ptr, hot);
		return;
	}
	if (unlikely(charge_keeps_accounts)) {
		free_noted(ptr, hot);
		return;
	}
	push(heap_magazine(heap, hot->class), ptr);
	tcb_leave(&tcb);
}

/* Some slots of its slab may not be charged to us: that is looked up. */
static noinline void free_mixed(void *ptr, struct slab_hot *hot)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct magazine *mag = heap_magazine(heap, hot->class);

	if (unlikely(mag->top == mag->end ||
		     *heap_key_of(ptr) == heap_key(ptr) ||
		     !stranger_take_in_quick(heap, hot, ptr))) {
		free_slow(ptr);
		return;
	}
	push(mag, ptr);
	tcb_leave(&tcb);
}

/* Its key may have gone with the page: its bit says whether it is free. */
static noinline void free_holed(void *ptr, struct slab_hot *hot)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct magazine *mag = heap_magazine(heap, hot->class);
	struct slab *slab = slab_of(ptr);
	unsigned int slot;

	/* With a profile no slab has a bin: the push has to move the mark. */
	if (heap_profiled || mag->top == mag->end ||
	    *heap_key_of(ptr) == heap_key(ptr) ||
	    unlikely(!slab_slot(hot, ptr, &slot) ||
		     load_relaxed(&slab->free[slot / 64]) >>
			     slot % 64 & 1)) {
		free_slow(ptr);
		return;
	}
	stranger_take_in(heap, slab, slot);
	push(mag, ptr);
	tcb_leave(&tcb);
}

/*
 * Inside the bracket: a slot of ours that cannot just be pushed.  If only since
 * its slab has holes, which a slab in use may keep for good, or strangers, it can
 * after one look.
 */
static noinline void free_closely(void *ptr, struct slab_hot *hot)
{
	uint16_t bin = load_relaxed(&hot->bin);

	if (bin == BIN_HOLES)
		free_holed(ptr, hot);
	else if (bin == BIN_STRANGERS)
		free_mixed(ptr, hot);
	else
		free_slow(ptr);
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
		free_outside(ptr);
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
		free_closely(ptr, hot);
		return;
	}
	push(mag, ptr);
	tcb_leave(&tcb);
}

extern __typeof__(alloc_put) alloc_put
	__attribute__((alias(NAME_OF(free)), visibility("hidden")));

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
