/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Zones: runs stay where they are from, whoever frees them
 *
 * It includes zone.c, to put threads into the zones it wants.
 */
#include <pthread.h>
#include "../../src/vm/zone.c"
#include "acct/account.h"
#include "harness.h"
#include "unit/page_sizes.h"
#include "vm/run.h"

#define NR_ZONES	3u
#define NR_THREADS	4u
#define NR_HELD		24u
#define LONGEST		24u	/* slabs */

static bool stop;

FIXTURE(zone) {
	struct rng rng;
};
PAGE_SIZES(zone);

FIXTURE_SETUP(zone)
{
	ASSERT_EQ(0, page_size_begin(variant->shift, &self->rng));
	make_until(NR_ZONES - 1);
}

FIXTURE_TEARDOWN(zone) { }

/* A run as a thread in @zone gets it. */
static struct slab *alloc_in(uint8_t zone, size_t nr, enum run_state *ret_was)
{
	struct slab *run;

	own.at = zone;
	run = run_alloc(nr, 1, ret_was);
	own.at = 0;
	return run;
}

/*
 * Whether what the ends of all runs say, and what the zones count, is so: no two
 * neighbours that should be one, none of two zones, nothing in no index.
 */
static bool adds_up(uint64_t used)
{
	size_t end = range.fresh >> SLAB_SHIFT, nr_free = 0, nr_indexed = 0;
	uint64_t sums[RUN_NR_STATES] = { 0 };
	const struct slab *before = NULL;

	for (size_t i = 0; i < end;) {
		const struct slab *run = range.slabs + i;

		if (!run_is_indexed(run)) {
			i += max(run->run_len, 1u);
			before = NULL;
			continue;
		}
		if (run[run->run_len - 1].run_len != run->run_len ||
		    run[run->run_len - 1].run_state != run->run_state ||
		    run[run->run_len - 1].zone != run->zone)
			return false;
		if (before && before->zone == run->zone &&
		    before->run_state == run->run_state)
			return false;
		sums[run->run_state] += (uint64_t)run->run_len << SLAB_SHIFT;
		nr_free++;
		before = run;
		i += run->run_len;
	}
	for (uint32_t z = 0; z < nr_zones; z++)
		for (int state = RUN_DIRTY; state <= RUN_CLEAN; state++) {
			struct run_index *index = &zones[z].indexes[state];
			struct slab *run;

			if (!index->by_age.next)
				continue;
			list_for_each_entry(run, &index->by_age, age) {
				nr_indexed++;
				if (run->zone != z || run->run_state != state)
					return false;
			}
		}
	for (int state = RUN_DIRTY; state <= RUN_CLEAN; state++)
		if (run_sum(offsetof(struct run_counters, in_state) +
			    (size_t)state * sizeof(uint64_t)) != sums[state])
			return false;
	return nr_free == nr_indexed && run_counted(used) == used &&
	       !run_counted(in_state[RUN_LEAVING]);
}

TEST_F(zone, runs_go_back_to_where_they_are_from)
{
	struct slab *runs[NR_ZONES];

	for (uint8_t z = 0; z < NR_ZONES; z++) {
		runs[z] = alloc_in(z, 3, NULL);
		ASSERT_NE(NULL, runs[z]);
		EXPECT_EQ(z, runs[z]->zone);
	}
	for (uint8_t z = 0; z < NR_ZONES; z++)
		run_free(runs[z], 3, RUN_DIRTY);
	for (uint8_t z = 0; z < NR_ZONES; z++) {
		EXPECT_EQ(3 * SLAB_SIZE, zones[z].counters.in_state[RUN_DIRTY]);
		EXPECT_EQ(runs[z], alloc_in(z, 3, NULL));
		run_free(runs[z], 3, RUN_DIRTY);
	}
	EXPECT_TRUE(adds_up(0));
}

