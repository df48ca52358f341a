// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc stories - jemalloc in Firefox, 2008
 *
 * No madvise at every free: pages are noted as dirty, and past a threshold and
 * an age they are walked and purged.  Windows' task manager showed memory that
 * was mapped, and so users saw a hog where there was none: appearances matter,
 * and what top shows must fall, not only what the kernel could take.
 */
#include "ebb/stat_page.h"
#include "harness.h"

#define NR		8192u
#define SIZE		(8 * KIB)
#define BYTES		(NR * SIZE)

extern const char *ebb_conf;
const char *ebb_conf = "control_dir=off";

static void *objects[NR];

static uint64_t counter(enum ebb_counter id)
{
	struct ebb_stats stats;

	if (ebb_stats_snapshot(&stats, sizeof(stats)))
		abort();
	return stats.counters[id];
}

FIXTURE_EMPTY(jemalloc_2008);

TEST_F(jemalloc_2008, frees_are_noted_and_appearances_matter)
{
	size_t before, full;
	uint64_t passes;

	if (SANITIZED)
		SKIP(return, "sanitizers keep as much for themselves");
	before = rss_bytes();
	for (unsigned int i = 0; i < NR; i++) {
		objects[i] = malloc(SIZE);
		ASSERT_NE(NULL, objects[i]);
		memset(objects[i], 1, SIZE);
	}
	full = rss_bytes();
	EXPECT_LE(before + BYTES, full);
	passes = counter(EBB_COUNTER_NR_PASSES);
	for (unsigned int i = 0; i < NR; i++)
		free(objects[i]);
	passes = counter(EBB_COUNTER_NR_PASSES) - passes;
	EXPECT_GT(NR / 20, passes);
	/* The program does nothing more. */
	EXPECT_TRUE(WAIT_FOR(rss_bytes() < full - BYTES / 10 * 9));
	/* What was lazy for a while is clean: RSS has it no more. */
	EXPECT_TRUE(WAIT_FOR(counter(EBB_COUNTER_LAZY) < BYTES / 10));
	EXPECT_TRUE(WAIT_FOR(counter(EBB_COUNTER_GIVEN_BACK) >=
			     BYTES / 10 * 9));
}

TEST_HARNESS_MAIN
