/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that misuses free
 *
 * victim KIND SIZE OTHERS THREADS FLUSH
 *
 * frees an object of SIZE bytes wrongly, with OTHERS other frees before that.
 * THREADS: 0 all by the main thread, 1 the wrong call by another thread,
 * 2 the right one before it by another thread, which then ends, 3 by one that
 * has cached some of that size, and stays.  FLUSH: 1 all caches are emptied
 * before the wrong call.
 *
 * Says "after" when the wrong call has returned and "end" when, after that,
 * all caches were emptied.  Before the wrong call it says its pointer.
 */
#include <pthread.h>
#include <sys/mman.h>
#include "common.h"

#define NR_FLUSHED	6000u
#define FLUSHED_BYTES	(32 * MIB)

static size_t size;
static void *flushed[2][NR_FLUSHED];
static void *others[1000];
static char static_memory[4096] __attribute__((aligned(64)));

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		_exit(9);
}

static unsigned int nr_flushed(void)
{
	size_t nr = FLUSHED_BYTES / size;

	return nr > NR_FLUSHED ? NR_FLUSHED : nr < 8 ? 8 : (unsigned int)nr;
}

/* Everything is allocated beforehand: no malloc may get the freed slot. */
static void allocate_all(unsigned int nr_others)
{
	for (unsigned int i = 0; i < nr_flushed(); i++) {
		flushed[0][i] = malloc(size);
		flushed[1][i] = malloc(size);
	}
	for (unsigned int i = 0; i < nr_others; i++)
		others[i] = malloc(i % 3 ? size : 24 * (size_t)(i % 20) + 1);
}

static void flush(void **list)
{
	for (unsigned int i = 0; i < nr_flushed(); i++)
		free(list[i]);
	malloc_trim(0);
}

static void *free_it(void *p)
{
	free(p);
	return NULL;
}

/* A thread that was there before anything happened: its start allocates. */
static struct {
	pthread_t thread;
	pthread_barrier_t go;
	void *(*fn)(void *);
	void *arg;
} other;

static void *wait_and_do(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&other.go);
	return other.fn ? other.fn(other.arg) : NULL;
}

static void start_other_thread(void)
{
	pthread_barrier_init(&other.go, NULL, 2);
	if (pthread_create(&other.thread, NULL, wait_and_do, NULL))
		_exit(9);
}

static void by_other_thread(void *(*fn)(void *), void *p, bool stays)
{
	other.fn = fn;
	other.arg = p;
	pthread_barrier_wait(&other.go);
	if (stays)
		pthread_barrier_wait(&other.go);
	else
		pthread_join(other.thread, NULL);
}

/* Frees @p below what it has of that size, so that it keeps it. */
static void *keep_it(void *p)
{
	hide(malloc(size));
	free(p);
	pthread_barrier_wait(&other.go);
	for (;;)
		pause();
	return NULL;
}

static unsigned int nr_threads(void)
{
	return (unsigned int)status_bytes("\nThreads:") / KIB;
}

/* The reclaimer's start allocates, too: have it behind us. */
static void start_reclaimer(void)
{
	const char *conf = getenv("EBB_CONF");
	unsigned int before = nr_threads();

	if (!conf || !strstr(conf, "thread_min=0"))
		return;
	while (nr_threads() == before) {
		for (int i = 0; i < 1000; i++)
			free(hide(malloc(2000)));
		free(hide(malloc(MIB)));
		sleep_ms(1);
	}
}

/* The pointer that is freed though it was never handed out; else NULL. */
static void *wrong_pointer(const char *kind, char *p)
{
	static char *never;
	char on_stack[64];

	if (!strcmp(kind, "stack"))
		return hide(on_stack + 16 - ((uintptr_t)on_stack & 15));
	if (!strcmp(kind, "static"))
		return static_memory + 64;
	if (!strcmp(kind, "text"))
		return (void *)((uintptr_t)free_it & ~(uintptr_t)15);
	if (!strcmp(kind, "mmap")) {
		never = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return never + 4096;
	}
	if (!strcmp(kind, "unused"))
		return (void *)(((uintptr_t)p & ~(64 * KIB - 1)) + 2048 * MIB);
	if (!strcmp(kind, "unused-odd"))
		return (void *)(((uintptr_t)p & ~(64 * KIB - 1)) + 2048 * MIB +
				48);
	if (!strcmp(kind, "interior-1"))
		return p + 1;
	if (!strcmp(kind, "interior-8"))
		return p + 8;
	if (!strcmp(kind, "interior-half"))
		return p + size / 2;
	return NULL;
}

static void *wrong_call(void *p)
{
	free(hide(p));
	return NULL;
}

static void *wrong_realloc(void *p)
{
	hide(realloc(hide(p), size * 3));
	return NULL;
}

int main(int argc, char **argv)
{
	void *(*wrong)(void *) = wrong_call;
	unsigned int nr_others, threads;
	char line[32];
	char *p, *bad;

	if (argc != 6)
		return 99;
	size = strtoul(argv[2], NULL, 10);
	nr_others = (unsigned int)strtoul(argv[3], NULL, 10);
	threads = (unsigned int)strtoul(argv[4], NULL, 10);
	start_other_thread();
	start_reclaimer();
	allocate_all(nr_others);
	p = malloc(size);
	memset(p, 0x5a, size);
	bad = wrong_pointer(argv[1], p);
	if (!bad) {
		bad = p;
		if (threads == 3)
			by_other_thread(keep_it, p, true);
		else if (threads == 2)
			by_other_thread(free_it, p, false);
		else
			free(p);
		if (!strcmp(argv[1], "overwritten"))
			memset(hide(bad), 0xa5, size);
		if (!strcmp(argv[1], "realloc"))
			wrong = wrong_realloc;
	}
	for (unsigned int i = 0; i < nr_others; i++)
		free(others[i]);
	if (*argv[5] == '1')
		flush(flushed[0]);
	snprintf(line, sizeof(line), "%p\n", (void *)bad);
	say(line);
	if (threads == 1)
		by_other_thread(wrong, bad, false);
	else
		wrong(bad);
	say("after\n");
	flush(flushed[1]);
	say("end\n");
	return 0;
}
