/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that misuses an object, for guard mode
 *
 * misuse KIND SIZE BY
 *
 * allocates an object of SIZE bytes, between others, and misuses it: BY bytes
 * beyond its end or before its start.  KIND:
 *
 *	over-read, over-write, under-read, under-write
 *		touch that byte, then free the object
 *	span-write, span-under
 *		write all bytes up to it, then free the object
 *	after-read, after-write
 *		touch byte BY of it after it was freed
 *	reused-read, reused-write
 *		the same, after others of its size were allocated
 *	realloc-read	the same, after realloc() moved it
 *	double, double-later, double-thread
 *		free it twice: at once, after others of its size were allocated
 *		and freed, in another thread
 *	interior, before, stack	free BY bytes into it, before it; free no object
 *	sized-more, sized-less	free_sized() with BY more or less
 *	hoard		read ROUNDS objects that live at one time, once they
 *			are freed
 *	none		use all of it, and free it
 *	crowd		threads hand objects to each other, and fork
 *	again		with the same memory, read(2) and futex(2), many times
 *
 * Many times, with another object each, where argument ROUNDS says so.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "common.h"

#define NR_OTHERS	20u
#define NR_SHARED	64u
#define NR_THREADS	4u
#define NR_TURNS	400u
#define NR_FORKS	4u

static size_t size, by;
static volatile char sink;

static void touch(volatile char *at, bool is_write)
{
	if (is_write)
		*at = (char)(*at + 1);
	else
		sink = *at;
}

/* Something that is surely not what was there. */
static void spoil(volatile char *at, long from, long to)
{
	for (long i = from; i != to + (from < to ? 1 : -1);
	     i += from < to ? 1 : -1)
		at[i] = (char)(at[i] ^ 0x55);
}

static void use_others(size_t of, unsigned int nr)
{
	void *others[NR_OTHERS];

	for (unsigned int i = 0; i < nr; i++) {
		others[i] = hide(malloc(of));
		memset(others[i], 1, of);
	}
	for (unsigned int i = 0; i < nr; i++)
		free(others[i]);
}

static void *free_it(void *ptr)
{
	free(ptr);
	return NULL;
}

static void in_thread(void *ptr)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, free_it, ptr))
		pthread_join(thread, NULL);
}

static bool touches(const char *kind, char *object)
{
	if (!strcmp(kind, "over-read"))
		touch(object + size + by - 1, false);
	else if (!strcmp(kind, "over-write"))
		spoil(object + size, (long)by - 1, (long)by - 1);
	else if (!strcmp(kind, "under-read"))
		touch(object - by, false);
	else if (!strcmp(kind, "under-write"))
		spoil(object, -(long)by, -(long)by);
	else if (!strcmp(kind, "span-write"))
		spoil(object + size, 0, (long)by - 1);
	else if (!strcmp(kind, "span-under"))
		spoil(object, -1, -(long)by);
	else
		return false;
	free(object);
	return true;
}

static bool uses_freed(const char *kind, char *object)
{
	bool is_write = strstr(kind, "write");

	if (!strcmp(kind, "after-read") || !strcmp(kind, "after-write")) {
		free(object);
	} else if (!strncmp(kind, "reused", 6)) {
		free(object);
		use_others(size, NR_OTHERS);
	} else if (!strcmp(kind, "realloc-read")) {
		char *moved = hide(realloc(object, size * 3));

		memset(moved, 2, size * 3);
	} else {
		return false;
	}
	touch(object + by, is_write);
	return true;
}

static bool frees(const char *kind, char *object)
{
	long place[4];

	if (!strncmp(kind, "double", 6)) {
		free(object);
		if (!strcmp(kind, "double-later"))
			use_others(size, NR_OTHERS);
		if (!strcmp(kind, "double-thread"))
			in_thread(object);
		else
			free(object);
	} else if (!strcmp(kind, "interior")) {
		free(hide(object + by));
	} else if (!strcmp(kind, "before")) {
		free(hide(object - by));
	} else if (!strcmp(kind, "stack")) {
		free(hide(place));
	} else if (!strcmp(kind, "sized-more")) {
		free_sized(object, size + by);
	} else if (!strcmp(kind, "sized-less")) {
		free_sized(object, size - by);
	} else {
		return false;
	}
	return true;
}

