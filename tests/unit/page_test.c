// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Pages and slots: 4, 16 and 64 KiB pages, every class
 *
 * Each answer is compared with one counted byte by byte.  The parts of the
 * library are the real ones, told another page size; batch.c and claim.c are
 * included, for their static functions.
 */
#include "reclaim/batch.c"
#include "reclaim/claim.c"

#include "heap/large.h"
#include "heap/magazine.h"
#include "heap/run_cache.h"
#include "unit/page_sizes.h"

#define ROUNDS		40u	/* of random masks for each class */
#define NR_PAGES	(SLAB_SIZE >> map_page_shift)

FIXTURE(page) {
	struct rng rng;
};

PAGE_SIZES(page);

FIXTURE_SETUP(page)
{
	ASSERT_EQ(0, page_size_begin(variant->shift, &self->rng));
}

FIXTURE_TEARDOWN(page)
{
}

static struct slab *make_slab(unsigned int class)
{
	enum run_state was;
	struct slab *slab = run_alloc(1, 1, &was);

	if (!slab)
		abort();
	slab_init(slab, class, &orphan_heap, was);
	return slab;
}

/* Where the bytes that slot @slot is answerable for end. */
static size_t end_of(const struct sizeclass *sc, unsigned int slot)
{
	return slot == sc->nr_slots - 1u ? SLAB_SIZE :
					   (slot + 1) * (size_t)sc->size;
}

/* Whether a byte of @slot lies on @page. */
static bool touches(const struct sizeclass *sc, unsigned int slot,
		    unsigned int page)
{
	size_t start = (size_t)page << map_page_shift;

	return slot * (size_t)sc->size < start + map_page_size &&
	       end_of(sc, slot) > start;
}

static unsigned int pages_counted(const struct sizeclass *sc, unsigned int word,
				  uint64_t mask)
{
	unsigned int pages = 0;

	for (unsigned int page = 0; page < NR_PAGES; page++)
		for (unsigned int bit = 0; bit < 64; bit++)
			if (mask >> bit & 1 &&
			    touches(sc, word * 64 + bit, page))
				pages |= 1u << page;
	return pages;
}

static uint64_t slots_counted(const struct sizeclass *sc, unsigned int word,
			      unsigned int pages)
{
	uint64_t mask = 0;

	for (unsigned int bit = 0; bit < 64; bit++)
		for (unsigned int page = 0; page < NR_PAGES; page++)
			if (word * 64 + bit < sc->nr_slots &&
			    pages >> page & 1 &&
			    touches(sc, word * 64 + bit, page))
				mask |= 1ULL << bit;
	return mask;
}

static uint64_t all_of(const struct sizeclass *sc, unsigned int word)
{
	return bits_range(0, min(sc->nr_slots - word * 64u, 64u));
}

static unsigned int some_pages(struct rng *rng)
{
	return (unsigned int)rng_next(rng) & slab_all_pages();
}

TEST(bits_are_counted)
{
	struct rng rng;

	rng_seed(&rng, 64);
	EXPECT_EQ(0u, bits_count(0));
	EXPECT_EQ(64u, bits_count(~0ULL));
	for (int i = 0; i < 10000; i++) {
		/* Dense, sparse, and in between. */
		uint64_t x = rng_next(&rng) >> rng_below(&rng, 64);
		unsigned int nr = 0;

		x = i % 3 ? x & rng_next(&rng) : ~x;
		for (uint64_t left = x; left; left &= left - 1)
			nr++;
		ASSERT_EQ(nr, bits_count(x));
		ASSERT_EQ(nr, bits_count_few(x));
		ASSERT_EQ(nr > 0, bits_count_few(x & -x));
	}
}

TEST_F(page, all_pages_of_a_slab_are_in_the_mask)
{
	EXPECT_EQ(NR_PAGES, bits_count(slab_all_pages()));
	EXPECT_EQ(NR_PAGES - 1, bit_highest(slab_all_pages()));
	EXPECT_EQ(0, SLAB_SIZE % map_page_size);
	EXPECT_GE(SLAB_PAGES_MAX, NR_PAGES);
}