TEST_F(zone, what_was_never_used_is_not_taken_again)
{
	enum run_state was;
	struct slab *run = alloc_in(1, 3, &was), *next = alloc_in(1, 2, NULL);

	EXPECT_EQ(RUN_CLEAN, was);
	EXPECT_EQ(run + 3, next);
	EXPECT_EQ(0u, run_counted(retaken));
	/* As if it had been given back. */
	run_free(run, 3, RUN_CLEAN);
	EXPECT_EQ(run, alloc_in(1, 2, NULL));
	EXPECT_EQ(2 * SLAB_SIZE, run_counted(retaken));
	run_free(next, 2, RUN_CLEAN);
	/* One slab of before, two of before, five that are new. */
	EXPECT_EQ(run + 2, alloc_in(1, 8, NULL));
	EXPECT_EQ(5 * SLAB_SIZE, run_counted(retaken));
	EXPECT_TRUE(adds_up(10 * SLAB_SIZE));
	/* The end of one extent and the start of the next one. */
	run = alloc_in(1, ZONE_EXTENT - 14, NULL);
	EXPECT_EQ(run + ZONE_EXTENT - 14, alloc_in(1, 8, NULL));
	EXPECT_EQ(5 * SLAB_SIZE, run_counted(retaken));
}

TEST_F(zone, what_is_backed_elsewhere_is_taken_before_what_is_not)
{
	struct slab *run = alloc_in(1, 5, NULL);
	enum run_state was = RUN_CLEAN;

	run_free(run, 5, RUN_DIRTY);
	EXPECT_EQ(run, alloc_in(2, 4, &was));
	EXPECT_EQ(RUN_DIRTY, was);
	/* It stays the other one's. */
	run_free(run, 4, RUN_LAZY);
	EXPECT_EQ(run, alloc_in(0, 4, &was));
	EXPECT_EQ(RUN_LAZY, was);
	run_free(run, 4, RUN_DIRTY);
	EXPECT_EQ(5 * SLAB_SIZE, zones[1].counters.in_state[RUN_DIRTY]);
	EXPECT_TRUE(adds_up(0));
}

/* Whose lock is taken is passed by: nobody waits for two. */
static void *hold(void *zone)
{
	struct lock *lock = &((struct zone *)zone)->lock;

	lock_take(lock);
	/* Until somebody sleeps on it. */
	while (!(load_relaxed(&lock->word) & 1u) && !load_relaxed(&stop))
		sleep_ms(1);
	lock_release(lock);
	return NULL;
}

TEST_F(zone, who_finds_the_lock_taken_again_and_again_moves_on)
{
	enum { MOST = 4 * ZONE_WAITS };
	unsigned int nr = 0;
	pthread_t holder;

	if (cpus_allowed() < 2)
		SKIP(return, "one CPU");
	/* The first to move is told to stay, in turns with others. */
	next_zone = 1;
	for (; !own.at && nr < MOST; nr++) {
		struct slab *run;

		ASSERT_EQ(0, pthread_create(&holder, NULL, hold, &zones[0]));
		while (!load_relaxed(&zones[0].lock.word))
			sleep_ms(1);
		/* Who only frees waits, too, but for what has its place. */
		run = run_alloc(1, 1, NULL);
		if (own.at) {
			/* Then nobody waits. */
			EXPECT_EQ(1, run->zone);
			lock_take(&zones[0].lock);
			lock_release(&zones[0].lock);
		}
		ASSERT_EQ(0, pthread_join(holder, NULL));
	}
	EXPECT_EQ(1, own.at);
	EXPECT_EQ(ZONE_WAITS, nr);
	EXPECT_EQ(1, own.nr_moves);
}

TEST_F(zone, waits_that_are_long_ago_are_forgotten)
{
	own.nr_waits = ZONE_WAITS - 1;
	for (unsigned int i = 0; i < 8 * ZONE_SPELL; i++)
		lock_release(&zone_take_own()->lock);
	EXPECT_EQ(0u, own.nr_waits);
}

/* Claims find the oldest, whosever it is. */
TEST_F(zone, the_oldest_goes_first)
{
	static const uint8_t order[] = { 2, 0, 1, 1, 2, 0 };
	struct slab *runs[ARRAY_LEN(order)], *between[ARRAY_LEN(order)];
	size_t nr;

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		runs[i] = alloc_in(order[i], 2, NULL);
		between[i] = alloc_in(order[i], 1, NULL);
	}
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		run_free(runs[i], 2, RUN_DIRTY);
		runs[i]->stamp_ms = 100 + i;
	}
	EXPECT_EQ(100u, run_oldest(RUN_DIRTY));
	EXPECT_EQ(NULL, run_claim(RUN_DIRTY, 99, 8, &nr));
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		struct slab *run = run_claim(RUN_DIRTY, UINT64_MAX, 8, &nr);

		EXPECT_EQ(runs[i], run);
		EXPECT_EQ(2u, nr);
		run_settle(run, nr, RUN_CLEAN, run->stamp_ms);
	}
	EXPECT_EQ(UINT64_MAX, run_oldest(RUN_DIRTY));
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		run_free(between[i], 1, RUN_DIRTY);
	EXPECT_TRUE(adds_up(0));
}

