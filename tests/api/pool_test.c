// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Pools: sizes, bounds, waiting, ends
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "harness.h"

#define OPTIONS(...)							\
	(&(struct ebb_pool_options){ .size =				\
		sizeof(struct ebb_pool_options), __VA_ARGS__ })

FIXTURE(pool) {
	struct ebb_pool *pool;
};

FIXTURE_SETUP(pool)
{
	self->pool = NULL;
}

FIXTURE_TEARDOWN(pool)
{
	if (self->pool)
		ebb_pool_destroy(self->pool, EBB_POOL_FORCE, NULL);
}

static struct ebb_pool_counts stats_of(struct ebb_pool *pool)
{
	struct ebb_pool_counts stats = { .size = sizeof(stats) };

	if (ebb_pool_count(pool, &stats))
		memset(&stats, 0xff, sizeof(stats));
	return stats;
}

/* What a thread does with a pool. */
struct user {
	struct ebb_pool *pool;
	pthread_t thread;
	size_t size;
	unsigned int nr;
	void *buf;		/* what it took, or NULL */
	int err;		/* errno then */
	bool done;
	bool go_on;
};

static void take_as(struct user *user)
{
	errno = 0;
	user->buf = ebb_pool_take(user->pool, user->size);
	user->err = errno;
	__atomic_store_n(&user->done, true, __ATOMIC_RELEASE);
}

static void *take_one(void *arg)
{
	take_as(arg);
	return NULL;
}

/* Leaves what it has as credit in its own heap, and stays. */
static void *use_and_stay(void *arg)
{
	struct user *user = arg;

	for (unsigned int i = 0; i < user->nr; i++)
		ebb_pool_return(user->pool,
				ebb_pool_take(user->pool, user->size));
	__atomic_store_n(&user->done, true, __ATOMIC_RELEASE);
	WAIT_FOR(__atomic_load_n(&user->go_on, __ATOMIC_ACQUIRE));
	return NULL;
}

static bool is_done(struct user *user)
{
	return __atomic_load_n(&user->done, __ATOMIC_ACQUIRE);
}

/* Whether as many threads wait for room. */
static bool line_is(struct ebb_pool *pool, unsigned int nr)
{
	return stats_of(pool).nr_waiting == nr;
}

static bool start_in_line(struct user *user, unsigned int nr_before)
{
	return !pthread_create(&user->thread, NULL, take_one, user) &&
	       WAIT_FOR(line_is(user->pool, nr_before + 1));
}

TEST_F(pool, serves_each_size_up_to_the_largest)
{
	size_t size, nr = 0;
	void *bufs[600];

	self->pool = ebb_pool_create(0, 2 * MIB, NULL);
	ASSERT_NE(NULL, self->pool);
	for (unsigned int i = 0; (size = edge_size(i)); i++) {
		void *buf;

		if (size > 2 * MIB)
			continue;
		buf = ebb_pool_take(self->pool, size);
		ASSERT_NE(NULL, buf);
		EXPECT_TRUE(is_aligned(buf, 16));
		pattern_fill(buf, size, size);
		bufs[nr++] = buf;
	}
	EXPECT_EQ(nr, stats_of(self->pool).nr_out);
	nr = 0;
	for (unsigned int i = 0; (size = edge_size(i)); i++) {
		if (size > 2 * MIB)
			continue;
		EXPECT_TRUE(pattern_holds(bufs[nr], size, size));
		EXPECT_EQ(0, ebb_pool_return(self->pool, bufs[nr++]));
	}
	EXPECT_EQ(0, stats_of(self->pool).nr_out);
	EXPECT_EQ(0, stats_of(self->pool).bytes_out);
	EXPECT_EQ(0, ebb_pool_destroy(self->pool, 0, NULL));
	self->pool = NULL;
}

TEST_F(pool, counts_usable_bytes)
{
	void *small, *large;

	NEEDS_EBBMALLOC();
	self->pool = ebb_pool_create(0, MIB, NULL);
	small = ebb_pool_take(self->pool, 100);
	large = ebb_pool_take(self->pool, 100001);
	EXPECT_EQ(2, stats_of(self->pool).nr_out);
	EXPECT_EQ(malloc_usable_size(small) + malloc_usable_size(large),
		  stats_of(self->pool).bytes_out);
	EXPECT_EQ(0, ebb_pool_return(self->pool, large));
	EXPECT_EQ(malloc_usable_size(small), stats_of(self->pool).bytes_out);
	EXPECT_EQ(0, ebb_pool_return(self->pool, small));
}

