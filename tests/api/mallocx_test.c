// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - jemalloc's family of mallocx(), one heap with malloc's
 */
#include <errno.h>
#include <limits.h>
#include "ebb/jemalloc.h"
#include "harness.h"

/* What RSS and heap do is this program's doing alone. */
extern const char *ebb_conf;
const char *ebb_conf = "reclaim=off,control_dir=off";

FIXTURE_EMPTY(mallocx);

/* Memory that does not read as zero, for who gets it next. */
static void make_dirty(size_t size)
{
	void *p[64];

	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		p[i] = mallocx(size, 0);
		memset(p[i], 0xa5, sallocx(p[i], 0));
	}
	for (size_t i = 0; i < ARRAY_LEN(p); i++)
		dallocx(p[i], 0);
}

TEST_F(mallocx, flags_are_those_of_jemalloc)
{
	EXPECT_EQ(12, MALLOCX_LG_ALIGN(12));
	EXPECT_EQ(12, MALLOCX_ALIGN(4096));
	EXPECT_EQ(40, MALLOCX_ALIGN((size_t)1 << 40));
	EXPECT_EQ(0x40, MALLOCX_ZERO);
	EXPECT_EQ(0x100, MALLOCX_TCACHE_NONE);
	EXPECT_EQ(0x500, MALLOCX_TCACHE(3));
	EXPECT_EQ(3 << 20, MALLOCX_ARENA(2));
	EXPECT_EQ(4096, MALLCTL_ARENAS_ALL);
}

TEST_F(mallocx, nallocx_tells_the_real_size)
{
	size_t size;

	for (unsigned int i = 0; (size = edge_size(i)); i++)
		for (int lg = 0; lg <= 17; lg += i % 4 + 1) {
			int flags = MALLOCX_LG_ALIGN(lg);
			void *p = mallocx(size, flags);
			size_t real = nallocx(size, flags);

			ASSERT_TRUE(p);
			ASSERT_TRUE(is_aligned(p, (size_t)1 << lg));
			ASSERT_LE(size, real);
			ASSERT_EQ(real, sallocx(p, flags));
			ASSERT_EQ(real, malloc_usable_size(p));
			memset(p, 1, real);
			if (i % 2)
				sdallocx(p, size, flags);
			else
				sdallocx(p, real, flags);
		}
}

TEST_F(mallocx, arena_and_cache_in_the_flags_change_nothing)
{
	int flags = MALLOCX_ARENA(3) | MALLOCX_TCACHE(5) | MALLOCX_ALIGN(512);
	char *p = mallocx(1000, flags);

	ASSERT_TRUE(p && is_aligned(p, 512));
	EXPECT_EQ(nallocx(1000, MALLOCX_ALIGN(512)), sallocx(p, flags));
	p = rallocx(p, 5000, MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(512));
	ASSERT_TRUE(p && is_aligned(p, 512));
	dallocx(p, MALLOCX_TCACHE_NONE);
}

TEST_F(mallocx, too_much_is_refused)
{
	EXPECT_EQ(NULL, mallocx(hide_size(SIZE_MAX), 0));
	EXPECT_EQ(NULL, mallocx(hide_size(SIZE_MAX), MALLOCX_ZERO));
	EXPECT_EQ(NULL, mallocx(hide_size((size_t)PTRDIFF_MAX + 1), 0));
	EXPECT_EQ(NULL, mallocx(hide_size(1), MALLOCX_LG_ALIGN(63)));
	EXPECT_EQ(0, nallocx(SIZE_MAX, 0));
	EXPECT_EQ(0, nallocx((size_t)PTRDIFF_MAX + 1, 0));
	EXPECT_EQ(0, nallocx(1, MALLOCX_LG_ALIGN(63)));
}

