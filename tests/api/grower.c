/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that grows and shrinks near its limit
 *
 * grower burst THREADS MIB TIMES: each of THREADS threads has its share of MIB
 * MiB of small objects, frees 15 parts of 16, and at once builds as much of another
 * size, TIMES times over.  Every byte that stays is checked.
 *
 * grower object MIB TIMES: MIB MiB of small objects are freed, all but some, and
 * at once one object as large is filled, TIMES times over.
 *
 * grower realloc MIB: MIB MiB of small objects are freed, all but some, and one
 * object grows by realloc to that size.
 *
 * grower cached MIB: MIB MiB of small objects are freed, all but some, or, if 0, as
 * much of each size as a thread keeps; then a few of one size.  Grows until
 * several purges near the limit have been, or by 2 MiB from the first on, and
 * says how many of the few malloc gives in the order they were freed in.
 *
 * grower slots: at the bound, with many free slots that share pages with used
 * ones; says how many of them malloc finds.
 *
 * grower shared MIB: a thread fills so much with small objects, and frees every
 * second one, so that no page can be given back; another needs seven eighths of
 * that of the same size.
 *
 * grower exact: at the bound, with few free slots of one size, grows an object
 * of the next smaller to just that.
 *
 * grower refuse: allocates until malloc says no, frees, and goes on.
 *
 * grower stray MIB TRIES: frees, has it given back, writes to what it has freed,
 * and waits TRIES times a tenth of a second until that is given back again.
 *
 * grower stranded MIB: MIB MiB of free slots share their pages with used ones, and
 * are taken again once passes have found that; then half as much is freed of
 * which pages can be given back.
 *
 * grower handlers SECONDS: at the bound, while handlers that interrupt passes ask
 * for more.
 *
 * grower huge MIB: frees parts of huge pages, and says that memory is wanted.
 *
 * Prints malloc_info() at its end; exits with 0 if all went well.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include "common.h"

#define KEEP_ONE_IN	16	/* windows of this many bytes */
#define WINDOW		(4 * KIB)
#define MAX_THREADS	16

static size_t share;
static unsigned long nr_times;
static pthread_barrier_t barrier;

struct pile {
	char **objects;
	size_t nr, size;
};

/* NULL objects: there was no memory. */
static struct pile build(size_t size)
{
	struct pile pile = { .nr = share / size, .size = size };

	pile.objects = malloc(pile.nr * sizeof(char *));
	for (size_t i = 0; pile.objects && i < pile.nr; i++) {
		pile.objects[i] = malloc(size);
		if (!pile.objects[i])
			return (struct pile){ 0 };
		pattern_fill(pile.objects[i], size, i);
	}
	return pile;
}

/* Free all but those that stay; false if one of them has changed. */
static bool thin(struct pile *pile, bool all)
{
	bool good = pile->objects;

	for (size_t i = 0; i < pile->nr; i++) {
		/* Some in each slab; neighbours, or no page would be free. */
		bool stays = i * pile->size / WINDOW % KEEP_ONE_IN == 0;

		if (stays != all)
			continue;
		if (!pattern_holds(pile->objects[i], pile->size, i))
			good = false;
		free(pile->objects[i]);
	}
	if (all)
		free(pile->objects);
	return good;
}

static void *burst(void *arg)
{
	static const size_t sizes[] = { 96, 1000, 320, 4000, 48, 10000 };
	struct pile kept[2] = { 0 };
	bool good = true;

	(void)arg;
	for (unsigned long i = 0; i < nr_times && good; i++) {
		struct pile *pile = &kept[i % 2];

		pthread_barrier_wait(&barrier);
		if (pile->objects)
			good = thin(pile, true);
		*pile = build(sizes[i % 6]);
		good = good && thin(pile, false);
	}
	return good ? &barrier : NULL;
}

static int run_burst(char **argv)
{
	unsigned long nr = strtoul(argv[2], NULL, 10);
	pthread_t threads[MAX_THREADS];
	bool good = nr <= MAX_THREADS;

	share = strtoul(argv[3], NULL, 10) * MIB / nr;
	nr_times = strtoul(argv[4], NULL, 10);
	pthread_barrier_init(&barrier, NULL, (unsigned int)nr);
	for (unsigned long i = 0; i < nr; i++)
		pthread_create(&threads[i], NULL, burst, NULL);
	for (unsigned long i = 0; i < nr; i++) {
		void *ret;

		pthread_join(threads[i], &ret);
		good = good && ret;
	}
	return good ? 0 : 1;
}

