// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Accounts of threads, as a program sees them
 *
 * That others free is a story of its own, stories/foreign_thread_test; what
 * threads do at the same time is stress/ledger's.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "harness.h"

#define NR_OBJECTS	2000u

typedef struct ebb_thread_counts counts_t;

/* The background thread is started by whoever comes by, and charged to it. */
const char *ebb_conf = "accounts=live,reclaim=off,control_dir=off";

static void *objects[NR_OBJECTS];

static int own_tid(void)
{
	return (int)syscall(SYS_gettid);
}

static counts_t counts_of(int tid)
{
	counts_t counts = { 0 };

	if (ebb_thread_stats(tid, &counts, sizeof(counts)))
		counts.tid = -errno;
	return counts;
}

/* Takes objects of @size bytes; returns what they come to. */
static uint64_t take(size_t size)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < NR_OBJECTS; i++) {
		objects[i] = malloc(size);
		bytes += malloc_usable_size(objects[i]);
	}
	return bytes;
}

static void drop(unsigned int from, unsigned int step)
{
	for (unsigned int i = from; i < NR_OBJECTS; i += step)
		free(objects[i]);
}

/* A thread that does a thing and tells its number; then it ends, or waits. */
struct worker {
	pthread_t thread;
	pthread_barrier_t done;
	pthread_barrier_t go_on;
	size_t size;		/* of what it takes; 0: it frees all */
	const char *name;
	int tid;
	uint64_t bytes;
};

static void *work(void *arg)
{
	struct worker *worker = arg;

	worker->tid = own_tid();
	if (worker->name)
		prctl(PR_SET_NAME, worker->name);
	if (worker->size)
		worker->bytes = take(worker->size);
	else
		drop(0, 1);
	pthread_barrier_wait(&worker->done);
	pthread_barrier_wait(&worker->go_on);
	return NULL;
}

static bool start(struct worker *worker)
{
	pthread_barrier_init(&worker->done, NULL, 2);
	pthread_barrier_init(&worker->go_on, NULL, 2);
	if (pthread_create(&worker->thread, NULL, work, worker))
		return false;
	pthread_barrier_wait(&worker->done);
	return true;
}

static void end(struct worker *worker)
{
	pthread_barrier_wait(&worker->go_on);
	pthread_join(worker->thread, NULL);
}

FIXTURE_EMPTY(account);

TEST_F(account, of_the_caller_is_exact)
{
	counts_t before = counts_of(0), now;
	uint64_t bytes = take(100);

	ASSERT_EQ(own_tid(), before.tid);
	now = counts_of(0);
	EXPECT_EQ(before.live + bytes, now.live);
	EXPECT_EQ(before.allocated + bytes, now.allocated);
	drop(0, 2);
	now = counts_of(0);
	EXPECT_EQ(before.live + bytes / 2, now.live);
	drop(1, 2);
	now = counts_of(0);
	EXPECT_EQ(before.live, now.live);
	EXPECT_EQ(before.freed_for_others, now.freed_for_others);
	EXPECT_EQ(now.allocated,
		  now.live + now.freed_self + now.freed_by_others);
}

TEST_F(account, knows_large_objects_and_what_becomes_of_them)
{
	counts_t before = counts_of(0);
	char *p = malloc(3 * MIB), *q;

	EXPECT_EQ(before.live + malloc_usable_size(p), counts_of(0).live);
	q = realloc(p, 5 * MIB);
	ASSERT_NE(NULL, q);
	EXPECT_EQ(before.live + malloc_usable_size(q), counts_of(0).live);
	q = realloc(q, MIB);
	EXPECT_EQ(before.live + malloc_usable_size(q), counts_of(0).live);
	q = realloc(q, 100);
	EXPECT_EQ(before.live + malloc_usable_size(q), counts_of(0).live);
	free(q);
	EXPECT_EQ(before.live, counts_of(0).live);
}

TEST_F(account, lives_until_its_last_byte_is_freed)
{
	struct worker worker = { .size = 3000, .name = "a-worker" };
	counts_t counts;

	ASSERT_TRUE(start(&worker));
	EXPECT_STREQ("a-worker", counts_of(worker.tid).name);
	EXPECT_EQ(0, counts_of(worker.tid).flags & EBB_THREAD_ENDED);
	end(&worker);
	counts = counts_of(worker.tid);
	EXPECT_EQ(worker.bytes, counts.live);
	EXPECT_EQ(EBB_THREAD_ENDED, counts.flags & EBB_THREAD_ENDED);
	EXPECT_STREQ("a-worker", counts.name);
	for (unsigned int i = 1; i < NR_OBJECTS; i++)
		free(objects[i]);
	counts = counts_of(worker.tid);
	EXPECT_EQ(malloc_usable_size(objects[0]), counts.live);
	free(objects[0]);
	EXPECT_EQ(-ESRCH, counts_of(worker.tid).tid);
}