TEST_F(pool, aligns_and_clears_as_it_was_asked_to)
{
	static const size_t sizes[] = { 1, 100, 4000, 70000 };

	for (size_t align = 1; align <= 8192; align *= 2) {
		struct ebb_pool *pool = ebb_pool_create(0, MIB,
			OPTIONS(.align = align, .flags = EBB_POOL_ZERO));

		ASSERT_NE(NULL, pool);
		for (size_t i = 0; i < 4 * ARRAY_LEN(sizes); i++) {
			size_t size = sizes[i % ARRAY_LEN(sizes)];
			void *buf = ebb_pool_take(pool, size);

			ASSERT_NE(NULL, buf);
			EXPECT_TRUE(is_aligned(buf, align));
			EXPECT_TRUE(all_zero(buf, size));
			memset(buf, 0x5a, size);
			EXPECT_EQ(0, ebb_pool_return(pool, buf));
		}
		EXPECT_EQ(0, ebb_pool_destroy(pool, 0, NULL));
	}
}

/* Whether a pool cannot be made, for this reason. */
static bool refuses(int err, size_t max_bytes, size_t max_buffer,
		    const struct ebb_pool_options *options)
{
	struct ebb_pool *pool;

	errno = 0;
	pool = ebb_pool_create(max_bytes, max_buffer, options);
	if (pool)
		ebb_pool_destroy(pool, 0, NULL);
	return !pool && errno == err;
}

TEST_F(pool, refuses_what_makes_no_sense)
{
	struct {
		struct ebb_pool_options known;
		uint64_t more;
	} longer = { .known.size = sizeof(longer) };

	EXPECT_TRUE(refuses(EINVAL, 0, 0, NULL));
	EXPECT_TRUE(refuses(EINVAL, 0, SIZE_MAX, NULL));
	EXPECT_TRUE(refuses(EINVAL, SIZE_MAX, 10, NULL));
	EXPECT_TRUE(refuses(EINVAL, 4095, 4096, NULL));
	EXPECT_TRUE(refuses(EINVAL, 0, 10, OPTIONS(.align = 24)));
	EXPECT_TRUE(refuses(EINVAL, 0, 10, OPTIONS(.flags = 0x80)));
	EXPECT_TRUE(refuses(EINVAL, 0, 10, OPTIONS(.flags = EBB_POOL_FORCE)));
	EXPECT_TRUE(refuses(EINVAL, 0, 10, OPTIONS(.leak_level = 4)));
	EXPECT_TRUE(refuses(EINVAL, 0, 10, OPTIONS(.timeout_ms = -2)));
	EXPECT_TRUE(refuses(EINVAL, 0, 10, OPTIONS(.reserved = 1)));
	EXPECT_TRUE(refuses(EINVAL, 0, 10,
			    &(struct ebb_pool_options){ .size = 8 }));
	EXPECT_FALSE(refuses(E2BIG, 0, 10, &longer.known));
	longer.more = 1;
	EXPECT_TRUE(refuses(E2BIG, 0, 10, &longer.known));
}

