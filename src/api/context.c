/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Contexts: opening, allocating, closing
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/context.h"
#include "base/atomic.h"
#include "base/err.h"
#include "base/param.h"
#include "debug/guard.h"
#include "heap/charge.h"

#define FIRST_BYTES	(8 * KIB)	/* what a context begins with */
#define FIRST_MAX	(256 * KIB)	/* the same, if much is expected */
#define CHUNK_MAX	(256 * KIB)
/* What is larger than this part of the next chunk is on its own. */
#define LARGE_PART	4

static void must_be_open(struct context *context, const char *call)
{
	if (unlikely(context->magic != CONTEXT_MAGIC))
		ebb_bug("%s(%p): no context, or closed already", call,
			(void *)context);
	if (unlikely(context->check))
		check_enter(context, call);
}

/* --- Whose memory it is --- */

/*
 * The context's new @block is charged to the calling thread, who may not have
 * opened it.  Returns the account that it was taken off; 0: none.
 */
static unsigned int charge_to_opener(struct context *context, void *block)
{
	unsigned int id = charge_self();
	size_t bytes;

	/* Guarded objects are on nobody's account. */
	if (likely(id == context->charge) || guard_owns(block))
		return 0;
	bytes = alloc_usable(block, "ebb_context_alloc");
	charge_pin();
	charge_add(context->charge, bytes);
	charge_sub(id, bytes);
	return id;
}

void context_block_free(struct context *context, void *block, uint64_t charge)
{
	unsigned int id = (unsigned int)charge;
	size_t bytes;

	if (likely(!id)) {
		free(block);
		return;
	}
	bytes = alloc_usable(block, "ebb_context_free");
	charge_add(id, bytes);
	charge_sub(context->charge, bytes);
	free(block);
	charge_unpin(id);
}

/* --- Chunks --- */

static size_t chunk_bytes(const struct context *context)
{
	const struct chunk *chunk = context->chunk;

	if (chunk == &context->first)
		return (size_t)(chunk->end - (const char *)context);
	return (size_t)(chunk->end - (const char *)chunk);
}

static size_t next_bytes(const struct context *context)
{
	return max(min(2 * chunk_bytes(context), CHUNK_MAX), FIRST_BYTES);
}

bool context_grow(struct context *context, struct ebb_context *head,
		  size_t need)
{
	size_t bytes = next_bytes(context);
	struct chunk *chunk;

	while (bytes < need + sizeof(*chunk))
		bytes *= 2;
	chunk = malloc(bytes);
	if (!chunk)
		return false;
	context->chunk->next = head->next;
	chunk->prev = context->chunk;
	chunk->end = (char *)chunk + bytes;
	chunk->charge = charge_to_opener(context, chunk);
	context->chunk = chunk;
	head->next = chunk_begin(chunk);
	head->end = chunk->end;
	return true;
}

void context_shrink(struct context *context, struct ebb_context *head)
{
	struct chunk *chunk = context->chunk;

	context->chunk = chunk->prev;
	head->next = context->chunk->next;
	head->end = context->chunk->end;
	context_block_free(context, chunk, chunk->charge);
}

/* --- Large objects --- */

static void link_large(struct context *context, struct large *large)
{
	large->next = context->larges;
	large->link = &context->larges;
	if (large->next)
		large->next->link = &large->next;
	context->larges = large;
}

void *context_large(struct context *context, size_t align, size_t size)
{
	size_t more = sizeof(struct large) + (align > 16 ? align : 0);
	struct large *large;
	char *block;

	if (size > PTRDIFF_MAX - more) {
		errno = ENOMEM;
		return NULL;
	}
	block = malloc(size + more);
	if (!block)
		return NULL;
	large = (struct large *)ALIGN_UP((uintptr_t)block + sizeof(*large),
					 align) - 1;
	large->block = block;
	large->charge = charge_to_opener(context, block);
	large->label = size | LABEL_LARGE;
	link_large(context, large);
	return large + 1;
}

void context_large_free(struct context *context, struct large *large)
{
	*large->link = large->next;
	if (large->next)
		large->next->link = large->link;
	store_relaxed(&large->label, large->label | LABEL_FREED);
	context_block_free(context, large->block, large->charge);
}

/* As realloc(), which may move pages instead of copying. */
static void *resize_large(struct context *context, struct large *large,
			  size_t size)
{
	struct large *moved;

	/* Whose it becomes if it moves, only malloc knows. */
	if (large->block != large || large->charge ||
	    charge_self() != context->charge)
		return context_move(context, large + 1,
				    large->label & LABEL_SIZE, size);
	if (size > PTRDIFF_MAX - sizeof(*large)) {
		errno = ENOMEM;
		return NULL;
	}
	moved = realloc(large, size + sizeof(*large));
	if (!moved)
		return NULL;
	moved->block = moved;
	moved->label = size | LABEL_LARGE;
	*moved->link = moved;
	if (moved->next)
		moved->next->link = &moved->next;
	return moved + 1;
}

