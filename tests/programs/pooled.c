// SPDX-License-Identifier: MIT
/*
 * ebbmalloc tests - Each malloc() of a program takes a buffer of a pool
 *
 * To be preloaded before the library: so the search for leaks at exit meets the
 * data structures of real programs.  Each object has a header, so an address
 * that the program keeps is one into the middle of a buffer.  Large and aligned
 * objects are no buffers, but may refer to some.
 *
 * POOLED_DROP=N: with each N-th object one more is taken, and forgotten.
 */
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ebb/ebb.h"
#include "ebb/jemalloc.h"

#define EXPORT	__attribute__((visibility("default")))
#define MAX_BUFFER	(64u << 10)

/* Before each object. */
struct head {
	uintptr_t base;		/* of its memory, complemented: no reference */
	size_t size:63, pooled:1;
};
_Static_assert(sizeof(struct head) == 16, "keeps the alignment");

static struct ebb_pool *pool;
static unsigned long drop_every;	/* 0: never */
static unsigned long nr_taken;		/* atomic */
/* What the library allocates for the pool is none of it. */
static __thread bool within __attribute__((tls_model("initial-exec")));

static void die(const char *what)
{
	if (write(STDERR_FILENO, what, strlen(what)) < 0)
		_exit(1);
	abort();
}

static void make_pool(void)
{
	const struct ebb_pool_options options = {
		.size = sizeof(options),
		.leak_level = EBB_POOL_LEAK_FULL,
		.name = "everything",
	};
	const char *drop = getenv("POOLED_DROP");

	if (drop)
		drop_every = strtoul(drop, NULL, 10);
	within = true;
	pool = ebb_pool_create(0, MAX_BUFFER, &options);
	within = false;
	if (!pool)
		die("pooled: no pool\n");
}

static void *take_pooled(size_t size)
{
	void *buf;

	within = true;
	buf = ebb_pool_take(pool, size);
	within = false;
	return buf;
}

/* Tests look for its name in reports. */
static __attribute__((noipa)) void drop_one(size_t size)
{
	void *volatile buf = take_pooled(size);

	buf = NULL;
	(void)buf;
}

/* @align: at least that of struct head */
static void *take(size_t size, size_t align)
{
	struct head *head;
	size_t more = align;
	bool pooled;
	char *base;

	if (size > PTRDIFF_MAX - more) {
		errno = ENOMEM;
		return NULL;
	}
	if (!pool && !within)
		make_pool();	/* before there is a second thread */
	pooled = !within && align == sizeof(*head) &&
		 size + more <= MAX_BUFFER;
	if (pooled && drop_every &&
	    __atomic_add_fetch(&nr_taken, 1, __ATOMIC_RELAXED) % drop_every == 0)
		drop_one(size + more);
	base = pooled ? take_pooled(size + more) :
			mallocx(size + more, MALLOCX_ALIGN(more));
	if (!base)
		return NULL;
	head = (struct head *)(base + more) - 1;
	*head = (struct head){ ~(uintptr_t)base, size, pooled };
	return base + more;
}

EXPORT void *malloc(size_t size)
{
	return take(size, sizeof(struct head));
}

EXPORT void free(void *p)
{
	int saved = errno;
	struct head head;
	void *base;

	if (!p)
		return;
	head = ((struct head *)p)[-1];
	base = (void *)~head.base;
	if (!head.pooled)
		dallocx(base, 0);
	else if (ebb_pool_return(pool, base))
		die("pooled: a buffer was not taken back\n");
	errno = saved;
}

EXPORT void *calloc(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	p = take(bytes, sizeof(struct head));
	if (p)
		memset(p, 0, bytes);
	return p;
}

EXPORT size_t malloc_usable_size(void *p)
{
	return p ? ((struct head *)p)[-1].size : 0;
}

EXPORT void *realloc(void *p, size_t size)
{
	size_t old = malloc_usable_size(p);
	void *now;

	if (p && !size) {
		free(p);
		return NULL;
	}
	now = take(size, sizeof(struct head));
	if (now && p) {
		memcpy(now, p, old < size ? old : size);
		free(p);
	}
	return now;
}

EXPORT void *memalign(size_t align, size_t size)
{
	return take(size, align < sizeof(struct head) ? sizeof(struct head) :
							align);
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return memalign(align, size);
}

EXPORT int posix_memalign(void **ret, size_t align, size_t size)
{
	void *p = memalign(align, size);

	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

EXPORT void *valloc(size_t size)
{
	return memalign(4096, size);
}