/* What the kernel writes for us, in memory that is handed out again. */
static bool syscalls_fill(char *object)
{
	uint32_t *word = (uint32_t *)(void *)object;
	struct timespec at_once = { 0 };
	ssize_t got;
	int fd = open("/dev/zero", O_RDONLY);

	got = read(fd, object, size);
	close(fd);
	*word = 7;
	return got == (ssize_t)size &&
	       syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 7, &at_once) &&
	       errno == ETIMEDOUT;
}

/* Many at a time, all of which are read after they were freed. */
static void hoard(unsigned long rounds)
{
	char **all = malloc(rounds * sizeof(*all));

	for (unsigned long i = 0; i < rounds; i++)
		all[i] = hide(malloc(size));
	for (unsigned long i = 0; i < rounds; i++)
		free(all[i]);
	for (unsigned long i = 0; i < rounds; i++)
		touch(all[i], false);
	free(all);
}

/* === Proper use, by many ================================================== */

static void *shared[NR_SHARED];	/* objects that threads take from each other */

static void fill(char *object, size_t len)
{
	memset(object, (int)((uintptr_t)object >> 4 ^ len), len);
	memcpy(object, &len, sizeof(len));
}

static void check(const char *object)
{
	size_t len;

	memcpy(&len, object, sizeof(len));
	for (size_t i = sizeof(len); i < len; i++)
		if (object[i] != (char)((uintptr_t)object >> 4 ^ len))
			_exit(4);
}

/* Objects come and go, move, and are freed by other threads than made them. */
static void *work(void *seed)
{
	struct rng rng;

	rng_seed(&rng, (uintptr_t)seed);
	for (unsigned int i = 0; i < NR_TURNS; i++) {
		size_t len = sizeof(len) + rng_below(&rng, i % 16 ? 300 :
						     100000);
		char *object = malloc(len), *was;

		fill(object, len);
		if (i % 8 == 0) {
			size_t more = len + rng_below(&rng, 500);

			was = realloc(object, more);
			if (memcmp(was, &len, sizeof(len)))
				_exit(5);
			object = was;
			fill(object, more);
		}
		was = __atomic_exchange_n(&shared[rng_below(&rng, NR_SHARED)],
					  object, __ATOMIC_ACQ_REL);
		if (was)
			check(was);
		free(was);
	}
	return NULL;
}

static void run_threads(uintptr_t seed)
{
	pthread_t threads[NR_THREADS];

	for (uintptr_t i = 0; i < NR_THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)(seed + i));
	for (unsigned int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void *fork_often(void *unused)
{
	for (uintptr_t i = 0; i < NR_FORKS; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			run_threads(i * NR_THREADS);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			_exit(6);
	}
	return unused;
}

static void crowd(void)
{
	pthread_t forking;

	pthread_create(&forking, NULL, fork_often, NULL);
	run_threads(1000);
	pthread_join(forking, NULL);
}

static void once(const char *kind)
{
	char *object = hide(malloc(size));

	memset(object, 3, size);
	if (!strcmp(kind, "none"))
		free(object);
	else if (!strcmp(kind, "again")) {
		if (!syscalls_fill(object))
			_exit(3);
		free(object);
	} else if (!touches(kind, object) && !uses_freed(kind, object) &&
		   !frees(kind, object))
		_exit(2);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 4 ? strtoul(argv[4], NULL, 0) : 1;

	if (argc < 4)
		return 2;
	size = strtoul(argv[2], NULL, 0);
	by = strtoul(argv[3], NULL, 0);
	use_others(size, 3);
	if (!strcmp(argv[1], "crowd")) {
		crowd();
		return 0;
	}
	if (!strcmp(argv[1], "hoard")) {
		hoard(rounds);
		return 0;
	}
	while (rounds--)
		once(argv[1]);
	return 0;
}
