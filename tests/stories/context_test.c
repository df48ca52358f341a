// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc stories - RavenDB's contexts
 *
 * An arena behind a context: of one thread, for a bounded scope, a pointer that
 * is bumped; freeing the top item moves it back, reset frees everything, and
 * contexts are pooled for reuse.
 */
#include "harness.h"

#define NR_REQUESTS	2000u
#define NR_WARM		20u
#define NR_OBJECTS	200u

extern const char *ebb_conf;
const char *ebb_conf = "reclaim=off,control_dir=off";

/* What a request does: a lot of small ones, of which it frees only some. */
static bool serve(struct ebb_context *context, unsigned int nr)
{
	char *objects[NR_OBJECTS];
	struct rng rng;

	rng_seed(&rng, nr % NR_WARM);
	for (unsigned int i = 0; i < NR_OBJECTS; i++) {
		size_t size = 8 + rng_below(&rng, 500);
		char *top = ebb_context_alloc(context, size);

		/* The top item's memory is the next one's. */
		ebb_context_free(context, top);
		objects[i] = ebb_context_alloc(context, size);
		if (!top || objects[i] != top)
			return false;
		pattern_fill(objects[i], 8, i);
	}
	for (unsigned int i = 0; i < NR_OBJECTS; i++)
		if (!pattern_holds(objects[i], 8, i))
			return false;
	return true;
}

static struct ebb_heap_counts counts(void)
{
	struct ebb_heap_counts counts;

	if (ebb_heap_count(&counts))
		abort();
	return counts;
}

FIXTURE_EMPTY(context);

TEST_F(context, requests_live_on_what_the_first_ones_took)
{
	struct ebb_heap_counts before = counts(), warm, after;

	for (unsigned int i = 0; i < NR_REQUESTS; i++) {
		struct ebb_context *context = ebb_context_open(NULL, 0, 0);

		ASSERT_NE(NULL, context);
		ASSERT_TRUE(serve(context, i));
		/* A second one in the same memory: nothing is freed by hand. */
		ebb_context_reset(context);
		ASSERT_TRUE(serve(context, i));
		ebb_context_close(context);
		if (i == NR_WARM)
			warm = counts();
	}
	after = counts();
	EXPECT_EQ(warm.mapped_bytes, after.mapped_bytes);
	EXPECT_EQ(warm.live_bytes, after.live_bytes);
	EXPECT_EQ(before.live_bytes, after.live_bytes);
}

TEST_HARNESS_MAIN
