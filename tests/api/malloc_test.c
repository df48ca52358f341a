// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - malloc, calloc, free and the usable size
 */
#include "harness.h"

#define NR_ZERO		1000
#define NR_DIRTY	256

FIXTURE(malloc) {
	size_t page;
};

FIXTURE_SETUP(malloc)
{
	self->page = page_size();
}

FIXTURE_TEARDOWN(malloc)
{
}

TEST_F(malloc, gives_zero_bytes_unique_pointers)
{
	void *p[NR_ZERO];

	for (int i = 0; i < NR_ZERO; i++) {
		p[i] = i % 2 ? malloc(hide_size(0)) : calloc(hide_size(0), 8);
		ASSERT_NE(NULL, p[i]);
		for (int j = 0; j < i; j++)
			ASSERT_NE(p[j], p[i]);
	}
	for (int i = 0; i < NR_ZERO; i++)
		free(p[i]);
}

TEST_F(malloc, aligns_every_object_for_any_type)
{
	for (unsigned int i = 0; edge_size(i); i++) {
		void *p = malloc(edge_size(i));

		ASSERT_NE(NULL, p);
		/* C asks no more of objects that no such type fits in. */
		ASSERT_TRUE(is_aligned(p, edge_size(i) < 16 ? 8 : 16));
		free(p);
	}
}

TEST_F(malloc, gives_objects_that_do_not_overlap)
{
	void *p[512];
	unsigned int nr = 0;

	for (; nr < 512 && edge_size(nr); nr++) {
		p[nr] = malloc(edge_size(nr));
		ASSERT_NE(NULL, p[nr]);
		pattern_fill(p[nr], edge_size(nr), nr);
	}
	for (unsigned int i = 0; i < nr; i++) {
		EXPECT_TRUE(pattern_holds(p[i], edge_size(i), i));
		free(p[i]);
	}
}

TEST_F(malloc, refuses_more_than_ptrdiff_max_with_enomem)
{
	size_t sizes[] = { (size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 15,
			   SIZE_MAX - self->page, (size_t)PTRDIFF_MAX };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		errno = 0;
		EXPECT_EQ(NULL, malloc(hide_size(sizes[i])));
		EXPECT_EQ(ENOMEM, errno);
		errno = 0;
		EXPECT_EQ(NULL, calloc(1, hide_size(sizes[i])));
		EXPECT_EQ(ENOMEM, errno);
	}
}

TEST_F(malloc, refuses_a_calloc_whose_product_overflows)
{
	size_t half = (size_t)1 << (sizeof(size_t) * 4);

	errno = 0;
	EXPECT_EQ(NULL, calloc(hide_size(half), half));
	EXPECT_EQ(ENOMEM, errno);
	errno = 0;
	EXPECT_EQ(NULL, calloc(hide_size(half + 1), half));
	EXPECT_EQ(ENOMEM, errno);
	errno = 0;
	EXPECT_EQ(NULL, calloc(hide_size(SIZE_MAX / 16 + 2), 16));
	EXPECT_EQ(ENOMEM, errno);
}

TEST_F(malloc, still_works_after_a_refusal)
{
	void *p;

	EXPECT_EQ(NULL, malloc(hide_size(SIZE_MAX / 2)));
	p = malloc(100);
	ASSERT_NE(NULL, p);
	pattern_fill(p, 100, 1);
	EXPECT_TRUE(pattern_holds(p, 100, 1));
	free(p);
}

TEST_F(malloc, leaves_errno_alone_when_it_succeeds)
{
	for (unsigned int i = 0; edge_size(i); i++) {
		errno = EXDEV;
		free(malloc(edge_size(i)));
		ASSERT_EQ(EXDEV, errno);
		free(calloc(1, edge_size(i)));
		ASSERT_EQ(EXDEV, errno);
	}
}

