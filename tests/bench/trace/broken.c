/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - An allocator that is wrong, for the test of the replay
 *
 * To be preloaded, with EBB_BROKEN=twice: malloc gives the same object of 4001
 * bytes out again and again; EBB_BROKEN=dirty: calloc leaves one not zero.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define BAD_SIZE	4001

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static int is_broken(const char *how)
{
	const char *text = getenv("EBB_BROKEN");

	return text && !strcmp(text, how);
}

void *malloc(size_t size)
{
	static void *(*do_malloc)(size_t);
	static void *same;

	if (!do_malloc) {
		void *found = next("malloc");

		memcpy(&do_malloc, &found, sizeof(found));
	}
	if (size != BAD_SIZE || !is_broken("twice"))
		return do_malloc(size);
	if (!same)
		same = do_malloc(size);
	return same;
}

/* realloc(NULL, n) is malloc(n) here, so that the linker's calls find it. */
void *calloc(size_t nr, size_t size)
{
	static void *(*do_realloc)(void *, size_t);
	void *p;

	if (!do_realloc) {
		void *found = next("realloc");

		memcpy(&do_realloc, &found, sizeof(found));
	}
	p = do_realloc(NULL, nr * size);
	if (p)
		memset(p, nr * size == BAD_SIZE && is_broken("dirty") ? 0xff :
		       0, nr * size);
	return p;
}
