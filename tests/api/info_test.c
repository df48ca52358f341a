// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - What the heap says of itself: trim, mallinfo, malloc_info
 */
#include <ctype.h>
#include <limits.h>
#include "harness.h"

#define NR		2000
#define TEXT_MAX	(64 * 1024)

FIXTURE(info) {
	char *p[NR];
	char text[TEXT_MAX];
};

FIXTURE_SETUP(info)
{
}

FIXTURE_TEARDOWN(info)
{
}

static void allocate_all(FIXTURE_DATA(info) *self, size_t size)
{
	for (int i = 0; i < NR; i++) {
		self->p[i] = malloc(size);
		if (!self->p[i])
			abort();
		memset(self->p[i], 1, size);
	}
}

static void free_all(FIXTURE_DATA(info) *self)
{
	for (int i = 0; i < NR; i++)
		free(self->p[i]);
}

TEST_F(info, trim_gives_back_whole_slabs)
{
	size_t full, after;

	allocate_all(self, 8000);
	full = rss_bytes();
	free_all(self);
	EXPECT_EQ(1, malloc_trim(0));
	after = rss_bytes();
	EXPECT_GE(full - NR * 8000 / 10 * 9, after);
}

TEST_F(info, trim_gives_back_large_objects)
{
	size_t full, after;

	allocate_all(self, 100 * KIB);
	full = rss_bytes();
	free_all(self);
	malloc_trim(0);
	after = rss_bytes();
	EXPECT_GE(full - NR * 100 * KIB / 10 * 9, after);
}

TEST_F(info, trim_gives_back_holes_between_live_objects)
{
	size_t full, after;

	NEEDS_EBBMALLOC();
	allocate_all(self, 8 * KIB);
	full = rss_bytes();
	for (int i = 0; i < NR; i++)
		if (i % 4)
			free(self->p[i]);
	EXPECT_EQ(1, malloc_trim(0));
	after = rss_bytes();
	/* An eighth of each three quarters may lie on a page that is shared. */
	EXPECT_GE(full - NR / 4 * 3 * (8 * KIB - page_size()), after);
	for (int i = 0; i < NR; i += 4)
		ASSERT_TRUE(self->p[i][0] == 1 && self->p[i][8191] == 1);
}

TEST_F(info, trim_says_no_when_nothing_is_left_to_give)
{
	NEEDS_EBBMALLOC();
	allocate_all(self, 5000);
	free_all(self);
	EXPECT_EQ(1, malloc_trim(0));
	EXPECT_TRUE(WAIT_FOR(malloc_trim(0) == 0));
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, malloc_trim(0));
}

/* 1 exactly if RSS fell, whatever was freed before. */
TEST_F(info, trim_tells_the_truth)
{
	size_t sizes[] = { 16, 1000, 4096, 20000, 300 * KIB };

	NEEDS_EBBMALLOC();
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		size_t before, after;
		int said;

		for (int i = 0; i < 400; i++)
			memset(self->p[i] = malloc(sizes[s]), 1, sizes[s]);
		EXPECT_TRUE(WAIT_FOR(malloc_trim(0) == 0));
		for (int i = 0; i < 400; i++)
			if (sizes[s] > 64 || i >= 300)
				free(self->p[i]);
		before = rss_bytes();
		said = malloc_trim(0);
		after = rss_bytes();
		if (said) {
			EXPECT_GT(before, after);
		} else {
			EXPECT_GE(after + 256 * KIB, before);
		}
	}
}

TEST_F(info, trim_keeps_errno_and_content)
{
	allocate_all(self, 3000);
	for (int i = 0; i < NR; i++)
		pattern_fill(self->p[i], 3000, (uint64_t)i);
	for (int i = 0; i < NR; i += 3) {
		free(self->p[i]);
		self->p[i] = NULL;
	}
	errno = EXDEV;
	malloc_trim(0);
	malloc_trim(1 << 20);
	EXPECT_EQ(EXDEV, errno);
	for (int i = 0; i < NR; i++)
		if (self->p[i])
			ASSERT_TRUE(pattern_holds(self->p[i], 3000,
						  (uint64_t)i));
}

