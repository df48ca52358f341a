/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Contexts beside malloc and other arenas
 *
 * contexts [--requests=N] [--objects=N] [--rounds=N] [--only=KIND]
 *
 * A request makes 50 to 200 objects (--objects: so many), frees one in sixteen
 * right after, and ends: with malloc by freeing what is left, in the order in
 * which it was made, with an arena by destroying that.  Half of the objects
 * have 1 to 64 bytes, as strings do, the others 16 to 256, and one in 64 up to
 * 4 KiB; all of it is drawn beforehand.  The first and the last byte are
 * written: what is shown is the allocator's work, not the program's.  Kinds:
 *
 *	malloc		of the library, which this is linked with
 *	glibc		glibc's malloc, in the same process
 *	context		ebb_context_open() to ebb_context_close()
 *	call		the same, without what ebb.h has in line
 *	reset		one context, reset after each request
 *	apr		a pool of Apache's APR, a child of another one
 *	talloc		a talloc context; talloc-pool: one with a pool of 8 KiB
 *	bump		a pointer that moves through static memory
 *
 * In each round every kind does the requests once, so what the machine does
 * meanwhile meets all; the figure is the median of the rounds, in nanoseconds
 * for each object, and the ratio is the median of the ratios to malloc in the
 * same round.  A line of JSON for each kind.
 */
#include <errno.h>
#include "common.h"

#define OBJECTS_MAX	200u
#define OBJECTS_MIN	50u
#define NR_SIZES	8192u
#define ROUNDS_MAX	101u
#define BUMP_BYTES	(1 * MIB)
#define POOL_BYTES	(8 * KIB)
#define FREED		16u	/* one in so many */
#define always_inline	static inline __attribute__((always_inline))

enum kind {
	MALLOC, GLIBC, CONTEXT, CALL, RESET, APR, TALLOC, TALLOC_POOL, BUMP,
	NR_KINDS
};

static const char *const names[] = {
	"malloc", "glibc", "context", "call", "reset", "apr", "talloc",
	"talloc-pool", "bump",
};

/* What the libraries are called by; NULL: not there. */
static struct {
	void *(*malloc)(size_t);
	void (*free)(void *);
	void *(*call)(struct ebb_context *, size_t);
	int (*apr_initialize)(void);
	int (*apr_pool_create)(void **, void *, void *, void *);
	void *(*apr_palloc)(void *, size_t);
	void (*apr_pool_destroy)(void *);
	void *(*talloc)(const void *, size_t, const char *);
	void *(*talloc_pool)(const void *, size_t);
	int (*talloc_free)(void *, const char *);
} fn;

static unsigned long requests = 500, rounds = 101, objects;
static const char *only;
static uint16_t sizes[NR_SIZES];	
static uint16_t counts[NR_SIZES];
static char bump[BUMP_BYTES] __attribute__((aligned(64)));
static struct ebb_context *kept;
static void *apr_root;
static volatile uint64_t sink;

/* Where a request allocates from. */
struct arena {
	enum kind kind;
	void *at;
	char *next;
};

always_inline struct arena arena_open(enum kind kind)
{
	struct arena arena = { kind, NULL, bump };

	switch (kind) {
	case CONTEXT:
	case CALL:
		arena.at = ebb_context_open(NULL, 0, 0);
		break;
	case RESET:
		arena.at = kept;
		break;
	case APR:
		fn.apr_pool_create(&arena.at, apr_root, NULL, NULL);
		break;
	case TALLOC:
		arena.at = fn.talloc(NULL, 0, "request");
		break;
	case TALLOC_POOL:
		arena.at = fn.talloc_pool(NULL, POOL_BYTES);
		break;
	default:
		break;
	}
	return arena;
}

always_inline void *arena_take(struct arena *arena, size_t size)
{
	void *p;

	switch (arena->kind) {
	case MALLOC:
		return malloc(size);
	case GLIBC:
		return fn.malloc(size);
	case CONTEXT:
	case RESET:
		return ebb_context_alloc(arena->at, size);
	case CALL:
		return fn.call(arena->at, size);
	case APR:
		return fn.apr_palloc(arena->at, size);
	case TALLOC:
	case TALLOC_POOL:
		return fn.talloc(arena->at, size, "object");
	default:
		p = arena->next;
		arena->next += (size + 15) & ~(size_t)15;
		return p;
	}
}