TEST_F(pool, refuses_sizes_it_was_not_made_for)
{
	self->pool = ebb_pool_create(0, 1000, NULL);
	errno = 0;
	EXPECT_EQ(NULL, ebb_pool_take(self->pool, 0));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(NULL, ebb_pool_take(self->pool, 1001));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(-1, ebb_pool_return(self->pool, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ebb_pool_destroy(self->pool, 8, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ebb_pool_count(self->pool,
				     &(struct ebb_pool_counts){ .size = 4 }));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(pool, is_not_destroyed_while_buffers_are_out)
{
	uint64_t nr_out = 9;
	void *a, *b;

	self->pool = ebb_pool_create(0, 1000, NULL);
	a = ebb_pool_take(self->pool, 10);
	b = ebb_pool_take(self->pool, 1000);
	errno = 0;
	EXPECT_EQ(-1, ebb_pool_destroy(self->pool, 0, &nr_out));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(2, nr_out);
	EXPECT_EQ(0, ebb_pool_return(self->pool, a));
	EXPECT_EQ(-1, ebb_pool_destroy(self->pool, 0, &nr_out));
	EXPECT_EQ(1, nr_out);
	EXPECT_EQ(0, ebb_pool_destroy(self->pool, EBB_POOL_FORCE, &nr_out));
	EXPECT_EQ(1, nr_out);
	/* It is plain memory now, and the pool is gone. */
	memset(b, 1, 1000);
	free(b);
	errno = 0;
	EXPECT_EQ(NULL, ebb_pool_take(self->pool, 10));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ebb_pool_destroy(self->pool, 0, NULL));
	EXPECT_EQ(EINVAL, errno);
	self->pool = NULL;
}

TEST_F(pool, says_that_it_is_empty)
{
	void *bufs[4];

	self->pool = ebb_pool_create(4 * 4096, 4096, NULL);
	for (int i = 0; i < 4; i++) {
		bufs[i] = ebb_pool_take(self->pool, 4096);
		EXPECT_NE(NULL, bufs[i]);
	}
	errno = 0;
	EXPECT_EQ(NULL, ebb_pool_take(self->pool, 16));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, ebb_pool_return(self->pool, bufs[1]));
	bufs[1] = ebb_pool_take(self->pool, 4096);
	EXPECT_NE(NULL, bufs[1]);
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(0, ebb_pool_return(self->pool, bufs[i]));
	EXPECT_EQ(0, stats_of(self->pool).nr_waits);
}

/* Room that idle threads have drawn is no reason to fail. */
TEST_F(pool, uses_what_idle_threads_have_as_credit)
{
	struct user users[4];
	void *all;

	self->pool = ebb_pool_create(MIB, MIB, NULL);
	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		users[i] = (struct user){ .pool = self->pool, .nr = 100,
					  .size = 1000 };
		ASSERT_EQ(0, pthread_create(&users[i].thread, NULL,
					    use_and_stay, &users[i]));
		ASSERT_TRUE(WAIT_FOR(is_done(&users[i])));
	}
	all = ebb_pool_take(self->pool, MIB);
	EXPECT_NE(NULL, all);
	EXPECT_EQ(0, ebb_pool_return(self->pool, all));
	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		__atomic_store_n(&users[i].go_on, true, __ATOMIC_RELEASE);
		pthread_join(users[i].thread, NULL);
	}
	EXPECT_EQ(0, ebb_pool_destroy(self->pool, 0, NULL));
	self->pool = NULL;
}

TEST_F(pool, gets_back_what_threads_had_that_end)
{
	struct user user = { .nr = 50, .size = 1000, .go_on = true };
	void *all;

	user.pool = self->pool = ebb_pool_create(MIB, MIB, NULL);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, pthread_create(&user.thread, NULL, use_and_stay,
					    &user));
		pthread_join(user.thread, NULL);
	}
	all = ebb_pool_take(self->pool, MIB);
	EXPECT_NE(NULL, all);
	EXPECT_EQ(0, ebb_pool_return(self->pool, all));
}

TEST_F(pool, times_out)
{
	uint64_t start = now_ms();
	void *buf;

	self->pool = ebb_pool_create(4096, 4096, OPTIONS(.timeout_ms = 30));
	buf = ebb_pool_take(self->pool, 4096);
	errno = 0;
	EXPECT_EQ(NULL, ebb_pool_take(self->pool, 16));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_LE(30, now_ms() - start);
	EXPECT_EQ(1, stats_of(self->pool).nr_waits);
	EXPECT_EQ(0, stats_of(self->pool).nr_waiting);
	EXPECT_EQ(0, ebb_pool_return(self->pool, buf));
	buf = ebb_pool_take(self->pool, 4096);
	EXPECT_NE(NULL, buf);
	EXPECT_EQ(0, ebb_pool_return(self->pool, buf));
}

/* A large wish at the head of the line is not passed by small ones. */
TEST_F(pool, serves_in_order)
{
	struct user users[4];
	void *a, *b;

	self->pool = ebb_pool_create(2 * 4096, 2 * 4096,
				     OPTIONS(.timeout_ms = EBB_POOL_FOR_EVER));
	a = ebb_pool_take(self->pool, 4096);
	b = ebb_pool_take(self->pool, 4096);
	for (unsigned int i = 0; i < ARRAY_LEN(users); i++) {
		/* Half of it is free when the last one comes. */
		if (i == 3)
			EXPECT_EQ(0, ebb_pool_return(self->pool, a));
		users[i] = (struct user){ .pool = self->pool,
					  .size = i ? 16 : 2 * 4096 };
		ASSERT_TRUE(start_in_line(&users[i], i));
	}
	EXPECT_EQ(0, ebb_pool_return(self->pool, b));
	EXPECT_TRUE(WAIT_FOR(line_is(self->pool, 3)));
	pthread_join(users[0].thread, NULL);
	EXPECT_NE(NULL, users[0].buf);
	EXPECT_EQ(0, ebb_pool_return(self->pool, users[0].buf));
	for (int i = 1; i < 4; i++) {
		pthread_join(users[i].thread, NULL);
		EXPECT_NE(NULL, users[i].buf);
		EXPECT_EQ(0, ebb_pool_return(self->pool, users[i].buf));
	}
}

