// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - The choice of samples, as numbers
 *
 * Bounds are of SIGMAS standard deviations: all of them together are met by
 * chance but for once in 10^9 times.
 */
#include <math.h>
#include "heap/magazine.h"
#include "heap/sample.h"
#include "os/map.h"
#include "harness.h"

#define SIGMAS	7.0
#define MEAN	(64 * KIB)
#define NR_OPEN	40000u
#define NR_DRAW	400000u

FIXTURE(sample)
{
	struct heap *heap;
};

FIXTURE_SETUP(sample)
{
	map_init();
	sizeclass_init();
	sample_init(MEAN, 0x1234);
	self->heap = calloc(1, magazine_heap_size() + sizeof(struct sampler));
	ASSERT_NE(NULL, self->heap);
	heap_init_bins(self->heap);
	magazine_init(self->heap);
}

FIXTURE_TEARDOWN(sample)
{
	free(self->heap);
}

/* Whether @hits of @nr are what probability @p leads to. */
static bool is_likely(size_t hits, size_t nr, double p)
{
	double sigma = sqrt((double)nr * p * (1 - p));

	return fabs((double)hits - (double)nr * p) < SIGMAS * sigma;
}

static double chance(size_t size)
{
	return 1 - exp(-(double)size / (double)MEAN);
}

TEST_F(sample, an_object_s_chance_follows_from_its_size)
{
	static const size_t sizes[] = {
		1 * KIB, 8 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 300 * KIB,
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t hits = 0;

		for (unsigned int k = 0; k < NR_DRAW; k++)
			hits += sample_draw(sizes[i]);
		EXPECT_TRUE(is_likely(hits, NR_DRAW, chance(sizes[i])))
			TH_LOG("%zu bytes: %zu hits", sizes[i], hits);
	}
}

/* Slots before the next sample: none, and more than half of the times. */
TEST_F(sample, gaps_of_each_class_are_geometric)
{
	static size_t at_once[NR_CLASSES], early[NR_CLASSES];
	int64_t half[NR_CLASSES];

	for (unsigned int class = 0; class < NR_CLASSES; class++)
		half[class] = (int64_t)ceil(log(2) * (double)MEAN /
					    sizeclasses[class].size);
	for (unsigned int i = 0; i < NR_OPEN; i++) {
		sample_open(self->heap);
		for (unsigned int class = 0; class < NR_CLASSES; class++) {
			int64_t gap = -1 - self->heap->sampler->at[class];

			at_once[class] += !gap;
			early[class] += gap < half[class];
		}
	}
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		size_t size = sizeclasses[class].size;

		EXPECT_TRUE(is_likely(early[class], NR_OPEN,
				      chance(size * (size_t)half[class])))
			TH_LOG("%zu bytes: %zu early", size, early[class]);
		if (chance(size) * NR_OPEN > 500)
			EXPECT_TRUE(is_likely(at_once[class], NR_OPEN,
					      chance(size)))
				TH_LOG("%zu bytes: %zu at once", size,
				       at_once[class]);
	}
}

/* Two threads' choices have nothing to do with each other. */
TEST_F(sample, heaps_draw_for_themselves)
{
	unsigned int class = NR_CLASSES - 1;
	size_t both = 0, first = 0;
	bool last = false;

	for (unsigned int i = 0; i < NR_OPEN; i++) {
		bool hit;

		sample_open(self->heap);
		hit = self->heap->sampler->at[class] == -1;
		first += last;
		both += last && hit;
		last = hit;
	}
	EXPECT_TRUE(is_likely(both, first, chance(sizeclasses[class].size)));
}

/* The mark stays where it is counted to be, whatever is put on top. */
TEST_F(sample, the_mark_moves_with_what_is_pushed)
{
	struct magazine *mag = heap_magazine(self->heap, 3);
	void **bottom = self->heap->bins[3].bottom;
	int64_t *at;

	sample_open(self->heap);
	at = &self->heap->sampler->at[3];
	*at = -3;	/* two more below the lowest place */
	for (uintptr_t i = 0; i < 6; i++) {
		sample_push_begin(self->heap, 3);
		*mag->top = (void *)((i + 1) << 12 |
				     (i == 2 ? MAGAZINE_ZERO : 0));
		mag->top++;
		sample_push_end(self->heap, 3);
		for (int64_t k = 0; k <= (int64_t)i; k++) {
			uintptr_t slot = (uintptr_t)bottom[k];

			EXPECT_EQ(k == *at, !!(slot & MAGAZINE_SAMPLED));
			EXPECT_EQ((uintptr_t)(k + 1) << 12 |
				  (k == 2 ? MAGAZINE_ZERO : 0),
				  sample_unmark(slot));
		}
	}
	EXPECT_EQ(3, *at);
	sample_flushed(self->heap, 3, 2);
	EXPECT_EQ(1, *at);
}

TEST_HARNESS_MAIN