TEST_F(mallocx, zero_covers_the_real_size)
{
	static const size_t sizes[] = { 1, 24, 100, 130, 5000, 20001, 40000,
					300000 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		for (int lg = 0; lg <= 13; lg += 13) {
			int flags = MALLOCX_ZERO | MALLOCX_LG_ALIGN(lg);
			char *p;

			make_dirty(sizes[i]);
			p = mallocx(sizes[i], flags);
			ASSERT_TRUE(p && is_aligned(p, (size_t)1 << lg));
			ASSERT_TRUE(all_zero(p, sallocx(p, 0)));
			dallocx(p, 0);
		}
}

TEST_F(mallocx, mixes_with_malloc)
{
	for (int i = 0; i < 2000; i++) {
		size_t size = edge_size((unsigned int)i % 300);
		char *p = i % 2 ? malloc(size) : mallocx(size, 0);
		char *q = i % 3 ? calloc(1, size) : mallocx(size, MALLOCX_ZERO);

		pattern_fill(p, size, (uint64_t)i);
		p = i % 5 ? realloc(p, size * 2) : rallocx(p, size * 2, 0);
		ASSERT_TRUE(pattern_holds(p, size, (uint64_t)i));
		ASSERT_TRUE(all_zero(q, size));
		if (i % 2)
			dallocx(p, 0);
		else
			free(p);
		free(q);
	}
}

TEST_F(mallocx, rallocx_keeps_content_and_alignment)
{
	size_t size = 100;
	char *p = mallocx(size, MALLOCX_ALIGN(4096));

	pattern_fill(p, size, 7);
	for (int i = 0; i < 40; i++) {
		size_t now = i < 30 ? size * 3 / 2 : size / 3 + 1;

		p = rallocx(p, now, MALLOCX_ALIGN(4096));
		ASSERT_TRUE(p && is_aligned(p, 4096));
		ASSERT_LE(now, sallocx(p, 0));
		ASSERT_TRUE(pattern_holds(p, size < now ? size / 8 * 8 :
						now / 8 * 8, 7));
		pattern_fill(p, now, 7);
		size = now;
	}
	dallocx(p, 0);
}

/* From slots over runs to what is moved by its pages. */
TEST_F(mallocx, rallocx_zeroes_what_is_new)
{
	for (int align = 0; align <= 6; align += 6) {
		int flags = MALLOCX_ZERO | MALLOCX_LG_ALIGN(align);
		size_t size = 20;
		char *p = mallocx(size, flags);

		while (size < 20 * MIB) {
			size_t before = sallocx(p, 0), now = size * 5 / 3;

			make_dirty(now < MIB ? now : 16);
			pattern_fill(p, before, size);
			p = rallocx(p, now, flags);
			ASSERT_TRUE(p);
			ASSERT_TRUE(pattern_holds(p, before, size));
			ASSERT_TRUE(all_zero(p + before,
					     sallocx(p, 0) - before));
			size = now;
		}
		dallocx(p, 0);
	}
}

/* What was between the sizes is still zero when it grows again. */
TEST_F(mallocx, rallocx_keeps_zeroes_when_it_shrinks)
{
	static const int flags[] = { 0, MALLOCX_ALIGN(64) };

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		for (size_t size = 17; size < 100000; size += size / 3) {
			int how = flags[i] | MALLOCX_ZERO;
			char *p = mallocx(size * 4, how);

			make_dirty(size);
			p = rallocx(p, size, how);
			p = rallocx(p, size * 3, how);
			ASSERT_TRUE(all_zero(p, size * 3));
			dallocx(p, 0);
		}
}

TEST_F(mallocx, rallocx_that_fails_leaves_it_as_it_was)
{
	char *p = mallocx(1000, 0), *q = mallocx(100000, MALLOCX_ALIGN(8192));

	pattern_fill(p, 1000, 1);
	pattern_fill(q, 100000, 2);
	EXPECT_EQ(NULL, rallocx(p, hide_size((size_t)PTRDIFF_MAX + 1), 0));
	EXPECT_EQ(NULL, rallocx(q, hide_size((size_t)PTRDIFF_MAX + 1),
				MALLOCX_ALIGN(8192) | MALLOCX_ZERO));
	EXPECT_TRUE(pattern_holds(p, 1000, 1));
	EXPECT_TRUE(pattern_holds(q, 100000, 2));
	dallocx(p, 0);
	dallocx(q, 0);
}

TEST_F(mallocx, size_0_frees_nothing)
{
	char *p = rallocx(mallocx(0, 0), 0, 0);

	ASSERT_TRUE(p);
	p[0] = 1;
	p = rallocx(p, 0, MALLOCX_ZERO | MALLOCX_ALIGN(64));
	ASSERT_TRUE(p);
	EXPECT_EQ(1, p[0]);
	dallocx(p, 0);
}

TEST_F(mallocx, xallocx_never_moves_a_slot)
{
	for (size_t size = 1; size <= 32 * KIB; size = size * 3 / 2 + 1) {
		char *p = mallocx(size, 0);
		size_t real = sallocx(p, 0);

		EXPECT_EQ(real, xallocx(p, real, 0, 0));
		EXPECT_EQ(real, xallocx(p, 1, 0, 0));
		EXPECT_EQ(real, xallocx(p, real + 1, 0, 0));
		EXPECT_EQ(real, xallocx(p, 2 * real, 100, MALLOCX_ZERO));
		EXPECT_EQ(real, xallocx(p, 1, SIZE_MAX - 1, 0));
		dallocx(p, 0);
	}
}

TEST_F(mallocx, xallocx_shrinks_and_grows_runs_in_place)
{
	char *p = mallocx(2 * MIB, 0);
	size_t real;

	pattern_fill(p, MIB, 3);
	real = xallocx(p, MIB, 0, 0);
	EXPECT_EQ(MIB, real);
	EXPECT_EQ(MIB, malloc_usable_size(p));
	/* What was behind it is free. */
	real = xallocx(p, 3 * MIB / 2, 0, 0);
	EXPECT_EQ(3 * MIB / 2, real);
	EXPECT_TRUE(pattern_holds(p, MIB, 3));
	dallocx(p, 0);
}

TEST_F(mallocx, xallocx_takes_extra_if_it_is_to_be_had)
{
	char *p = mallocx(4 * MIB, 0);

	EXPECT_EQ(MIB, xallocx(p, MIB, 0, 0));
	EXPECT_EQ(2 * MIB, xallocx(p, MIB + 1, MIB - 1, 0));
	/* Much more than there is: not at the price of what is asked for. */
	EXPECT_EQ(3 * MIB, xallocx(p, 3 * MIB, PTRDIFF_MAX, 0));
	/* Between the two it stays. */
	EXPECT_LE(2 * MIB, xallocx(p, MIB, 2 * MIB, 0));
	dallocx(p, 0);
}

TEST_F(mallocx, xallocx_zeroes_what_is_new)
{
	char *p = mallocx(4 * MIB, 0);

	memset(p, 0xa5, 4 * MIB);
	EXPECT_EQ(MIB, xallocx(p, MIB, 0, 0));
	ASSERT_EQ(4 * MIB, xallocx(p, 4 * MIB, 0, MALLOCX_ZERO));
	EXPECT_TRUE(all_zero(p + MIB, 3 * MIB));
	EXPECT_EQ((char)0xa5, p[MIB - 1]);
	dallocx(p, 0);
}

TEST_F(mallocx, xallocx_does_not_align)
{
	char *p = mallocx(MIB, MALLOCX_ALIGN(64 * KIB));
	unsigned int lg = (unsigned int)__builtin_ctzl((uintptr_t)p) + 1;

	EXPECT_EQ(MIB, xallocx(p, MIB / 2, 0, MALLOCX_LG_ALIGN((int)lg)));
	EXPECT_EQ(MIB / 2, xallocx(p, MIB / 2, 0, 0));
	dallocx(p, 0);
}

/* Each step of a random life, against what must hold. */
TEST_F(mallocx, random_lives)
{
	struct rng rng;
	char *p[64] = { NULL };
	size_t len[64] = { 0 };

	rng_seed(&rng, 42);
	for (int i = 0; i < 20000; i++) {
		size_t at = rng_below(&rng, 64), size = rng_size(&rng, 4, 18);
		int flags = (int)rng_below(&rng, 12) |
			    (rng_below(&rng, 2) ? MALLOCX_ZERO : 0);
		size_t both, before;

		if (!p[at]) {
			p[at] = mallocx(size, flags);
			before = 0;
		} else if (rng_below(&rng, 4) == 0) {
			sdallocx(p[at], len[at], 0);
			p[at] = NULL;
			continue;
		} else {
			before = sallocx(p[at], 0);
			p[at] = rallocx(p[at], size, flags);
		}
		ASSERT_TRUE(p[at]);
		ASSERT_TRUE(is_aligned(p[at], (size_t)1 << (flags & 63)));
		both = before && len[at] < size ? len[at] : size;
		if (before)
			ASSERT_TRUE(pattern_holds(p[at], both / 8 * 8, at));
		if (flags & MALLOCX_ZERO && sallocx(p[at], 0) > before)
			ASSERT_TRUE(all_zero(p[at] + before,
					     sallocx(p[at], 0) - before));
		pattern_fill(p[at], size, at);
		len[at] = size;
	}
	for (int i = 0; i < 64; i++)
		dallocx(p[i], 0);
}

TEST_HARNESS_MAIN
