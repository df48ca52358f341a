/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - The malloc family, defined before an allocator's
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "interpose.h"

struct malloc_family next_malloc;

/* What the dynamic linker allocates while it looks for functions. */
static char early[8192];
static size_t early_used;
static int finding;

void *memalign(size_t alignment, size_t size);
void *valloc(size_t size);
void *pvalloc(size_t size);

bool interpose_find_one(void *where, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	memcpy(where, &found, sizeof(found));
	return found;
}

/* do_malloc comes last: it tells that all are there. */
void interpose_find(void)
{
	if (next_malloc.do_malloc)
		return;
	finding = 1;
	if (!interpose_find_one(&next_malloc.do_calloc, "calloc") ||
	    !interpose_find_one(&next_malloc.do_realloc, "realloc") ||
	    !interpose_find_one(&next_malloc.do_memalign, "memalign") ||
	    !interpose_find_one(&next_malloc.do_posix_memalign,
				"posix_memalign") ||
	    !interpose_find_one(&next_malloc.do_free, "free") ||
	    !interpose_find_one(&next_malloc.usable_size,
				"malloc_usable_size"))
		abort();
	interpose_find_one(&next_malloc.trim, "malloc_trim");
	if (!interpose_find_one(&next_malloc.do_malloc, "malloc"))
		abort();
	finding = 0;
}

static void *early_alloc(size_t size)
{
	void *p = early + early_used;

	size = (size + 15) & ~(size_t)15;
	if (size > sizeof(early) - early_used)
		return NULL;
	early_used += size;
	return p;
}

static int is_early(const void *p)
{
	return (const char *)p >= early &&
	       (const char *)p < early + sizeof(early);
}

/* Whether to allocate early; if not the functions are there. */
static bool too_early(void)
{
	if (__builtin_expect(!next_malloc.do_malloc, 0)) {
		if (finding)
			return true;
		interpose_find();
	}
	return false;
}

void *malloc(size_t size)
{
	struct call call = { .kind = CALL_MALLOC, .size = size };

	if (too_early())
		return early_alloc(size);
	call.made = next_malloc.do_malloc(size);
	call_ends(&call);
	return call.made;
}

void *calloc(size_t nr, size_t size)
{
	struct call call = { .kind = CALL_CALLOC, .size = nr * size };

	if (too_early())
		return early_alloc(nr * size);
	call.made = next_malloc.do_calloc(nr, size);
	call_ends(&call);
	return call.made;
}

void free(void *p)
{
	struct call call = { .kind = CALL_FREE, .old = p };

	if (!p || is_early(p))
		return;
	interpose_find();
	call_begins(&call);
	next_malloc.do_free(p);
	call_ends(&call);
}

static void *realloc_early(const void *p, size_t size)
{
	size_t rest = (size_t)(early + sizeof(early) - (const char *)p);
	void *q = malloc(size);

	if (q)
		memcpy(q, p, size < rest ? size : rest);
	return q;
}

void *realloc(void *p, size_t size)
{
	struct call call = { .kind = CALL_REALLOC, .old = p, .size = size };

	if (!p)
		return malloc(size);
	if (is_early(p))
		return realloc_early(p, size);
	interpose_find();
	call_begins(&call);
	call.made = next_malloc.do_realloc(p, size);
	call_ends(&call);
	return call.made;
}

void *reallocarray(void *p, size_t nr, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(nr, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

void *memalign(size_t alignment, size_t size)
{
	struct call call = { .kind = CALL_MEMALIGN, .size = size,
			     .alignment = alignment };

	interpose_find();
	call.made = next_malloc.do_memalign(alignment, size);
	call_ends(&call);
	return call.made;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	struct call call = { .kind = CALL_MEMALIGN, .size = size,
			     .alignment = alignment };
	int err;

	interpose_find();
	err = next_malloc.do_posix_memalign(ret, alignment, size);
	if (err)
		return err;
	call.made = *ret;
	call_ends(&call);
	return 0;
}

void *valloc(size_t size)
{
	return memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

void *pvalloc(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return memalign(page, (size + page - 1) / page * page);
}
