// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Moving pages, whatever mappings they lie in
 */
#include <errno.h>
#include <sys/mman.h>
#include "os/map.h"
#include "harness.h"

#define LEN		(2 * MIB + 64 * KIB)
#define SLAB		(64 * KIB)

FIXTURE(map) {
	char *from;
	char *to;
};

FIXTURE_VARIANT(map) {
	size_t ends[5];		/* of mappings within @from; 0: no more */
	bool moves;
};

FIXTURE_VARIANT_ADD(map, one) {
	.moves = true,
};

FIXTURE_VARIANT_ADD(map, two) {
	.ends = { MIB },
	.moves = true,
};

FIXTURE_VARIANT_ADD(map, many_of_odd_lengths) {
	.ends = { SLAB, 3 * SLAB, 13 * SLAB, MIB + 7 * SLAB, LEN - SLAB },
	.moves = true,
};

/* As an application makes them that locks some pages of its object. */
FIXTURE_VARIANT_ADD(map, ends_within_a_slab) {
	.ends = { MIB + 20 * KIB },
	.moves = false,
};

static char *make(void)
{
	char *addr = NULL;

	if (map_reserve(LEN, 2 * MIB, &addr) || map_commit(addr, LEN))
		return NULL;
	return addr;
}

/* Every second one of the parts gets a flag, so that they stay apart. */
static void split(char *addr, const size_t *ends)
{
	for (int i = 0; i < 5 && ends[i]; i += 2) {
		size_t end = i < 4 && ends[i + 1] ? ends[i + 1] : LEN;

		madvise(addr + ends[i], end - ends[i], MADV_DONTDUMP);
	}
}

FIXTURE_SETUP(map)
{
	map_init();
	self->from = make();
	self->to = make();
	ASSERT_TRUE(self->from && self->to);
	split(self->from, variant->ends);
	pattern_fill(self->from, LEN, 7);
}

FIXTURE_TEARDOWN(map)
{
	munmap(self->from, LEN);
	munmap(self->to, LEN);
}

TEST_F(map, it_is_said_first_whether_pages_can_be_moved)
{
	EXPECT_EQ(variant->moves, map_may_move(self->from, LEN));
	EXPECT_TRUE(pattern_holds(self->from, LEN, 7));
	/* Nothing has grown: what follows is as it was. */
	EXPECT_EQ(variant->moves, map_may_move(self->from, LEN));
}

TEST_F(map, pages_move_and_leave_their_place_empty)
{
	size_t before = status_bytes("\nRssAnon:");

	if (!variant->moves) {
		EXPECT_EQ(-EFAULT, map_move(self->from, self->to, LEN));
		EXPECT_TRUE(pattern_holds(self->from, LEN, 7));
		return;
	}
	ASSERT_EQ(0, map_move(self->from, self->to, LEN));
	EXPECT_GE(before + MIB, status_bytes("\nRssAnon:"));
	EXPECT_TRUE(pattern_holds(self->to, LEN, 7));
	EXPECT_TRUE(all_zero(self->from, LEN));
	memset(self->from, 1, LEN);
	EXPECT_TRUE(pattern_holds(self->to, LEN, 7));
}

TEST_F(map, a_move_that_fails_midway_leaves_all_where_it_was)
{
	/* The last slab is in nobody's mapping. */
	munmap(self->from + LEN - SLAB, SLAB);
	EXPECT_NE(0, map_move(self->from, self->to, LEN));
	EXPECT_TRUE(pattern_holds(self->from, LEN - SLAB, 7));
}

TEST_HARNESS_MAIN
