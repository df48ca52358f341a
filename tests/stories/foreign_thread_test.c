// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc stories - RavenDB: that is my memory you're freeing, you foreign
 * thread
 *
 * The thread that first allocated is charged, even after another one frees.
 * What it frees itself is a plain subtraction, what others free an atomic one;
 * the two are added when they are read.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include "harness.h"

#define NR	2000u
#define SIZE	100u

typedef struct ebb_thread_counts counts_t;

/* The background thread is started by whoever comes by, and charged to it. */
extern const char *ebb_conf;
const char *ebb_conf = "accounts=live,reclaim=off,control_dir=off";

static counts_t counts_of(int tid)
{
	counts_t counts = { 0 };

	if (ebb_thread_stats(tid, &counts, sizeof(counts)))
		counts.tid = -errno;
	return counts;
}

static struct owner {
	pthread_barrier_t turn;
	int tid;
	uint64_t bytes;
	void *objects[NR];
	counts_t at_end;
} owner;

static void free_each_other(unsigned int first)
{
	for (unsigned int i = first; i < NR; i += 2)
		free(owner.objects[i]);
}

static void *own(void *unused)
{
	owner.tid = (int)syscall(SYS_gettid);
	for (unsigned int i = 0; i < NR; i++) {
		owner.objects[i] = malloc(SIZE);
		owner.bytes += malloc_usable_size(owner.objects[i]);
	}
	pthread_barrier_wait(&owner.turn);
	/* Others free. */
	pthread_barrier_wait(&owner.turn);
	free_each_other(1);
	owner.at_end = counts_of(0);
	return unused;
}

FIXTURE_EMPTY(foreign_thread);

TEST_F(foreign_thread, that_is_my_memory_you_are_freeing)
{
	counts_t mine = counts_of(0), its, after;
	pthread_t thread;

	ASSERT_EQ(0, pthread_barrier_init(&owner.turn, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, own, NULL));
	pthread_barrier_wait(&owner.turn);
	its = counts_of(owner.tid);
	EXPECT_EQ(owner.tid, its.tid);
	EXPECT_EQ(owner.bytes, its.live);
	free_each_other(0);
	after = counts_of(owner.tid);
	EXPECT_EQ(owner.bytes / 2, after.live);
	EXPECT_EQ(owner.bytes / 2, after.freed_by_others);
	EXPECT_EQ(its.allocated, after.allocated);
	EXPECT_EQ(mine.freed_for_others + owner.bytes / 2,
		  counts_of(0).freed_for_others);
	EXPECT_EQ(mine.freed_self, counts_of(0).freed_self);
	pthread_barrier_wait(&owner.turn);
	pthread_join(thread, NULL);
	EXPECT_EQ(owner.tid, owner.at_end.tid);
	EXPECT_EQ(0, owner.at_end.live);
	EXPECT_EQ(owner.bytes / 2, owner.at_end.freed_by_others);
	EXPECT_EQ(owner.at_end.allocated, owner.at_end.freed_self +
					  owner.at_end.freed_by_others);
}

TEST_HARNESS_MAIN