TEST_F(page, slots_lie_on_the_pages_that_are_named)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		const struct sizeclass *sc = &sizeclasses[class];

		for (unsigned int slot = 0; slot < sc->nr_slots; slot++) {
			uint64_t mask = 1ULL << slot % 64;

			ASSERT_EQ(pages_counted(sc, slot / 64, mask),
				  slab_pages_of(sc, slot / 64, mask));
		}
		for (unsigned int page = 0; page < NR_PAGES; page++) {
			unsigned int first, end;

			slab_slots_on_page(sc, page, &first, &end);
			ASSERT_LT(first, end);
			ASSERT_GE(sc->nr_slots, end);
			for (unsigned int s = 0; s < sc->nr_slots; s++)
				ASSERT_EQ(touches(sc, s, page),
					  s >= first && s < end);
		}
	}
}

TEST_F(page, masks_of_slots_and_pages_agree)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		const struct sizeclass *sc = &sizeclasses[class];

		for (unsigned int round = 0; round < ROUNDS; round++) {
			unsigned int pages = some_pages(&self->rng) | 1u <<
				rng_below(&self->rng, NR_PAGES);
			unsigned int word, first, end;

			words_of(sc, pages, &first, &end);
			for (word = 0; word < sc->nr_words; word++) {
				uint64_t mask = slots_counted(sc, word, pages);

				ASSERT_EQ(mask, word_mask(sc, word, pages));
				ASSERT_FALSE(mask && (word < first ||
						      word >= end));
				mask = rng_next(&self->rng) & all_of(sc, word);
				if (!mask)
					continue;
				ASSERT_EQ(pages_counted(sc, word, mask),
					  slab_pages_of(sc, word, mask));
			}
		}
	}
}

/* Take random slots of @slab, few or most of them. */
static void take_some(struct slab *slab, const struct sizeclass *sc,
		      struct rng *rng)
{
	unsigned int nr = 0, thin = (unsigned int)rng_below(rng, 5);

	for (unsigned int word = 0; word < sc->nr_words; word++) {
		uint64_t mask = rng_next(rng);

		for (unsigned int i = 0; i < thin; i++)
			mask &= rng_next(rng);
		nr += bits_count(slab_claim(slab, word, mask));
	}
	if (!slab_debit(slab, nr, ctl_gen(slab->ctl)))
		abort();
}

static unsigned int free_counted(const uint64_t *bits,
				 const struct sizeclass *sc)
{
	unsigned int pages = slab_all_pages();

	for (unsigned int word = 0; word < sc->nr_words; word++) {
		uint64_t live = all_of(sc, word) & ~bits[word];

		pages &= ~pages_counted(sc, word, live);
	}
	return pages;
}

TEST_F(page, is_free_if_all_slots_that_touch_it_are)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		const struct sizeclass *sc = &sizeclasses[class];
		struct slab *slab = make_slab(class);

		ASSERT_EQ(slab_all_pages(), slab_free_pages(slab, sc));
		for (unsigned int round = 0; round < 8; round++) {
			unsigned int clean = some_pages(&self->rng);

			take_some(slab, sc, &self->rng);
			ASSERT_EQ(free_counted(slab->free, sc),
				  slab_free_pages(slab, sc));
			for (unsigned int word = 0; word < sc->nr_words; word++)
				ASSERT_EQ(slab->free[word] &
					  ~slots_counted(sc, word, clean),
					  slab_dirty_slots(slab, sc, word,
							   clean));
		}
	}
}

TEST_F(page, what_is_claimed_and_published_is_as_before)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		const struct sizeclass *sc = &sizeclasses[class];

		for (unsigned int round = 0; round < 4; round++) {
			struct slab *slab = make_slab(class);
			unsigned int wanted, got;
			struct slab_life life = { slab, sc, 0 };
			uint64_t before[SLAB_WORDS];
			uint64_t ctl;

			take_some(slab, sc, &self->rng);
			wanted = some_pages(&self->rng) | 1;
			memcpy(before, slab->free, sizeof(before));
			ctl = slab->ctl;
			life.gen = ctl_gen(ctl);
			got = claim_pages(&life, wanted);
			ASSERT_EQ(free_counted(before, sc) & wanted, got);
			for (unsigned int word = 0; word < sc->nr_words; word++)
				ASSERT_EQ(before[word] &
					  ~slots_counted(sc, word, got),
					  slab->free[word]);
			ASSERT_EQ(slab_count_bits(slab),
				  (unsigned int)ctl_count(slab->ctl));
			if (got)
				publish_pages(slab, got);
			ASSERT_EQ(0, memcmp(before, slab->free,
					    sc->nr_words * sizeof(*before)));
			ASSERT_EQ(ctl, slab->ctl);
		}
	}
}

