/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Contexts with checks: whose they are, and what was written where
 *
 * Model: no call is served in line.  Each label bears a seal, made of its size
 * and its address; behind each object follow at least CANARY_MIN bytes of
 * CANARY, to the next label; all else that a chunk has is filled with GONE, as
 * is an object once it is freed.  What was freed is not used again before the
 * context is reset; what was reset, not before it is reset again, or closed.
 * So a write to any of it is seen, at the latest when the context is reset,
 * transferred or closed.  As a pointer GONE is none: to follow it is a SIGSEGV.
 *
 * The owner is the thread's heap, and how often that had been handed out: so a
 * thread that has ended is known, and what it left behind is anybody's.  With
 * check=on, and with guard=all, threads need no heaps, and are not told apart.
 * What is within another context is its owner's.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "api/context.h"
#include "base/err.h"
#include "base/sys.h"
#include "heap/heap.h"

#define GONE		0xeb
#define CANARY		0xce
#define CANARY_MIN	8u
#define OWNER_TURN	48	/* from this bit on: heap->turn */

struct check {
	struct ebb_context cursor;	/* the real one */
	struct chunk *stale;		/* as the last reset left them */
	struct large *stale_larges;	/* freed, or reset */
	uint64_t owner;			/* atomic; 0: whoever comes next */
	int tid;			/* of the owner */
};

/* --- Whose it is --- */

static uint64_t me(void)
{
	struct heap *heap = thread.heap;

	return heap ? (uintptr_t)heap |
		      (uint64_t)load_relaxed(&heap->turn) << OWNER_TURN : 0;
}

static bool is_gone(uint64_t owner)
{
	const struct heap *heap =
		(void *)(uintptr_t)(owner & ((1ULL << OWNER_TURN) - 1));

	return (uint16_t)load_relaxed(&heap->turn) != owner >> OWNER_TURN;
}

/* The outermost with checks that it is within: its owner is everyone's. */
static struct check *root_of(struct context *context)
{
	struct check *root = context->check;

	while ((context = context->parent))
		root = context->check ?: root;
	return root;
}

void check_enter(struct context *context, const char *call)
{
	struct check *root = root_of(context);
	uint64_t owner = load_relaxed(&root->owner);

	if (likely(owner == me()))
		return;
	if ((owner && !is_gone(owner)) ||
	    !cas_relaxed(&root->owner, &owner, me()))
		ebb_bug("%s(%p): used by thread %d, but the context is "
			"thread %d's: no ebb_context_transfer()", call,
			(void *)context, sys_gettid(),
			load_relaxed(&root->tid));
	store_relaxed(&root->tid, sys_gettid());
}

void check_transfer(struct context *context)
{
	check_all(context, "ebb_context_transfer");
	store_relaxed(&context->check->owner, 0);
}

/* --- What was written --- */

static size_t seal(const void *ptr, size_t size)
{
	uint64_t mixed = ((uintptr_t)ptr ^ size << 20) * 0x9e3779b97f4a7c15ULL;

	return (size_t)(mixed >> 50) << LABEL_SEAL;
}

static size_t checked_need(size_t size)
{
	return object_need(size + CANARY_MIN);
}

static char *object_end(void *ptr, size_t size)
{
	return (char *)label_of(ptr) + checked_need(size);
}

/* The first of the bytes [@from, @to) that is not @byte; NULL: all are. */
static const char *first_other(const char *from, const char *to, int byte)
{
	for (; from < to; from++)
		if ((unsigned char)*from != byte)
			return from;
	return NULL;
}

/* Where an object is looked at, and by whom. */
struct look {
	const struct context *context;
	const char *call;
};

static void expect_gone(const struct look *look, const char *from,
			const char *to)
{
	const char *other = first_other(from, to, GONE);

	if (unlikely(other))
		ebb_bug("%s(%p): %p was written after it was freed or reset",
			look->call, (const void *)look->context, other);
}

