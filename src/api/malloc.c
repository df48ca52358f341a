/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - malloc and calloc
 *
 * What it is: the entry points, and all other ways to get memory.  The fast path
 * touches the thread block, the size table and one magazine; everything else is
 * in functions of their own, reached by tail calls.
 *
 * Invariants, here and in api/free.c:
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
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/magazine.h"
#include "heap/meter.h"
#include "heap/sample.h"
#include "reclaim/inband.h"

#define AGAIN_TRIES	3	/* others take what was given back, too */

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

static void *take_beyond(size_t align, size_t size, bool nested,
			struct got *got)
{
	void *ptr = NULL;

	if (medium_fits(align, size) && load_relaxed(&account.frugal))
		ptr = medium_alloc(nested ? NULL : heap_get(), size, align,
				   &got->zero);
	if (!ptr)
		ptr = large_alloc(usable_heap(nested), size, align, &got->zero);
	if (unlikely(heap_profiled) && ptr)
		got->sampled = sample_draw(object_usable(ptr));
	return ptr;
}

/*
 * Those of the larger classes are cut out of what other sizes have freed, too,
 * where their magazine is empty.  As large as a slot: that was promised.
 */
static void *alloc_frugal(size_t align, unsigned int class, bool nested,
			  struct got *got)
{
	size_t size = sizeclasses[class].size;

	if (size < MEDIUM_MIN || heap_marked)
		return NULL;
	return medium_alloc(usable_heap(nested), size, align, &got->zero);
}

static void *alloc_plain(size_t align, size_t size, bool nested,
			 struct got *got)
{
	void *ptr;
	int class;

	if (align <= ALIGN_MIN && size <= CLASS_SIZE_MAX)
		class = (int)sizeclass_of(max(size, (size_t)1));
	else
		class = sizeclass_for(align, size);
	if (IS_ENABLED(CONFIG_MEDIUM) && class >= 0 &&
	    unlikely(load_relaxed(&account.frugal))) {
		ptr = alloc_frugal(align, (unsigned int)class, nested, got);
		if (ptr)
			return ptr;
	}
	if (class >= 0)
		return alloc_slot((unsigned int)class, nested, got);
	return take_beyond(align, size, nested, got);
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

static cold void note_any(void *ptr, bool sampled,
			  const struct stack_frame *frame)
{
	size_t usable = guard_owns(ptr) ? guard_usable(ptr, "malloc", frame) :
					  object_usable(ptr);

	if (sampled)
		profile_take(ptr, usable, frame);
	if (meter_on())
		meter_took(usable);
}

/* Who keeps count of what is allocated hears of @ptr, unless it is NULL. */
static inline void note_taken(void *ptr, const struct got *got,
			      const struct stack_frame *frame)
{
	if (unlikely(load_relaxed(&heap_noted)) && ptr)
		note_any(ptr, IS_ENABLED(CONFIG_PROFILE) && got->sampled,
			 frame);
}

/* What the fast path would do if it counted: see heap/meter.h. */
static cold void *take_metered(size_t align, size_t size)
{
	struct heap *heap = load_dependent(&tcb.behind);
	void *ptr = heap ? fast_pop(heap, ALIGN_UP(size, align)) : NULL;

	if (ptr)
		meter_took(object_usable(ptr));
	return ptr;
}

/* Inside the bracket: whatever the fast path could not do. */
__always_inline_ void *alloc_slow(size_t align, size_t size,
				  const struct stack_frame *frame, bool *ret_zero)
{
	struct got got = { 0 };
	void *ptr = meter_on() ? take_metered(align, size) : NULL;

	if (unlikely(ptr)) {
		*ret_zero = false;
		return ptr;
	}
	ptr = alloc_any(align, size, false, &got);
	tcb_leave(&tcb);
	if (unlikely(!ptr))
		ptr = alloc_otherwise(align, size, frame, &got);
	note_taken(ptr, &got, frame);
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
	note_taken(ptr, &got, frame);
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

extern __typeof__(alloc_get) alloc_get
	__attribute__((alias(NAME_OF(malloc)), visibility("hidden")));

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