TEST_F(page, is_not_claimed_for_another_life_of_the_slab)
{
	struct slab *slab = make_slab(20);
	uint64_t ctl = slab->ctl;
	struct slab_life life = { slab, &sizeclasses[20], ctl_gen(ctl) - 1 };

	EXPECT_EQ(0, claim_pages(&life, slab_all_pages()));
	EXPECT_EQ(ctl, slab->ctl);
	EXPECT_EQ(slab_all_pages(), slab_free_pages(slab, &sizeclasses[20]));
}

TEST_F(page, runs_are_handed_out_to_whom_they_fit)
{
	static const size_t pages[] = { 16, 10, 13, 9 };
	struct slab *run[ARRAY_LEN(pages)][2];
	size_t size = map_page_size;
	bool zero;

	if (SLAB_SIZE / map_page_size < 16)
		SKIP(return, "less than 16 pages in a slab");
	/* Each second one stays, so that they do not join. */
	for (size_t i = 0; i < ARRAY_LEN(pages); i++)
		for (int k = 0; k < 2; k++)
			run[i][k] = slab_of(large_alloc(NULL, pages[i] * size, 1,
							&zero));
	for (size_t i = 0; i < ARRAY_LEN(pages); i++)
		large_free(NULL, slab_base(run[i][0]), "free");
	EXPECT_EQ(run[2][0], slab_of(large_alloc(NULL, 13 * size, 1, &zero)));
	EXPECT_EQ(run[1][0], slab_of(large_alloc(NULL, 11 * size, 1, &zero)));
	/* A larger one is no better than a smaller one that is nearer. */
	EXPECT_EQ(run[3][0], slab_of(large_alloc(NULL, 12 * size, 1, &zero)));
	EXPECT_EQ(run[0][0], slab_of(large_alloc(NULL, 12 * size, 1, &zero)));
}

/* Bytes of free runs in @state that come of freeing @ptr. */
static uint64_t made(enum run_state state, const void *ptr)
{
	uint64_t before = run_counted(in_state[state]);

	large_free(NULL, (void *)(uintptr_t)ptr, "free");
	return run_counted(in_state[state]) - before;
}

/* Pages of @slab that are said to be backed, as part of a run that is part. */
static unsigned int nr_backed(const struct slab *slab)
{
	return bits_count(slab_all_pages() & ~pages_clean(
				run_page_word(slab, RUN_PART)));
}

TEST_F(page, what_is_backed_of_a_run_is_known_when_it_is_free)
{
	size_t size = map_page_size;
	struct slab *run;
	bool zero;
	void *p;

	if (SLAB_SIZE / map_page_size < 16)
		SKIP(return, "less than 16 pages in a slab");
	/* Nothing was behind it, so there is nothing to give back. */
	p = large_alloc(NULL, 9 * size, 1, &zero);
	run = slab_of(p);
	EXPECT_TRUE(zero);
	EXPECT_EQ(TAIL_NONE, run->tail);
	EXPECT_EQ(SLAB_SIZE, made(RUN_PART, p));
	EXPECT_EQ(9, nr_backed(run));

	/* As long as it ever was: behind the shorter one it stays. */
	ASSERT_EQ(p, large_alloc(NULL, 14 * size, 1, &zero));
	EXPECT_FALSE(zero);
	EXPECT_EQ(TAIL_NONE, run->tail);
	EXPECT_EQ(SLAB_SIZE, made(RUN_PART, p));
	ASSERT_EQ(p, large_alloc(NULL, 11 * size, 1, &zero));
	EXPECT_EQ(TAIL_DIRTY, run->tail);
	EXPECT_EQ(SLAB_SIZE, made(RUN_PART, p));
	EXPECT_EQ(14, nr_backed(run));

	/* Until it is given back. */
	ASSERT_EQ(p, large_alloc(NULL, 11 * size, 1, &zero));
	ASSERT_TRUE(tail_claim(run, TAIL_DIRTY));
	tail_gone(run);
	ASSERT_FALSE(tail_settle(run));
	EXPECT_EQ(SLAB_SIZE, made(RUN_PART, p));
	EXPECT_EQ(11, nr_backed(run));

	/* Grown to its end, all of it is. */
	ASSERT_EQ(p, large_alloc(NULL, 11 * size, 1, &zero));
	ASSERT_TRUE(large_resize(p, SLAB_SIZE));
	EXPECT_EQ(SLAB_SIZE, made(RUN_DIRTY, p));
}

