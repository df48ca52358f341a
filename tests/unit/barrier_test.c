// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - The barrier in other threads, by each way
 *
 * Two threads store to a word each and then load the other's, one with nothing
 * but a compiler barrier in between: without a barrier both can load 0.
 */
#include <pthread.h>
#include <sched.h>
#include "os/barrier.h"
#include "os/map.h"
#include "harness.h"
#include "refuse.h"

#define ROUNDS		4000u

static struct {
	unsigned int round __attribute__((aligned(64)));
	unsigned int done __attribute__((aligned(64)));
	unsigned int x __attribute__((aligned(64)));
	unsigned int y __attribute__((aligned(64)));
	unsigned int light_saw __attribute__((aligned(64)));
} shared;

static void *light_side(void *unused)
{
	for (unsigned int round = 1; round <= ROUNDS; round++) {
		unsigned int saw;

		while (__atomic_load_n(&shared.round, __ATOMIC_ACQUIRE) < round)
			sched_yield();
		__atomic_store_n(&shared.x, round, __ATOMIC_RELAXED);
		__asm__ volatile("" ::: "memory");
		saw = __atomic_load_n(&shared.y, __ATOMIC_RELAXED);
		shared.light_saw = saw;
		__atomic_store_n(&shared.done, round, __ATOMIC_RELEASE);
	}
	return unused;
}

/* How often neither saw the other; -1 where the barrier failed. */
static int count_misses(void)
{
	pthread_t thread;
	int nr = 0, failed = 0;

	memset(&shared, 0, sizeof(shared));
	if (pthread_create(&thread, NULL, light_side, NULL))
		return -1;
	for (unsigned int round = 1; round <= ROUNDS; round++) {
		unsigned int heavy_saw;

		__atomic_store_n(&shared.round, round, __ATOMIC_RELEASE);
		__atomic_store_n(&shared.y, round, __ATOMIC_RELAXED);
		failed |= barrier_all();
		heavy_saw = __atomic_load_n(&shared.x, __ATOMIC_RELAXED);
		while (__atomic_load_n(&shared.done, __ATOMIC_ACQUIRE) < round)
			sched_yield();
		nr += heavy_saw != round && shared.light_saw != round;
	}
	pthread_join(thread, NULL);
	return failed ? -1 : nr;
}

FIXTURE(barrier) {
	int err;
};

FIXTURE_SETUP(barrier)
{
	map_init();
	self->err = 0;
}

FIXTURE_TEARDOWN(barrier)
{
}

FIXTURE_VARIANT(barrier) {
	unsigned int refusal;	/* what membarrier() is to fail with */
};

FIXTURE_VARIANT_ADD(barrier, as_the_kernel_grants) {
};

FIXTURE_VARIANT_ADD(barrier, membarrier_is_unknown) {
	.refusal = ENOSYS,
};

FIXTURE_VARIANT_ADD(barrier, membarrier_is_forbidden) {
	.refusal = EPERM,
};

TEST_F(barrier, orders_what_another_thread_does_without_a_fence)
{
	if (variant->refusal)
		ASSERT_TRUE(refuse_call(SYS_membarrier, variant->refusal));
	self->err = barrier_ready();
	if (self->err) {
		ASSERT_NE(NULL, barrier_unavailable());
		SKIP(return, "%s", barrier_unavailable());
	}
	EXPECT_EQ(NULL, barrier_unavailable());
	EXPECT_EQ(0, count_misses());
}

TEST_F(barrier, goes_another_way_once_a_filter_forbids_the_first)
{
	ASSERT_TRUE(!barrier_ready() || barrier_unavailable());
	if (variant->refusal)
		ASSERT_TRUE(refuse_call(SYS_membarrier, variant->refusal));
	if (!barrier_ready() && barrier_all() && !barrier_ready())
		EXPECT_EQ(0, barrier_all());
	if (barrier_unavailable())
		SKIP(return, "%s", barrier_unavailable());
	EXPECT_EQ(0, count_misses());
}

TEST_F(barrier, works_in_a_forked_child)
{
	int status;
	pid_t pid;

	if (variant->refusal)
		ASSERT_TRUE(refuse_call(SYS_membarrier, variant->refusal));
	if (barrier_ready())
		SKIP(return, "%s", barrier_unavailable());
	EXPECT_EQ(0, barrier_all());
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		barrier_after_fork();
		_exit(barrier_ready() || count_misses() != 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, barrier_all());
}

TEST_HARNESS_MAIN