static int run_object(char **argv)
{
	unsigned long times = strtoul(argv[3], NULL, 10);
	bool good = true;

	share = strtoul(argv[2], NULL, 10) * MIB;
	for (unsigned long i = 0; i < times && good; i++) {
		struct pile pile = build(i % 2 ? 600 : 2000);
		char *object;

		good = thin(&pile, false);
		object = malloc(share);
		if (!object)
			return 1;
		pattern_fill(object, share, i);
		good = good && pattern_holds(object, share, i) &&
		       thin(&pile, true);
		free(object);
	}
	return good ? 0 : 1;
}

static int run_realloc(char **argv)
{
	struct pile pile;
	char *object = NULL;
	bool good;

	share = strtoul(argv[2], NULL, 10) * MIB;
	pile = build(1500);
	good = thin(&pile, false);
	for (size_t len = MIB; len <= share; len += MIB) {
		object = realloc(object, len);
		memset(object + len - MIB, 1, MIB);
	}
	return good && thin(&pile, true) ? 0 : 1;
}

/* Counter @name of malloc_info(), read without an allocation of ours. */
static unsigned long counter(const char *name)
{
	static char text[64 * KIB], key[80];
	FILE *file = fmemopen(text, sizeof(text), "w");
	const char *at;

	if (!file)
		return 0;
	malloc_info(0, file);
	fclose(file);
	snprintf(key, sizeof(key), "<counter name=\"%s\" value=\"", name);
	at = strstr(text, key);
	return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

#define NR_FEW		16
#define FEW_SIZE	2000
#define NR_PURGES	4
#define RUN_SIZE	60000

static void fill_cache(size_t size)
{
	static char *objects[256];
	size_t nr = 48 * KIB / size;

	nr = nr < 256 ? nr : 256;
	for (size_t i = 0; i < nr; i++)
		objects[i] = memset(malloc(size), 1, size);
	for (size_t i = 0; i < nr; i++)
		free(objects[i]);
}

static bool grow_until_purged(void)
{
	size_t left = 2 * MIB / RUN_SIZE;
	unsigned long nr;

	do {
		char *object = malloc(RUN_SIZE);

		if (!object)
			return false;
		memset(hide(object), 1, RUN_SIZE);
		nr = counter("inband_purges");
		left -= nr > 0;
	} while (nr < NR_PURGES && left);
	return true;
}

static int run_cached(char **argv)
{
	char *few[NR_FEW];
	struct pile pile;
	unsigned int nr = 0;
	bool good = true;

	share = strtoul(argv[2], NULL, 10) * MIB;
	if (share) {
		pile = build(320);
		good = thin(&pile, false);
	} else {
		for (size_t size = 128; size <= 16 * KIB; size += size / 8)
			fill_cache(size);
	}
	for (unsigned int i = 0; i < NR_FEW; i++)
		few[i] = memset(malloc(FEW_SIZE), 1, FEW_SIZE);
	for (unsigned int i = 0; i < NR_FEW; i++)
		free(few[i]);
	good = grow_until_purged() && good;
	for (unsigned int i = NR_FEW; i--;)
		nr += hide(malloc(FEW_SIZE)) == few[i];
	printf("order %u\n", nr);
	return good && (!share || thin(&pile, true)) ? 0 : 1;
}

#define NR_SLOTS	20000

static int run_slots(void)
{
	static void *slots[NR_SLOTS];
	unsigned int nr = 0;

	for (int i = 0; i < NR_SLOTS; i++)
		memset(slots[i] = malloc(1000), 1, 1000);
	for (int i = 1; i < NR_SLOTS; i += 2)
		free(slots[i]);
	while (malloc(200000))
		;
	while (malloc(33000))
		;
	while (hide(malloc(1000)))
		nr++;
	printf("slots %u\n", nr);
	return 0;
}

#define SHARED_SIZE	1000

static struct {
	char **objects;
	size_t nr;
} shared;

static bool make_shared(size_t i)
{
	shared.objects[i] = malloc(SHARED_SIZE);
	return shared.objects[i] &&
	       memset(shared.objects[i], (int)i, SHARED_SIZE);
}

static bool is_intact(const char *object, size_t i)
{
	return object[0] == (char)i && object[SHARED_SIZE - 1] == (char)i;
}

/* It stays, since what a thread leaves behind is everybody's. */
static void *stay(void *made)
{
	for (size_t i = 0; i < shared.nr; i++)
		if (!make_shared(i))
			abort();
	for (size_t i = 1; i < shared.nr; i += 2)
		free(shared.objects[i]);
	pthread_barrier_wait(made);
	pthread_barrier_wait(made);
	return NULL;
}

static int run_shared(size_t bytes)
{
	pthread_barrier_t made;
	pthread_t maker;
	bool good = true;
	size_t most;

	shared.nr = bytes / SHARED_SIZE;
	shared.objects = calloc(shared.nr, sizeof(*shared.objects));
	pthread_barrier_init(&made, NULL, 2);
	if (!shared.objects || pthread_create(&maker, NULL, stay, &made))
		return 1;
	pthread_barrier_wait(&made);
	most = shared.nr / 8 * 7;
	for (size_t i = 1; i < most && good; i += 2)
		good = make_shared(i);
	for (size_t i = 0; i < most && good; i++)
		good = is_intact(shared.objects[i], i);
	pthread_barrier_wait(&made);
	pthread_join(maker, NULL);
	return good ? 0 : 1;
}

/* Of what this one grows to there are a few free slots, and of no other size. */
static int run_exact(void)
{
	void *last = NULL, *object = malloc(7168), *grown;

	memset(object, 1, 7168);
	for (void *next; (next = malloc(7200)); last = next) {
		memset(next, 1, 7200);
		*(void **)next = last;
	}
	for (int i = 0; i < 8 && last; i++) {
		void *next = *(void **)last;

		free(last);
		last = next;
	}
	errno = 0;
	grown = realloc(object, 7200);
	return grown && !errno ? 0 : 1;
}

/* Objects of @size until there are no more; how many bytes that were. */
static size_t fill(size_t size, void **last)
{
	size_t nr = 0;

	for (;;) {
		void **object = malloc(size);

		if (!object)
			return errno == ENOMEM ? nr * size : 0;
		memset(object, 1, size);
		*object = *last;
		*last = object;
		nr++;
		errno = 0;
	}
}

static void drop(void **last)
{
	while (*last) {
		void **object = *last;

		*last = *object;
		free(object);
	}
}

/* Of every size much the same fits, and again after it was freed. */
static int run_refuse(void)
{
	static const size_t sizes[] = { 64, 5000, 200000, 64, 1 << 20, 64 };
	void *last = NULL, *kept;

	for (unsigned int i = 0; i < 6; i++) {
		size_t bytes = fill(sizes[i], &last);

		printf("filled %zu\n", bytes);
		kept = last ? realloc(NULL, 1) : NULL;
		free(kept);
		drop(&last);
	}
	return 0;
}

/* Objects of a page and a half, so that each has a page of its own. */
#define STRAY_SIZE	6144

static char **free_but_some(size_t nr)
{
	char **objects = malloc(nr * sizeof(char *));

	for (size_t i = 0; i < nr; i++) {
		objects[i] = malloc(STRAY_SIZE);
		memset(objects[i], 1, STRAY_SIZE);
	}
	/* Each slab keeps one, or it would be a run, which is easier. */
	for (size_t i = 0; i < nr; i++)
		if (i % 10)
			free(objects[i]);
	return objects;
}

/* Passes run while memory is freed; one of them will be an audit. */
static void let_passes_run(unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end) {
		free(hide(malloc(4 * MIB)));
		sleep_ms(5);
	}
}

