/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - malloc, calloc and free
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

#include "api/fast.h"
#include "api/init.h"
#include "debug/guard.h"
#include "debug/profile.h"
#include "heap/bypass.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/magazine.h"
#include "heap/misuse.h"
#include "heap/outbox.h"
#include "heap/sample.h"
#include "heap/stranger.h"
#include "reclaim/inband.h"

#define AGAIN_TRIES	3	/* others take what was given back, too */

/* --- Allocation --- */

/* What is known of memory that was just allocated. */
struct got {
	bool zero;	/* it reads as zero */
	bool sampled;	/* it is for the heap profile; or there is none, since
			 * it is to be guarded */
};

/*
 * The slot that was just taken, which is marked, goes back: it is the next one's,
 * since this one is to be guarded.
 */
static cold void *leave_slot(struct heap *heap, unsigned int class,
			     struct got *got)
{
	void **top = ++heap_magazine(heap, class)->top;

	top[-1] = (void *)sample_unmark((uintptr_t)top[-1]);
	sample_next(heap, class);
	got->sampled = true;
	return NULL;
}

static void *take_slot(struct heap *heap, unsigned int class, struct got *got)
{
	struct magazine *mag = heap_magazine(heap, class);
	uintptr_t slot = (uintptr_t)mag->top[-1];

	if (!slot) {
		if (!magazine_refill(heap, class))
			return NULL;
		slot = (uintptr_t)mag->top[-1];
	}
	mag->top--;
	if (HEAP_MARKS && unlikely(slot & MAGAZINE_SAMPLED)) {
		if (guard_mode)
			return leave_slot(heap, class, got);
		slot = sample_unmark(slot);
		sample_next(heap, class);
		got->sampled = true;
	}
	got->zero = slot & MAGAZINE_ZERO;
	return (void *)(slot & ~MAGAZINE_ZERO);
}

static void *take_bypass(unsigned int class, struct got *got)
{
	void *ptr = bypass_alloc(class, &got->zero);

	if (unlikely(heap_profiled) && ptr)
		got->sampled = sample_draw(sizeclasses[class].size);
	return ptr;
}

static void *alloc_slot(unsigned int class, bool nested, struct got *got)
{
	struct heap *heap = nested ? NULL : heap_get();
	void *ptr = heap ? take_slot(heap, class, got) :
			   take_bypass(class, got);

	if (ptr && !got->zero)
		*heap_key_of(ptr) = 0;
	return ptr;
}

/* This thread's heap, if it has one that it may use now. */
static struct heap *open_heap(bool nested)
{
	struct heap *heap = load_dependent(&tcb.heap);

	return nested || heap == EMPTY_HEAP ? NULL : heap;
}

static void *take_large(size_t align, size_t size, bool nested,
			struct got *got)
{
	void *ptr = large_alloc(open_heap(nested), size, align, &got->zero);

	if (unlikely(heap_profiled) && ptr)
		got->sampled = sample_draw(large_usable(ptr));
	return ptr;
}

static void *alloc_plain(size_t align, size_t size, bool nested,
			 struct got *got)
{
	int class;

	if (align <= ALIGN_MIN && size <= CLASS_SIZE_MAX)
		class = (int)sizeclass_of(max(size, (size_t)1));
	else
		class = sizeclass_for(align, size);
	if (class >= 0)
		return alloc_slot((unsigned int)class, nested, got);
	return take_large(align, size, nested, got);
}

/* NULL: there is no memory, or it is guard mode. */
static void *alloc_any(size_t align, size_t size, bool nested, struct got *got)
{
	if (size > PTRDIFF_MAX || !init_ready_plain())
		return NULL;
	return alloc_plain(align, size, nested, got);
}

/* The same from outside of the bracket, or @nested in one. */
static cold void *alloc_anew(size_t align, size_t size, bool nested,
			     struct got *got)
{
	void *ptr;

	if (!nested)
		tcb_enter(&tcb);
	ptr = alloc_plain(align, size, nested, got);
	if (!nested)
		tcb_leave(&tcb);
	return ptr;
}

/* There was no memory: again, as long as something was given back. */
static cold void *alloc_again(size_t align, size_t size, struct got *got)
{
	void *ptr = NULL;

	if (size > PTRDIFF_MAX || load_relaxed(&init_forking) || !init_ready())
		return NULL;
	for (int i = 0; !ptr && i < AGAIN_TRIES && inband_make_room(size); i++)
		ptr = alloc_anew(align, size, false, got);
	return ptr;
}

