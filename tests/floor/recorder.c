/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Floor recorder, to be preloaded before an allocator
 *
 * LD_PRELOAD="recorder.so libebbmalloc.so.1" EBB_FLOOR_OUT=file program
 *
 * What it is: wraps the malloc family of whatever allocator comes next,
 * keeps which blocks are alive with the sizes the program asked for, and on
 * SIGUSR2 appends a line to the file named by EBB_FLOOR_OUT:
 *
 *	floor_bytes=N live_bytes=N blocks=N own_bytes=N
 *
 * floor_bytes is what must stay resident because of live blocks; own_bytes is
 * what the recorder's table adds to the program's memory.
 *
 * A block is removed from the table before it is freed and added after it was
 * allocated, so its start can never be in the table twice.
 *
 * A signal that interrupts the recorder itself only leaves a note; the
 * interrupted call writes the line when it is done.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ebb/stats.h"
#include "floor/table.h"

static struct {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void *(*memalign)(size_t, size_t);
	int (*posix_memalign)(void **, size_t, size_t);
	void (*free)(void *);
} next;

/* What the dynamic linker allocates while it looks for the functions above. */
static char early[8192];
static size_t early_used;
static int finding;

static volatile sig_atomic_t report_wanted;
static char out_path[4096];

void *memalign(size_t alignment, size_t size);
void *valloc(size_t size);
void *pvalloc(size_t size);

static void find_one(void *where, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	memcpy(where, &found, sizeof(found));
}

static void find_next(void)
{
	finding = 1;
	find_one(&next.calloc, "calloc");
	find_one(&next.realloc, "realloc");
	find_one(&next.memalign, "memalign");
	find_one(&next.posix_memalign, "posix_memalign");
	find_one(&next.free, "free");
	find_one(&next.malloc, "malloc");
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

/* " meta_bytes=N" where the allocator tells it, else nothing. */
static void tell_metadata(char *text, size_t size)
{
	int (*count)(struct ebb_heap_counts *);
	void *found = dlsym(RTLD_DEFAULT, "ebb_heap_count");
	struct ebb_heap_counts counts;

	text[0] = '\0';
	memcpy(&count, &found, sizeof(count));
	if (count && !count(&counts))
		snprintf(text, size, " meta_bytes=%llu",
			 (unsigned long long)counts.meta_bytes);
}

static void report(void)
{
	struct floor_numbers numbers;
	int saved = errno;
	char line[160], metadata[40];
	int fd, len;

	fd = open(out_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0 && !floor_measure(&numbers)) {
		tell_metadata(metadata, sizeof(metadata));
		len = snprintf(line, sizeof(line), "floor_bytes=%zu "
			       "live_bytes=%zu blocks=%zu own_bytes=%zu%s\n",
			       numbers.floor_bytes, numbers.live_bytes,
			       numbers.blocks, numbers.own_bytes, metadata);
		if (write(fd, line, (size_t)len) != len)
			abort();
	}
	if (fd >= 0)
		close(fd);
	errno = saved;
}

static void report_if_wanted(void)
{
	if (__builtin_expect(report_wanted, 0)) {
		report_wanted = 0;
		report();
	}
}

static void on_signal(int sig)
{
	(void)sig;
	if (floor_busy())
		report_wanted = 1;
	else
		report();
}

/* All blocks live at a fork are alive in the child, too. */
__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("EBB_FLOOR_OUT");
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = SA_RESTART };

	if (!path)
		return;
	snprintf(out_path, sizeof(out_path), "%s", path);
	sigaction(SIGUSR2, &action, NULL);
	pthread_atfork(NULL, NULL, floor_reset_locks);
}

static void *added(void *p, size_t size)
{
	if (p) {
		floor_add(p, size);
		report_if_wanted();
	}
	return p;
}

void *malloc(size_t size)
{
	if (!next.malloc) {
		if (finding)
			return early_alloc(size);
		find_next();
	}
	return added(next.malloc(size), size);
}

void *calloc(size_t nr, size_t size)
{
	if (!next.malloc) {
		if (finding)
			return early_alloc(nr * size);
		find_next();
	}
	return added(next.calloc(nr, size), nr * size);
}

void free(void *p)
{
	if (!p || is_early(p))
		return;
	if (!next.malloc)
		find_next();
	floor_remove(p, NULL);
	report_if_wanted();
	next.free(p);
}

static void *realloc_early(const void *p, size_t size)
{
	size_t rest = (size_t)(early + sizeof(early) - (const char *)p);
	void *q = malloc(size);

	if (q)
		memcpy(q, p, size < rest ? size : rest);
	return q;
}

/* While it moves the block is not in the table: nobody else has its start. */
void *realloc(void *p, size_t size)
{
	size_t old;
	void *q;

	if (!p)
		return malloc(size);
	if (is_early(p))
		return realloc_early(p, size);
	if (!next.malloc)
		find_next();
	if (!floor_remove(p, &old))
		return added(next.realloc(p, size), size);
	q = next.realloc(p, size);
	if (!q && size)
		floor_add(p, old);
	report_if_wanted();
	return added(q, size);
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
	if (!next.malloc)
		find_next();
	return added(next.memalign(alignment, size), size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	int err;

	if (!next.malloc)
		find_next();
	err = next.posix_memalign(ret, alignment, size);
	if (!err)
		added(*ret, size);
	return err;
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