/* What an adopted slab has in use stays its first thread's. */
TEST_F(account, of_an_ended_thread_stays_when_its_slabs_are_adopted)
{
	static void *adopted[4 * NR_OBJECTS];
	struct worker worker = { .size = 200 };
	uint64_t bytes = 0, left = 0;
	counts_t before, now;

	ASSERT_TRUE(start(&worker));
	end(&worker);
	/* Not earlier: what libc keeps of the thread is ours. */
	before = counts_of(0);
	/* Half of each of its slabs is free, and so is adopted. */
	drop(0, 2);
	for (unsigned int i = 0; i < ARRAY_LEN(adopted); i++) {
		adopted[i] = malloc(200);
		bytes += malloc_usable_size(adopted[i]);
	}
	EXPECT_EQ(worker.bytes / 2, counts_of(worker.tid).live);
	EXPECT_EQ(before.live + bytes, counts_of(0).live);
	for (unsigned int i = 1; i < NR_OBJECTS; i += 4) {
		left += malloc_usable_size(objects[i]);
		free(objects[i]);
	}
	now = counts_of(worker.tid);
	EXPECT_EQ(worker.bytes / 2 - left, now.live);
	EXPECT_EQ(worker.bytes / 2 + left, now.freed_by_others);
	EXPECT_EQ(before.live + bytes, counts_of(0).live);
	for (unsigned int i = 0; i < ARRAY_LEN(adopted); i++)
		free(adopted[i]);
	EXPECT_EQ(before.live, counts_of(0).live);
	EXPECT_EQ(worker.bytes / 2 - left, counts_of(worker.tid).live);
	drop(3, 4);
	EXPECT_EQ(-ESRCH, counts_of(worker.tid).tid);
}

TEST_F(account, of_all_come_with_the_largest_first)
{
	struct worker workers[3] = { { .size = 64 }, { .size = 4096 },
				     { .size = 512 } };
	counts_t rows[64], two[2];
	int nr;

	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(start(&workers[i]));
	nr = ebb_thread_stats_all(rows, sizeof(rows[0]), 64);
	ASSERT_LE(4, nr);
	EXPECT_EQ(nr, ebb_thread_stats_all(NULL, 0, 0));
	EXPECT_EQ(workers[1].tid, rows[0].tid);
	EXPECT_EQ(workers[2].tid, rows[1].tid);
	for (int i = 1; i < nr; i++)
		EXPECT_GE(rows[i - 1].live, rows[i].live);
	EXPECT_EQ(nr, ebb_thread_stats_all(two, sizeof(two[0]), 2));
	EXPECT_EQ(0, memcmp(&two[1], &rows[1], sizeof(two[1])));
	for (int i = 0; i < 3; i++)
		end(&workers[i]);
}

TEST_F(account, can_grow_a_member)
{
	struct {
		counts_t known;
		uint64_t more;
	} later = { .more = 7 };
	counts_t counts;

	ASSERT_EQ(0, ebb_thread_stats(0, &later.known, sizeof(later)));
	EXPECT_EQ(sizeof(counts), later.known.size);
	EXPECT_EQ(7, later.more);
	errno = 0;
	EXPECT_EQ(-1, ebb_thread_stats(0, &counts, sizeof(counts) - 8));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ebb_thread_stats(-5, &counts, sizeof(counts)));
	EXPECT_EQ(ESRCH, errno);
	EXPECT_EQ(-1, ebb_thread_stats(1 << 29, &counts, sizeof(counts)));
	EXPECT_EQ(ESRCH, errno);
}

/* === The hook ============================================================= */

struct told {
	int nr;
	int tid;
	uint64_t live;
	bool inside;
};

static void note(const counts_t *counts, void *arg)
{
	struct told *told = arg;

	if (told->inside)
		abort();
	told->inside = true;
	told->nr++;
	told->tid = counts->tid;
	told->live = counts->live;
	/* It may allocate, which does not lead here again. */
	for (int i = 0; i < 100; i++)
		free(hide(malloc(200 * KIB)));
	told->inside = false;
}

