// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Large objects: runs of slabs
 */
#include <pthread.h>
#include "base/compiler.h"
#include "harness.h"
#include "refuse.h"

#define SLAB	(64 * KIB)

FIXTURE(large) {
	size_t page;
};

FIXTURE_SETUP(large)
{
	self->page = page_size();
}

FIXTURE_TEARDOWN(large)
{
}

static size_t distance(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x < y ? y - x : x - y;
}

TEST_F(large, freed_runs_are_used_before_fresh_space)
{
	char *p[16], *q;

	NEEDS_EBBMALLOC();
	for (int i = 0; i < 16; i++)
		memset(p[i] = malloc(MIB), 1, MIB);
	free(p[5]);
	q = malloc(MIB);
	EXPECT_EQ(p[5], q);
	free(p[9]);
	free(q);
	for (int i = 0; i < 2; i++) {
		q = malloc(MIB - 100);
		EXPECT_TRUE(q == p[5] || q == p[9]);
	}
}

TEST_F(large, neighbours_coalesce)
{
	char *p[16], *q;
	char *lowest = NULL;

	NEEDS_EBBMALLOC();
	for (int i = 0; i < 16; i++)
		p[i] = malloc(MIB);
	for (int i = 0; i < 16; i++)
		if (!lowest || p[i] < lowest)
			lowest = p[i];
	/* First every second one, then those between them. */
	for (int i = 0; i < 16; i += 2)
		free(p[i]);
	for (int i = 1; i < 16; i += 2)
		free(p[i]);
	q = malloc(16 * MIB);
	ASSERT_NE(NULL, q);
	EXPECT_GT(17 * MIB, distance(lowest, q));
	free(q);
}

TEST_F(large, dirty_and_clean_neighbours_do_not_pile_up)
{
	size_t before, used;
	char *p[8], *q;

	NEEDS_EBBMALLOC();
	before = mallinfo2().arena;
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 8; i++)
			memset(p[i] = malloc(MIB), 1, MIB);
		for (int i = 0; i < 8; i += 2)
			free(p[i]);
		malloc_trim(0);
		for (int i = 1; i < 8; i += 2)
			free(p[i]);
		q = malloc(8 * MIB);
		ASSERT_NE(NULL, q);
		memset(q, 1, 8 * MIB);
		free(q);
	}
	used = mallinfo2().arena;
	EXPECT_GE(before + 48 * MIB, used);
}

TEST_F(large, grows_in_place_into_a_free_neighbour)
{
	char *p, *q, *grown;

	NEEDS_EBBMALLOC();
	q = malloc(9 * MIB);
	free(q);
	/* The hole it leaves is the place for both. */
	p = malloc(MIB);
	pattern_fill(p, MIB, 1);
	grown = realloc(p, 8 * MIB);
	EXPECT_EQ((uintptr_t)p, (uintptr_t)grown);
	EXPECT_TRUE(pattern_holds(grown, MIB, 1));
	memset(grown, 1, 8 * MIB);
	free(grown);
}

TEST_F(large, shrinks_in_place_and_gives_the_rest_back_to_others)
{
	char *p = malloc(16 * MIB), *q, *small;

	NEEDS_EBBMALLOC();
	memset(p, 1, 16 * MIB);
	small = realloc(p, 4 * MIB);
	EXPECT_EQ((uintptr_t)p, (uintptr_t)small);
	EXPECT_GE(4 * MIB + SLAB, malloc_usable_size(small));
	q = malloc(8 * MIB);
	EXPECT_GT(16 * MIB, distance(p, q));
	free(q);
	free(small);
}

struct watch {
	bool stop;
	size_t peak;
};

static void *watch_rss(void *arg)
{
	struct watch *watch = arg;

	while (!__atomic_load_n(&watch->stop, __ATOMIC_ACQUIRE)) {
		size_t rss = rss_bytes();

		if (rss > watch->peak)
			watch->peak = rss;
		sleep_ms(1);
	}
	return NULL;
}

