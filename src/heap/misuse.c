/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Misuse of pointers: one line, then the end
 */
#include "base/err.h"
#include "base/log.h"
#include "heap/misuse.h"
#include "heap/large.h"
#include "vm/run.h"

static const char *const misuse_names[] = {
	[MISUSE_DOUBLE_FREE]	= "double free",
	[MISUSE_INVALID]	= "invalid pointer",
	[MISUSE_INTERIOR]	= "interior pointer",
	[MISUSE_SIZE]		= "wrong size",
};

#define KNOWN_MAX	160
#define LINE_MAX_LEN	320

void (*misuse_told)(const char *line);

struct slab *misuse_run_around(const void *ptr)
{
	size_t index = slab_index(slab_of(ptr));

	for (size_t at = index + 1; at-- > 0;) {
		struct slab *slab = range.slabs + at;

		if (hot_at(at)->kind == SLAB_KIND_CLASS && at != index)
			return NULL;
		if (hot_at(at)->kind == SLAB_KIND_RUN)
			return index - at < slab->run_len ? slab : NULL;
	}
	return NULL;
}

static void know_slot(char *buf, size_t size, const void *ptr)
{
	const struct slab_hot *hot = slab_hot(slab_of(ptr));
	const struct sizeclass *sc = &sizeclasses[hot->class];
	size_t offset = (uintptr_t)ptr & (SLAB_SIZE - 1);
	unsigned int slot = slot_at(sc->reciprocal, offset);
	const char *start = (const char *)ptr - offset +
			    (size_t)slot * sc->size;

	if (start == ptr)
		fmt_line(buf, size, "slot of %u bytes", sc->size);
	else
		fmt_line(buf, size, "%zu bytes into the slot of %u bytes at %p",
			 (size_t)((const char *)ptr - start), sc->size, start);
}

/* @start: of the object of that @kind that @ptr is in, or NULL. */
static void know_object(char *buf, size_t size, const void *ptr,
			const char *kind, const char *start)
{
	size_t usable = start ? object_usable(start) : 0;

	if (!start)
		fmt_line(buf, size, "in a part of the heap that is free");
	else if (start == ptr)
		fmt_line(buf, size, "%s object of %zu bytes", kind, usable);
	else
		fmt_line(buf, size,
			 "%zu bytes into the %s object of %zu bytes at %p",
			 (size_t)((const char *)ptr - start), kind, usable,
			 start);
}

static void know_pointer(char *buf, size_t size, const void *ptr)
{
	struct slab *run;

	if (!range.base || !range_contains(ptr)) {
		fmt_line(buf, size, "not in this heap");
		return;
	}
	if (slab_hot(slab_of(ptr))->kind == SLAB_KIND_CLASS) {
		know_slot(buf, size, ptr);
		return;
	}
	if (medium_is(ptr)) {
		know_object(buf, size, ptr, "medium", medium_around(ptr));
		return;
	}
	run = misuse_run_around(ptr);
	know_object(buf, size, ptr, "large", run ? slab_base(run) : NULL);
}

void misuse_die(enum misuse what, const char *call, const void *ptr,
		const char *detail)
{
	char known[KNOWN_MAX], line[LINE_MAX_LEN];

	know_pointer(known, sizeof(known), ptr);
	fmt_line(line, sizeof(line), "%s(%p): %s: %s%s%s", call, ptr,
		 misuse_names[what], known, detail ? ", " : "",
		 detail ? detail : "");
	if (misuse_told)
		misuse_told(line);
	ebb_bug("%s", line);
}

/* It is no object, in a slab of such. */
static void die_medium(const char *call, const void *ptr)
{
	if (medium_around(ptr))
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	if (!((uintptr_t)ptr & (BLOCK_SIZE - 1)))
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr,
			   "or never allocated");
	misuse_die(MISUSE_INVALID, call, ptr, NULL);
}

void misuse_die_pointer(const char *call, const void *ptr)
{
	struct slab *run;

	if (!range.base || !range_contains(ptr))
		misuse_die(MISUSE_INVALID, call, ptr, NULL);
	if (slab_hot(slab_of(ptr))->kind == SLAB_KIND_CLASS)
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	if (medium_is(ptr))
		die_medium(call, ptr);
	run = misuse_run_around(ptr);
	if (run && slab_base(run) != ptr)
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	if (!run && !((uintptr_t)ptr & (SLAB_SIZE - 1)))
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr,
			   "or never allocated");
	misuse_die(MISUSE_INVALID, call, ptr, NULL);
}