static int run_stray(size_t bytes, unsigned long tries)
{
	size_t nr = bytes / STRAY_SIZE, before, written = 0;
	char **objects = free_but_some(nr);

	malloc_trim(0);
	before = rss_bytes();
	for (size_t i = 0; i < nr; i++)
		if (i % 10) {
			*(volatile char *)hide(objects[i] + 4096) = 1;
			written += page_size();
		}
	/* On a busy machine some of it may have gone again by now. */
	for (; tries-- && rss_bytes() > before + written / 4;)
		let_passes_run(100);
	printf("rss %zu %zu\n", before, rss_bytes());
	return 0;
}

#define STRANDED_SIZE	512

static void take(char **objects, size_t nr, size_t step, size_t size)
{
	for (size_t i = 0; i < nr; i += step)
		objects[i] = memset(malloc(size), 1, size);
}

static int run_stranded(size_t bytes)
{
	size_t nr = 2 * bytes / STRANDED_SIZE;
	size_t nr_stray = bytes / 2 / STRAY_SIZE, before, after;
	char **objects = malloc(nr * sizeof(char *));
	char **strays = malloc(nr_stray * sizeof(char *));

	take(strays, nr_stray, 1, STRAY_SIZE);
	take(objects, nr, 1, STRANDED_SIZE);
	for (size_t i = 0; i < nr; i += 2)
		free(objects[i]);
	let_passes_run(500);
	/* They end; nothing is aging. */
	sleep_ms(500);
	take(objects, nr, 2, STRANDED_SIZE);
	before = rss_bytes();
	for (size_t i = 0; i < nr_stray; i++)
		if (i % 10)
			free(strays[i]);
	WAIT_FOR((after = rss_bytes()) < before - bytes / 4);
	printf("rss %zu %zu\n", before, after);
	return 0;
}