/* Its size, if it is an object. */
static size_t read_label(const struct look *look, void *ptr)
{
	size_t label = *label_of(ptr);
	size_t size = label & LABEL_SIZE;

	if (unlikely((label & ~(LABEL_FREED | LABEL_LARGE)) !=
		     (size | seal(ptr, size))))
		ebb_bug("%s(%p): no object at %p, or what is before it was "
			"overwritten", look->call, (const void *)look->context,
			ptr);
	return size;
}

/* Look at the object @ptr, freed or not; returns its size. */
static size_t check_object(const struct look *look, void *ptr)
{
	size_t size = read_label(look, ptr);
	char *end = object_end(ptr, size);
	const char *other;

	if (*label_of(ptr) & LABEL_FREED) {
		expect_gone(look, ptr, end);
		return size;
	}
	other = first_other((char *)ptr + size, end, CANARY);
	if (unlikely(other))
		ebb_bug("%s(%p): the object of %zu bytes at %p was written "
			"%zu bytes beyond its end", look->call,
			(const void *)look->context, size, ptr,
			(size_t)(other - (char *)ptr) - size + 1);
	return size;
}

static char *cursor_of(const struct context *context, const struct chunk *chunk)
{
	return chunk == context->chunk ? context->check->cursor.next :
					 chunk->next;
}

static void check_chunk(const struct look *look, struct chunk *chunk)
{
	char *next = cursor_of(look->context, chunk);
	char *at = chunk_begin(chunk);

	while (at < next)
		at += checked_need(check_object(look, at + sizeof(size_t)));
	expect_gone(look, next, chunk->end);
}

void check_all(struct context *context, const char *call)
{
	struct look look = { context, call };
	struct check *check = context->check;

	for (struct chunk *at = context->chunk; at; at = at->prev)
		check_chunk(&look, at);
	for (struct large *at = context->larges; at; at = at->next)
		(void)check_object(&look, at + 1);
	for (struct chunk *at = check->stale; at; at = at->prev)
		expect_gone(&look, chunk_begin(at), at->end);
	for (struct large *at = check->stale_larges; at; at = at->next)
		(void)check_object(&look, at + 1);
}

/* --- Allocation --- */

/* The object's surroundings; what was there before is known to be free. */
static void *set_up(char *label, size_t size, size_t flags)
{
	char *ptr = label + sizeof(size_t);

	*label_of(ptr) = size | seal(ptr, size) | flags;
	memset(ptr + size, CANARY, (size_t)(object_end(ptr, size) - ptr) -
				   size);
	return ptr;
}

static void *alloc_large(struct context *context, size_t align, size_t size)
{
	void *ptr = context_large(context, align, checked_need(size));

	if (!ptr)
		return NULL;
	memset(ptr, GONE, size);
	return set_up((char *)label_of(ptr), size, LABEL_LARGE);
}

static bool has_room(const struct ebb_context *cursor, size_t align,
		     size_t size)
{
	size_t room = (size_t)(cursor->end - cursor->next);
	size_t gap = (size_t)(label_at(cursor->next, align) - cursor->next);

	return gap <= room && checked_need(size) <= room - gap;
}

/* What lies before an aligned object becomes a freed one of its own. */
static void fill_gap(char *cursor, size_t gap)
{
	char *ptr = cursor + sizeof(size_t);
	size_t size = gap - 16;

	*label_of(ptr) = size | seal(ptr, size) | LABEL_FREED;
}

void *check_alloc(struct context *context, size_t align, size_t size)
{
	struct look look = { context, "ebb_context_alloc" };
	struct ebb_context *cursor = &context->check->cursor;
	size_t need;
	char *label;

	if (size > PTRDIFF_MAX / 2 || checked_need(size) + align >
				      CONTEXT_CHECK_LARGE)
		return alloc_large(context, align, size);
	if (!has_room(cursor, align, size)) {
		need = checked_need(size) + align;
		if (!context_grow(context, cursor, need))
			return NULL;
		memset(cursor->next, GONE,
		       (size_t)(cursor->end - cursor->next));
	}
	label = label_at(cursor->next, align);
	expect_gone(&look, cursor->next, label + checked_need(size));
	if (label != cursor->next)
		fill_gap(cursor->next, (size_t)(label - cursor->next));
	cursor->next = label + checked_need(size);
	return set_up(label, size, 0);
}