TEST_F(malloc, keeps_errno_in_free)
{
	static void *p[4096];

	for (size_t size = 16; size <= 4 * MIB; size *= 4) {
		size_t nr = size < 16 * KIB ? 4096 : 64;

		for (size_t i = 0; i < nr; i++) {
			p[i] = malloc(size);
			ASSERT_NE(NULL, p[i]);
			memset(p[i], 1, size);
		}
		errno = EXDEV;
		for (size_t i = 0; i < nr; i++)
			free(p[i]);
		EXPECT_EQ(EXDEV, errno);
	}
	errno = EXDEV;
	free(NULL);
	EXPECT_EQ(EXDEV, errno);
}

TEST_F(malloc, callocs_zeroes_after_dirty_reuse)
{
	void *p[NR_DIRTY];

	for (unsigned int e = 0; edge_size(e); e++) {
		size_t size = edge_size(e);
		int nr = size < 64 * KIB ? NR_DIRTY : 4;

		for (int i = 0; i < nr; i++) {
			p[i] = malloc(size);
			ASSERT_NE(NULL, p[i]);
			memset(p[i], 0xee, size);
		}
		for (int i = 0; i < nr; i++)
			free(p[i]);
		for (int i = 0; i < nr; i++) {
			p[i] = calloc(1, size);
			ASSERT_NE(NULL, p[i]);
			ASSERT_TRUE(all_zero(p[i], size));
		}
		for (int i = 0; i < nr; i++)
			free(p[i]);
	}
}

/* Memory that was given back and memory that was not, in one slab. */
TEST_F(malloc, callocs_zeroes_after_trims_of_mixed_slabs)
{
	static char *p[2048];
	size_t sizes[] = { 48, 1024, 5120, 12 * KIB, 32 * KIB, 200 * KIB };

	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		size_t nr = sizes[s] < 8 * KIB ? 2048 : 128;

		for (size_t i = 0; i < nr; i++) {
			p[i] = malloc(sizes[s]);
			ASSERT_NE(NULL, p[i]);
			memset(p[i], 0xee, sizes[s]);
		}
		for (size_t i = 0; i < nr; i++)
			if (i % 7)
				free(p[i]);
		malloc_trim(0);
		for (size_t i = 0; i < nr; i++) {
			if (!(i % 7))
				continue;
			p[i] = calloc(sizes[s], 1);
			ASSERT_NE(NULL, p[i]);
			ASSERT_TRUE(all_zero(p[i], sizes[s]));
			memset(p[i], 0xee, sizes[s]);
			if (i % 3)
				continue;
			free(p[i]);
			p[i] = calloc(sizes[s], 1);
			ASSERT_TRUE(all_zero(p[i], sizes[s]));
		}
		for (size_t i = 0; i < nr; i++)
			free(p[i]);
	}
}

TEST_F(malloc, lets_every_usable_byte_be_written)
{
	char *p[3];

	for (unsigned int e = 0; edge_size(e); e++) {
		for (int i = 0; i < 3; i++) {
			p[i] = malloc(edge_size(e));
			ASSERT_NE(NULL, p[i]);
			ASSERT_LE(edge_size(e), malloc_usable_size(p[i]));
			pattern_fill(p[i], malloc_usable_size(p[i]),
				     (uint64_t)i);
		}
		for (int i = 0; i < 3; i++) {
			ASSERT_TRUE(pattern_holds(p[i],
						  malloc_usable_size(p[i]),
						  (uint64_t)i));
			free(p[i]);
		}
	}
	EXPECT_EQ(0, malloc_usable_size(NULL));
}

TEST_F(malloc, has_steps_of_16_bytes_up_to_128)
{
	NEEDS_EBBMALLOC();
	for (size_t n = 1; n <= 128; n++) {
		void *p = malloc(n);

		ASSERT_EQ((n + 15) / 16 * 16, malloc_usable_size(p));
		free(p);
	}
}