/* The one zone that has any is not passed by because somebody is at it. */
TEST_F(zone, who_alone_has_any_is_waited_for)
{
	struct slab *run = alloc_in(1, 2, NULL), *found = NULL;
	pthread_t holder;
	size_t nr;

	run_free(run, 2, RUN_DIRTY);
	stop = false;
	ASSERT_EQ(0, pthread_create(&holder, NULL, hold, &zones[1]));
	while (!load_relaxed(&zones[1].lock.word))
		sleep_ms(1);
	/* He lets go as soon as he is waited for, whenever he has a CPU. */
	for (unsigned int i = 0; !found && i < 100; i++)
		found = run_claim(RUN_DIRTY, UINT64_MAX, 8, &nr);
	store_relaxed(&stop, true);
	ASSERT_EQ(0, pthread_join(holder, NULL));
	EXPECT_EQ(run, found);
	stop = false;
}

/* Below a handler that interrupted the holder of any zone's lock. */
TEST_F(zone, a_holder_waits_for_no_other)
{
	struct slab *run = alloc_in(2, 3, NULL), *mine;
	size_t nr;

	lock_take(&zones[2].lock);
	run_free(run, 3, RUN_DIRTY);
	EXPECT_EQ(run, zones[2].deferred);
	lock_release(&zones[2].lock);
	lock_take(&zones[1].lock);
	EXPECT_TRUE(zone_is_any_mine());
	mine = alloc_in(2, 3, NULL);
	ASSERT_NE(NULL, mine);
	EXPECT_EQ(0, mine->zone);
	EXPECT_FALSE(run_resize(mine, 3, 2, false));
	EXPECT_EQ(NULL, run_claim(RUN_DIRTY, UINT64_MAX, 8, &nr));
	/* A lock that nobody has is not waited for. */
	run_free(mine, 3, RUN_DIRTY);
	EXPECT_EQ(NULL, zones[0].deferred);
	EXPECT_EQ(3 * SLAB_SIZE, zones[0].counters.in_state[RUN_DIRTY]);
	lock_release(&zones[1].lock);
	/* Who takes the other one next takes in what was left there. */
	run_free(alloc_in(2, 1, NULL), 1, RUN_DIRTY);
	EXPECT_EQ(NULL, zones[2].deferred);
	EXPECT_EQ(3 * SLAB_SIZE, zones[2].counters.in_state[RUN_DIRTY]);
	EXPECT_TRUE(adds_up(0));
}

TEST_F(zone, nothing_grows_into_what_is_another_ones)
{
	struct slab *run = alloc_in(1, ZONE_EXTENT, NULL);
	struct slab *next = alloc_in(2, ZONE_EXTENT, NULL), *last;

	ASSERT_EQ(run + ZONE_EXTENT, next);
	last = alloc_in(0, 2, NULL);
	ASSERT_EQ(next + ZONE_EXTENT, last);
	run_free(next, ZONE_EXTENT, RUN_DIRTY);
	EXPECT_FALSE(run_resize(run, ZONE_EXTENT, ZONE_EXTENT + 1, false));
	EXPECT_TRUE(run_resize(run, ZONE_EXTENT, ZONE_EXTENT - 1, false));
	/* Nor is it joined with it: one is the first zone's last slab. */
	EXPECT_EQ(SLAB_SIZE, zones[1].counters.in_state[RUN_DIRTY]);
	EXPECT_EQ(ZONE_EXTENT * SLAB_SIZE,
		  zones[2].counters.in_state[RUN_DIRTY]);
	EXPECT_TRUE(run_resize(last, 2, 5, false));
	EXPECT_TRUE(adds_up((ZONE_EXTENT - 1 + 5) * SLAB_SIZE));
}