always_inline void arena_drop(struct arena *arena, void *p)
{
	switch (arena->kind) {
	case MALLOC:
		free(p);
		break;
	case GLIBC:
		fn.free(p);
		break;
	case CONTEXT:
	case CALL:
	case RESET:
		ebb_context_free(arena->at, p);
		break;
	case TALLOC:
	case TALLOC_POOL:
		fn.talloc_free(p, "object");
		break;
	default:
		break;
	}
}

/* @all: the objects, for those who have to free them one by one. */
always_inline void arena_close(struct arena *arena, void **all, unsigned int nr)
{
	switch (arena->kind) {
	case MALLOC:
	case GLIBC:
		for (unsigned int i = 0; i < nr; i++)
			arena_drop(arena, all[i]);
		break;
	case CONTEXT:
	case CALL:
		ebb_context_close(arena->at);
		break;
	case RESET:
		ebb_context_reset(arena->at);
		break;
	case APR:
		fn.apr_pool_destroy(arena->at);
		break;
	case TALLOC:
	case TALLOC_POOL:
		fn.talloc_free(arena->at, "request");
		break;
	default:
		break;
	}
}

always_inline uint64_t serve(enum kind kind, unsigned long nr_requests)
{
	static void *all[OBJECTS_MAX];
	uint64_t done = 0;

	for (unsigned long at = 0; at < nr_requests; at++) {
		struct arena arena = arena_open(kind);
		unsigned int nr = counts[at % NR_SIZES], left = 0;

		for (unsigned int i = 0; i < nr; i++) {
			size_t size = sizes[(done + i) % NR_SIZES];
			char *p = arena_take(&arena, size);

			if (!p)
				abort();
			p[0] = p[size - 1] = (char)at;
			if (i % FREED == FREED - 1)
				arena_drop(&arena, p);
			else
				all[left++] = p;
		}
		sink += *(unsigned char *)all[left - 1];
		arena_close(&arena, all, left);
		done += nr;
	}
	return done;
}

/* One function for each kind, so that nothing is decided in their loops. */
#define SERVE(name, kind)						\
	static __attribute__((noinline)) uint64_t			\
	serve_##name(unsigned long nr_requests)				\
	{								\
		return serve(kind, nr_requests);			\
	}
SERVE(malloc, MALLOC)
SERVE(glibc, GLIBC)
SERVE(context, CONTEXT)
SERVE(call, CALL)
SERVE(reset, RESET)
SERVE(apr, APR)
SERVE(talloc, TALLOC)
SERVE(talloc_pool, TALLOC_POOL)
SERVE(bump, BUMP)

static uint64_t (*const serves[])(unsigned long) = {
	serve_malloc, serve_glibc, serve_context, serve_call, serve_reset,
	serve_apr, serve_talloc, serve_talloc_pool, serve_bump,
};

/* === What there is ====================================================== */

static void find(void *in, void *ret_fn, const char *name)
{
	void *found = dlsym(in, name);

	memcpy(ret_fn, &found, sizeof(found));
}

/* Where it is not installed nothing is found in the program instead. */
static void *library(const char *name)
{
	return dlopen(name, RTLD_NOW) ?: RTLD_DEFAULT;
}

static void find_all(void)
{
	void *apr = library("libapr-1.so.0");
	void *talloc = library("libtalloc.so.2");

	find(RTLD_DEFAULT, &fn.malloc, "__libc_malloc");
	find(RTLD_DEFAULT, &fn.free, "__libc_free");
	find(RTLD_DEFAULT, &fn.call, "ebb_context_alloc");
	find(apr, &fn.apr_initialize, "apr_initialize");
	find(apr, &fn.apr_pool_create, "apr_pool_create_ex");
	find(apr, &fn.apr_palloc, "apr_palloc");
	find(apr, &fn.apr_pool_destroy, "apr_pool_destroy");
	find(talloc, &fn.talloc, "talloc_named_const");
	find(talloc, &fn.talloc_pool, "talloc_pool");
	find(talloc, &fn.talloc_free, "_talloc_free");
	if (fn.apr_palloc && (fn.apr_initialize() ||
			      fn.apr_pool_create(&apr_root, NULL, NULL, NULL)))
		fn.apr_palloc = NULL;
	kept = ebb_context_open(NULL, 0, 0);
}