/* --- Freeing --- */

static bool is_inside(const struct context *context, const char *ptr)
{
	for (struct chunk *at = context->chunk; at; at = at->prev)
		if (ptr > chunk_begin(at) && ptr < cursor_of(context, at))
			return true;
	for (struct large *at = context->larges; at; at = at->next)
		if (ptr == (char *)(at + 1))
			return true;
	for (struct large *at = context->check->stale_larges; at; at = at->next)
		if (ptr == (char *)(at + 1))
			return true;
	return false;
}

/* The size of what may be freed. */
size_t check_size(struct context *context, void *ptr, const char *call)
{
	struct look look = { context, call };
	size_t size;

	if (!is_inside(context, ptr))
		ebb_bug("%s(%p): %p is no object of this context, or was reset",
			call, (void *)context, ptr);
	size = read_label(&look, ptr);
	if (*label_of(ptr) & LABEL_FREED)
		ebb_bug("%s(%p): the object of %zu bytes at %p was freed "
			"already", call, (void *)context, size, ptr);
	(void)check_object(&look, ptr);
	return size;
}

static void mark_gone(void *ptr)
{
	size_t size = *label_of(ptr) & LABEL_SIZE;

	*label_of(ptr) |= LABEL_FREED;
	memset(ptr, GONE, (size_t)(object_end(ptr, size) - (char *)ptr));
}

/* From the list of those in use to the stale ones. */
static void retire_large(struct context *context, struct large *large)
{
	struct check *check = context->check;

	mark_gone(large + 1);
	*large->link = large->next;
	if (large->next)
		large->next->link = large->link;
	large->next = check->stale_larges;
	large->link = &check->stale_larges;
	if (large->next)
		large->next->link = &large->next;
	check->stale_larges = large;
}

void check_free(struct context *context, void *ptr, const char *call)
{
	(void)check_size(context, ptr, call);
	if (*label_of(ptr) & LABEL_LARGE)
		retire_large(context, large_of(ptr));
	else
		mark_gone(ptr);
}

/* --- The ends of it --- */

bool check_open(struct context *context)
{
	struct check *check = malloc(sizeof(*check));

	if (!check)
		return false;
	/* No room: neither in line, nor beside the context itself. */
	context->head = (struct ebb_context){ NULL, NULL };
	context->first.end = chunk_begin(&context->first);
	*check = (struct check){
		.cursor = { context->first.end, context->first.end },
		.owner = me(),
		.tid = sys_gettid(),
	};
	context->check = check;
	return true;
}

static void free_stale(struct context *context)
{
	struct check *check = context->check;

	while (check->stale) {
		struct chunk *stale = check->stale;

		check->stale = stale->prev;
		context_block_free(context, stale, stale->charge);
	}
	while (check->stale_larges)
		context_large_free(context, check->stale_larges);
}

/* All chunks but the first, and all large objects, become stale. */
static void retire_all(struct context *context)
{
	struct check *check = context->check;

	free_stale(context);
	while (context->larges)
		retire_large(context, context->larges);
	if (context->chunk == &context->first)
		return;
	check->stale = context->chunk;
	for (struct chunk *at = context->chunk; ; at = at->prev) {
		memset(chunk_begin(at), GONE,
		       (size_t)(at->end - chunk_begin(at)));
		if (at->prev == &context->first) {
			at->prev = NULL;
			break;
		}
	}
	context->chunk = &context->first;
	check->cursor.next = check->cursor.end = context->first.end;
}

void check_reset(struct context *context, const char *call)
{
	check_all(context, call);
	retire_all(context);
}

void check_close(struct context *context)
{
	retire_all(context);
	free_stale(context);
	free(context->check);
	context->check = NULL;
}