TEST_F(info, mallinfo2_counts_what_is_live)
{
	size_t before = mallinfo2().uordblks, with, after;

	allocate_all(self, 1000);
	with = mallinfo2().uordblks;
	EXPECT_LE(before + NR * 1000, with);
	EXPECT_GE(before + NR * 1000 / 8 * 9 + 256 * KIB, with);
	free_all(self);
	after = mallinfo2().uordblks;
	EXPECT_GE(before + 256 * KIB, after);
}

TEST_F(info, mallinfo2_adds_up)
{
	struct mallinfo2 info;

	allocate_all(self, 20000);
	for (int i = 0; i < NR; i += 2)
		free(self->p[i]);
	info = mallinfo2();
	EXPECT_LE(NR / 2 * 20000, info.uordblks);
	EXPECT_LE(info.uordblks, info.arena + info.hblkhd);
	EXPECT_EQ(info.arena, info.uordblks + info.fordblks);
	EXPECT_LE(NR / 2 * 20000, info.fordblks);
}

TEST_F(info, mallinfo_is_the_same_in_ints)
{
	struct mallinfo2 wide;
	struct mallinfo narrow;

	allocate_all(self, 500);
	wide = mallinfo2();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	narrow = mallinfo();
#pragma GCC diagnostic pop
	EXPECT_EQ(wide.uordblks, (size_t)narrow.uordblks);
	EXPECT_EQ(wide.fordblks, (size_t)narrow.fordblks);
	EXPECT_EQ(wide.arena, (size_t)narrow.arena);
}

/* Names of the elements that are open, innermost last. */
struct xml {
	const char *names[64];
	size_t lens[64];
	int depth;
	int elements;
};

/* Skip attributes up to '>' or "/>"; NULL: they are not well-formed. */
static const char *xml_attributes(const char *at)
{
	for (;;) {
		while (isspace((unsigned char)*at))
			at++;
		if (*at == '>' || (*at == '/' && at[1] == '>'))
			return at;
		if (!isalpha((unsigned char)*at))
			return NULL;
		at += strcspn(at, "= \t\n<>\"");
		if (at[0] != '=' || at[1] != '"')
			return NULL;
		at += 2;
		at += strcspn(at, "\"<&");
		if (*at++ != '"')
			return NULL;
	}
}

/* One tag at @at, just after '<'; NULL: not well-formed. */
static const char *xml_tag(struct xml *xml, const char *at)
{
	bool closing = *at == '/';
	const char *name = at += closing;
	size_t len = strcspn(at, "/> \t\n");

	at = xml_attributes(at + len);
	if (!len || !at)
		return NULL;
	if (closing) {
		if (*at != '>' || --xml->depth < 0 ||
		    xml->lens[xml->depth] != len ||
		    memcmp(xml->names[xml->depth], name, len))
			return NULL;
		return at + 1;
	}
	xml->elements++;
	if (*at == '/')
		return at + 2;
	if (xml->depth == 64)
		return NULL;
	xml->names[xml->depth] = name;
	xml->lens[xml->depth++] = len;
	return at + 1;
}

/* Whether @at is one element with all in it closed in order. */
static bool xml_is_well_formed(const char *at)
{
	struct xml xml = { .depth = 0 };
	int roots = 0;

	while (*at) {
		if (*at != '<') {
			if (*at == '>' || *at == '&' ||
			    (!xml.depth && !isspace((unsigned char)*at)))
				return false;
			at++;
			continue;
		}
		roots += !xml.depth && at[1] != '/';
		at = xml_tag(&xml, at + 1);
		if (!at)
			return false;
	}
	return !xml.depth && roots == 1 && xml.elements > 1;
}

static size_t read_malloc_info(FIXTURE_DATA(info) *self)
{
	FILE *out = tmpfile();
	size_t len;

	if (!out || malloc_info(0, out))
		abort();
	rewind(out);
	len = fread(self->text, 1, TEXT_MAX - 1, out);
	self->text[len] = '\0';
	fclose(out);
	return len;
}

/* The number that malloc_info gives for what is live. */
static size_t live_in_info(const char *text)
{
	const char *at = strstr(text, "name=\"live\" value=\"");

	return at ? strtoul(at + strlen("name=\"live\" value=\""), NULL, 10) :
		    0;
}

TEST_F(info, malloc_info_is_well_formed)
{
	ASSERT_LT(0, read_malloc_info(self));
	EXPECT_EQ('<', self->text[0]);
	EXPECT_NE(NULL, strstr(self->text, "<malloc "));
	EXPECT_TRUE(xml_is_well_formed(self->text));
}

