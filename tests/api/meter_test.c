// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - What a thread allocates and frees, counted call by call
 *
 * jemalloc's thread.allocated and thread.deallocated, and the addresses of both.
 * With accounts=totals the accounts know the same by other means.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "ebb/jemalloc.h"
#include "harness.h"

const char *ebb_conf = "accounts=totals,reclaim=off,control_dir=off";

#define NR		500u
#define NR_WORKERS	4u
#define ROUNDS		60000u

struct counters {
	const volatile uint64_t *allocated, *freed;
};

static struct counters my_counters(void)
{
	struct counters mine = { 0 };
	size_t len = sizeof(mine.allocated);

	if (mallctl("thread.allocatedp", &mine.allocated, &len, NULL, 0) ||
	    mallctl("thread.deallocatedp", &mine.freed, &len, NULL, 0))
		abort();
	return mine;
}

/* A figure of the calling thread's. */
static uint64_t figure(const char *name)
{
	uint64_t value;
	size_t len = sizeof(value);

	if (mallctl(name, &value, &len, NULL, 0))
		abort();
	return value;
}

static int do_it(const char *name)
{
	return mallctl(name, NULL, NULL, NULL, 0);
}

/* What it comes to that its caller allocated and freed, by the caller's sums. */
struct sums {
	uint64_t allocated, freed;
};

static void *note(struct sums *sums, void *ptr)
{
	if (!ptr)
		abort();
	sums->allocated += malloc_usable_size(ptr);
	return ptr;
}

static void drop(struct sums *sums, void *ptr)
{
	sums->freed += malloc_usable_size(ptr);
	free(ptr);
}

FIXTURE(meter) {
	struct counters mine;
	struct sums before, sums;
};

FIXTURE_SETUP(meter)
{
	self->mine = my_counters();
	self->before.allocated = *self->mine.allocated;
	self->before.freed = *self->mine.freed;
}

FIXTURE_TEARDOWN(meter)
{
}

#define EXPECT_COUNTED() do {						\
	EXPECT_EQ(self->sums.allocated,					\
		  *self->mine.allocated - self->before.allocated);	\
	EXPECT_EQ(self->sums.freed,					\
		  *self->mine.freed - self->before.freed);		\
} while (0)

TEST_F(meter, counts_each_call)
{
	static const size_t sizes[] = { 0, 1, 16, 100, 1000, 8000, 32768,
					32769, 200000, 5000000 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t size = sizes[i];
		void *p[5];

		p[0] = note(&self->sums, malloc(size));
		EXPECT_COUNTED();
		p[1] = note(&self->sums, calloc(1, size));
		EXPECT_COUNTED();
		p[2] = note(&self->sums, memalign(256, size));
		EXPECT_COUNTED();
		p[3] = note(&self->sums, mallocx(size + 1, MALLOCX_ZERO));
		EXPECT_COUNTED();
		p[4] = note(&self->sums, realloc(NULL, size));
		EXPECT_COUNTED();
		for (int j = 0; j < 5; j++) {
			drop(&self->sums, p[j]);
			EXPECT_COUNTED();
		}
	}
	free(NULL);
	EXPECT_COUNTED();
}

/* What moves is allocated and freed, what stays grows or shrinks. */
TEST_F(meter, counts_what_changes_its_size)
{
	static const size_t sizes[] = { 10, 16, 60, 50, 5000, 40000, 45000,
					300000, 3000000, 9000000, 2000000,
					70000, 33000, 20000, 100 };
	char *ptr = note(&self->sums, malloc(1));
	uint64_t net = self->sums.allocated;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		ptr = realloc(ptr, sizes[i]);
		ASSERT_TRUE(ptr);
		net = malloc_usable_size(ptr);
		EXPECT_EQ(net, *self->mine.allocated - self->before.allocated -
			       *self->mine.freed + self->before.freed);
	}
	(void)xallocx(ptr, 10000000, 0, 0);
	net = malloc_usable_size(ptr);
	ptr = rallocx(ptr, 200000, 0);
	net = malloc_usable_size(ptr);
	EXPECT_EQ(net, *self->mine.allocated - self->before.allocated -
		       *self->mine.freed + self->before.freed);
	free(ptr);
	EXPECT_EQ(*self->mine.allocated - self->before.allocated,
		  *self->mine.freed - self->before.freed);
}