struct want {
	size_t align, size;
	bool nested;
	const struct stack_frame *frame;
};

/* @want as if there was no guard mode, and no mark. */
static void *alloc_unguarded(const struct want *want, struct got *got)
{
	void *ptr;

	do {
		got->sampled = false;
		ptr = alloc_anew(want->align, want->size, want->nested, got);
	} while (!ptr && got->sampled);
	return ptr;
}

/* Whether it is known without looking for a slot that it shall be guarded. */
static bool guard_at_once(size_t size)
{
	return guard_wants(size) || (size > CLASS_SIZE_MAX && sample_draw(size));
}

/* Guard mode: outside of the bracket, unless nested. */
static cold void *alloc_guarded(const struct want *want, struct got *got)
{
	void *ptr = NULL;

	if (want->size > PTRDIFF_MAX || !init_ready())
		return NULL;
	got->sampled = guard_at_once(want->size);
	if (!got->sampled)
		ptr = alloc_anew(want->align, want->size, want->nested, got);
	if (got->sampled) {
		ptr = guard_alloc(want->align, want->size, want->frame);
		got->zero = ptr;
		got->sampled = false;
	}
	return ptr ?: alloc_unguarded(want, got);
}

static cold void *alloc_otherwise(size_t align, size_t size,
				  const struct stack_frame *frame,
				  struct got *got)
{
	struct want want = { align, size, false, frame };
	void *ptr = guard_mode ? alloc_guarded(&want, got) : NULL;

	return ptr ?: alloc_again(align, size, got);
}

static size_t usable_of(const void *ptr)
{
	const struct slab_hot *hot = slab_hot(slab_of(ptr));

	return load_relaxed(&hot->kind) == SLAB_KIND_CLASS ?
	       sizeclasses[hot->class].size : large_usable(ptr);
}

static cold void note_sample(void *ptr, const struct stack_frame *frame)
{
	profile_take(ptr, usable_of(ptr), frame);
}

static inline void see_to_sample(void *ptr, const struct got *got,
				 const struct stack_frame *frame)
{
	if (IS_ENABLED(CONFIG_PROFILE) && unlikely(got->sampled) && ptr)
		note_sample(ptr, frame);
}

/* Inside the bracket: whatever the fast path could not do. */
__always_inline_ void *alloc_slow(size_t align, size_t size,
				  const struct stack_frame *frame, bool *ret_zero)
{
	struct got got = { 0 };
	void *ptr = alloc_any(align, size, false, &got);

	tcb_leave(&tcb);
	if (unlikely(!ptr))
		ptr = alloc_otherwise(align, size, frame, &got);
	see_to_sample(ptr, &got, frame);
	init_after_slow((const void *)stack_pc(frame), false);
	if (unlikely(!ptr))
		errno = ENOMEM;
	*ret_zero = got.zero;
	return ptr;
}

static noinline void *malloc_slow(size_t size)
{
	bool zero;

	return alloc_slow(ALIGN_ANY, size, FRAME, &zero);
}

void *alloc_rest(size_t align, size_t size, const struct stack_frame *frame)
{
	bool zero;

	return alloc_slow(align, size, frame, &zero);
}

static cold void *alloc_nested(size_t align, size_t size,
			       const struct stack_frame *frame, bool *ret_zero)
{
	struct got got = { 0 };
	void *ptr = alloc_any(align, size, true, &got);
	struct want want = { align, size, true, frame };

	if (unlikely(!ptr) && guard_mode)
		ptr = alloc_guarded(&want, &got);
	see_to_sample(ptr, &got, frame);
	if (!ptr)
		errno = ENOMEM;
	*ret_zero = got.zero;
	return ptr;
}

void *alloc_above(size_t align, size_t size, const struct stack_frame *frame)
{
	bool zero;

	return alloc_nested(align, size, frame, &zero);
}

static cold void *malloc_nested(size_t size)
{
	return alloc_above(ALIGN_ANY, size, FRAME);
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

	return alloc_slow(align, size, FRAME, &zero);
}

static cold void *aligned_nested(size_t align, size_t size)
{
	return alloc_above(align, size, FRAME);
}