static void free_larges(struct context *context)
{
	while (unlikely(context->larges))
		context_large_free(context, context->larges);
}

/* --- Allocation --- */

/* At the cursor, or NULL if there is no room. */
static void *take(struct context *context, size_t align, size_t size)
{
	struct ebb_context *head = &context->head;
	char *cursor = head->next, *label = label_at(cursor, align);
	size_t gap = (size_t)(label - cursor);
	size_t room = (size_t)(head->end - cursor);

	if (size > room || object_need(size) > room ||
	    gap > room - object_need(size))
		return NULL;
	head->next = label + object_need(size);
	*(size_t *)(void *)label = size | (gap ? LABEL_GAP : 0);
	if (gap)
		((size_t *)(void *)label)[-1] = gap;
	return label + sizeof(size_t);
}

static noinline void *alloc_slow(struct context *context, size_t align,
				 size_t size)
{
	void *ptr;

	if (unlikely(size > PTRDIFF_MAX || align > PTRDIFF_MAX)) {
		errno = ENOMEM;
		return NULL;
	}
	if (unlikely(context->check))
		return check_alloc(context, align, size);
	ptr = take(context, align, size);
	if (ptr)
		return ptr;
	if (object_need(size) + align > next_bytes(context) / LARGE_PART)
		return context_large(context, align, size);
	if (!context_grow(context, &context->head, object_need(size) + align))
		return NULL;
	return take(context, align, size);
}

static noinline void *alloc_call(struct context *context, size_t size)
{
	if (unlikely(context->check))
		check_enter(context, "ebb_context_alloc");
	return alloc_slow(context, 16, size);
}

__export void *ebb_context_alloc(struct ebb_context *context, size_t size)
{
	size_t room = (size_t)(context->end - context->next);
	char *object = context->next;

	/* As in ebb.h. */
	if (unlikely((size | object_need(size)) > room))
		return alloc_call(context_of(context), size);
	context->next = object + object_need(size);
	*(size_t *)(void *)object = size;
	return object + sizeof(size_t);
}

__export void *ebb_context_alloc_aligned(struct ebb_context *context,
					 size_t align, size_t size)
{
	if (unlikely(context_of(context)->check))
		check_enter(context_of(context), "ebb_context_alloc_aligned");
	if (!is_pow2(align)) {
		errno = EINVAL;
		return NULL;
	}
	return alloc_slow(context_of(context), max(align, (size_t)16), size);
}