TEST_F(zone, what_is_long_is_the_first_ones)
{
	struct slab *run = alloc_in(1, ZONE_EXTENT + 1, NULL);

	ASSERT_NE(NULL, run);
	EXPECT_EQ(0, run->zone);
	run_free(run, ZONE_EXTENT + 1, RUN_CLEAN);
	EXPECT_EQ(run, alloc_in(2, ZONE_EXTENT + 1, NULL));
	EXPECT_TRUE(adds_up((ZONE_EXTENT + 1) * SLAB_SIZE));
}

/* Who is refused fresh memory has what is clean elsewhere. */
TEST_F(zone, nothing_is_out_of_reach)
{
	struct slab *whole = NULL, *run = NULL;
	enum run_state was;
	size_t nr;

	for (nr = 256 * MIB >> SLAB_SHIFT; nr && !whole; nr /= 2)
		whole = alloc_in(0, nr, NULL);
	ASSERT_NE(NULL, whole);
	while (alloc_in(0, 1, NULL))
		;
	for (uint8_t z = 0; z < NR_ZONES; z++)
		EXPECT_EQ(NULL, alloc_in(z, 1, NULL));
	run_free(whole, 2 * nr, RUN_CLEAN);
	run = alloc_in(1, nr / 2, &was);
	EXPECT_EQ(whole, run);
	EXPECT_EQ(RUN_CLEAN, was);
	EXPECT_EQ(0, whole->zone);
	EXPECT_EQ(whole + nr / 2, alloc_in(2, 3, NULL));
}

/* However little it is, and whoever put it there. */
TEST_F(zone, what_is_dirty_is_noticed)
{
	struct slab *run = alloc_in(1, 1, NULL), *large = alloc_in(1, 40, NULL);

	store_relaxed(&account.wake_level, 1);
	run_look();
	EXPECT_EQ(0u, load_relaxed(&account.wanted));
	run_free(run, 1, RUN_DIRTY);
	EXPECT_EQ(0u, load_relaxed(&zones[1].told.dirty));
	run_look();
	EXPECT_EQ((uint32_t)WANTED_PASS, load_relaxed(&account.wanted));
	/* What is taken in for a handler that could not wait is told, too. */
	lock_take(&zones[2].lock);
	run_free(large, 40, RUN_DIRTY);
	lock_release(&zones[2].lock);
	EXPECT_EQ(NULL, zones[1].deferred);
	EXPECT_LE(40 * SLAB_SIZE, load_relaxed(&zones[1].told.dirty) +
				  ZONE_TELL_STEP);
	/* A little is not told, but none of it is. */
	ASSERT_EQ(run, alloc_in(1, 38, NULL));
	EXPECT_LT(0u, load_relaxed(&zones[1].told.dirty));
	while (zones[1].counters.in_state[RUN_DIRTY])
		alloc_in(1, 1, NULL);
	EXPECT_EQ(0u, load_relaxed(&zones[1].told.dirty));
}

/* What only the first zone had is told as soon as there is a second one. */
TEST(zone_that_was_alone_tells)
{
	struct rng rng;
	struct slab *run;

	ASSERT_EQ(0, page_size_begin(12, &rng));
	run = run_alloc(40, 1, NULL);
	run_free(run, 40, RUN_DIRTY);
	EXPECT_EQ(0u, zones[0].told.dirty);
	make_until(1);
	EXPECT_EQ(40 * SLAB_SIZE, zones[0].told.dirty);
	EXPECT_EQ(run, alloc_in(1, 40, NULL));
}

/* Each of them is held, and what was freed meanwhile is taken in. */
TEST_F(zone, all_are_held_in_a_fork)
{
	struct slab *run = alloc_in(2, 3, NULL);

	zone_prefork(true);
	for (unsigned int i = 0; i < NR_ZONES; i++)
		EXPECT_TRUE(lock_is_mine(&zones[i].lock));
	EXPECT_FALSE(lock_is_mine(&zones[NR_ZONES].lock));
	run_free(run, 3, RUN_DIRTY);
	EXPECT_EQ(run, zones[2].deferred);
	zone_postfork();
	EXPECT_FALSE(zone_is_any_mine());
	EXPECT_EQ(3 * SLAB_SIZE, zones[2].counters.in_state[RUN_DIRTY]);
	/* Below a handler: not that which was interrupted. */
	lock_take(&zones[1].lock);
	zone_prefork(false);
	EXPECT_TRUE(lock_is_mine(&zones[2].lock));
	zone_postfork();
	EXPECT_FALSE(lock_is_mine(&zones[2].lock));
	EXPECT_TRUE(lock_is_mine(&zones[1].lock));
	lock_release(&zones[1].lock);
	EXPECT_TRUE(adds_up(0));
}

