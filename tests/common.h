/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Helpers that themselves do not allocate
 */
#ifndef EBB_TESTS_COMMON_H
#define EBB_TESTS_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "ebb/ebb.h"

#ifndef KIB
#define KIB	((size_t)1024)
#define MIB	(1024 * KIB)
#endif

#ifdef EBB_SANITIZE
#define SANITIZED	1
#else
#define SANITIZED	0
#endif

/* ThreadSanitizer's shadow memory fits no limit, and it forbids fork. */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN	1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN	1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN	0
#endif

/*
 * Where a sanitizer owns malloc itself the library's functions have a prefix;
 * programs that are linked with it then use those.
 */
#if defined(EBB_SANITIZE) && defined(EBB_LINKED)
void *ebb_malloc(size_t size);
void *ebb_calloc(size_t nr, size_t size);
void *ebb_realloc(void *ptr, size_t size);
void *ebb_reallocarray(void *ptr, size_t nr, size_t size);
void ebb_free(void *ptr);
void *ebb_aligned_alloc(size_t alignment, size_t size);
int ebb_posix_memalign(void **ret, size_t alignment, size_t size);
void *ebb_memalign(size_t alignment, size_t size);
void *ebb_valloc(size_t size);
void *ebb_pvalloc(size_t size);
size_t ebb_malloc_usable_size(void *ptr);
int ebb_malloc_trim(size_t pad);
int ebb_mallopt(int param, int value);
struct mallinfo ebb_mallinfo(void);
struct mallinfo2 ebb_mallinfo2(void);
int ebb_malloc_info(int options, FILE *stream);
void ebb_malloc_stats(void);
#define malloc(n)		ebb_malloc(n)
#define calloc(n, m)		ebb_calloc(n, m)
#define realloc(p, n)		ebb_realloc(p, n)
#define reallocarray(p, n, m)	ebb_reallocarray(p, n, m)
#define free(p)			ebb_free(p)
#define aligned_alloc(a, n)	ebb_aligned_alloc(a, n)
#define posix_memalign(p, a, n)	ebb_posix_memalign(p, a, n)
#define memalign(a, n)		ebb_memalign(a, n)
#define valloc(n)		ebb_valloc(n)
#define pvalloc(n)		ebb_pvalloc(n)
#define malloc_usable_size(p)	ebb_malloc_usable_size(p)
#define malloc_trim(n)		ebb_malloc_trim(n)
#define mallopt(p, v)		ebb_mallopt(p, v)
#define mallinfo()		ebb_mallinfo()
#define mallinfo2()		ebb_mallinfo2()
#define malloc_info(o, f)	ebb_malloc_info(o, f)
#define malloc_stats()		ebb_malloc_stats()
#endif

/* How long to wait for what must come, however slow the machine. */
#define PATIENCE_MS	20000

/* Not in every allocator: NULL where nobody defines them. */
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);
#pragma weak free_sized
#pragma weak free_aligned_sized
#pragma weak ebb_heap_count

/* Set @ptr to function @fn, linked or preloaded; NULL: nobody has it. */
#define FIND_FUNCTION(ptr, fn) do {					\
	void *_found = (ptr = fn) ? NULL : dlsym(RTLD_DEFAULT, #fn);	\
									\
	if (_found)							\
		memcpy(&ptr, &_found, sizeof(_found));			\
} while (0)

typedef int (*heap_count_fn)(struct ebb_heap_counts *);

/* The library's counters, or NULL on another allocator. */
static inline heap_count_fn heap_count(void)
{
	heap_count_fn fn;

	FIND_FUNCTION(fn, ebb_heap_count);
	return fn;
}

/* Whether malloc is ebbmalloc's; tests of its own promises skip elsewhere. */
static inline bool on_ebbmalloc(void)
{
	return heap_count() != NULL;
}

/* Make the compiler forget what it knows of a value. */
static inline size_t hide_size(size_t n)
{
	__asm__ volatile("" : "+r"(n));
	return n;
}