/* Something lies behind the object, so it has to move. */
TEST_F(large, moves_64_mib_without_copying_them)
{
	struct watch watch = { .stop = false };
	char *p, *behind, *moved;
	pthread_t thread;
	size_t before;

	NEEDS_EBBMALLOC();
	if (!IS_ENABLED(CONFIG_MREMAP))
		SKIP(return, "needs CONFIG_MREMAP");
	p = malloc(64 * MIB);
	behind = malloc(MIB);
	ASSERT_TRUE(p && behind);
	pattern_fill(p, 64 * MIB, 9);
	before = rss_bytes();
	ASSERT_EQ(0, pthread_create(&thread, NULL, watch_rss, &watch));
	moved = realloc(p, 192 * MIB);
	__atomic_store_n(&watch.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	ASSERT_NE(NULL, moved);
	TH_LOG("%s, RSS before %zu MiB, peak %zu MiB",
	       moved == p ? "grown in place" : "moved", before / MIB,
	       watch.peak / MIB);
	EXPECT_GE(before + 16 * MIB, rss_bytes());
	EXPECT_GE(before + 16 * MIB, watch.peak);
	EXPECT_TRUE(pattern_holds(moved, 64 * MIB, 9));
	free(moved);
	free(behind);
}

/*
 * Pages move part by part where the kernel has made several mappings of them.
 * The third part is refused: what was asked for comes by copying, and what had
 * moved already is in no one's way.
 */
TEST_F(large, a_move_that_fails_half_way_keeps_nothing)
{
	size_t size = 64 * MIB, grown = 104 * MIB, before;
	char *p, *after;

	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer backs memory beside ours");
	malloc_trim(0);
	before = rss_bytes();
	p = malloc(size);
	/* It shall not grow where it is. */
	after = malloc(70000);
	pattern_fill(p, size, 7);
	if (madvise(p + 48 * MIB, MIB, MADV_DONTFORK))
		SKIP(return, "the mapping cannot be split");
	ASSERT_TRUE(refuse_call_of(SYS_mremap, MIB, ENOMEM));
	p = realloc(p, grown);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(pattern_holds(p, size, 7));
	EXPECT_LE(grown, mallinfo2().uordblks);
	EXPECT_GE(grown + 8 * MIB, mallinfo2().uordblks);
	free(p);
	free(after);
	malloc_trim(0);
	EXPECT_GE(before + 8 * MIB, rss_bytes());
}

TEST_F(large, moved_objects_leave_no_hole_for_others)
{
	char *p[20];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 20; i++) {
			p[i] = malloc(4 * MIB);
			pattern_fill(p[i], 4 * MIB, (uint64_t)i);
		}
		for (int i = 0; i < 20; i++) {
			p[i] = realloc(p[i], 8 * MIB);
			ASSERT_NE(NULL, p[i]);
			pattern_fill(p[i] + 4 * MIB, 4 * MIB,
				     (uint64_t)i + 100);
		}
		for (int i = 0; i < 20; i++) {
			ASSERT_TRUE(pattern_holds(p[i], 4 * MIB, (uint64_t)i));
			ASSERT_TRUE(pattern_holds(p[i] + 4 * MIB, 4 * MIB,
						  (uint64_t)i + 100));
			free(p[i]);
		}
	}
}

TEST_F(large, calloc_of_untouched_memory_adds_no_rss)
{
	size_t before = rss_bytes();
	char *p = calloc(1, 512 * MIB);

	ASSERT_NE(NULL, p);
	EXPECT_GE(before + 4 * MIB, rss_bytes());
	EXPECT_EQ(0, p[300 * MIB]);
	free(p);
}

/* Neither the clean part nor the zeroes may be lost by reuse. */
TEST_F(large, calloc_after_a_trim_adds_no_rss)
{
	char *p = malloc(256 * MIB);
	size_t before;

	NEEDS_EBBMALLOC();
	ASSERT_NE(NULL, p);
	memset(p, 1, 256 * MIB);
	free(p);
	malloc_trim(0);
	before = rss_bytes();
	p = calloc(1, 256 * MIB);
	ASSERT_NE(NULL, p);
	EXPECT_GE(before + 4 * MIB, rss_bytes());
	EXPECT_TRUE(all_zero(p, 256 * MIB));
	free(p);
}

TEST_F(large, calloc_of_dirty_runs_is_zero)
{
	for (size_t size = 33 * KIB; size < 16 * MIB; size = size * 3 / 2) {
		char *p = malloc(size);

		memset(p, 0xee, size);
		free(p);
		p = calloc(1, size);
		ASSERT_TRUE(all_zero(p, size));
		/* A dirty part before a clean part, and the reverse. */
		memset(p, 0xee, size);
		p = realloc(p, size / 2);
		free(p);
		p = calloc(1, size);
		ASSERT_TRUE(all_zero(p, size));
		free(p);
	}
}

TEST_F(large, steady_load_of_random_sizes_does_not_grow)
{
	enum { SLOTS = 100 };
	char *p[SLOTS] = { NULL };
	size_t before = 0;
	struct rng rng;

	NEEDS_EBBMALLOC();
	rng_seed(&rng, 23);
	for (int i = 0; i < 40000; i++) {
		size_t at = rng_below(&rng, SLOTS);

		free(p[at]);
		p[at] = malloc(rng_size(&rng, 15, 20));
		ASSERT_NE(NULL, p[at]);
		*p[at] = 1;
		if (i == 10000)
			before = mallinfo2().arena;
	}
	/*
	 * Of address space, and more the more passes come between: what is
	 * dirty, lazy and clean does not join.  Without reuse it were 9 GB.
	 */
	EXPECT_GE(2 * before, mallinfo2().arena);
	for (int i = 0; i < SLOTS; i++)
		free(p[i]);
}

/* Memory that served objects of @before bytes now serves ones of @size. */
static size_t make_tails(char *p[], size_t nr, size_t before, size_t size)
{
	size_t rss = rss_bytes();

	for (size_t i = 0; i < nr; i++)
		memset(p[i] = malloc(before), 1, before);
	for (size_t i = 0; i < nr; i++)
		free(p[i]);
	for (size_t i = 0; i < nr; i++)
		memset(p[i] = malloc(size), (int)i, size);
	return rss;
}

