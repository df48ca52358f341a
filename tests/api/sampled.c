/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program whose heap profile is known
 *
 * Linked with libc only, with frame pointers.  What it does is its first
 * argument.  It prints where the code of its one allocation site is, and what
 * the profile at its exit has to say of that site:
 *
 *	site START END pid PID live NR BYTES allocated NR BYTES
 *
 * in objects and usable bytes.
 */
#include <pthread.h>
#include <sys/wait.h>
#include "common.h"

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

/* C names for operator new, and delete. */
void *_Znwm(size_t size) __attribute__((weak));
void *_ZnwmSt11align_val_t(size_t size, size_t align) __attribute__((weak));
void *_ZnwmRKSt9nothrow_t(size_t size, const char *tag) __attribute__((weak));
void _ZdlPv(void *p) __attribute__((weak));

/* Functions in this section are the site. */
#define SITE	__attribute__((noinline, section("site")))

extern const char __start_site[], __stop_site[];

struct figures {
	size_t nr, bytes;
};

static struct figures live, allocated;
static pthread_mutex_t figures_lock = PTHREAD_MUTEX_INITIALIZER;

static void count(struct figures *figures, void *p, int sign)
{
	pthread_mutex_lock(&figures_lock);
	figures->nr += (size_t)sign;
	figures->bytes += (size_t)sign * malloc_usable_size(p);
	pthread_mutex_unlock(&figures_lock);
}

static void *note(void *p)
{
	if (!p)
		abort();
	count(&live, p, 1);
	count(&allocated, p, 1);
	return hide(p);
}

static void drop(void *p)
{
	count(&live, p, -1);
	free(p);
}

SITE static void *leak_here(size_t size)
{
	return hide(malloc(hide_size(size)));
}

static void *take(size_t size)
{
	return note(leak_here(size));
}

static void report(void)
{
	printf("site %p %p pid %d live %zu %zu allocated %zu %zu\n",
	       (const void *)__start_site, (const void *)__stop_site, (int)getpid(), live.nr,
	       live.bytes, allocated.nr, allocated.bytes);
	fflush(stdout);
}

/* --- What it does --- */

/* Others allocate as well, and more. */
static void leak(void)
{
	static char *others[512];
	struct rng rng;

	rng_seed(&rng, 3);
	for (unsigned int i = 0; i < 65536; i++) {
		size_t at = rng_below(&rng, ARRAY_LEN(others));

		take(1024);
		free(others[at]);
		others[at] = malloc(rng_size(&rng, 4, 14));
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		free(others[i]);
}

/*
 * What frees put on top of the slot that is sampled next must not keep it from
 * being reached: pairs, and stacks that grow and shrink.
 */
static void pairs(void)
{
	char *p[16];

	for (unsigned int i = 0; i < 1u << 21; i++)
		drop(take(256));
	for (unsigned int i = 0; i < 1u << 17; i++) {
		unsigned int depth = 1 + i % ARRAY_LEN(p);

		for (unsigned int k = 0; k < depth; k++)
			p[k] = take(256);
		for (unsigned int k = depth; k-- > 0;)
			drop(p[k]);
	}
}

/* All that can be called, one after the other. */
SITE static void *call(unsigned int which, size_t size)
{
	void *p = NULL;

	switch (which) {
	case 0:
		return hide(malloc(size));
	case 1:
		return hide(calloc(1, size));
	case 2:
		return hide(realloc(NULL, size));
	case 3:
		return hide(aligned_alloc(64, size));
	case 4:
		return posix_memalign(&p, 64, size) ? NULL : hide(p);
	case 5:
		return hide(memalign(128, size));
	case 6:
		return hide(reallocarray(NULL, size, 1));
	case 7:
		return hide(valloc(size));
	case 8:
		return hide(pvalloc(size));
	case 9:
		return hide(_Znwm ? _Znwm(size) : malloc(size));
	case 10:
		return hide(_Znwm ? _ZnwmSt11align_val_t(size, 64) :
				    malloc(size));
	case 11:
		return hide(_Znwm ? _ZnwmRKSt9nothrow_t(size, "") :
				    malloc(size));
	default:
		return NULL;
	}
}

#define NR_CALLS	12u

static void calls(void)
{
	static const size_t sizes[] = { 192, 5000, 40000, 300000 };

	for (unsigned int i = 0; i < 20 * NR_CALLS; i++)
		for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
			void *p = note(call(i % NR_CALLS, sizes[k]));

			if (i % 3 == 0)
				drop(p);
		}
}