TEST_F(meter, says_the_same_each_way)
{
	size_t mib[4], miblen = 4, len = sizeof(uint64_t);
	struct counters again;
	uint64_t value;

	note(&self->sums, malloc(100));
	again = my_counters();
	EXPECT_EQ(self->mine.allocated, again.allocated);
	EXPECT_EQ(self->mine.freed, again.freed);
	EXPECT_EQ(*again.allocated, figure("thread.allocated"));
	EXPECT_EQ(*again.freed, figure("thread.deallocated"));
	ASSERT_EQ(0, mallctlnametomib("thread.allocated", mib, &miblen));
	ASSERT_EQ(2, miblen);
	EXPECT_EQ(0, mallctlbymib(mib, 2, &value, &len, NULL, 0));
	EXPECT_EQ(*again.allocated, value);
	EXPECT_EQ(EPERM, mallctl("thread.allocated", NULL, NULL, &value, len));
	EXPECT_EQ(EPERM, mallctl("thread.allocatedp", NULL, NULL, &value, len));
}

/* Without the fast path, and yet what it is for: nothing is told per call. */
TEST_F(meter, agrees_with_the_accounts)
{
	struct ebb_thread_counts before, now;
	void *p[NR] = { NULL };
	struct rng rng;

	NEEDS_EBBMALLOC();
	rng_seed(&rng, 7);
	if (ebb_thread_stats(0, &before, sizeof(before))) {
		ASSERT_EQ(EOPNOTSUPP, errno);
		SKIP(return, "built without accounts");
	}
	for (unsigned int i = 0; i < 20 * NR; i++) {
		unsigned int at = rng_below(&rng, NR);

		free(p[at]);
		p[at] = malloc(rng_size(&rng, 3, 18));
	}
	ASSERT_EQ(0, ebb_thread_stats(0, &now, sizeof(now)));
	EXPECT_EQ(now.allocated - before.allocated,
		  *self->mine.allocated - self->before.allocated);
	EXPECT_EQ(now.freed_self + now.freed_for_others - before.freed_self -
		  before.freed_for_others,
		  *self->mine.freed - self->before.freed);
	EXPECT_EQ(now.live - before.live,
		  *self->mine.allocated - self->before.allocated -
		  *self->mine.freed + self->before.freed);
}

TEST_F(meter, the_peak_is_what_it_was_at_most)
{
	void *p[4];

	EXPECT_EQ(0, do_it("thread.peak.reset"));
	EXPECT_EQ(0, figure("thread.peak.read"));
	for (int i = 0; i < 4; i++)
		p[i] = note(&self->sums, malloc(100000));
	EXPECT_EQ(self->sums.allocated, figure("thread.peak.read"));
	for (int i = 0; i < 4; i++)
		drop(&self->sums, p[i]);
	EXPECT_EQ(self->sums.allocated, figure("thread.peak.read"));
	EXPECT_EQ(0, do_it("thread.peak.reset"));
	EXPECT_EQ(0, figure("thread.peak.read"));
	free(note(&self->sums, malloc(1000)));
	EXPECT_EQ(malloc_usable_size(note(&self->sums, malloc(1000))),
		  figure("thread.peak.read"));
}

/* === Threads ============================================================== */

struct worker {
	pthread_t thread;
	pthread_barrier_t *together;
	struct counters counters;
	struct sums sums;
	void **shared;		/* objects of all workers, exchanged */
	unsigned int seed;
	uint64_t allocated, freed;	/* as it has read them itself */
};

static void *free_all_of_it(void *arg)
{
	struct worker *worker = arg;

	worker->counters = my_counters();
	for (unsigned int i = 0; i < NR; i++)
		drop(&worker->sums, worker->shared[i]);
	worker->allocated = *worker->counters.allocated;
	worker->freed = *worker->counters.freed;
	return NULL;
}

