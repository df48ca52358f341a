// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Aligned allocation
 */
#include "harness.h"

#define ALIGNMENT_MAX	(2 * MIB)

FIXTURE(align) {
	size_t page;
};

FIXTURE_SETUP(align)
{
	self->page = page_size();
}

FIXTURE_TEARDOWN(align)
{
}

/* Sizes on both sides of @alignment, and some that are not near it. */
static const long around[] = { -1, 0, 1, 15, 16, 17, 100 };

TEST_F(align, serves_every_power_of_two_and_sizes_around_it)
{
	for (size_t a = 1; a <= ALIGNMENT_MAX; a *= 2) {
		for (size_t i = 0; i < ARRAY_LEN(around); i++) {
			size_t size = a + (size_t)around[i];
			char *p = memalign(a, size);

			ASSERT_NE(NULL, p);
			ASSERT_TRUE(is_aligned(p, a));
			ASSERT_LE(size, malloc_usable_size(p));
			pattern_fill(p, size, a);
			ASSERT_TRUE(pattern_holds(p, size, a));
			free(p);
		}
	}
}

TEST_F(align, serves_small_objects_with_large_alignment)
{
	for (size_t a = 16; a <= ALIGNMENT_MAX; a *= 2) {
		char *p[20];

		for (int i = 0; i < 20; i++) {
			p[i] = aligned_alloc(a, (size_t)i);
			ASSERT_NE(NULL, p[i]);
			ASSERT_TRUE(is_aligned(p[i], a));
			memset(p[i], i, (size_t)i);
		}
		for (int i = 0; i < 20; i++) {
			for (int j = 0; j < i; j++)
				ASSERT_EQ(i, p[i][j]);
			free(p[i]);
		}
	}
}

TEST_F(align, serves_every_edge_size_with_some_alignments)
{
	size_t alignments[] = { 32, 256, 4096, 64 * KIB, 128 * KIB };

	for (size_t a = 0; a < ARRAY_LEN(alignments); a++) {
		for (unsigned int e = 0; edge_size(e); e++) {
			char *p = memalign(alignments[a], edge_size(e));

			ASSERT_NE(NULL, p);
			ASSERT_TRUE(is_aligned(p, alignments[a]));
			memset(p, 1, malloc_usable_size(p));
			free(p);
		}
	}
}

TEST_F(align, keeps_many_aligned_objects_apart)
{
	enum { NR = 2000 };
	static char *p[NR];
	static size_t size[NR];
	struct rng rng;

	rng_seed(&rng, 5);
	for (int i = 0; i < NR; i++) {
		size_t a = (size_t)16 << rng_below(&rng, 9);

		size[i] = rng_size(&rng, 3, 13);
		p[i] = memalign(a, size[i]);
		ASSERT_NE(NULL, p[i]);
		ASSERT_TRUE(is_aligned(p[i], a));
		pattern_fill(p[i], size[i], (uint64_t)i);
	}
	for (int i = 0; i < NR; i++) {
		ASSERT_TRUE(pattern_holds(p[i], size[i], (uint64_t)i));
		free(p[i]);
	}
}

TEST_F(align, posix_memalign_refuses_bad_alignments_and_touches_nothing)
{
	size_t bad[] = { 0, 1, 2, 4, 3, 6, 24, 7 * sizeof(void *),
			 sizeof(void *) + 1, SIZE_MAX };
	void *p = self;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		errno = EXDEV;
		EXPECT_EQ(EINVAL, posix_memalign(&p, hide_size(bad[i]), 64));
		EXPECT_EQ((void *)self, p);
		EXPECT_EQ(EXDEV, errno);
	}
}

TEST_F(align, posix_memalign_returns_its_error_and_keeps_errno)
{
	void *p = self;

	errno = EXDEV;
	EXPECT_EQ(ENOMEM, posix_memalign(&p, 64, hide_size(SIZE_MAX - 63)));
	EXPECT_EQ(ENOMEM, posix_memalign(&p, 64,
					 hide_size((size_t)PTRDIFF_MAX + 1)));
	EXPECT_EQ((void *)self, p);
	EXPECT_EQ(0, posix_memalign(&p, 64, 100));
	EXPECT_EQ(EXDEV, errno);
	EXPECT_TRUE(is_aligned(p, 64));
	free(p);
	EXPECT_EQ(0, posix_memalign(&p, sizeof(void *), 0));
	free(p);
}

TEST_F(align, refuses_alignments_that_are_no_power_of_two)
{
	if (!on_ebbmalloc())
		SKIP(return, "glibc 2.36 still rounds these up");
	errno = 0;
	EXPECT_EQ(NULL, aligned_alloc(hide_size(24), 96));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(NULL, aligned_alloc(hide_size(0), 96));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(align, refuses_sizes_that_overflow)
{
	errno = 0;
	EXPECT_EQ(NULL, memalign(4096, hide_size(SIZE_MAX - 4095)));
	EXPECT_EQ(ENOMEM, errno);
	errno = 0;
	EXPECT_EQ(NULL, aligned_alloc(4096, hide_size((size_t)PTRDIFF_MAX)));
	EXPECT_EQ(ENOMEM, errno);
	errno = 0;
	EXPECT_EQ(NULL, valloc(hide_size(SIZE_MAX - 1)));
	EXPECT_EQ(ENOMEM, errno);
	errno = 0;
	EXPECT_EQ(NULL, pvalloc(hide_size(SIZE_MAX - 1)));
	EXPECT_EQ(ENOMEM, errno);
}

TEST_F(align, refuses_huge_alignments_cleanly)
{
	void *p = memalign(hide_size(SIZE_MAX / 2 + 1), 16);

	EXPECT_EQ(NULL, p);
	p = memalign(hide_size(SIZE_MAX / 4 + 1), 16);
	EXPECT_EQ(NULL, p);
	p = malloc(16);
	EXPECT_NE(NULL, p);
	free(p);
}

TEST_F(align, valloc_and_pvalloc_align_to_pages)
{
	for (unsigned int e = 0; edge_size(e); e += 4) {
		size_t size = edge_size(e);
		char *p = valloc(size);
		char *q = pvalloc(size);

		ASSERT_TRUE(p && q);
		EXPECT_TRUE(is_aligned(p, self->page));
		EXPECT_TRUE(is_aligned(q, self->page));
		EXPECT_LE(size, malloc_usable_size(p));
		EXPECT_LE((size + self->page - 1) / self->page * self->page,
			  malloc_usable_size(q));
		memset(q, 1, malloc_usable_size(q));
		memset(p, 2, malloc_usable_size(p));
		free(p);
		free(q);
	}
}

TEST_F(align, reuses_what_it_freed)
{
	size_t before = rss_bytes();

	for (int i = 0; i < 20000; i++) {
		size_t a = (size_t)16 << (i % 14);
		char *p = memalign(a, a + 64 * KIB);

		ASSERT_NE(NULL, p);
		memset(p, 1, a + 64 * KIB);
		free(p);
	}
	EXPECT_GE(before + 64 * MIB, rss_bytes());
}

/* Far beyond what the window itself is aligned to. */
TEST_F(align, serves_alignments_up_to_a_gib)
{
	for (size_t a = 2 * ALIGNMENT_MAX; a <= 1024 * MIB; a *= 2) {
		char *p[3];

		for (int i = 0; i < 3; i++) {
			p[i] = memalign(a, 100);
			ASSERT_NE(NULL, p[i]);
			EXPECT_TRUE(is_aligned(p[i], a));
			memset(p[i], i, 100);
		}
		for (int i = 0; i < 3; i++)
			free(p[i]);
	}
}

TEST_HARNESS_MAIN