/* An object that changes its size is a new one, unless it stays as it was. */
SITE static void *resize(void *p, size_t size)
{
	size_t before = malloc_usable_size(p);
	void *was = p;

	count(&live, p, -1);
	p = hide(realloc(p, hide_size(size)));
	if (!p)
		abort();
	count(&live, p, 1);
	if (p != was || malloc_usable_size(p) != before)
		count(&allocated, p, 1);
	return p;
}

static void resizes(void)
{
	static const size_t sizes[] = {
		100, 90, 120, 1000, 5000, 40000, 41000, 200000, 1 << 20,
		5 << 20, 6 << 20, 12 << 20, 700000, 35000, 20000, 300,
	};

	for (unsigned int i = 0; i < 50; i++) {
		void *p = take(80);

		for (size_t k = 0; k < ARRAY_LEN(sizes) - i % 8; k++)
			p = resize(p, sizes[k]);
		if (i % 5 == 0)
			drop(p);
	}
}

#define NR_HANDED	20000u
static void *handed[NR_HANDED];

/* Frees every fourth from @first on. */
static void *free_some(void *first)
{
	for (size_t i = (size_t)first; i < NR_HANDED; i += 4)
		drop(handed[i]);
	return NULL;
}

static void *take_all(void *unused)
{
	for (size_t i = 0; i < NR_HANDED; i++)
		handed[i] = take(100 + i % 7 * 300);
	return unused;
}

static void in_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, arg) ||
	    pthread_join(thread, NULL))
		abort();
}

static void threads(void)
{
	pthread_t both[2];

	in_thread(take_all, NULL);
	for (size_t i = 0; i < 2; i++)
		if (pthread_create(&both[i], NULL, free_some, (void *)i))
			abort();
	for (size_t i = 0; i < 2; i++)
		pthread_join(both[i], NULL);
	free_some((void *)2);
	malloc_trim(0);
}

/* The child reports, and ends, as its parent does, but with less. */
static void forks(void)
{
	pid_t pid;

	take_all(NULL);
	pid = fork();
	if (!pid) {
		free_some((void *)1);
		for (unsigned int i = 0; i < 100; i++)
			take(500);
		return;
	}
	waitpid(pid, NULL, 0);
	free_some((void *)2);
	free_some((void *)3);
}

/* More than there are places for. */
static void many(void)
{
	for (unsigned int i = 0; i < 200000; i++)
		take(80);
}

/* On stacks that are nobody's frames: rbp is what it is. */
static void odd_frames(void)
{
	static uintptr_t fake[4];

	fake[0] = (uintptr_t)fake + 8;
	fake[1] = 0x1234;
	for (uintptr_t i = 0; i < 4000; i++) {
		static const uintptr_t step[] = { 8, 16, 4096, 100000, 1 << 24 };
		uintptr_t here = (uintptr_t)__builtin_frame_address(0);
		uintptr_t odd = i % 3 == 0 ? i * 0x123456789abcULL :
				i % 3 == 1 ? here + step[i % 5] * (i / 5 + 1) :
					     (uintptr_t)fake;
		void *p = NULL;

#if defined(__x86_64__)
		/* Below the red zone, and aligned as a call wants it. */
		__asm__ volatile("mov %%rbp, %%r12\n\t"
				 "mov %%rsp, %%r13\n\t"
				 "sub $256, %%rsp\n\t"
				 "and $-16, %%rsp\n\t"
				 "mov %1, %%rbp\n\t"
				 "call *%2\n\t"
				 "mov %%r13, %%rsp\n\t"
				 "mov %%r12, %%rbp"
				 : "=a"(p)
				 : "r"(odd), "r"((void *(*)(size_t))malloc),
				   "D"((size_t)64)
				 : "r12", "r13", "rcx", "rdx", "rsi", "r8",
				   "r9", "r10", "r11", "memory", "cc");
#else
		p = malloc(64 + (odd & 1));
#endif
		free(p);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	static const struct {
		const char *name;
		void (*run)(void);
	} list[] = {
		{ "leak", leak }, { "pairs", pairs }, { "calls", calls },
		{ "resizes", resizes }, { "threads", threads },
		{ "forks", forks }, { "many", many },
		{ "odd_frames", odd_frames },
	};

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (!strcmp(what, list[i].name)) {
			list[i].run();
			report();
			if (argc > 2)
				malloc_stats();
			return 0;
		}
	return 2;
}
