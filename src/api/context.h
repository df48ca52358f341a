/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Contexts: arenas of bounded scope
 *
 * What it is: a context lies at the begin of the memory it allocates from, a
 * chunk; further chunks follow as they are needed, each twice as large as the
 * one before.  Chunks are ordinary memory of malloc(): the first ones slots,
 * larger ones runs.  So closed contexts are pooled where all that a thread has
 * freed is, in its magazines and its run cache; they are drained from there
 * behind the gate, their pages age, and a thread's exit or a fork concern them
 * as they concern all free memory.  Nothing here is known to lower floors.
 *
 * Model: objects of a chunk lie one behind the other, each after a word, its
 * *label*: the size that was asked for, and flags.  Labels lie at 16 n + 8.
 * What is large for the chunk that would have to be made for it is allocated
 * for itself, and on a list.
 *
 * Invariants:
 * (1) head.next and head.end bound the free part of the current chunk; those
 *     of the others are in the chunks.  With checks both are NULL, so that no
 *     call is served in line, and the cursor is in struct check.
 * (2) An object that ends at the cursor is the last of its chunk; if it was
 *     freed, the cursor moves back to its label, or to the gap before that.
 * (3) A chunk that is not the first and is empty is the current one.
 *
 * (4) What another thread than the opener allocates is charged to the opener
 *     as long as it is the context's, and to that thread for the moment when it
 *     is allocated and freed, as malloc and free do: see charge_to_opener().
 *     That thread's account is pinned meanwhile; the opener's holds the first
 *     chunk, which is freed last.
 *
 * Locking: none; a context is one thread's at a time.
 */
#ifndef EBB_API_CONTEXT_H
#define EBB_API_CONTEXT_H

#define EBB_NO_INLINE
#include "ebb/ebb.h"
#include "base/bits.h"
#include "base/compiler.h"

#define CONTEXT_MAGIC	0x6562622fu

/* What labels have beside the size. */
#define LABEL_FREED	((size_t)1 << 63)
#define LABEL_LARGE	((size_t)1 << 62)
#define LABEL_GAP	((size_t)1 << 61)	/* before it; its length is in
						 * the word before the label */
#define LABEL_SEAL	47	/* with checks: from this bit on, 14 bits */
#define CONTEXT_CHECK_LARGE	(4 * KIB)	/* with checks: on its own */

#define LABEL_SIZE	(((size_t)1 << LABEL_SEAL) - 1)

struct chunk {
	struct chunk *prev;	/* NULL: the first */
	char *next;		/* unless it is the current one: its cursor */
	char *end;
	uint64_t charge;	/* whose it was made; 0: the context's */
	uint64_t unused;
};

/* An object on its own, at the end of this. */
struct large {
	struct large *next;
	struct large **link;
	void *block;		/* what to free; before this, if aligned */
	uint64_t charge;	/* as in struct chunk */
	uint64_t unused;
	size_t label;
};

struct check;

struct context {
	struct ebb_context head;
	struct chunk *chunk;		/* the current one */
	struct large *larges;
	struct check *check;		/* NULL: no checks */
	struct context *parent;
	struct context *child;		/* one of those opened within it */
	struct context *next;		/* of the same parent */
	struct context **link;
	uint32_t magic;
	uint32_t charge;		/* account of the thread that opened it */
	struct chunk first;		/* at its end: objects follow */
};

_Static_assert(sizeof(struct context) % 16 == 8, "labels lie at 16 n + 8");
_Static_assert(sizeof(struct chunk) % 16 == 8, "labels lie at 16 n + 8");
_Static_assert(sizeof(struct large) % 16 == 0, "objects lie at 16 n");
_Static_assert(offsetof(struct context, first) + sizeof(struct chunk) ==
	       sizeof(struct context), "objects follow the first chunk");
_Static_assert(sizeof(size_t) == 8, "labels are 8 bytes");

static inline struct context *context_of(struct ebb_context *context)
{
	return container_of(context, struct context, head);
}

static inline size_t *label_of(void *ptr)
{
	return (size_t *)ptr - 1;
}

static inline struct large *large_of(void *ptr)
{
	return (struct large *)ptr - 1;
}

/* Bytes that an object of @size takes up with its label; see ebb.h. */
static inline size_t object_need(size_t size)
{
	return ((size + 7) & ~(size_t)15) + 16;
}

static inline char *chunk_begin(struct chunk *chunk)
{
	return (char *)(chunk + 1);
}

/* From the label, or the gap before it, what the cursor goes back to. */
static inline char *object_begin(void *ptr)
{
	size_t *label = label_of(ptr);

	return (char *)label - (*label & LABEL_GAP ? label[-1] : 0);
}

/*
 * Where an object with @align goes at @cursor: its label.  The gap before it is
 * a multiple of 16, and has room for its length.
 */
static inline char *label_at(char *cursor, size_t align)
{
	uintptr_t object = ALIGN_UP((uintptr_t)cursor + sizeof(size_t), align);

	return (char *)object - sizeof(size_t);
}

/*
 * A new current chunk of the context with the cursor @head, with room for
 * @need bytes at least; false: no memory.
 */
bool context_grow(struct context *context, struct ebb_context *head,
		  size_t need);

/* Free the current chunk, which is not the first. */
void context_shrink(struct context *context, struct ebb_context *head);

/* An object of its own, or NULL; and its end. */
void *context_large(struct context *context, size_t align, size_t size);
void context_large_free(struct context *context, struct large *large);

/* Free @block, which has @charge of struct chunk, or of struct large. */
void context_block_free(struct context *context, void *block, uint64_t charge);

/* @ptr of @size bytes moves, whatever that takes. */
void *context_move(struct context *context, void *ptr, size_t was, size_t size);

/* --- With checks (context_check.c); each ends the process if need be --- */

/* Begin and end of a context with checks; false: no memory. */
bool check_open(struct context *context);
void check_close(struct context *context);

/* All of it is as it should be, and this thread's: @call may go on. */
void check_enter(struct context *context, const char *call);
void check_all(struct context *context, const char *call);

void *check_alloc(struct context *context, size_t align, size_t size);
void check_free(struct context *context, void *ptr, const char *call);
size_t check_size(struct context *context, void *ptr, const char *call);
void check_reset(struct context *context, const char *call);
void check_transfer(struct context *context);

#endif
