// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Locks: giving up, and who is woken then
 */
#include <pthread.h>
#include <signal.h>
#include "base/atomic.h"
#include "base/lock.h"
#include "harness.h"

static struct lock lock = LOCK_INIT(2);
static uint32_t nr_in, nr_through, may_leave;

/* Hold the lock until told to leave. */
static void *hold(void *arg)
{
	lock_take(&lock);
	store_release(&nr_in, 1);
	while (!load_acquire(&may_leave))
		sleep_ms(1);
	lock_release(&lock);
	return arg;
}

static void *wait_for_ever(void *arg)
{
	lock_take(&lock);
	lock_release(&lock);
	add_relaxed(&nr_through, 1);
	return arg;
}

/* Give up soon, again and again, until it is had. */
static void *wait_a_little(void *arg)
{
	while (!lock_try_for(&lock, 1))
		;
	lock_release(&lock);
	add_relaxed(&nr_through, 1);
	return arg;
}

FIXTURE(lock) {
	pthread_t holder;
};

FIXTURE_SETUP(lock)
{
	ASSERT_EQ(0, pthread_create(&self->holder, NULL, hold, NULL));
	ASSERT_TRUE(WAIT_FOR(load_acquire(&nr_in)));
}

FIXTURE_TEARDOWN(lock)
{
	store_release(&may_leave, 1);
	pthread_join(self->holder, NULL);
}

TEST_F(lock, who_is_patient_for_a_while_gives_up_after_it)
{
	uint64_t start = now_ms();

	EXPECT_FALSE(lock_try_for(&lock, 0));
	EXPECT_FALSE(lock_try_for(&lock, 50));
	/* The clock read here is not the same. */
	EXPECT_LE(start + 45, now_ms());
	EXPECT_FALSE(lock_is_mine(&lock));
}

TEST_F(lock, is_had_once_it_is_free)
{
	store_release(&may_leave, 1);
	EXPECT_TRUE(lock_try_for(&lock, PATIENCE_MS));
	EXPECT_TRUE(lock_is_mine(&lock));
	lock_release(&lock);
	EXPECT_TRUE(lock_try_for(&lock, 0));
	lock_release(&lock);
}

TEST_F(lock, nobody_sleeps_on_when_others_give_up)
{
	enum { NR = 6 };
	pthread_t threads[NR];

	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, i % 2 ?
					    wait_for_ever : wait_a_little,
					    NULL));
	sleep_ms(20);
	store_release(&may_leave, 1);
	EXPECT_TRUE(WAIT_FOR(load_acquire(&nr_through) == NR));
	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
}

static uint32_t seen_by_handler;	/* 1: holds none, 2: some */

static void look(int sig)
{
	(void)sig;
	store_release(&seen_by_handler, lock_holds_any() ? 2 : 1);
}

/*
 * Woken with the lock free, it is the only one who was: a handler that waited
 * for another lock then might wait for one who sleeps on this.
 */
TEST_F(lock, below_a_handler_who_waits_for_one_waits_for_no_other)
{
	struct sigaction action = { .sa_handler = look };
	pthread_t waiter;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, pthread_create(&waiter, NULL, wait_for_ever, NULL));
	/* Marked by who is about to sleep. */
	ASSERT_TRUE(WAIT_FOR(load_acquire(&lock.word) & 1));
	ASSERT_EQ(0, pthread_kill(waiter, SIGUSR1));
	ASSERT_TRUE(WAIT_FOR(load_acquire(&seen_by_handler)));
	EXPECT_EQ(2, seen_by_handler);
	store_release(&may_leave, 1);
	ASSERT_EQ(0, pthread_join(waiter, NULL));
	EXPECT_EQ(1, nr_through);
	EXPECT_FALSE(lock_holds_any());
}

TEST_HARNESS_MAIN