/* Bytes without a page that are taken for an object of @pages pages. */
static int64_t taken_for(size_t pages, void **ret_ptr, bool *ret_zero)
{
	int64_t before = account.room;

	*ret_ptr = large_alloc(NULL, pages * map_page_size, 1, ret_zero);
	return before - account.room;
}

/* Room is for what is not backed, not for all of a run that is part. */
TEST_F(page, room_is_taken_for_what_is_not_backed)
{
	int64_t size = (int64_t)map_page_size, before;
	uint64_t retaken;
	struct slab *run;
	bool zero;
	void *p;

	if (SLAB_SIZE / map_page_size < 16)
		SKIP(return, "less than 16 pages in a slab");
	run = run_alloc(1, 1, NULL);
	ASSERT_NE(NULL, run_alloc(1, 1, NULL));
	retaken = account.retaken;
	/* Pages 2, 3 and 8 are clean, and 5 is lazy. */
	run->pages = 0x10cULL << PAGES_CLEAN | 0x20ULL << PAGES_LAZY;
	run_free(run, 1, RUN_PART);
	EXPECT_EQ(3 * map_page_size, run_counted(part_clean));
	EXPECT_EQ(SLAB_SIZE - 3 * map_page_size, run_part_bytes());
	EXPECT_EQ(3 * size, taken_for(7, &p, &zero));
	ASSERT_EQ(slab_base(run), p);
	EXPECT_FALSE(zero);
	EXPECT_EQ(0, run_counted(part_clean));
	EXPECT_EQ(2 * map_page_size, account.retaken - retaken);

	/* Of the rest there is one; what is in use is not asked for again. */
	before = account.room;
	ASSERT_TRUE(large_resize(p, 10 * map_page_size));
	EXPECT_EQ(size, before - account.room);
	EXPECT_EQ(SLAB_SIZE, made(RUN_DIRTY, p));
	EXPECT_EQ(0, taken_for(16, &p, &zero));

	/* What is behind it is on offer where it is backed. */
	EXPECT_EQ(SLAB_SIZE, made(RUN_DIRTY, p));
	ASSERT_EQ(run, run_alloc(1, 1, NULL));
	run->pages = 0xffULL << PAGES_CLEAN;
	run_free(run, 1, RUN_PART);
	EXPECT_EQ(8 * size, taken_for(8, &p, &zero));
	ASSERT_EQ(slab_base(run), p);
	EXPECT_EQ(TAIL_DIRTY, run->tail);
}

/* The same of objects of several slabs, whose last one has a tail. */
TEST_F(page, runs_of_several_slabs_know_what_is_backed_behind)
{
	int64_t size = (int64_t)map_page_size;
	struct slab *run;
	bool zero;
	void *p, *q;

	if (SLAB_SIZE / map_page_size < 16)
		SKIP(return, "less than 16 pages in a slab");
	p = large_alloc(NULL, 20 * map_page_size, 1, &zero);
	ASSERT_NE(NULL, run_alloc(1, 1, NULL));
	run = slab_of(p);
	/* As a slab left it that was here before. */
	run->pages = PAGES_HOLES;
	EXPECT_EQ(2 * SLAB_SIZE, made(RUN_PART, p));
	EXPECT_EQ(12 * map_page_size, run_counted(part_clean));
	EXPECT_EQ(2 * size, taken_for(22, &q, &zero));
	ASSERT_EQ(p, q);
	EXPECT_FALSE(zero);
	/* One of them alone takes its words along. */
	EXPECT_EQ(2 * SLAB_SIZE, made(RUN_PART, p));
	EXPECT_EQ(0, taken_for(16, &p, &zero));
	ASSERT_EQ(slab_base(run), p);
	EXPECT_EQ(10 * map_page_size, run_counted(part_clean));
	EXPECT_EQ(SLAB_SIZE, made(RUN_DIRTY, p));
	/* Of a longer one it is not known. */
	p = large_alloc(NULL, RUN_PART_MAX * SLAB_SIZE + 1, 1, &zero);
	EXPECT_EQ((RUN_PART_MAX + 1) * SLAB_SIZE, made(RUN_DIRTY, p));
}