/* === All at once ========================================================== */

struct worker {
	pthread_t id;
	unsigned int nr;
	unsigned int rounds;
	uint64_t used;
	bool failed;
};

/* Each slab that a thread has bears its number; nobody else's does. */
static void sign(struct slab *first, size_t nr, uint64_t word)
{
	for (size_t i = 0; i < nr; i++)
		store_relaxed((uint64_t *)(void *)slab_base(first + i), word);
}

static bool is_signed(const struct slab *first, size_t nr, uint64_t word)
{
	for (size_t i = 0; i < nr; i++)
		if (load_relaxed((uint64_t *)(void *)slab_base(first + i)) !=
		    word)
			return false;
	return true;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct { struct slab *run; size_t nr; uint64_t word; } held[NR_HELD] = {
		{ NULL, 0, 0 }
	};
	struct rng rng;

	rng_seed(&rng, worker->nr);
	for (unsigned int i = 0; i < worker->rounds && !worker->failed; i++) {
		unsigned int at = (unsigned int)rng_below(&rng, NR_HELD);
		size_t nr = 1 + rng_below(&rng, LONGEST);

		/* Also from zone to zone, as who waits does. */
		own.at = (uint8_t)((worker->nr + i / 512) % NR_ZONES);
		if (!held[at].run) {
			held[at].run = run_alloc(nr, 1, NULL);
			held[at].nr = nr;
			held[at].word = (uint64_t)(worker->nr + 1) << 32 | i;
			worker->failed |= !held[at].run;
			if (held[at].run)
				sign(held[at].run, nr, held[at].word);
			continue;
		}
		worker->failed |= !is_signed(held[at].run, held[at].nr,
					     held[at].word);
		if (rng_below(&rng, 4)) {
			run_free(held[at].run, held[at].nr, RUN_DIRTY);
			held[at].run = NULL;
		} else if (run_resize(held[at].run, held[at].nr, nr, false)) {
			held[at].nr = nr;
			sign(held[at].run, nr, held[at].word);
		}
	}
	for (unsigned int at = 0; at < NR_HELD; at++)
		if (held[at].run)
			run_free(held[at].run, held[at].nr, RUN_DIRTY);
	own.at = 0;
	return NULL;
}

/* As the reclaimer: takes the oldest, writes over it, and puts it back. */
static void *reclaim(void *unused)
{
	while (!load_relaxed(&stop)) {
		static const enum run_state next[] = {
			[RUN_DIRTY] = RUN_LAZY, [RUN_LAZY] = RUN_CLEAN,
		};
		size_t nr;

		for (int from = RUN_DIRTY; from <= RUN_LAZY; from += 2) {
			struct slab *run = run_claim((enum run_state)from,
						     UINT64_MAX, 8, &nr);

			if (!run)
				continue;
			sign(run, nr, 0);
			run_settle(run, nr, next[from], run->stamp_ms);
		}
	}
	return unused;
}

TEST_F(zone, many_threads_in_all_zones_at_once)
{
	struct worker workers[NR_THREADS];
	pthread_t reclaimer;

	stop = false;
	ASSERT_EQ(0, pthread_create(&reclaimer, NULL, reclaim, NULL));
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		workers[i] = (struct worker){ .nr = i, .rounds = 30000 };
		ASSERT_EQ(0, pthread_create(&workers[i].id, NULL, work,
					    &workers[i]));
	}
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].id, NULL));
		EXPECT_FALSE(workers[i].failed);
	}
	store_relaxed(&stop, true);
	ASSERT_EQ(0, pthread_join(reclaimer, NULL));
	for (unsigned int i = 0; i < nr_zones; i++)
		EXPECT_EQ(NULL, zones[i].deferred);
	EXPECT_TRUE(adds_up(0));
}

TEST_HARNESS_MAIN
