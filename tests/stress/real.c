/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - The allocator under test, seen from the torture test
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "floor/table.h"
#include "stress/real.h"

struct real_malloc real;

#ifdef EBB_SANITIZE

/* libc's blocks are the sanitizer's; the heap holds the test's own only. */
#include "common.h"

void real_find(void)
{
	real.do_malloc = ebb_malloc;
	real.do_calloc = ebb_calloc;
	real.do_realloc = ebb_realloc;
	real.do_memalign = ebb_memalign;
	real.do_free = ebb_free;
	real.usable_size = ebb_malloc_usable_size;
	real.trim = ebb_malloc_trim;
}

#else

void *memalign(size_t alignment, size_t size);
void *valloc(size_t size);
void *pvalloc(size_t size);

static void find_one(void *where, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found)
		abort();
	memcpy(where, &found, sizeof(found));
}

void real_find(void)
{
	if (real.do_malloc)
		return;
	find_one(&real.do_calloc, "calloc");
	find_one(&real.do_realloc, "realloc");
	find_one(&real.do_memalign, "memalign");
	find_one(&real.do_free, "free");
	find_one(&real.usable_size, "malloc_usable_size");
	find_one(&real.trim, "malloc_trim");
	find_one(&real.do_malloc, "malloc");
}

static void *added(void *p)
{
	if (p)
		floor_add(p, real.usable_size(p));
	return p;
}

void *malloc(size_t size)
{
	real_find();
	return added(real.do_malloc(size));
}

void *calloc(size_t nr, size_t size)
{
	real_find();
	return added(real.do_calloc(nr, size));
}

void free(void *p)
{
	if (!p)
		return;
	real_find();
	/* Not in the table: from before, or by a function not defined here. */
	floor_remove(p, NULL);
	real.do_free(p);
}

void *realloc(void *p, size_t size)
{
	size_t old;
	bool known;
	void *q;

	if (!p)
		return malloc(size);
	real_find();
	known = floor_remove(p, &old);
	q = real.do_realloc(p, size);
	if (!q && size && known)
		floor_add(p, old);
	return added(q);
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
	real_find();
	return added(real.do_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *p = memalign(alignment, size);

	if (!p)
		return ENOMEM;
	*ret = p;
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

#endif