TEST_F(info, malloc_info_has_the_numbers_of_this_heap)
{
	size_t before, with;

	NEEDS_EBBMALLOC();
	read_malloc_info(self);
	before = live_in_info(self->text);
	allocate_all(self, 10000);
	read_malloc_info(self);
	with = live_in_info(self->text);
	EXPECT_LE(before + NR * 10000, with);
	EXPECT_GE(before + NR * 10000 / 8 * 9 + 256 * KIB, with);
	free_all(self);
	read_malloc_info(self);
	EXPECT_GE(before + 256 * KIB, live_in_info(self->text));
}

TEST_F(info, malloc_info_refuses_options)
{
	if (!on_ebbmalloc()) {
		EXPECT_EQ(EINVAL, malloc_info(1, stdout));
		return;
	}
	errno = 0;
	EXPECT_NE(0, malloc_info(1, stdout));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(info, malloc_stats_prints_to_stderr)
{
	FILE *out = tmpfile();
	int saved = dup(2);
	size_t len;

	ASSERT_NE(NULL, out);
	fflush(stderr);
	dup2(fileno(out), 2);
	malloc_stats();
	fflush(stderr);
	dup2(saved, 2);
	rewind(out);
	len = fread(self->text, 1, TEXT_MAX - 1, out);
	self->text[len] = '\0';
	EXPECT_LT(10, len);
	EXPECT_NE(NULL, strpbrk(self->text, "0123456789"));
	EXPECT_TRUE(!on_ebbmalloc() || strstr(self->text, "ebbmalloc"));
}

/* There are no arenas, bins and thresholds here: nothing was set. */
TEST_F(info, mallopt_says_that_nothing_was_set)
{
	int params[] = { M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD,
			 M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX, 12345 };

	NEEDS_EBBMALLOC();
	for (size_t i = 0; i < ARRAY_LEN(params); i++)
		EXPECT_EQ(0, mallopt(params[i], 1));
	allocate_all(self, 100);
	free_all(self);
}

TEST_F(info, heap_counts_equal_what_was_done)
{
	struct ebb_heap_counts counts, before;
	heap_count_fn count = heap_count();

	NEEDS_EBBMALLOC();
	ASSERT_EQ(0, count(&before));
	allocate_all(self, 2048);
	ASSERT_EQ(0, count(&counts));
	EXPECT_EQ(before.live_bytes + NR * 2048, counts.live_bytes);
	EXPECT_LE(before.slabs + NR * 2048 / 65536, counts.slabs);
	free_all(self);
	EXPECT_TRUE(WAIT_FOR(malloc_trim(0) == 0));
	ASSERT_EQ(0, count(&counts));
	EXPECT_EQ(before.live_bytes, counts.live_bytes);
	EXPECT_EQ(0, counts.cached_bytes);
	EXPECT_EQ(0, counts.dirty_bytes);
	EXPECT_EQ(0, counts.lazy_bytes);
}

/* At most 1.6 % of the heap for objects of 64 bytes and more. */
TEST_F(info, metadata_are_a_small_part_of_the_heap)
{
	enum { BYTES = 64 * 1024 * 1024 };
	size_t sizes[] = { 64, 100, 1000, 8000 };
	heap_count_fn count = heap_count();

	NEEDS_EBBMALLOC();
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		struct ebb_heap_counts before, counts;

		ASSERT_EQ(0, count(&before));
		for (size_t done = 0; done < BYTES; done += sizes[s])
			memset(malloc(sizes[s]), 1, sizes[s]);
		ASSERT_EQ(0, count(&counts));
		EXPECT_GE((counts.live_bytes - before.live_bytes) * 16 / 1000 +
			  128 * KIB, counts.meta_bytes - before.meta_bytes);
	}
}

/* A slot taken from a fresh slab makes its pages dirty, not all of them. */
TEST_F(info, pages_never_touched_count_as_clean)
{
	struct ebb_heap_counts counts, before;
	heap_count_fn count = heap_count();

	NEEDS_EBBMALLOC();
	malloc_trim(0);
	ASSERT_EQ(0, count(&before));
	ASSERT_NE(NULL, malloc(3000));
	ASSERT_EQ(0, count(&counts));
	EXPECT_GE(before.dirty_bytes + 16 * KIB, counts.dirty_bytes);
}

TEST_HARNESS_MAIN