static bool hold_what_was_written(char *p[], size_t nr, size_t size)
{
	for (size_t i = 0; i < nr; i++)
		for (size_t at = 0; at < size; at++)
			if (p[i][at] != (char)i)
				return false;
	return true;
}

#define NR_TAILS	300u

static const struct {
	size_t before, size;
} tails[] = {
	{ 60 * KIB, 33 * KIB },
	{ 191 * KIB, 130 * KIB },
};

TEST_F(large, what_is_behind_is_given_back)
{
	char *p[NR_TAILS];

	NEEDS_EBBMALLOC();
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		size_t size = tails[i].size, rss;

		rss = make_tails(p, NR_TAILS, tails[i].before, size);
		malloc_trim(0);
		/* Older kernels tell VmRSS late by up to 256 KiB a thread. */
		EXPECT_GE(rss + NR_TAILS * (size + self->page) + 2 * MIB,
			  rss_bytes());
		EXPECT_TRUE(hold_what_was_written(p, NR_TAILS, size));
		for (size_t k = 0; k < NR_TAILS; k++)
			free(p[k]);
		malloc_trim(0);
	}
}

TEST_F(large, what_is_behind_is_given_back_in_time)
{
	char *p[2 * NR_TAILS];

	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer backs memory beside ours");
	/* More than thread_min, so that there is a background thread. */
	for (size_t i = 0; i < ARRAY_LEN(p); i++)
		memset(p[i] = malloc(60 * KIB), 1, 60 * KIB);
	for (size_t i = 0; i < ARRAY_LEN(p); i++)
		free(p[i]);
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		size_t size = tails[i].size, most;

		most = make_tails(p, NR_TAILS, tails[i].before, size) +
		       NR_TAILS * (size + self->page) + MIB;
		EXPECT_TRUE(WAIT_FOR(rss_bytes() <= most));
		EXPECT_TRUE(hold_what_was_written(p, NR_TAILS, size));
		for (size_t k = 0; k < NR_TAILS; k++)
			free(p[k]);
		malloc_trim(0);
	}
}

/* What the kernel refused, since it was locked, is taken by a later pass. */
TEST_F(large, what_is_behind_is_tried_again)
{
	size_t size = tails[0].size, with;
	size_t behind = ((size_t)64 * KIB - size) & ~(self->page - 1);
	char *p[NR_TAILS];

	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer backs memory beside ours");
	make_tails(p, NR_TAILS, tails[0].before, size);
	if (mlockall(MCL_CURRENT))
		SKIP(return, "no memory may be locked");
	malloc_trim(0);
	with = rss_bytes();
	munlockall();
	malloc_trim(0);
	malloc_trim(0);
	EXPECT_GE(with - NR_TAILS * behind / 4 * 3, rss_bytes());
	EXPECT_TRUE(hold_what_was_written(p, NR_TAILS, size));
}

TEST_F(large, what_a_shorter_one_leaves_is_given_back_in_time)
{
	enum { NR = 64 };
	size_t from = 1024 * KIB, to = 600 * KIB, with;
	char *p[NR];

	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer backs memory beside ours");
	for (size_t i = 0; i < NR; i++)
		memset(p[i] = malloc(from), (int)i, from);
	with = rss_bytes();
	for (size_t i = 0; i < NR; i++)
		p[i] = realloc(p[i], to);
	EXPECT_TRUE(WAIT_FOR(rss_bytes() <= with - NR * (from - to) / 4 * 3));
	EXPECT_TRUE(hold_what_was_written(p, NR, to));
}

/* Objects grow into what is behind, shrink, and go, while that is given back. */
static void *trim_on(void *arg)
{
	while (!__atomic_load_n((bool *)arg, __ATOMIC_ACQUIRE))
		malloc_trim(0);
	return NULL;
}

TEST_F(large, what_is_behind_stays_whose_it_is)
{
	enum { SLOTS = 64 };
	struct { char *p; size_t size; } slot[SLOTS] = { { NULL, 0 } };
	bool done = false;
	pthread_t thread;
	struct rng rng;

	rng_seed(&rng, 29);
	ASSERT_EQ(0, pthread_create(&thread, NULL, trim_on, &done));
	for (int i = 0; i < 60000; i++) {
		size_t at = rng_below(&rng, SLOTS);
		size_t size = rng_size(&rng, 14, 18);
		char *p = slot[at].p, byte = (char)at;
		size_t old = slot[at].size < size ? slot[at].size : size;

		if (rng_below(&rng, 2)) {
			free(p);
			p = malloc(size);
			old = 0;
		} else {
			p = realloc(p, size);
		}
		ASSERT_NE(NULL, p);
		if (old) {
			ASSERT_EQ(byte, p[0]);
			ASSERT_EQ(byte, p[old / 2]);
			ASSERT_EQ(byte, p[old - 1]);
		}
		memset(p + old, byte, size - old);
		slot[at].p = p;
		slot[at].size = size;
	}
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	for (int i = 0; i < SLOTS; i++)
		free(slot[i].p);
}

TEST_HARNESS_MAIN
