// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc stories - Pony's pool allocator
 *
 * It carves size classes from 32 bytes to 1 MiB out of larger blocks; an item
 * that goes on a free list never returns to the kernel, since nothing tracks
 * which blocks are wholly free.  Here their pages return, though something is
 * in use in each slab, and nobody frees or asks for anything any more.
 */
#include "harness.h"

#define NR_CLASSES	16u
#define SMALLEST	32u
#define EACH		(8 * MIB)	/* bytes of each class */
#define KEPT_EVERY	(64 * KIB)	/* of a class's bytes */

extern const char *ebb_conf;
const char *ebb_conf = "control_dir=off";

static char *items[NR_CLASSES][EACH / SMALLEST];

static size_t size_of(unsigned int class)
{
	return (size_t)SMALLEST << class;
}

static bool is_kept(unsigned int class, size_t i)
{
	size_t step = KEPT_EVERY / size_of(class);

	return i % (step ? step : 16) == 0;
}

static void take_all(void)
{
	for (unsigned int c = 0; c < NR_CLASSES; c++)
		for (size_t i = 0; i < EACH / size_of(c); i++) {
			items[c][i] = malloc(size_of(c));
			if (!items[c][i])
				abort();
			pattern_fill(items[c][i], size_of(c), c + i);
		}
}

static void free_most(void)
{
	for (unsigned int c = 0; c < NR_CLASSES; c++)
		for (size_t i = 0; i < EACH / size_of(c); i++)
			if (!is_kept(c, i))
				free(items[c][i]);
}

static size_t kept_bytes(void)
{
	size_t bytes = 0;

	for (unsigned int c = 0; c < NR_CLASSES; c++)
		for (size_t i = 0; i < EACH / size_of(c); i++)
			if (is_kept(c, i))
				bytes += size_of(c);
	return bytes;
}

static bool kept_are_whole(void)
{
	for (unsigned int c = 0; c < NR_CLASSES; c++)
		for (size_t i = 0; i < EACH / size_of(c); i++)
			if (is_kept(c, i) &&
			    !pattern_holds(items[c][i], size_of(c), c + i))
				return false;
	return true;
}

FIXTURE_EMPTY(pony);

TEST_F(pony, what_is_on_free_lists_returns_to_the_kernel)
{
	size_t before, full, wanted;

	if (SANITIZED)
		SKIP(return, "sanitizers keep as much for themselves");
	memset(items, 1, sizeof(items));
	before = rss_bytes();
	take_all();
	full = rss_bytes();
	EXPECT_LE(before + NR_CLASSES * EACH, full);
	free_most();
	/* Of each small one that is kept the page stays, or two. */
	wanted = before + kept_bytes() + NR_CLASSES * EACH / 8;
	EXPECT_GT(full - NR_CLASSES * EACH / 2, wanted);
	EXPECT_TRUE(WAIT_FOR(rss_bytes() <= wanted)) {
		TH_LOG("%zu, full %zu, wanted %zu", rss_bytes(), full, wanted);
	}
	EXPECT_TRUE(kept_are_whole());
}

TEST_HARNESS_MAIN