void *alloc_aligned(size_t align, size_t size)
{
	void *ptr;

	if (unlikely(tcb.busy))
		return aligned_nested(align, size);
	tcb_enter(&tcb);
	ptr = fast_aligned(align, size);
	return likely(ptr) ? ptr : aligned_slow(align, size);
}

/* Whether it may be known to be zero, which the fast path does not look at. */
static noinline void *zeroed_slow(size_t align, size_t size)
{
	bool zero;
	void *ptr = alloc_slow(align, size, FRAME, &zero);

	return ptr && !zero ? memset(ptr, 0, size) : ptr;
}

static cold void *zeroed_nested(size_t align, size_t size)
{
	bool zero;
	void *ptr = alloc_nested(align, size, FRAME, &zero);

	return ptr && !zero ? memset(ptr, 0, size) : ptr;
}

void *alloc_zeroed(size_t align, size_t size)
{
	void *ptr;

	if (unlikely(tcb.busy))
		return zeroed_nested(align, size);
	tcb_enter(&tcb);
	ptr = fast_aligned(align, size);
	return likely(ptr) ? memset(ptr, 0, size) : zeroed_slow(align, size);
}

size_t alloc_expect(size_t align, size_t size)
{
	if (size > PTRDIFF_MAX - align || align > PTRDIFF_MAX || !init_ready())
		return 0;
	return heap_usable_for(align, size);
}

/* --- Freeing --- */

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

/* The same while there is a heap profile: what it covers is allocated later. */
static void push_counted(struct heap *heap, unsigned int class, void *ptr)
{
	sample_push_begin(heap, class);
	push(heap_magazine(heap, class), ptr);
	sample_push_end(heap, class);
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
	if (unlikely(heap_profiled))
		push_counted(heap, hot->class, ptr);
	else
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

/* @ptr is not in the range. */
static cold void free_other(void *ptr, const char *call,
			    const struct stack_frame *frame)
{
	if (!guard_owns(ptr))
		misuse_die_pointer(call, ptr);
	guard_free(ptr, call, frame);
}

static void free_any(void *ptr, bool nested, const char *call)
{
	struct slab_hot *hot;

	if (!range_contains(ptr)) {
		free_other(ptr, call, FRAME);
		return;
	}
	/* First: once it is free another thread may get it, and be sampled. */
	if (unlikely(heap_profiled))
		(void)profile_forget(ptr);
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

/*
 * With a heap profile every free takes the slow path.  What the fast one would
 * have done otherwise is done here.
 */
static bool free_counted(void *ptr)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct slab *slab = slab_of(ptr);
	struct magazine *mag;
	struct slab_hot *hot;
	unsigned int slot;

	if (!range_contains(ptr))
		return false;
	hot = slab_hot(slab);
	if (load_relaxed(&hot->owner) != heap || slab_keys_may_be_gone(slab) ||
	    !slab_slot(hot, ptr, &slot))
		return false;
	mag = heap_magazine(heap, hot->class);
	if (mag->top == mag->end || *heap_key_of(ptr) == heap_key(ptr))
		return false;
	(void)profile_forget(ptr);
	stranger_take_in(heap, slab, slot);
	push_counted(heap, hot->class, ptr);
	tcb_leave(&tcb);
	return true;
}

static noinline void free_slow(void *ptr)
{
	if (unlikely(heap_profiled) && free_counted(ptr))
		return;
	if (likely(ptr))
		free_any(ptr, false, "free");
	tcb_leave(&tcb);
	init_after_slow(__builtin_return_address(0), true);
}

/* Inside the bracket: a guarded object, in the frame that free() has. */
static cold void free_guarded(void *ptr)
{
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

extern __typeof__(alloc_get) alloc_get
	__attribute__((alias(NAME_OF(malloc)), visibility("hidden")));

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

/* --- calloc --- */

__export void *calloc(size_t nr, size_t size)
{
	size_t bytes;
	void *ptr;

	if (unlikely(__builtin_mul_overflow(nr, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	if (unlikely(tcb.busy))
		return zeroed_nested(ALIGN_ANY, bytes);
	tcb_enter(&tcb);
	ptr = fast_alloc(bytes);
	return likely(ptr) ? memset(ptr, 0, bytes) :
			     zeroed_slow(ALIGN_ANY, bytes);
}
