/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A process for ebbctl to look at
 *
 * Does what the lines on its stdin say, one after the other, and answers each
 * with "ok" when it is done:
 *
 *	small NR SIZE	allocate objects, and keep them
 *	large MIB	the same, in objects of 128 KiB, filled
 *	free		free all of them
 *	thread NR SIZE	a thread named "holder" allocates them, and stays
 *	press NR	say severe pressure, NR times, each time after freeing
 *			8 MiB more, and wait for the pass
 *	grow		allocate until somebody ends it; no answer
 *	crash		the same by a wrong address; no answer
 *	misuse		read byte 10 of an object of 5000 bytes that was freed
 *	exit		end by itself
 *
 * Ends at the end of stdin, too.
 */
#include <pthread.h>
#include "common.h"

#define LARGE	(128 * KIB)
#define MISUSED	5000u

/* What is kept: each object begins with the address of the one before. */
static void **kept;

/* Tests look for its name in heap profiles. */
static __attribute__((noinline)) void keep(size_t size)
{
	void **object = malloc(size);

	if (!object)
		_exit(3);
	memset(object, 0x5a, size);
	*object = kept;
	kept = object;
}

static void free_all(void)
{
	while (kept) {
		void **object = kept;

		kept = *object;
		free(object);
	}
}

/* Its objects stay its own: they are never freed. */
struct order {
	size_t nr, size;
	pthread_barrier_t done;
};

static void *hold(void *arg)
{
	struct order *order = arg;
	void **objects = NULL;

	for (size_t i = 0; i < order->nr; i++) {
		void **object = malloc(order->size);

		if (!object)
			_exit(3);
		*object = objects;
		objects = object;
	}
	pthread_barrier_wait(&order->done);
	pause();
	return objects;
}

static void start_holder(size_t nr, size_t size)
{
	static struct order order;
	pthread_t thread;

	order.nr = nr;
	order.size = size;
	pthread_barrier_init(&order.done, NULL, 2);
	if (pthread_create(&thread, NULL, hold, &order))
		_exit(3);
	pthread_setname_np(thread, "holder");
	pthread_barrier_wait(&order.done);
}

/* Forced passes so far, by malloc_info(3). */
static unsigned long nr_forced(void)
{
	const char key[] = "\"nr_forced_passes\" value=\"";
	unsigned long nr = 0;
	char *text = NULL, *at;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file || malloc_info(0, file))
		_exit(3);
	fclose(file);
	at = strstr(text, key);
	if (at)
		nr = strtoul(at + sizeof(key) - 1, NULL, 10);
	free(text);
	return nr;
}

static void press(unsigned long nr)
{
	int (*tell)(int level) = (int (*)(int))dlsym(RTLD_DEFAULT,
						     "ebb_pressure");
	void **others = kept;
	unsigned long before;

	if (!tell)
		_exit(4);
	while (nr--) {
		before = nr_forced();
		/* Passes that find nothing would come ever later. */
		kept = NULL;
		for (int i = 0; i < 64; i++)
			keep(LARGE);
		free_all();
		kept = others;
		tell(2);
		while (nr_forced() == before)
			usleep(1000);
	}
}

static void grow(void)
{
	for (;;) {
		keep(LARGE);
		usleep(1000);
	}
}

/* What a report of guard mode names: functions that nothing else calls. */
char *misuse_allocates(void);
void misuse_frees(char *object);
char misuse_reads(const char *object);

__attribute__((noinline)) char *misuse_allocates(void)
{
	return hide(malloc(MISUSED));
}

__attribute__((noinline)) void misuse_frees(char *object)
{
	free(object);
	hide(object);
}

__attribute__((noinline)) char misuse_reads(const char *object)
{
	return object[10];
}

static void misuse(void)
{
	static volatile char sink;
	char *object = misuse_allocates();

	misuse_frees(object);
	sink = misuse_reads(hide(object));
	(void)sink;
}

static void obey(const char *line)
{
	volatile uintptr_t nowhere = 8;
	size_t nr = 0, size = 0;
	char word[16] = "";

	sscanf(line, "%15s %zu %zu", word, &nr, &size);
	if (!strcmp(word, "exit"))
		exit(0);
	if (!strcmp(word, "grow"))
		grow();
	if (!strcmp(word, "misuse"))
		misuse();
	if (!strcmp(word, "crash"))
		*(volatile int *)nowhere = 1;
	if (!strcmp(word, "free"))
		free_all();
	for (size_t i = 0; !strcmp(word, "small") && i < nr; i++)
		keep(size > sizeof(void *) ? size : sizeof(void *));
	for (size_t i = 0; !strcmp(word, "large") && i < nr * 8; i++)
		keep(LARGE);
	if (!strcmp(word, "thread"))
		start_holder(nr, size);
	if (!strcmp(word, "press"))
		press(nr);
}

int main(void)
{
	char line[128];

	while (fgets(line, sizeof(line), stdin)) {
		obey(line);
		puts("ok");
		fflush(stdout);
	}
	return 0;
}