TEST_F(pool, cancels_who_waits_when_it_is_destroyed_by_force)
{
	struct user users[3];
	void *buf;

	self->pool = ebb_pool_create(4096, 4096,
				     OPTIONS(.timeout_ms = EBB_POOL_FOR_EVER));
	buf = ebb_pool_take(self->pool, 4096);
	for (unsigned int i = 0; i < ARRAY_LEN(users); i++) {
		users[i] = (struct user){ .pool = self->pool, .size = 16 };
		ASSERT_TRUE(start_in_line(&users[i], i));
	}
	EXPECT_EQ(-1, ebb_pool_destroy(self->pool, 0, NULL));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, ebb_pool_destroy(self->pool, EBB_POOL_FORCE, NULL));
	self->pool = NULL;
	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		pthread_join(users[i].thread, NULL);
		EXPECT_EQ(NULL, users[i].buf);
		EXPECT_EQ(ECANCELED, users[i].err);
	}
	free(buf);
}

TEST_F(pool, children_go_on_with_what_they_have)
{
	struct user user = { .nr = 10, .size = 1000 };
	int status = -1;
	void *buf;
	pid_t pid;

	user.pool = self->pool = ebb_pool_create(MIB, MIB, NULL);
	ASSERT_EQ(0, pthread_create(&user.thread, NULL, use_and_stay, &user));
	ASSERT_TRUE(WAIT_FOR(is_done(&user)));
	buf = ebb_pool_take(self->pool, 1000);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		bool ok = stats_of(self->pool).nr_out == 1 &&
			  !ebb_pool_return(self->pool, buf);

		/* All of it: the credit of the thread that is not here, too. */
		buf = ebb_pool_take(self->pool, MIB);
		_exit(ok && buf ? 0 : 1);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, stats_of(self->pool).nr_out);
	EXPECT_EQ(0, ebb_pool_return(self->pool, buf));
	__atomic_store_n(&user.go_on, true, __ATOMIC_RELEASE);
	pthread_join(user.thread, NULL);
}

static pid_t forked;

static void fork_here(int signal)
{
	(void)signal;
	forked = fork();
}