static bool is_there(enum kind kind)
{
	if (only && strcmp(only, names[kind]))
		return false;
	switch (kind) {
	case GLIBC:
		return fn.malloc && fn.free;
	case APR:
		return fn.apr_palloc;
	case TALLOC:
	case TALLOC_POOL:
		return fn.talloc && fn.talloc_pool && fn.talloc_free;
	default:
		return true;
	}
}

/* === Measuring ========================================================== */

static uint16_t draw_size(struct rng *rng)
{
	if (rng_below(rng, 64) == 0)
		return (uint16_t)(256 + 2 * rng_below(rng, 1921));
	if (rng_below(rng, 2))
		return (uint16_t)(1 + 2 * rng_below(rng, 32));
	return (uint16_t)(16 + 2 * rng_below(rng, 121));
}

static void draw(void)
{
	struct rng rng;

	rng_seed(&rng, 7);
	for (unsigned int i = 0; i < NR_SIZES; i++) {
		sizes[i] = draw_size(&rng);
		counts[i] = (uint16_t)(objects ?: OBJECTS_MIN +
				rng_below(&rng, OBJECTS_MAX - OBJECTS_MIN + 1));
	}
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, rounds, sizeof(*values), compare);
	return values[rounds / 2];
}

static void measure(void)
{
	static double ns[NR_KINDS][ROUNDS_MAX], ratio[NR_KINDS][ROUNDS_MAX];
	uint64_t done = 1;

	for (unsigned int round = 0; round < rounds; round++) {
		for (unsigned int i = 0; i < NR_KINDS; i++) {
			unsigned int kind = (i + round) % NR_KINDS;
			double begin;

			if (!is_there(kind))
				continue;
			serves[kind](requests / 8 + 1);
			begin = seconds();
			done = serves[kind](requests);
			ns[kind][round] = (seconds() - begin) * 1e9 /
					  (double)done;
		}
		for (unsigned int i = 0; i < NR_KINDS; i++)
			ratio[i][round] = ns[i][round] ?
				ns[MALLOC][round] / ns[i][round] : 0;
	}
	for (unsigned int i = 0; i < NR_KINDS; i++)
		if (is_there(i))
			printf("{\"kind\": \"sample\", \"scenario\": "
			       "\"contexts\", \"what\": \"%s\", \"ns\": %.2f, "
			       "\"x_malloc\": %.2f, \"objects\": %lu}\n",
			       names[i], median(ns[i]), median(ratio[i]),
			       (unsigned long)done);
}

static bool set_number(const char *arg, const char *name, unsigned long *value,
		       unsigned long most)
{
	size_t len = strlen(name);
	char *end;

	if (strncmp(arg, name, len))
		return false;
	errno = 0;
	*value = strtoul(arg + len, &end, 10);
	if (errno || end == arg + len || *end || !*value || *value > most) {
		fprintf(stderr, "contexts: %s: expected 1..%lu\n", arg, most);
		exit(1);
	}
	return true;
}

int main(int argc, char **argv)
{
	(void)argc;
	while (*++argv) {
		if (!strncmp(*argv, "--only=", 7)) {
			only = *argv + 7;
		} else if (!set_number(*argv, "--requests=", &requests,
				       1000000000) &&
			   !set_number(*argv, "--rounds=", &rounds,
				       ROUNDS_MAX) &&
			   !set_number(*argv, "--objects=", &objects,
				       OBJECTS_MAX)) {
			fprintf(stderr, "contexts: %s: no such option\n",
				*argv);
			return 1;
		}
	}
	find_all();
	draw();
	measure();
	return 0;
}