TEST_F(account, that_passes_a_bound_is_told_to_the_hook)
{
	struct worker worker = { .size = 1000 };
	struct told told = { .nr = 0 };

	ASSERT_EQ(0, ebb_thread_hook(MIB, note, &told));
	ASSERT_TRUE(start(&worker));
	EXPECT_EQ(1, told.nr);
	EXPECT_EQ(worker.tid, told.tid);
	EXPECT_LE(MIB, told.live);
	EXPECT_GT(worker.bytes, told.live);
	end(&worker);
	drop(0, 1);
	ASSERT_EQ(0, ebb_thread_hook(0, NULL, NULL));
	take(1000);
	EXPECT_EQ(1, told.nr);
	drop(0, 1);
	errno = 0;
	EXPECT_EQ(-1, ebb_thread_hook(1, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(account, that_passes_a_bound_again_is_told_again)
{
	struct told told = { .nr = 0 };

	ASSERT_EQ(0, ebb_thread_hook(MIB, note, &told));
	take(300);
	EXPECT_EQ(0, told.nr);
	drop(0, 1);
	take(3000);
	EXPECT_EQ(1, told.nr);
	drop(0, 1);
	/* Below half, which is noticed when something is taken. */
	take(20 * KIB);
	EXPECT_EQ(2, told.nr);
	EXPECT_EQ(own_tid(), told.tid);
	drop(0, 1);
	ASSERT_EQ(0, ebb_thread_hook(0, NULL, NULL));
}

TEST_F(account, of_a_child_is_a_copy)
{
	struct worker worker = { .size = 100 };
	counts_t mine;
	int status;
	pid_t pid;

	ASSERT_TRUE(start(&worker));
	mine = counts_of(0);
	pid = fork();
	if (!pid) {
		counts_t child = counts_of(0), its;
		bool good = child.tid == own_tid() && child.live == mine.live;

		/* The thread is not there; what it had is freed here. */
		drop(0, 1);
		its = counts_of(0);
		good = good && its.live == mine.live &&
		       its.freed_for_others ==
			       child.freed_for_others + worker.bytes;
		_exit(good ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(worker.bytes, counts_of(worker.tid).live);
	end(&worker);
}

/* === What accounts need themselves ======================================== */

#define NR_TINY		40000u	/* of 16 bytes: ten slabs' */
#define TABLES		(10 * 8 * KIB)
#define TRIMMED_ROUNDS	25u
#define NR_OWNERS	3u

/*
 * What somebody takes and leaves behind.  On a stack of its own, since of those
 * that libc keeps another thread frees what belongs to them, whenever it likes.
 */
struct legacy {
	char stack[256 * KIB] __attribute__((aligned(64)));
	void *objects[NR_TINY];
	unsigned int nr;
	int tid;
};

static void *leave(void *arg)
{
	struct legacy *legacy = arg;

	legacy->tid = own_tid();
	for (unsigned int i = 0; i < legacy->nr; i++)
		legacy->objects[i] = malloc(16);
	return NULL;
}

static bool have_left(struct legacy *legacy)
{
	pthread_attr_t attr;
	pthread_t thread;

	return !pthread_attr_init(&attr) &&
	       !pthread_attr_setstack(&attr, legacy->stack,
				      sizeof(legacy->stack)) &&
	       !pthread_create(&thread, &attr, leave, legacy) &&
	       !pthread_join(thread, NULL) && !pthread_attr_destroy(&attr);
}

static void free_every_other(struct legacy *legacy, unsigned int from)
{
	for (unsigned int i = from; i < legacy->nr; i += 2)
		free(legacy->objects[i]);
}

/* Half of each slab is free, and so the slabs are adopted: each has a table. */
static void adopt(struct legacy *legacy)
{
	free_every_other(legacy, 0);
	for (unsigned int i = 0; i < legacy->nr; i += 2)
		legacy->objects[i] = malloc(16);
}

static uint64_t metadata(void)
{
	struct ebb_heap_counts counts;

	return ebb_heap_count(&counts) ? 0 : counts.meta_bytes;
}

TEST_F(account, tables_go_when_nothing_needs_them)
{
	static struct legacy legacy = { .nr = NR_TINY };
	uint64_t before = 0;

	for (int round = 0; round < 3; round++) {
		uint64_t with, after;

		ASSERT_TRUE(have_left(&legacy));
		adopt(&legacy);
		/* In use, so a purge does not touch them. */
		ASSERT_EQ(0, ebb_purge(NULL));
		with = metadata();
		EXPECT_EQ(NR_TINY / 2 * 16, counts_of(legacy.tid).live);
		free_every_other(&legacy, 0);
		ASSERT_EQ(0, ebb_purge(NULL));
		EXPECT_EQ(NR_TINY / 2 * 16, counts_of(legacy.tid).live);
		EXPECT_LE(with, metadata());
		free_every_other(&legacy, 1);
		ASSERT_EQ(0, ebb_purge(NULL));
		after = metadata();
		EXPECT_LE(after + TABLES, with);
		/* Once the heap has grown to about what it needs. */
		if (round)
			EXPECT_GT(before + 64 * KIB, after);
		before = after;
	}
}

static bool end_trims;			/* atomic */

static void *trim_always(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&end_trims, __ATOMIC_RELAXED))
		(void)ebb_purge(NULL);
	return NULL;
}

/* While someone trims, who holds the lock may not let go for a while. */
static uint64_t live_of(int tid)
{
	counts_t counts;

	do
		counts = counts_of(tid);
	while (counts.tid == -EAGAIN);
	return counts.live;
}

struct owner {
	pthread_t thread;
	struct legacy legacy;
	unsigned int nr_wrong;
};

static void *own_and_free(void *arg)
{
	struct owner *owner = arg;
	struct legacy *legacy = &owner->legacy;

	for (unsigned int round = 0; round < TRIMMED_ROUNDS; round++) {
		uint64_t before, half;

		legacy->nr = NR_TINY >> round % 4;
		half = legacy->nr / 2 * 16;
		if (!have_left(legacy))
			abort();
		before = live_of(0);
		adopt(legacy);
		owner->nr_wrong += live_of(legacy->tid) != half;
		owner->nr_wrong += live_of(0) != before + half;
		free_every_other(legacy, 1);
		owner->nr_wrong += live_of(0) != before + half;
		free_every_other(legacy, 0);
		owner->nr_wrong += live_of(0) != before;
		owner->nr_wrong += counts_of(legacy->tid).tid != -ESRCH &&
				   live_of(legacy->tid);
	}
	return NULL;
}

/* Nor while others do: none is given back that is in use. */
TEST_F(account, tables_go_while_others_come)
{
	static struct owner owners[NR_OWNERS];
	pthread_t trimmer;

	ASSERT_EQ(0, pthread_create(&trimmer, NULL, trim_always, NULL));
	for (unsigned int i = 0; i < NR_OWNERS; i++)
		ASSERT_EQ(0, pthread_create(&owners[i].thread, NULL,
					    own_and_free, &owners[i]));
	for (unsigned int i = 0; i < NR_OWNERS; i++) {
		pthread_join(owners[i].thread, NULL);
		EXPECT_EQ(0, owners[i].nr_wrong);
	}
	__atomic_store_n(&end_trims, true, __ATOMIC_RELAXED);
	pthread_join(trimmer, NULL);
}

/* In the child, whatever its parent's threads were at. */
static int inherit(void)
{
	static struct legacy legacy = { .nr = NR_TINY };
	uint64_t before;

	if (!have_left(&legacy))
		return 2;
	before = live_of(0);
	adopt(&legacy);
	if (live_of(0) != before + NR_TINY / 2 * 16 ||
	    live_of(legacy.tid) != NR_TINY / 2 * 16)
		return 3;
	free_every_other(&legacy, 0);
	free_every_other(&legacy, 1);
	if (ebb_purge(NULL) || live_of(0) != before)
		return 4;
	return 0;
}

TEST_F(account, tables_come_and_go_in_children)
{
	static struct owner owner;
	pthread_t trimmer;

	ASSERT_EQ(0, pthread_create(&trimmer, NULL, trim_always, NULL));
	ASSERT_EQ(0, pthread_create(&owner.thread, NULL, own_and_free, &owner));
	for (int i = 0; i < 20; i++) {
		int status;
		pid_t pid = fork();

		if (!pid)
			_exit(inherit());
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	pthread_join(owner.thread, NULL);
	EXPECT_EQ(0, owner.nr_wrong);
	__atomic_store_n(&end_trims, true, __ATOMIC_RELAXED);
	pthread_join(trimmer, NULL);
}

TEST_HARNESS_MAIN