/* Pages that the page words of the free run @first say are clean. */
static unsigned int words_clean(const struct slab *first)
{
	unsigned int nr = 0;

	for (size_t i = 0; i < first->run_len; i++)
		nr += bits_count(pages_clean(first[i].pages));
	return nr;
}

/* Whether the sums of all free runs that are part are those of their words. */
static bool holes_add_up(const struct slab *first, size_t nr)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < nr;) {
		const struct slab *run = first + i;

		if (run->run_state == RUN_USED) {
			i++;
			continue;
		}
		if (run->run_state == RUN_PART) {
			if (run->run_holes != words_clean(run))
				return false;
			sum += run->run_holes;
		} else if (run->run_holes) {
			return false;
		}
		i += run->run_len;
	}
	return sum << map_page_shift == run_counted(part_clean);
}

TEST_F(page, of_runs_that_join_and_part_the_clean_pages_add_up)
{
	enum { NR = 64 };
	struct slab *first = run_alloc(NR + 2, 1, NULL);
	bool used[NR];

	/* One on either side stays, so that none joins what is around. */
	ASSERT_NE(NULL, first);
	first++;
	run_free(first, NR, RUN_DIRTY);
	memset(used, 0, sizeof(used));
	for (int i = 0; i < 20000; i++) {
		size_t at = rng_next(&self->rng) % NR;
		enum run_state state = RUN_PART;
		struct slab *run;

		if (!(rng_next(&self->rng) % 8))
			state = RUN_DIRTY + rng_next(&self->rng) % 4;
		if (used[at]) {
			used[at] = false;
			first[at].pages = rng_next(&self->rng) &
				((uint64_t)slab_all_pages() << PAGES_CLEAN |
				 (uint64_t)slab_all_pages() << PAGES_LAZY);
			run_free(first + at, 1, state);
		} else {
			/* From the middle of a longer one, too. */
			run = run_alloc(1, 1u << rng_next(&self->rng) % 3,
					NULL);
			ASSERT_NE(NULL, run);
			if (run >= first && run < first + NR)
				used[run - first] = true;
			else
				run_free(run, 1, RUN_CLEAN);
		}
		ASSERT_TRUE(holes_add_up(first, NR));
	}
}

/* By how many pages of it are backed, wherever they are. */
TEST_F(page, what_was_a_slab_fits_by_its_pages)
{
	unsigned int all = slab_nr_pages();
	struct slab *run[3];
	bool zero;

	if (all < 16)
		SKIP(return, "less than 16 pages in a slab");
	for (unsigned int i = 0; i < 3; i++) {
		run[i] = run_alloc(1, 1, NULL);
		ASSERT_NE(NULL, run_alloc(1, 1, NULL));
	}
	run[0]->pages = 0x1111ULL << PAGES_CLEAN;
	run_free(run[0], 1, RUN_PART);
	run_free(run[1], 1, RUN_DIRTY);
	run_free(run[2], 1, RUN_CLEAN);
	EXPECT_EQ(run[0], slab_of(large_alloc(NULL, 13 * map_page_size, 1,
					      &zero)));
	EXPECT_EQ(run[1], slab_of(large_alloc(NULL, 9 * map_page_size, 1,
					      &zero)));
	EXPECT_EQ(run[2], slab_of(large_alloc(NULL, 16 * map_page_size, 1,
					      &zero)));
	EXPECT_TRUE(zero);
}