TEST_F(malloc, wastes_at_most_an_eighth_up_to_32_kib)
{
	NEEDS_EBBMALLOC();
	for (size_t n = 129; n <= 32 * KIB; n++) {
		void *p = malloc(n);
		size_t usable = malloc_usable_size(p);

		ASSERT_LE(n, usable);
		ASSERT_LE(usable - n, n / 8);
		free(p);
	}
}

TEST_F(malloc, wastes_less_than_a_slab_beyond_32_kib)
{
	NEEDS_EBBMALLOC();
	for (size_t n = 32 * KIB + 1; n <= 8 * MIB; n = n * 5 / 4 + 1) {
		void *p = malloc(n);
		size_t usable = malloc_usable_size(p);

		ASSERT_LE(n, usable);
		ASSERT_GT(64 * KIB, usable - n);
		free(p);
	}
}

TEST_F(malloc, frees_with_size_and_alignment)
{
	void (*sized)(void *, size_t);
	void (*aligned)(void *, size_t, size_t);

	FIND_FUNCTION(sized, free_sized);
	FIND_FUNCTION(aligned, free_aligned_sized);
	if (!sized || !aligned)
		SKIP(return, "this malloc has no free_sized");
	errno = EXDEV;
	sized(NULL, 10);
	aligned(NULL, 64, 10);
	for (unsigned int e = 0; edge_size(e); e++) {
		sized(malloc(edge_size(e)), edge_size(e));
		aligned(aligned_alloc(256, edge_size(e)), 256, edge_size(e));
	}
	EXPECT_EQ(EXDEV, errno);
}

/* @bytes of objects of @size, all written. */
static bool make_many(char **objects, size_t bytes, size_t size)
{
	for (size_t i = 0; i < bytes / size; i++) {
		objects[i] = malloc(size);
		if (!objects[i])
			return false;
		memset(objects[i], 1, size);
	}
	return true;
}

static void free_many(char **objects, size_t bytes, size_t size)
{
	for (size_t i = 0; i < bytes / size; i++)
		free(objects[i]);
}

/* Also where a little of the first size was asked for in between. */
TEST_F(malloc, serves_another_size_from_what_was_freed_of_one)
{
	enum { BYTES = 12 * MIB };
	static char *objects[BYTES / 1024];
	size_t full;

	NEEDS_EBBMALLOC();
	ASSERT_TRUE(make_many(objects, BYTES, 8192));
	full = rss_bytes();
	for (size_t was = 8192; was > 1024; was -= 1024) {
		free_many(objects, BYTES, was);
		/* More than the magazine has. */
		ASSERT_TRUE(make_many(objects, 2 * MIB, was));
		free_many(objects, 2 * MIB, was);
		ASSERT_TRUE(make_many(objects, BYTES, was - 1024));
		EXPECT_GT(full + BYTES / 2, rss_bytes());
	}
	TH_LOG("RSS %zu, at first %zu", rss_bytes(), full);
	free_many(objects, BYTES, 1024);
}

/* A program that runs for long: what is freed is used again. */
TEST_F(malloc, does_not_grow_under_a_steady_load)
{
	static void *p[20000];
	struct rng rng;
	size_t before;

	rng_seed(&rng, 7);
	for (int i = 0; i < 20000; i++)
		p[i] = malloc(rng_size(&rng, 4, 12));
	for (int round = 0; round < 400000; round++) {
		size_t i = rng_below(&rng, 20000);

		free(p[i]);
		p[i] = malloc(rng_size(&rng, 4, 12));
		ASSERT_NE(NULL, p[i]);
		*(char *)p[i] = 1;
	}
	before = rss_bytes();
	for (int round = 0; round < 2000000; round++) {
		size_t i = rng_below(&rng, 20000);

		free(p[i]);
		p[i] = malloc(rng_size(&rng, 4, 12));
		*(char *)p[i] = 1;
	}
	EXPECT_GE(before + before / 4 + 4 * MIB, rss_bytes());
	for (int i = 0; i < 20000; i++)
		free(p[i]);
}

TEST_HARNESS_MAIN