__export void *ebb_context_calloc(struct ebb_context *context, size_t nr,
				  size_t size)
{
	size_t bytes;
	void *ptr;

	if (unlikely(__builtin_mul_overflow(nr, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	ptr = ebb_context_alloc(context, bytes);
	return ptr ? memset(ptr, 0, bytes) : NULL;
}

/* --- Freeing and resizing --- */

static cold void die_of_label(struct context *context, void *ptr,
			      const char *call)
{
	ebb_bug("%s(%p): %p was freed already, or is no object of a context",
		call, (void *)context, ptr);
}

/* The last object of its chunk goes: the cursor moves back. */
static void pop(struct context *context, void *ptr, size_t size)
{
	struct ebb_context *head = &context->head;
	char *end = (char *)label_of(ptr) + object_need(size);
	struct chunk *chunk = context->chunk;

	if (end != head->next) {
		/* Nothing is left of what came after the chunk before this. */
		if (!chunk->prev || head->next != chunk_begin(chunk) ||
		    end != chunk->prev->next)
			return;
		context_shrink(context, head);
	}
	head->next = object_begin(ptr);
}

static void free_object(struct context *context, void *ptr, const char *call)
{
	size_t label = *label_of(ptr);

	if (unlikely(label & (LABEL_FREED | LABEL_LARGE))) {
		if (label & LABEL_FREED)
			die_of_label(context, ptr, call);
		context_large_free(context, large_of(ptr));
		return;
	}
	pop(context, ptr, label & LABEL_SIZE);
	*label_of(ptr) = label | LABEL_FREED;
}

__export void ebb_context_free(struct ebb_context *context, void *ptr)
{
	struct context *inside = context_of(context);

	if (unlikely(inside->check)) {
		check_enter(inside, __func__);
		if (ptr)
			check_free(inside, ptr, __func__);
	} else if (ptr) {
		free_object(inside, ptr, __func__);
	}
}

void *context_move(struct context *context, void *ptr, size_t was, size_t size)
{
	void *copy = ebb_context_alloc(&context->head, size);

	if (!copy)
		return NULL;
	memcpy(copy, ptr, min(was, size));
	ebb_context_free(&context->head, ptr);
	return copy;
}

static void *resize(struct context *context, void *ptr, size_t size)
{
	struct ebb_context *head = &context->head;
	char *label = (char *)label_of(ptr);
	size_t was = *label_of(ptr);

	if (unlikely(was & LABEL_FREED))
		die_of_label(context, ptr, "ebb_context_realloc");
	if (was & LABEL_LARGE)
		return resize_large(context, large_of(ptr), size);
	was &= ~LABEL_GAP;
	if (label + object_need(was) == head->next &&
	    size <= (size_t)(head->end - label) &&
	    object_need(size) <= (size_t)(head->end - label))
		head->next = label + object_need(size);
	else if (size > PTRDIFF_MAX || object_need(size) > object_need(was))
		return context_move(context, ptr, was, size);
	else
		size = max(size, was);
	*label_of(ptr) = size | (*label_of(ptr) & LABEL_GAP);
	return ptr;
}

__export void *ebb_context_realloc(struct ebb_context *context, void *ptr,
				   size_t size)
{
	struct context *inside = context_of(context);

	if (!ptr)
		return ebb_context_alloc(context, size);
	if (unlikely(!inside->check))
		return resize(inside, ptr, size);
	check_enter(inside, __func__);
	return context_move(inside, ptr, check_size(inside, ptr, __func__),
			    size);
}

/* --- Opening and closing --- */

static void link_child(struct context *parent, struct context *context)
{
	context->parent = parent;
	context->next = parent->child;
	context->link = &parent->child;
	if (context->next)
		context->next->link = &context->next;
	parent->child = context;
}

static void unlink_child(struct context *context)
{
	*context->link = context->next;
	if (context->next)
		context->next->link = context->link;
}

static bool is_to_be_checked(struct ebb_context *parent, unsigned int flags)
{
	return flags & EBB_CONTEXT_CHECK || param_int(EBB_ATTR_CONTEXT_CHECK) ||
	       (parent && context_of(parent)->check);
}

__export struct ebb_context *ebb_context_open(struct ebb_context *parent,
					      size_t expect, unsigned int flags)
{
	size_t bytes = FIRST_BYTES;
	struct context *context;

	if (unlikely(flags & ~EBB_CONTEXT_CHECK)) {
		errno = EINVAL;
		return NULL;
	}
	if (parent)
		must_be_open(context_of(parent), __func__);
	while (unlikely(bytes < FIRST_MAX &&
			bytes - sizeof(*context) < expect))
		bytes *= 2;
	context = malloc(bytes);
	if (unlikely(!context))
		return NULL;
	context->first.prev = NULL;
	context->first.end = (char *)context + bytes;
	context->first.charge = 0;
	context->charge = charge_self();
	context->chunk = &context->first;
	context->head.next = (char *)(context + 1);
	context->head.end = context->first.end;
	context->larges = NULL;
	context->check = NULL;
	context->parent = NULL;
	context->child = NULL;
	context->magic = CONTEXT_MAGIC;
	if (parent)
		link_child(context_of(parent), context);
	if (likely(!is_to_be_checked(parent, flags)))
		return &context->head;
	if (check_open(context))
		return &context->head;
	if (parent)
		unlink_child(context);
	free(context);
	return NULL;
}

/* Chunks but for the first. */
static void free_chunks(struct context *context)
{
	while (context->chunk != &context->first)
		context_shrink(context, &context->head);
}

static void close_one(struct context *context)
{
	if (unlikely(context->check))
		check_close(context);
	free_larges(context);
	free_chunks(context);
	if (context->parent)
		unlink_child(context);
	/* Atomic: what is plainly stored before a free is left out. */
	store_relaxed(&context->magic, 0);
	free(context);
}

/* Those within it, the innermost first; not by recursion: any may be deep. */
static void close_children(struct context *context, const char *call)
{
	struct context *at = context;

	while (at != context || at->child) {
		struct context *parent = at->parent;

		if (at->child) {
			at = at->child;
			continue;
		}
		if (at->check)
			check_all(at, call);
		close_one(at);
		at = parent;
	}
}

__export void ebb_context_close(struct ebb_context *context)
{
	struct context *inside = context_of(context);

	if (!context)
		return;
	must_be_open(inside, __func__);
	close_children(inside, __func__);
	if (unlikely(inside->check))
		check_all(inside, __func__);
	close_one(inside);
}

__export void ebb_context_reset(struct ebb_context *context)
{
	struct context *inside = context_of(context);

	must_be_open(inside, __func__);
	close_children(inside, __func__);
	if (unlikely(inside->check)) {
		check_reset(inside, __func__);
		return;
	}
	free_larges(inside);
	free_chunks(inside);
	context->next = chunk_begin(&inside->first);
}

/* The next one below @root in the order of the tree; NULL: there is none. */
static struct context *next_below(struct context *root, struct context *at)
{
	if (at->child)
		return at->child;
	while (at != root && !at->next)
		at = at->parent;
	return at == root ? NULL : at->next;
}

__export int ebb_context_transfer(struct ebb_context *context)
{
	struct context *inside = context_of(context);

	must_be_open(inside, __func__);
	if (inside->parent) {
		errno = EINVAL;
		return -1;
	}
	/* Those within one without checks may have some. */
	for (struct context *at = inside; at; at = next_below(inside, at))
		if (unlikely(at->check))
			check_transfer(at);
	return 0;
}
