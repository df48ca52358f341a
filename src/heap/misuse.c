/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Misuse of pointers: one line, then the end
 */
#include "base/err.h"
#include "base/log.h"
#include "heap/misuse.h"
#include "heap/sizeclass.h"
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
	run = misuse_run_around(ptr);
	if (!run)
		fmt_line(buf, size, "in a part of the heap that is free");
	else if (slab_base(run) == ptr)
		fmt_line(buf, size, "large object of %zu bytes",
			 run->run_bytes);
	else
		fmt_line(buf, size,
			 "%zu bytes into the large object of %zu bytes at %p",
			 (size_t)((const char *)ptr - slab_base(run)),
			 run->run_bytes, slab_base(run));
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

void misuse_die_pointer(const char *call, const void *ptr)
{
	struct slab *run;

	if (!range.base || !range_contains(ptr))
		misuse_die(MISUSE_INVALID, call, ptr, NULL);
	if (slab_hot(slab_of(ptr))->kind == SLAB_KIND_CLASS)
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	run = misuse_run_around(ptr);
	if (run && slab_base(run) != ptr)
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	if (!run && !((uintptr_t)ptr & (SLAB_SIZE - 1)))
		misuse_die(MISUSE_DOUBLE_FREE, call, ptr,
			   "or never allocated");
	misuse_die(MISUSE_INVALID, call, ptr, NULL);
}
