// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Credits of pools that are revoked while they change
 *
 * A thread stays between the two stores of its bracket, where it would be for
 * some nanoseconds otherwise.
 */
#include <pthread.h>
#include "heap/drain.h"
#include "heap/pool.h"
#include "os/map.h"
#include "harness.h"

#define LIMIT	(1024 * 1024)
#define TAKEN	4096
#define CHANGE	1000

FIXTURE(pool) {
	struct ebb_pool *pool;
};

/* A thread with a credit, which it is busy with from @ready to @go_on. */
static struct {
	struct ebb_pool *pool;
	int64_t change;
	int64_t nr;
	bool ready, go_on;
} busy;

static struct pool_wish wish_for(int64_t timeout_ms)
{
	struct pool_wish wish = {
		.max_bytes = LIMIT, .max_buffer = LIMIT, .align = 16,
		.timeout_ms = timeout_ms, .name = "unit",
	};

	return wish;
}

FIXTURE_SETUP(pool)
{
	map_init();
	sizeclass_init();
	drain_init();
	ASSERT_EQ(0, range_init(1 << 30));
	ASSERT_NE(NULL, drain_open_heap());
	memset(&busy, 0, sizeof(busy));
	self->pool = NULL;
}

FIXTURE_TEARDOWN(pool)
{
}

/* Changes its credit, without a look at who waits. */
static void *stay_inside(void *unused)
{
	struct pool_credit *credit;

	if (!drain_open_heap() || pool_charge(busy.pool, TAKEN))
		abort();
	credit = credit_enter(busy.pool, busy.pool->key);
	if (!credit || credit->key != busy.pool->key)
		abort();
	__atomic_store_n(&busy.ready, true, __ATOMIC_RELEASE);
	if (!WAIT_FOR(__atomic_load_n(&busy.go_on, __ATOMIC_ACQUIRE)))
		abort();
	credit->bytes += busy.change;
	credit->nr += busy.nr;
	credit_leave();
	return unused;
}

static bool start_busy(struct ebb_pool *pool, pthread_t *ret_thread)
{
	busy.pool = pool;
	return !pthread_create(ret_thread, NULL, stay_inside, NULL) &&
	       WAIT_FOR(__atomic_load_n(&busy.ready, __ATOMIC_ACQUIRE));
}

static void let_go(void)
{
	__atomic_store_n(&busy.go_on, true, __ATOMIC_RELEASE);
}

TEST_F(pool, a_credit_that_is_being_changed_stays_where_it_is)
{
	struct pool_wish wish = wish_for(0);
	struct pool_counts counts;
	pthread_t other;

	ASSERT_EQ(0, pool_create(&wish, &self->pool));
	if (!self->pool->credit_max)
		SKIP(return, "there is no barrier, and so are no credits");
	busy.change = -CHANGE;
	busy.nr = 1;
	ASSERT_TRUE(start_busy(self->pool, &other));
	/* What is in its credit is not to be had. */
	EXPECT_EQ(-EAGAIN, pool_charge(self->pool, LIMIT - TAKEN));
	let_go();
	pthread_join(other, NULL);
	EXPECT_EQ(-EAGAIN, pool_charge(self->pool, LIMIT - TAKEN));
	EXPECT_EQ(0, pool_charge(self->pool, LIMIT - TAKEN - CHANGE));
	ASSERT_EQ(0, pool_count(self->pool, &counts));
	EXPECT_EQ(LIMIT, counts.bytes_out);
	EXPECT_EQ(3, counts.nr_out);
}

static void *take_all_else(void *pool)
{
	if (!drain_open_heap())
		abort();
	return pool_charge(pool, LIMIT) ? pool : NULL;
}

/* It returned what it had, and was stopped before it looked who waits. */
TEST_F(pool, who_waits_asks_again_for_what_was_being_changed)
{
	struct pool_wish wish = wish_for(POOL_FOR_EVER);
	pthread_t other, waiter;
	struct pool_counts counts;
	void *failed = &wish;

	ASSERT_EQ(0, pool_create(&wish, &self->pool));
	if (!self->pool->credit_max)
		SKIP(return, "there is no barrier, and so are no credits");
	busy.change = TAKEN;
	busy.nr = -1;
	ASSERT_TRUE(start_busy(self->pool, &other));
	ASSERT_EQ(0, pthread_create(&waiter, NULL, take_all_else, self->pool));
	ASSERT_TRUE(WAIT_FOR(load_acquire(&self->pool->nr_waiting) &&
			     load_acquire(&self->pool->nr_waits)));
	let_go();
	pthread_join(waiter, &failed);
	EXPECT_EQ(NULL, failed);
	pthread_join(other, NULL);
	ASSERT_EQ(0, pool_count(self->pool, &counts));
	EXPECT_EQ(LIMIT, counts.bytes_out);
	EXPECT_EQ(1, counts.nr_out);
}

TEST_HARNESS_MAIN