/* What the run of a slab, which was part with @clean pages, is afterwards. */
static enum run_state retired_from(struct heap *heap, unsigned int clean,
				   bool touched)
{
	struct slab *run = run_alloc(1, 1, NULL), *slab;
	unsigned int class = sizeclass_of(1000);

	run->pages = clean;
	run_free(run, 1, RUN_PART);
	slab = heap_next_slab(heap, class);
	heap->bins[class].current = NULL;
	if (touched)
		slab_touch(slab, clean);
	if (slab != run || !heap_retire(heap, slab) || !heap->runs.nr)
		return RUN_NR_STATES;
	return (enum run_state)heap->runs.entries[heap->runs.nr - 1].state;
}

/* Which of its pages are clean a slab knows from the run, and the other way. */
TEST_F(page, what_was_part_before_it_was_a_slab_is_so_after)
{
	struct heap *heap = drain_open_heap();
	int64_t dirty;

	if (SLAB_SIZE / map_page_size < 16)
		SKIP(return, "less than 16 pages in a slab");
	ASSERT_NE(NULL, heap);
	ASSERT_NE(NULL, run_alloc(1, 1, NULL));
	dirty = heap->delta.dirty;
	EXPECT_EQ(RUN_PART, retired_from(heap, 0x0ff0, false));
	EXPECT_EQ(dirty, heap->delta.dirty);
	EXPECT_EQ(8, heap->runs.entries[heap->runs.nr - 1].backed);
	EXPECT_EQ(0x0ff0, heap->runs.entries[heap->runs.nr - 1].run->pages &
			  PAGES_HOLES);
	run_cache_trim(heap, 0);
	ASSERT_NE(NULL, run_alloc(1, 1, NULL));
	EXPECT_EQ(RUN_DIRTY, retired_from(heap, 0x0ff0, true));
}

/* Claim all of the first run that is part; the bytes that it gave back. */
static uint64_t give_back_part(size_t max_nr)
{
	const struct run_order wanted = {
		.from = RUN_PART,
		.until_ms = UINT64_MAX,
		.max_nr = max_nr,
	};
	struct purge_order order = { .force = true, .try = true };
	struct purge_result result = { 0 };
	struct pass pass = { .order = &order, .result = &result };

	batch_open(&pass);
	if (!batch_take_run(&pass, ADVISE_CLEAN, &wanted))
		return 0;
	batch_end(&pass);
	batch_close();
	return result.clean_bytes;
}

TEST_F(page, what_is_clean_is_not_given_back_again)
{
	struct slab *run;

	if (SLAB_SIZE / map_page_size < 16)
		SKIP(return, "less than 16 pages in a slab");
	run = run_alloc(2, 1, NULL);
	ASSERT_NE(NULL, run_alloc(1, 1, NULL));
	run[0].pages = 0xff00ULL << PAGES_CLEAN;
	run[1].pages = 0x0001ULL << PAGES_CLEAN | 0x0002ULL << PAGES_LAZY;
	run_free(run, 2, RUN_PART);
	EXPECT_EQ(23 * map_page_size, run_dirty_bytes());
	EXPECT_EQ(23 * map_page_size, give_back_part(2));
	EXPECT_EQ(0, run_dirty_bytes());
	EXPECT_EQ(2 * SLAB_SIZE, run_counted(in_state[RUN_CLEAN]));
	EXPECT_EQ(0, run_counted(part_clean));
}

/* A large object in place of a longer one, and so with something behind it. */
static struct slab *make_tail(void)
{
	bool zero;
	void *p = large_alloc(NULL, SLAB_SIZE, 1, &zero);

	if (!p)
		abort();
	large_free(NULL, p, "free");
	p = large_alloc(NULL, SLAB_SIZE / 2 + 1, 1, &zero);
	if (!p)
		abort();
	return slab_of(p);
}

