// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - realloc and reallocarray
 */
#include "harness.h"

FIXTURE(realloc) {
	struct rng rng;
};

FIXTURE_SETUP(realloc)
{
	rng_seed(&self->rng, 11);
}

FIXTURE_TEARDOWN(realloc)
{
}

TEST_F(realloc, of_null_allocates)
{
	char *p = realloc(hide(NULL), 100);

	ASSERT_NE(NULL, p);
	memset(p, 1, 100);
	free(p);
	p = realloc(hide(NULL), hide_size(0));
	EXPECT_NE(NULL, p);
	free(p);
}

/* As glibc: the object is freed and NULL returned; this is no error. */
TEST_F(realloc, to_zero_bytes_frees)
{
	for (unsigned int e = 0; edge_size(e); e++) {
		void *p = malloc(edge_size(e));

		ASSERT_NE(NULL, p);
		errno = EXDEV;
		ASSERT_EQ(NULL, realloc(p, hide_size(0)));
		ASSERT_EQ(EXDEV, errno);
	}
}

TEST_F(realloc, to_zero_bytes_leaks_nothing)
{
	size_t before = rss_bytes();

	for (int i = 0; i < 5000; i++) {
		char *p = malloc(100 * KIB);

		memset(p, 1, 100 * KIB);
		ASSERT_EQ(NULL, realloc(p, hide_size(0)));
	}
	EXPECT_GE(before + 32 * MIB, rss_bytes());
}

TEST_F(realloc, keeps_content_while_growing_by_every_step)
{
	char *p = malloc(1);
	size_t size = 1;

	ASSERT_NE(NULL, p);
	p[0] = 'x';
	for (unsigned int e = 0; edge_size(e); e++) {
		pattern_fill(p, size, e);
		p = realloc(p, edge_size(e));
		ASSERT_NE(NULL, p);
		ASSERT_TRUE(pattern_holds(p, size < edge_size(e) ? size :
					  edge_size(e), e));
		size = edge_size(e);
		ASSERT_LE(size, malloc_usable_size(p));
	}
	free(p);
}

TEST_F(realloc, keeps_content_while_shrinking_by_every_step)
{
	unsigned int last = 0;
	char *p;

	while (edge_size(last + 1))
		last++;
	p = malloc(edge_size(last));
	ASSERT_NE(NULL, p);
	pattern_fill(p, edge_size(last), 3);
	while (last-- > 0) {
		size_t checked = edge_size(last) & ~(size_t)7;

		p = realloc(p, edge_size(last));
		ASSERT_NE(NULL, p);
		ASSERT_TRUE(pattern_holds(p, checked, 3));
	}
	free(p);
}

TEST_F(realloc, keeps_content_from_any_size_to_any_other)
{
	for (unsigned int from = 0; edge_size(from); from += 5) {
		for (unsigned int to = 0; edge_size(to); to += 7) {
			size_t a = edge_size(from), b = edge_size(to);
			size_t kept = (a < b ? a : b) & ~(size_t)7;
			char *p = malloc(a);

			ASSERT_NE(NULL, p);
			pattern_fill(p, a & ~(size_t)7, from);
			p = realloc(p, b);
			ASSERT_NE(NULL, p);
			ASSERT_TRUE(pattern_holds(p, kept, from));
			free(p);
		}
	}
}

TEST_F(realloc, does_not_disturb_neighbours)
{
	enum { NR = 300 };
	char *p[NR];
	size_t size[NR];

	for (int i = 0; i < NR; i++) {
		size[i] = rng_size(&self->rng, 3, 18) & ~(size_t)7;
		p[i] = malloc(size[i]);
		ASSERT_NE(NULL, p[i]);
		pattern_fill(p[i], size[i], (uint64_t)i);
	}
	for (int round = 0; round < 20000; round++) {
		size_t i = rng_below(&self->rng, NR);
		size_t to = rng_size(&self->rng, 3, 18) & ~(size_t)7;
		size_t kept = to < size[i] ? to : size[i];

		p[i] = realloc(p[i], to);
		ASSERT_NE(NULL, p[i]);
		ASSERT_TRUE(pattern_holds(p[i], kept, i));
		size[i] = to;
		pattern_fill(p[i], to, i);
	}
	for (int i = 0; i < NR; i++) {
		ASSERT_TRUE(pattern_holds(p[i], size[i], (uint64_t)i));
		free(p[i]);
	}
}

TEST_F(realloc, failing_leaves_the_object_and_says_enomem)
{
	size_t sizes[] = { 10, 1000, 100 * KIB, 3 * MIB };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		char *p = malloc(sizes[i]);

		ASSERT_NE(NULL, p);
		pattern_fill(p, sizes[i], i);
		errno = 0;
		EXPECT_EQ(NULL, realloc(p, hide_size(SIZE_MAX / 2 + 1)));
		EXPECT_EQ(ENOMEM, errno);
		EXPECT_TRUE(pattern_holds(p, sizes[i], i));
		free(p);
	}
}

TEST_F(realloc, stays_where_it_is_within_its_usable_size)
{
	for (unsigned int e = 0; edge_size(e); e++) {
		char *p = malloc(edge_size(e));
		size_t usable = malloc_usable_size(p);
		uintptr_t was = (uintptr_t)p;

		p = realloc(p, usable);
		ASSERT_EQ(was, (uintptr_t)p);
		free(p);
	}
}

/* Though it is the last object of all, with fresh memory behind it. */
TEST_F(realloc, doubled_uses_what_is_backed_and_free)
{
	size_t half = 3 * MIB / 2, before;
	char *freed = malloc(2 * half), *wall = malloc(100 * KIB);
	char *p = malloc(half);

	ASSERT_TRUE(freed && wall && p);
	memset(freed, 1, 2 * half);
	memset(p, 2, half);
	free(freed);
	before = rss_bytes();
	p = realloc(p, 2 * half);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(2, p[half - 1]);
	memset(p, 3, 2 * half);
	EXPECT_GE(before + half / 2, rss_bytes());
	free(p);
	free(wall);
}

TEST_F(realloc, keeps_errno_when_it_succeeds)
{
	char *p = NULL;

	errno = EXDEV;
	for (unsigned int e = 0; edge_size(e); e++) {
		p = realloc(p, edge_size(e));
		ASSERT_EQ(EXDEV, errno);
	}
	free(p);
}

TEST_F(realloc, array_multiplies_and_refuses_overflow)
{
	char *p = reallocarray(NULL, 100, 8);

	ASSERT_NE(NULL, p);
	EXPECT_LE(800, malloc_usable_size(p));
	pattern_fill(p, 800, 5);
	errno = 0;
	EXPECT_EQ(NULL, reallocarray(hide(p), hide_size(SIZE_MAX / 8), 9));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_TRUE(pattern_holds(p, 800, 5));
	p = reallocarray(p, 1000, 80);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(pattern_holds(p, 800, 5));
	free(p);
}

TEST_F(realloc, of_aligned_memory_keeps_content)
{
	for (size_t alignment = 16; alignment <= MIB; alignment *= 4) {
		char *p = aligned_alloc(alignment, 3 * alignment);

		ASSERT_NE(NULL, p);
		pattern_fill(p, 3 * alignment, alignment);
		p = realloc(p, 5 * alignment);
		ASSERT_NE(NULL, p);
		EXPECT_TRUE(pattern_holds(p, 3 * alignment, alignment));
		free(p);
	}
}

TEST_HARNESS_MAIN