TEST_F(meter, who_frees_is_counted_not_who_allocated)
{
	void *p[NR];
	struct worker worker = { .shared = p };

	for (unsigned int i = 0; i < NR; i++)
		p[i] = note(&self->sums, malloc(i * 10));
	ASSERT_EQ(0, pthread_create(&worker.thread, NULL, free_all_of_it,
				    &worker));
	pthread_join(worker.thread, NULL);
	EXPECT_NE(self->mine.allocated, worker.counters.allocated);
	EXPECT_EQ(0, worker.allocated);
	EXPECT_EQ(worker.sums.freed, worker.freed);
	EXPECT_EQ(self->sums.allocated, worker.freed);
	EXPECT_EQ(self->before.freed, *self->mine.freed);
}

static pthread_key_t last_key;
static struct sums last_sums;
static uint64_t last_allocated;

/* Called again and again, also after the library's own destructor. */
static void allocate_last(void *arg)
{
	struct counters mine = my_counters();
	struct sums sums = { 0 };
	uint64_t before = *mine.allocated;

	(void)arg;
	for (unsigned int i = 0; i < 100; i++)
		drop(&sums, note(&sums, malloc(i * 100)));
	last_sums.allocated += sums.allocated;
	last_allocated += *mine.allocated - before;
	pthread_setspecific(last_key, &last_sums);
}

static void *end_slowly(void *arg)
{
	(void)arg;
	free(malloc(100));
	(void)my_counters();
	pthread_setspecific(last_key, &last_sums);
	return NULL;
}

TEST_F(meter, counts_to_the_end_of_a_thread)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_key_create(&last_key, allocate_last));
	ASSERT_EQ(0, pthread_create(&thread, NULL, end_slowly, NULL));
	pthread_join(thread, NULL);
	EXPECT_LT(0, last_sums.allocated);
	EXPECT_EQ(last_sums.allocated, last_allocated);
}

static void *exchange(void *arg)
{
	struct worker *worker = arg;
	struct sums *sums = &worker->sums;
	uint64_t allocated, freed;
	struct rng rng;

	rng_seed(&rng, worker->seed);
	/* Some have a heap before, some get it later. */
	if (worker->seed % 2)
		free(malloc(100));
	worker->counters = my_counters();
	allocated = *worker->counters.allocated;
	freed = *worker->counters.freed;
	pthread_barrier_wait(worker->together);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned int at = rng_below(&rng, NR);
		void *ptr = note(sums, malloc(rng_size(&rng, 3, 14)));

		*(unsigned int *)ptr = i;
		ptr = __atomic_exchange_n(&worker->shared[at], ptr,
					  __ATOMIC_ACQ_REL);
		if (ptr)
			drop(sums, ptr);
	}
	worker->allocated = *worker->counters.allocated - allocated;
	worker->freed = *worker->counters.freed - freed;
	pthread_barrier_wait(worker->together);
	return NULL;
}

static void *trim_always(void *arg)
{
	const bool *end = arg;

	while (!__atomic_load_n(end, __ATOMIC_RELAXED))
		malloc_trim(0);
	return NULL;
}

/* Their second gates are closed and opened all the time. */
TEST_F(meter, counts_while_caches_are_emptied)
{
	struct worker workers[NR_WORKERS] = { 0 };
	pthread_barrier_t together;
	void *shared[NR] = { NULL };
	uint64_t allocated = 0, freed = 0, left = 0;
	pthread_t trimmer;
	bool end = false;

	pthread_barrier_init(&together, NULL, NR_WORKERS + 1);
	ASSERT_EQ(0, pthread_create(&trimmer, NULL, trim_always, &end));
	for (unsigned int i = 0; i < NR_WORKERS; i++) {
		workers[i].seed = i;
		workers[i].shared = shared;
		workers[i].together = &together;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, exchange,
					    &workers[i]));
	}
	pthread_barrier_wait(&together);
	pthread_barrier_wait(&together);
	__atomic_store_n(&end, true, __ATOMIC_RELAXED);
	pthread_join(trimmer, NULL);
	for (unsigned int i = 0; i < NR_WORKERS; i++) {
		EXPECT_EQ(workers[i].sums.allocated, workers[i].allocated);
		EXPECT_EQ(workers[i].sums.freed, workers[i].freed);
		allocated += workers[i].allocated;
		freed += workers[i].freed;
	}
	for (unsigned int i = 0; i < NR; i++)
		if (shared[i])
			left += malloc_usable_size(shared[i]);
	EXPECT_EQ(left, allocated - freed);
	for (unsigned int i = 0; i < NR_WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
}