TEST_F(page, those_behind_an_object_keep_it_in_place)
{
	struct slab *run = make_tail();
	uint64_t tails = run_counted(tails);
	void *p = slab_base(run), *q;
	bool zero;

	if (!tail_bytes(run))
		SKIP(return, "pages as large as slabs");
	EXPECT_EQ(TAIL_DIRTY, run->tail);
	EXPECT_EQ(tail_bytes(run), tails);
	ASSERT_TRUE(tail_claim(run, TAIL_DIRTY));
	EXPECT_EQ(0, run_counted(tails));
	EXPECT_FALSE(large_resize(p, SLAB_SIZE));
	EXPECT_FALSE(large_resize(p, 3 * SLAB_SIZE));
	/* Freed meanwhile: nobody gets it before it is settled. */
	large_free(NULL, p, "free");
	q = large_alloc(NULL, SLAB_SIZE, 1, &zero);
	EXPECT_NE(p, q);
	ASSERT_TRUE(tail_settle(run));
	run_free(run, 1, RUN_PART);
	EXPECT_EQ(p, large_alloc(NULL, SLAB_SIZE, 1, &zero));
	EXPECT_FALSE(zero);
	EXPECT_EQ(TAIL_NONE, run->tail);
}

TEST_F(page, those_behind_an_object_are_claimed_once)
{
	struct slab *run = make_tail();
	uint8_t dirty = TAIL_DIRTY;

	if (!tail_bytes(run))
		SKIP(return, "pages as large as slabs");
	ASSERT_TRUE(cas_relaxed(&run->tail, &dirty, TAIL_IDLE));
	EXPECT_FALSE(tail_claim(run, TAIL_DIRTY));
	ASSERT_TRUE(tail_claim(run, TAIL_IDLE));
	EXPECT_FALSE(tail_claim(run, TAIL_IDLE));
	/* What the kernel refused is on offer again. */
	EXPECT_FALSE(tail_refused(run));
	EXPECT_EQ(TAIL_DIRTY, run->tail);
	EXPECT_EQ(tail_bytes(run), run_counted(tails));
	EXPECT_TRUE(large_resize(slab_base(run), SLAB_SIZE));
	EXPECT_EQ(TAIL_NONE, run->tail);
	EXPECT_EQ(0, run_counted(tails));
}

TEST_F(page, ranges_of_a_batch_cover_what_was_claimed)
{
	struct slab *slab = make_slab(0);

	for (unsigned int round = 0; round < 500; round++) {
		struct claim claim = {
			.slab = slab,
			.pages = some_pages(&self->rng) | 1u <<
				 rng_below(&self->rng, NR_PAGES),
		};
		unsigned int covered = 0, expected = 0;

		batch.nr_ranges = 0;
		add_ranges(&claim);
		ASSERT_GE(max(NR_PAGES / 2, 1u), batch.nr_ranges);
		for (unsigned int i = 0; i < batch.nr_ranges; i++) {
			size_t at = (size_t)(batch.ranges[i].start -
					     slab_base(slab));
			unsigned int pages;

			ASSERT_EQ(0, at % map_page_size);
			ASSERT_EQ(0, batch.ranges[i].len % map_page_size);
			pages = (unsigned int)bits_range(
				at >> map_page_shift,
				(at + batch.ranges[i].len) >> map_page_shift);
			ASSERT_EQ(0, covered & pages);
			covered |= pages;
			batch.ok[i] = rng_below(&self->rng, 2);
			expected |= batch.ok[i] ? pages : 0;
		}
		ASSERT_EQ(claim.pages, covered);
		ASSERT_EQ(expected, pages_done(&claim));
	}
}

/* Whole groups of @nr neighbours, from a multiple of @nr on, that are free. */
static unsigned int groups_counted(const struct slab *slab,
				   const struct sizeclass *sc, unsigned int nr)
{
	unsigned int groups = 0;

	for (unsigned int first = 0; first + nr <= sc->nr_slots; first += nr) {
		unsigned int left = nr;

		while (left && slab->free[(first + left - 1) / 64] >>
				       (first + left - 1) % 64 & 1)
			left--;
		groups += !left;
	}
	return groups;
}