static inline void *hide(void *p)
{
	__asm__ volatile("" : "+r"(p) :: "memory");
	return p;
}

static inline size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Read a small file into @buf as a string; its length, or -1. */
static inline ssize_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t got;

	if (fd < 0)
		return -1;
	while (len < size - 1 && (got = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)got;
	close(fd);
	buf[len] = '\0';
	return (ssize_t)len;
}

/* A line of /proc/PID/status that counts kB, in bytes; 0 if it is missing. */
static inline size_t status_bytes_of(pid_t pid, const char *name)
{
	char path[64], buf[8192];
	const char *line;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (read_file(path, buf, sizeof(buf)) < 0)
		return 0;
	line = strstr(buf, name);
	return line ? strtoul(line + strlen(name), NULL, 10) * KIB : 0;
}

static inline size_t status_bytes(const char *name)
{
	return status_bytes_of(getpid(), name);
}

static inline size_t rss_bytes(void)
{
	return status_bytes("\nVmRSS:");
}

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts))
		;
}

/* Poll until @cond is true; evaluates to whether it came to be. */
#define WAIT_FOR(cond) ({						\
	uint64_t _until = now_ms() + PATIENCE_MS;			\
	bool _met;							\
									\
	while (!(_met = (cond)) && now_ms() < _until)			\
		sleep_ms(5);						\
	_met;								\
})

/* A small generator: xorshift64*, never 0. */
struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t x = rng->state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	rng->state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

static inline void rng_seed(struct rng *rng, uint64_t seed)
{
	rng->state = (seed + 1) * 0x9e3779b97f4a7c15ULL;
	if (!rng->state)
		rng->state = 1;
	rng_next(rng);
}

static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
	return (rng_next(rng) >> 11) % bound;
}

/* Sizes log-uniform in [2^low, 2^high). */
static inline size_t rng_size(struct rng *rng, unsigned int low,
			      unsigned int high)
{
	unsigned int bits = low + (unsigned int)rng_below(rng, high - low);

	return ((size_t)1 << bits) + rng_below(rng, (uint64_t)1 << bits);
}

/*
 * Sizes on both sides of every size class's and every run's bound: the i-th
 * one, or 0 after the last, which is about 4 MiB.
 */
static inline size_t edge_size(unsigned int i)
{
	unsigned int step = i / 3;
	size_t size;

	if (step < 8)
		size = (step + 1) * 16;
	else if (step < 8 + 8 * 15)
		size = (size_t)(9 + (step - 8) % 8) << ((step - 8) / 8 + 4);
	else
		return 0;
	return size - 1 + i % 3;
}

static inline uint64_t pattern_word(uint64_t seed, size_t i)
{
	return (seed + i) * 0x9e3779b97f4a7c15ULL ^ seed >> 29;
}

/* Fill, and check, @n bytes with what follows from @seed. */
static inline void pattern_fill(void *p, size_t n, uint64_t seed)
{
	unsigned char *at = p;
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		uint64_t word = pattern_word(seed, i / 8);

		memcpy(at + i, &word, 8);
	}
	for (; i < n; i++)
		at[i] = (unsigned char)(seed + i);
}

static inline bool pattern_holds(const void *p, size_t n, uint64_t seed)
{
	const unsigned char *at = p;
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		uint64_t word = pattern_word(seed, i / 8);

		if (memcmp(at + i, &word, 8))
			return false;
	}
	for (; i < n; i++)
		if (at[i] != (unsigned char)(seed + i))
			return false;
	return true;
}

static inline bool all_zero(const void *p, size_t n)
{
	const unsigned char *at = p;

	return !n || (!at[0] && !memcmp(at, at + 1, n - 1));
}

static inline bool is_aligned(const void *p, size_t alignment)
{
	return !((uintptr_t)p & (alignment - 1));
}

#endif