static void *rest(void *arg)
{
	struct worker *worker = arg;

	worker->counters = my_counters();
	for (unsigned int i = 0; i < NR; i++)
		worker->shared[i] = note(&worker->sums, malloc(500));
	for (unsigned int i = 0; i < NR; i++)
		drop(&worker->sums, worker->shared[i]);
	pthread_barrier_wait(worker->together);
	pthread_barrier_wait(worker->together);
	for (unsigned int i = 0; i < NR; i++)
		worker->shared[i] = note(&worker->sums, malloc(500));
	worker->allocated = *worker->counters.allocated;
	pthread_barrier_wait(worker->together);
	pthread_barrier_wait(worker->together);
	return NULL;
}

static uint64_t cached_bytes(void)
{
	struct ebb_heap_counts counts;

	if (ebb_heap_count(&counts))
		abort();
	return counts.cached_bytes;
}

/* It has magazines as any thread, and they can be emptied. */
TEST_F(meter, a_metered_thread_has_caches)
{
	pthread_barrier_t together;
	void *p[NR];
	struct worker worker = { .shared = p, .together = &together };

	NEEDS_EBBMALLOC();
	pthread_barrier_init(&together, NULL, 2);
	malloc_trim(0);
	ASSERT_EQ(0, pthread_create(&worker.thread, NULL, rest, &worker));
	pthread_barrier_wait(&together);
	EXPECT_LT(0, cached_bytes());
	malloc_trim(0);
	EXPECT_EQ(0, cached_bytes());
	pthread_barrier_wait(&together);
	pthread_barrier_wait(&together);
	EXPECT_EQ(worker.sums.allocated, worker.allocated);
	EXPECT_LT(0, cached_bytes());
	pthread_barrier_wait(&together);
	pthread_join(worker.thread, NULL);
}

/* === Handlers and forks =================================================== */

static struct sums in_handler;
static void *volatile kept_by_handler;
static volatile unsigned int nr_handled;

static void allocate_in_handler(int sig)
{
	int saved = errno;

	(void)sig;
	if (kept_by_handler)
		drop(&in_handler, kept_by_handler);
	kept_by_handler = note(&in_handler, malloc(nr_handled % 1000));
	nr_handled++;
	errno = saved;
}

TEST_F(meter, counts_in_handlers)
{
	struct sigaction action = { .sa_handler = allocate_in_handler };
	struct itimerval timer = { { 0, 200 }, { 0, 200 } };
	void *p[NR] = { NULL };
	struct rng rng;

	rng_seed(&rng, 3);
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	while (nr_handled < 1000) {
		unsigned int at = rng_below(&rng, NR);

		if (p[at])
			drop(&self->sums, p[at]);
		p[at] = note(&self->sums, malloc(rng_size(&rng, 3, 14)));
	}
	memset(&timer, 0, sizeof(timer));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	self->sums.allocated += in_handler.allocated;
	self->sums.freed += in_handler.freed;
	EXPECT_COUNTED();
}

TEST_F(meter, a_child_counts_on)
{
	int status;
	pid_t pid;

	note(&self->sums, malloc(1000));
	pid = fork();
	if (!pid) {
		for (unsigned int i = 0; i < NR; i++)
			note(&self->sums, malloc(i));
		EXPECT_COUNTED();
		EXPECT_EQ(self->mine.allocated, my_counters().allocated);
		_exit(_metadata->passed ? 0 : 1);
	}
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_COUNTED();
}

TEST_HARNESS_MAIN