/* As long as there are any; then what there is, down to the last. */
TEST_F(page, first_slots_are_whole_groups_of_neighbours)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		const struct sizeclass *sc = &sizeclasses[class];
		struct slab *slab = make_slab(class);
		unsigned int word, groups, nr = 0;
		uint64_t got;

		ASSERT_EQ(0, sc->share * sc->size % 64);
		for (word = 0; word < sc->nr_words; word++)
			nr += bits_count(slab_claim(slab, word,
						    rng_next(&self->rng) &
						    rng_next(&self->rng)));
		ASSERT_TRUE(slab_debit(slab, nr, ctl_gen(slab->ctl)));
		nr = sc->nr_slots - nr;
		while (groups = groups_counted(slab, sc, sc->share),
		       (got = slab_take_group(slab, class, &word))) {
			ASSERT_EQ(0, got & slab->free[word]);
			ASSERT_GE(sc->share, bits_count(got));
			if (groups) {
				ASSERT_EQ(groups - 1,
					  groups_counted(slab, sc, sc->share));
				ASSERT_EQ(sc->share, bits_count(got));
				ASSERT_EQ(0, bit_lowest(got) % sc->share);
				ASSERT_EQ(sc->share - 1, bit_highest(got) -
							 bit_lowest(got));
			}
			nr -= bits_count(got);
		}
		ASSERT_EQ(0, nr);
		ASSERT_EQ(0, ctl_count(slab->ctl));
		ASSERT_EQ(0, slab_count_bits(slab));
	}
}

/* Whole pages of @bytes[@start, @end) are zero, and nothing else of it. */
static void expect_pages_gone(struct __test_metadata *_metadata,
			      const char *bytes, size_t start, size_t end)
{
	size_t first = ALIGN_UP(start, map_page_size);
	size_t last = ALIGN_DOWN(end, map_page_size);

	if (end - start >= 2 * map_page_size)
		ASSERT_LT(first, last);
	for (size_t i = start; i < end; i++)
		ASSERT_EQ(i < first || i >= last, bytes[i] != 0);
}

/* Only whole pages of the stores go; the heap itself stays. */
TEST_F(page, discarding_magazines_leaves_the_heap_alone)
{
	const size_t lists = offsetof(struct heap, lists);
	const size_t big = offsetof(struct heap, big_store);
	size_t size = magazine_heap_size();
	struct heap *heap;
	char *bytes;

	ASSERT_EQ(0, map_reserve(ALIGN_UP(size, SLAB_SIZE), SLAB_SIZE, &bytes));
	ASSERT_EQ(0, map_commit(bytes, ALIGN_UP(size, SLAB_SIZE)));
	memset(bytes, 0xa5, ALIGN_UP(size, SLAB_SIZE));
	heap = (struct heap *)bytes;
	heap->grown = true;
	magazine_discard(heap);
	heap->grown = (bool)0xa5;
	for (size_t i = 0; i < offsetof(struct heap, small_store); i++)
		ASSERT_NE(0, bytes[i]);
	for (size_t i = lists; i < big; i++)
		ASSERT_NE(0, bytes[i]);
	expect_pages_gone(_metadata, bytes, lists - sizeof(heap->small_store),
			  lists);
	expect_pages_gone(_metadata, bytes, big, size);
	for (size_t i = size; i < ALIGN_UP(size, SLAB_SIZE); i++)
		ASSERT_NE(0, bytes[i]);
}

/* What a pass held open is the parent's; here the number may be a file's. */
TEST_F(page, a_child_does_not_close_what_a_pass_held_open)
{
	struct purge_result result = { 0 };
	struct purge_order order = { .force = true };
	struct pass pass = { .order = &order, .result = &result };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	resident.fd = fd;
	batch_prefork(true);
	batch_postfork_child();
	EXPECT_TRUE(count_resident(&pass));
	batch_close();
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
}

/* What a magazine may hold: the bound of what a busy thread keeps. */
TEST_F(page, magazines_hold_64_kib_of_a_class_and_more_while_it_goes_both_ways)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		const struct sizeclass *sc = &sizeclasses[class];
		size_t size = sc->size;

		EXPECT_GE(max(64 * KIB, 4 * size), sc->cache_soft * size);
		EXPECT_GE(max(MIB, 4 * size), sc->cache_max * size);
		EXPECT_LE(sc->cache_soft, sc->cache_max);
		EXPECT_GE(16 * MIB, sc->cache_burst * size);
		EXPECT_LE(sc->cache_max, sc->cache_burst);
	}
}

TEST_HARNESS_MAIN