static void grow_in_handler(int sig)
{
	int saved = errno;

	(void)sig;
	for (int i = 0; i < 4; i++) {
		char *object = malloc(300000);

		if (object)
			*object = 1;
		free(object);
	}
	errno = saved;
}

static void *grow_to_the_bound(void *arg)
{
	void *objects[64];
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (;;) {
		int nr = 0;

		while (nr < 64 && (objects[nr] = malloc(MIB)))
			memset(objects[nr++], 1, MIB);
		while (nr)
			free(objects[--nr]);
	}
	return arg;
}

/* @sig every 300 us. */
static bool signal_often(int sig)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = sig };
	struct itimerspec often = { { 0, 300000 }, { 0, 300000 } };
	timer_t timer;

	signal(sig, grow_in_handler);
	return !timer_create(CLOCK_MONOTONIC, &event, &timer) &&
	       !timer_settime(timer, 0, &often, NULL);
}

/* Each may hold a lock that the other waits for: then the alarm ends it. */
static int run_handlers(unsigned long seconds)
{
	uint64_t until = now_ms() + seconds * 1000;
	pthread_t thread;

	alarm(60);
	if (pthread_create(&thread, NULL, grow_to_the_bound, NULL) ||
	    !signal_often(SIGUSR1))
		return 2;
	while (now_ms() < until)
		malloc_trim(0);
	signal(SIGUSR1, SIG_IGN);
	return 0;
}

static bool has_huge_pages(void)
{
	static char text[4096];
	const char *at = NULL;

	if (read_file("/proc/self/smaps_rollup", text, sizeof(text)) > 0)
		at = strstr(text, "AnonHugePages:");
	return at && strtoul(at + 14, NULL, 10) > 0;
}

static int run_huge(size_t bytes)
{
	int (*pressure)(int) = dlsym(RTLD_DEFAULT, "ebb_pressure");
	char *object = malloc(bytes);

	madvise(object, bytes, MADV_HUGEPAGE);
	memset(object, 1, bytes);
	/* All but the first MiB and a bit: parts of two huge pages at least. */
	object = realloc(object, bytes / 3 * 2 + MIB / 2);
	printf("huge %d\n", has_huge_pages());
	fflush(stdout);
	if (!pressure || pressure(2))
		return 1;
	sleep_ms(1000);
	return *object == 1 ? 0 : 1;
}

int main(int argc, char **argv)
{
	int status = 2;

	if (argc == 5 && !strcmp(argv[1], "burst"))
		status = run_burst(argv);
	else if (argc == 4 && !strcmp(argv[1], "object"))
		status = run_object(argv);
	else if (argc == 3 && !strcmp(argv[1], "realloc"))
		status = run_realloc(argv);
	else if (argc == 3 && !strcmp(argv[1], "cached"))
		status = run_cached(argv);
	else if (argc == 2 && !strcmp(argv[1], "slots"))
		status = run_slots();
	else if (argc == 3 && !strcmp(argv[1], "shared"))
		status = run_shared(strtoul(argv[2], NULL, 10) * MIB);
	else if (argc == 2 && !strcmp(argv[1], "exact"))
		status = run_exact();
	else if (argc == 2 && !strcmp(argv[1], "refuse"))
		status = run_refuse();
	else if (argc == 4 && !strcmp(argv[1], "stray"))
		status = run_stray(strtoul(argv[2], NULL, 10) * MIB,
				   strtoul(argv[3], NULL, 10));
	else if (argc == 3 && !strcmp(argv[1], "stranded"))
		status = run_stranded(strtoul(argv[2], NULL, 10) * MIB);
	else if (argc == 3 && !strcmp(argv[1], "handlers"))
		status = run_handlers(strtoul(argv[2], NULL, 10));
	else if (argc == 3 && !strcmp(argv[1], "huge"))
		status = run_huge(strtoul(argv[2], NULL, 10) * MIB);
	malloc_info(0, stdout);
	fflush(stdout);
	return status;
}