/* Below the handler the child waits as its parent does, until it is served. */
TEST_F(pool, who_forks_while_it_waits_goes_on_waiting)
{
	struct sigaction action = { .sa_handler = fork_here };
	struct user user = { .size = 4096 };
	int status = -1;
	void *buf;

	user.pool = self->pool =
		ebb_pool_create(4096, 4096, OPTIONS(.timeout_ms = 300));
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	buf = ebb_pool_take(self->pool, 16);
	forked = -1;
	ASSERT_TRUE(start_in_line(&user, 0));
	pthread_kill(user.thread, SIGUSR1);
	pthread_join(user.thread, NULL);
	ASSERT_LT(0, forked);
	/* It leaves the line, and ends as the only thread that there is. */
	EXPECT_EQ(forked, waitpid(forked, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(ETIMEDOUT, user.err);
	EXPECT_EQ(0, stats_of(self->pool).nr_waiting);
	EXPECT_EQ(0, ebb_pool_return(self->pool, buf));
}

/* It has barriers to find anew, too. */
TEST_F(pool, children_have_threads_and_revoke_their_credits)
{
	struct user user = { .nr = 10, .size = 1000 };
	int status = -1;
	void *buf;
	pid_t pid;

	user.pool = self->pool = ebb_pool_create(MIB, MIB, NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (pthread_create(&user.thread, NULL, use_and_stay, &user) ||
		    !WAIT_FOR(is_done(&user)))
			_exit(9);
		buf = ebb_pool_take(self->pool, MIB);
		_exit(buf && !ebb_pool_return(self->pool, buf) ? 0 : 1);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(pool, more_pools_than_credits_keep_their_counts)
{
	struct ebb_pool *pools[40];
	void *bufs[40];

	for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
		pools[i] = ebb_pool_create(64 * KIB, 4096, NULL);
		ASSERT_NE(NULL, pools[i]);
	}
	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < ARRAY_LEN(pools); i++)
			bufs[i] = ebb_pool_take(pools[i], 3000);
		for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
			EXPECT_EQ(1, stats_of(pools[i]).nr_out);
			EXPECT_EQ(0, ebb_pool_return(pools[i], bufs[i]));
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(pools); i++)
		EXPECT_EQ(0, ebb_pool_destroy(pools[i], 0, NULL));
}

/* --- At once --- */

#define CREW		8

struct crew {
	struct ebb_pool *pool;
	size_t limit, largest;
	int64_t out;		/* bytes that the crew has, as asked for */
	unsigned int rounds;
	bool broken;
};

static void *work(void *arg)
{
	struct crew *crew = arg;
	struct rng rng;

	rng_seed(&rng, (uint64_t)(uintptr_t)&rng);
	for (unsigned int i = 0; i < crew->rounds; i++) {
		size_t size = 1 + rng_below(&rng, crew->largest);
		void *buf = ebb_pool_take(crew->pool, size);

		if (!buf) {
			if (errno != ETIMEDOUT && errno != EAGAIN)
				crew->broken = true;
			continue;
		}
		if (__atomic_add_fetch(&crew->out, (int64_t)size,
				       __ATOMIC_RELAXED) >
		    (int64_t)crew->limit)
			crew->broken = true;
		memset(buf, (int)i, size);
		if (i % 16 == 0)
			sched_yield();
		__atomic_sub_fetch(&crew->out, (int64_t)size, __ATOMIC_RELAXED);
		if (ebb_pool_return(crew->pool, buf))
			crew->broken = true;
	}
	return NULL;
}

static bool crew_works(struct crew *crew)
{
	pthread_t threads[CREW];
	struct ebb_pool_counts stats;

	for (int i = 0; i < CREW; i++)
		if (pthread_create(&threads[i], NULL, work, crew))
			return false;
	for (int i = 0; i < CREW; i++)
		pthread_join(threads[i], NULL);
	stats = stats_of(crew->pool);
	return !crew->broken && !stats.nr_out && !stats.bytes_out &&
	       !stats.nr_waiting;
}

/*
 * Where a wake-up gets lost it does not end.  Two large ones do not fit in at a
 * time, so threads wait most of the time.
 */
TEST_F(pool, nobody_waits_for_what_is_there)
{
	struct crew crew = { .limit = 64 * KIB, .largest = 40 * KIB,
			     .rounds = 4000 };

	crew.pool = self->pool =
		ebb_pool_create(crew.limit, crew.largest,
				OPTIONS(.timeout_ms = EBB_POOL_FOR_EVER));
	EXPECT_TRUE(crew_works(&crew));
	EXPECT_EQ(0, ebb_pool_destroy(self->pool, 0, NULL));
	self->pool = NULL;
}

/* The same with credits coming and going: mostly there is enough. */
TEST_F(pool, nobody_waits_for_credits_of_others)
{
	struct crew crew = { .limit = 256 * KIB, .largest = 32 * KIB,
			     .rounds = 20000 };

	crew.pool = self->pool =
		ebb_pool_create(crew.limit, crew.largest,
				OPTIONS(.timeout_ms = EBB_POOL_FOR_EVER));
	EXPECT_TRUE(crew_works(&crew));
}

/* Takes that fail have the credits of all threads revoked, each time. */
TEST_F(pool, revoking_loses_no_byte)
{
	struct crew crew = { .limit = MIB, .largest = 4000,
			     .rounds = 60000 };
	pthread_t threads[3];
	void *all;

	crew.pool = self->pool = ebb_pool_create(MIB, MIB, NULL);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, work, &crew));
	for (int i = 0; i < 20000; i++) {
		all = ebb_pool_take(self->pool, MIB);
		if (all)
			EXPECT_EQ(0, ebb_pool_return(self->pool, all));
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	EXPECT_FALSE(crew.broken);
	/* All of it is there, and no more. */
	all = ebb_pool_take(self->pool, MIB);
	EXPECT_NE(NULL, all);
	EXPECT_EQ(NULL, ebb_pool_take(self->pool, 16));
	EXPECT_EQ(0, ebb_pool_return(self->pool, all));
	EXPECT_EQ(0, ebb_pool_destroy(self->pool, 0, NULL));
	self->pool = NULL;
}

TEST_F(pool, those_who_give_up_leave_nothing_behind)
{
	struct crew crew = { .limit = 64 * KIB, .largest = 40 * KIB,
			     .rounds = 1000 };

	crew.pool = self->pool = ebb_pool_create(crew.limit, crew.largest,
						 OPTIONS(.timeout_ms = 1));
	EXPECT_TRUE(crew_works(&crew));
	EXPECT_EQ(0, ebb_pool_destroy(self->pool, 0, NULL));
	crew.pool = self->pool = ebb_pool_create(crew.limit, crew.largest,
						 NULL);
	EXPECT_TRUE(crew_works(&crew));
}

TEST_HARNESS_MAIN
