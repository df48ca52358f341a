/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - An allocator to be preloaded that hands out memory twice
 *
 * What it is: the proof that the speed programs look.  One malloc in a hundred
 * returns what the one before it got.  Nothing is ever freed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SPACE		((size_t)64 << 30)
#define HEAD		16		/* before each block: its size */
#define EVERY		100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *next, *end;
static void *last;
static size_t last_size;
static unsigned long calls;

static char *new_space(void)
{
	char *p = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void *carve(size_t alignment, size_t size)
{
	uintptr_t at;

	if (!next && (next = new_space()))
		end = next + SPACE;
	at = ((uintptr_t)next + HEAD + alignment - 1) & ~(alignment - 1);
	if (!next || size > SPACE / 2 || at + size > (uintptr_t)end)
		return NULL;
	next = (char *)((at + size + 15) & ~(uintptr_t)15);
	memcpy((char *)at - HEAD, &size, sizeof(size));
	return (void *)at;
}

static void *allocate(size_t alignment, size_t size)
{
	void *p;

	pthread_mutex_lock(&lock);
	if (++calls % EVERY || size > last_size ||
	    (uintptr_t)last % alignment) {
		last = carve(alignment, size);
		last_size = size;
	}
	p = last;
	pthread_mutex_unlock(&lock);
	return p;
}

void *malloc(size_t size)
{
	return allocate(16, size);
}

void *calloc(size_t nr, size_t size)
{
	return allocate(16, nr * size);
}

void *realloc(void *p, size_t size)
{
	void *moved = allocate(16, size);
	size_t old;

	if (p && moved) {
		memcpy(&old, (char *)p - HEAD, sizeof(old));
		memmove(moved, p, old < size ? old : size);
	}
	return moved;
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	*ret = allocate(alignment < 16 ? 16 : alignment, size);
	return *ret ? 0 : ENOMEM;
}

void free(void *p)
{
	(void)p;
}
