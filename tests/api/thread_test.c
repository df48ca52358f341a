// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Threads: foreign frees, exits, destructors, small stacks
 */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include "harness.h"
#include "refuse.h"

#define SLOTS		1024	/* of the ring between two threads */

FIXTURE(thread) {
	pthread_attr_t attr;
};

FIXTURE_SETUP(thread)
{
	/* More than 64 KiB where registers are many. */
	size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN);

	ASSERT_EQ(0, pthread_attr_init(&self->attr));
	ASSERT_EQ(0, pthread_attr_setstacksize(&self->attr,
					       least > 64 * KIB ? least :
								  64 * KIB));
}

FIXTURE_TEARDOWN(thread)
{
	pthread_attr_destroy(&self->attr);
}

/* A ring of objects from one thread to another. */
struct ring {
	void *objects[SLOTS];
	unsigned int nr;
	unsigned int high;	/* sizes below 2^high */
	uint64_t seed;
	bool broken;
};

static void *ring_produce(void *arg)
{
	struct ring *ring = arg;
	struct rng rng;

	rng_seed(&rng, ring->seed);
	for (unsigned int i = 0; i < ring->nr; i++) {
		void **place = &ring->objects[i % SLOTS];
		size_t size = rng_size(&rng, 3, ring->high);
		uint64_t *p = malloc(size + 8);

		if (!p)
			abort();
		p[0] = size;
		pattern_fill(p + 1, size, i);
		while (__atomic_load_n(place, __ATOMIC_ACQUIRE))
			sched_yield();
		__atomic_store_n(place, p, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void *ring_consume(void *arg)
{
	struct ring *ring = arg;

	for (unsigned int i = 0; i < ring->nr; i++) {
		void **place = &ring->objects[i % SLOTS];
		uint64_t *p;

		while (!(p = __atomic_load_n(place, __ATOMIC_ACQUIRE)))
			sched_yield();
		__atomic_store_n(place, NULL, __ATOMIC_RELEASE);
		if (!pattern_holds(p + 1, p[0], i))
			ring->broken = true;
		free(p);
	}
	return NULL;
}

TEST_F(thread, frees_what_another_thread_allocated)
{
	static struct ring rings[3];
	pthread_t threads[6];

	for (int i = 0; i < 3; i++) {
		rings[i] = (struct ring){ .nr = 60000, .seed = (uint64_t)i,
					  .high = i == 2 ? 17 : 10 };
		if (i == 2)
			rings[i].nr = 6000;
		ASSERT_EQ(0, pthread_create(&threads[2 * i], &self->attr,
					    ring_produce, &rings[i]));
		ASSERT_EQ(0, pthread_create(&threads[2 * i + 1], &self->attr,
					    ring_consume, &rings[i]));
	}
	for (int i = 0; i < 6; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	for (int i = 0; i < 3; i++)
		EXPECT_FALSE(rings[i].broken);
}

TEST_F(thread, does_not_grow_when_one_allocates_and_another_frees)
{
	static struct ring ring;
	pthread_t threads[2];
	size_t before = 0;

	for (int round = 0; round < 12; round++) {
		ring = (struct ring){ .nr = 40000, .seed = 3, .high = 10 };
		ASSERT_EQ(0, pthread_create(&threads[0], &self->attr,
					    ring_produce, &ring));
		ASSERT_EQ(0, pthread_create(&threads[1], &self->attr,
					    ring_consume, &ring));
		pthread_join(threads[0], NULL);
		pthread_join(threads[1], NULL);
		if (round == 3)
			before = rss_bytes();
	}
	EXPECT_GE(before + 16 * MIB, rss_bytes());
}

/* What a short-lived thread leaves behind. */
struct legacy {
	void *objects[500];
	bool keep;	/* leave them to the creator */
};

static void *leave_legacy(void *arg)
{
	struct legacy *legacy = arg;
	struct rng rng;

	rng_seed(&rng, 17);
	for (size_t i = 0; i < ARRAY_LEN(legacy->objects); i++) {
		size_t size = rng_size(&rng, 4, 13);

		legacy->objects[i] = malloc(size);
		if (!legacy->objects[i])
			abort();
		pattern_fill(legacy->objects[i], size, i);
	}
	for (size_t i = 0; i < ARRAY_LEN(legacy->objects); i++)
		if (!legacy->keep || i % 2)
			free(legacy->objects[i]);
	return NULL;
}

static bool free_legacy(struct legacy *legacy)
{
	bool holds = true;
	struct rng rng;

	rng_seed(&rng, 17);
	for (size_t i = 0; i < ARRAY_LEN(legacy->objects); i++) {
		size_t size = rng_size(&rng, 4, 13);

		if (i % 2)
			continue;
		holds &= pattern_holds(legacy->objects[i], size, i);
		free(legacy->objects[i]);
	}
	return holds;
}

TEST_F(thread, objects_outlive_the_thread_that_made_them)
{
	static struct legacy legacies[50];
	pthread_t thread;

	for (int i = 0; i < 50; i++) {
		legacies[i].keep = true;
		ASSERT_EQ(0, pthread_create(&thread, &self->attr, leave_legacy,
					    &legacies[i]));
		ASSERT_EQ(0, pthread_join(thread, NULL));
	}
	for (int i = 0; i < 50; i++)
		EXPECT_TRUE(free_legacy(&legacies[i]));
}

TEST_F(thread, a_thousand_in_turn_do_not_grow_the_heap)
{
	struct legacy legacy = { .keep = true };
	size_t before = 0;
	pthread_t thread;

	for (int i = 0; i < 1000; i++) {
		ASSERT_EQ(0, pthread_create(&thread, &self->attr, leave_legacy,
					    &legacy));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_TRUE(free_legacy(&legacy));
		if (i == 50)
			before = rss_bytes();
	}
	EXPECT_GE(before + 8 * MIB, rss_bytes());
}

/* Slabs whose owner has gone, each with a live object, must fill again. */
TEST_F(thread, what_exited_threads_left_is_adopted)
{
	static struct legacy legacies[200];
	size_t before = 0;
	pthread_t thread;

	for (int i = 0; i < 200; i++) {
		legacies[i].keep = true;
		ASSERT_EQ(0, pthread_create(&thread, &self->attr, leave_legacy,
					    &legacies[i]));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		for (size_t j = 0; j < ARRAY_LEN(legacies[i].objects); j += 2)
			if (j % 50)
				free(legacies[i].objects[j]);
		if (i == 20)
			before = rss_bytes();
	}
	/* Ten live objects of each thread remain: under 40 KiB. */
	EXPECT_GE(before + 180 * 40 * KIB + 12 * MIB, rss_bytes());
}

static pthread_key_t key;
static unsigned int destructor_runs;

static void destroy(void *arg)
{
	void *p[100];

	for (int i = 0; i < 100; i++) {
		p[i] = i % 2 ? malloc((size_t)i * 100) : calloc(1, 50000);
		if (!p[i])
			abort();
		memset(p[i], 1, 40);
	}
	for (int i = 0; i < 100; i++)
		free(p[i]);
	free(arg);
	__atomic_add_fetch(&destructor_runs, 1, __ATOMIC_RELAXED);
	/* Come again for as long as the system goes on calling. */
	pthread_setspecific(key, malloc(77));
}

static void *use_key(void *arg)
{
	pthread_setspecific(key, malloc(10));
	free(malloc(100));
	return arg;
}

TEST_F(thread, key_destructors_allocate_and_free_in_every_round)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_key_create(&key, destroy));
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, pthread_create(&thread, &self->attr, use_key,
					    NULL));
		ASSERT_EQ(0, pthread_join(thread, NULL));
	}
	EXPECT_LE(100 * PTHREAD_DESTRUCTOR_ITERATIONS, destructor_runs);
}

int __cxa_thread_atexit_impl(void (*fn)(void *), void *arg, void *dso);
extern void *__dso_handle;

static unsigned int tls_runs;

static void destroy_tls(void *arg)
{
	void *p = malloc(1000);

	free(arg);
	memset(p, 1, 1000);
	free(p);
	__atomic_add_fetch(&tls_runs, 1, __ATOMIC_RELAXED);
}

static void *use_tls(void *arg)
{
	for (int i = 0; i < 10; i++)
		__cxa_thread_atexit_impl(destroy_tls, malloc(300),
					 &__dso_handle);
	return arg;
}

TEST_F(thread, thread_local_destructors_allocate_and_free)
{
	pthread_t thread;

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, pthread_create(&thread, &self->attr, use_tls,
					    NULL));
		ASSERT_EQ(0, pthread_join(thread, NULL));
	}
	EXPECT_EQ(1000, tls_runs);
}

/* Everything that allocates, on as little stack as a thread can have. */
static void *use_small_stack(void *arg)
{
	void *volatile *done = arg;

	for (unsigned int e = 0; edge_size(e); e++) {
		void *p = malloc(edge_size(e));

		p = realloc(p, edge_size(e) * 2);
		free(p);
		free(calloc(3, edge_size(e)));
		free(memalign(4096, edge_size(e)));
	}
	malloc_trim(0);
	(void)mallinfo2();
	*done = arg;
	return NULL;
}

TEST_F(thread, sixteen_kib_of_stack_suffice)
{
	void *volatile done = NULL;
	pthread_attr_t attr;
	pthread_t thread;

	ASSERT_EQ(0, pthread_attr_init(&attr));
	if (sysconf(_SC_THREAD_STACK_MIN) > 16 * (long)KIB)
		SKIP(return, "threads need more than that here");
	ASSERT_EQ(0, pthread_attr_setstacksize(&attr, 16 * KIB));
	ASSERT_EQ(0, pthread_create(&thread, &attr, use_small_stack,
				    (void *)&done));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_NE(NULL, done);
}

/* Threads that fill their caches and then sleep. */
struct sleepers {
	pthread_barrier_t filled;
	pthread_barrier_t leave;
};

static void *fill_caches_and_sleep(void *arg)
{
	struct sleepers *sleepers = arg;
	void *p[64];

	for (unsigned int size = 16; size <= 4096; size += 48) {
		for (int i = 0; i < 64; i++) {
			p[i] = malloc(size);
			memset(p[i], 1, size);
		}
		for (int i = 0; i < 64; i++)
			free(p[i]);
	}
	pthread_barrier_wait(&sleepers->filled);
	pthread_barrier_wait(&sleepers->leave);
	return NULL;
}

/* Whether /proc/cpuinfo tells of an x86 that interrupts for a shootdown. */
static bool has_substitute(void)
{
#if defined(__x86_64__)
	static char text[64 * KIB];

	return read_file("/proc/cpuinfo", text, sizeof(text)) > 0 &&
	       !strstr(text, " invlpgb") &&
	       (read_file("/sys/class/dmi/id/sys_vendor", text,
			  sizeof(text)) < 0 || !strstr(text, "Microsoft"));
#else
	return false;
#endif
}

/* What a drain leaves of @NR threads that sleep. */
static void trim_sleepers(struct __test_metadata *_metadata,
			  const pthread_attr_t *attr)
{
	enum { NR = 200 };
	static pthread_t threads[NR];
	struct sleepers sleepers;
	size_t before, after;

	before = rss_bytes();
	pthread_barrier_init(&sleepers.filled, NULL, NR + 1);
	pthread_barrier_init(&sleepers.leave, NULL, NR + 1);
	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], attr,
					    fill_caches_and_sleep, &sleepers));
	pthread_barrier_wait(&sleepers.filled);
	/*
	 * What stays of a thread is its stack, its heap, and the descriptors
	 * of the some sixty slabs it used.  The last of them may still be on
	 * its way into its sleep.
	 */
	EXPECT_TRUE(WAIT_FOR((malloc_trim(0), after = rss_bytes()) <
			     before + NR * 80 * KIB));
	TH_LOG("RSS before %zu, with %d sleeping threads %zu", before, NR,
	       after);
	pthread_barrier_wait(&sleepers.leave);
	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
}

TEST_F(thread, caches_of_sleeping_threads_are_trimmed)
{
	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer keeps memory for each thread");
	trim_sleepers(_metadata, &self->attr);
}

/* Its substitute: src/os/barrier.c. */
TEST_F(thread, caches_are_trimmed_where_membarrier_is_refused)
{
	NEEDS_EBBMALLOC();
	if (SANITIZED)
		SKIP(return, "a sanitizer keeps memory for each thread");
	if (!has_substitute())
		SKIP(return, "no substitute for membarrier() on this machine");
	ASSERT_TRUE(refuse_call(SYS_membarrier, EPERM));
	trim_sleepers(_metadata, &self->attr);
}

/* Trims all the time, so that a pass is in progress as a rule. */
static void *trim_always(void *arg)
{
	while (!__atomic_load_n((bool *)arg, __ATOMIC_RELAXED))
		malloc_trim(0);
	return NULL;
}

/* Pages of [@p, @p + @len) that are backed. */
static size_t pages_backed(char *p, size_t len)
{
	static unsigned char vec[256];
	size_t nr = 0;

	if (mincore(p, len, vec))
		return SIZE_MAX;
	for (size_t i = 0; i < len / page_size(); i++)
		nr += vec[i] & 1;
	return nr;
}

TEST_F(thread, a_trim_waits_for_the_pass_in_progress_and_makes_its_own)
{
	const size_t len = MIB;
	pthread_t threads[2];
	bool stop = false;

	NEEDS_EBBMALLOC();
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, trim_always,
					    &stop));
	for (int i = 0; i < 300; i++) {
		char *p = malloc(len);

		ASSERT_NE(NULL, p);
		memset(p, 1, len);
		free(p);
		malloc_trim(0);
		EXPECT_EQ(0, pages_backed(p, len));
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
}

#define BURST		(512 * KIB)	/* of one size: well over a magazine */
#define MAGAZINE_MOST	(64 * KIB)	/* or four slots */
/* And all of a thread's beyond that, where refills and flushes take turns. */
#define MAGAZINES_WIDE	(4 * MIB)
/* And of all threads together, where much of both takes turns. */
#define MAGAZINES_BURST	(15 * MIB)

/* Never rests, and frees much more of each size than it may keep. */
static void *burst_always(void *arg)
{
	static void *objects[BURST / 16];

	while (!__atomic_load_n((bool *)arg, __ATOMIC_RELAXED))
		for (size_t size = 16; size <= 32 * KIB; size += size / 8 + 16) {
			size_t nr = BURST / size;

			for (size_t i = 0; i < nr; i++)
				objects[i] = malloc(size);
			for (size_t i = 0; i < nr; i++)
				free(objects[i]);
		}
	return NULL;
}

TEST_F(thread, caches_of_one_that_never_rests_are_bounded)
{
	/* Its own 72 classes, and as much for the main thread. */
	const size_t most = 2 * (72 * MAGAZINE_MOST + 16 * 4 * 32 * KIB +
				 MAGAZINES_WIDE) + MAGAZINES_BURST;
	struct ebb_heap_counts counts;
	uint64_t highest = 0;
	bool stop = false;
	pthread_t thread;

	NEEDS_EBBMALLOC();
	ASSERT_EQ(0, pthread_create(&thread, NULL, burst_always, &stop));
	for (int i = 0; i < 300; i++) {
		ASSERT_EQ(0, heap_count()(&counts));
		if (counts.cached_bytes > highest)
			highest = counts.cached_bytes;
		sleep_ms(1);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_GE(most, highest);
	/* With check=1 nothing is cached at all. */
	if (!getenv("EBB_CONF") || !strstr(getenv("EBB_CONF"), "check=1"))
		EXPECT_LT(0, highest);
	TH_LOG("at most %llu KiB cached, of %zu KiB",
	       (unsigned long long)(highest / KIB), most / KIB);
}

static uint64_t cached_bytes(void)
{
	struct ebb_heap_counts counts = { 0 };

	return heap_count()(&counts) ? 0 : counts.cached_bytes;
}

#define TURNS		200
#define NR_TURNED	1000u	/* objects of 8 KiB: eight times a magazine */

struct turner {
	bool turned;
	bool stop;
};

/* Takes and frees much by turns; then it neither does so nor rests. */
static void *take_turns(void *arg)
{
	static void *objects[NR_TURNED], *small[300];
	struct turner *turner = arg;

	for (int turn = 0; turn < TURNS; turn++) {
		for (size_t i = 0; i < NR_TURNED; i++)
			objects[i] = malloc(8 * KIB);
		for (size_t i = 0; i < NR_TURNED; i++)
			free(objects[i]);
	}
	__atomic_store_n(&turner->turned, true, __ATOMIC_RELEASE);
	/* Its other caches are hardly ever as they were at the last look. */
	for (size_t i = 0; !__atomic_load_n(&turner->stop, __ATOMIC_RELAXED);
	     i = (i + 1) % ARRAY_LEN(small)) {
		if (small[i])
			free(small[i]);
		small[i] = small[i] ? NULL : malloc(40 + i);
		sleep_ms(1);
	}
	for (size_t i = 0; i < ARRAY_LEN(small); i++)
		free(small[i]);
	return NULL;
}

TEST_F(thread, a_cache_grows_to_bursts_for_a_while)
{
	const char *conf = getenv("EBB_CONF");
	struct turner turner = { 0 };
	pthread_t thread;
	uint64_t most;
	char *big;

	NEEDS_EBBMALLOC();
	if (conf && (strstr(conf, "check=1") || strstr(conf, "reclaim=off")))
		SKIP(return, "nothing is cached, or nothing given back");
	if (conf && strstr(conf, "frugal=100%"))
		SKIP(return, "objects of this size have no magazine");
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_turns, &turner));
	while (!__atomic_load_n(&turner.turned, __ATOMIC_ACQUIRE))
		sleep_ms(1);
	/* All is free, and nobody has looked yet. */
	most = cached_bytes();
	EXPECT_LE(NR_TURNED * 8 * KIB / 2, most);
	/* Enough to be given back: somebody looks for it from now on. */
	memset(big = malloc(32 * MIB), 1, 32 * MIB);
	free(big);
	EXPECT_TRUE(WAIT_FOR(cached_bytes() < MIB));
	__atomic_store_n(&turner.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

#define NR_PAIRS	600u	/* objects of two classes side by side */

struct pairs {
	uint64_t turns;
	uint64_t broken;
	bool stop;
};

/* Objects have their number in the first word and in the last. */
static void *take_pairs(void *arg)
{
	static uint64_t *objects[2 * NR_PAIRS];
	static const size_t sizes[2] = { 8 * KIB, 9 * KIB };
	struct pairs *pairs = arg;

	while (!__atomic_load_n(&pairs->stop, __ATOMIC_RELAXED)) {
		for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
			objects[i] = malloc(sizes[i % 2]);
			objects[i][0] = objects[i][sizes[i % 2] / 8 - 1] = i;
		}
		for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
			pairs->broken += objects[i][0] != i ||
				objects[i][sizes[i % 2] / 8 - 1] != i;
			free(objects[i]);
		}
		__atomic_store_n(&pairs->turns, pairs->turns + 1,
				 __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Grown to bursts, two magazines that lie side by side are taken away. */
TEST_F(thread, bursts_of_two_classes_survive_trims)
{
	struct pairs pairs = { 0 };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, take_pairs, &pairs));
	for (uint64_t trims = 1; trims <= 10; trims++) {
		while (__atomic_load_n(&pairs.turns, __ATOMIC_ACQUIRE) <
		       trims * 60)
			sched_yield();
		malloc_trim(0);
	}
	__atomic_store_n(&pairs.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0u, pairs.broken);
}

static void *churn(void *arg)
{
	void *p[100] = { NULL };
	struct rng rng;

	rng_seed(&rng, (uint64_t)(uintptr_t)arg);
	for (int i = 0; i < 20000; i++) {
		size_t at = rng_below(&rng, 100);

		free(p[at]);
		p[at] = malloc(rng_size(&rng, 3, 12));
		if (!p[at])
			abort();
		*(char *)p[at] = 1;
	}
	for (int i = 0; i < 100; i++)
		free(p[i]);
	return NULL;
}

TEST_F(thread, four_hundred_at_once_allocate)
{
	enum { NR = 400 };
	static pthread_t threads[NR];

	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], &self->attr, churn,
					    (void *)(uintptr_t)i));
	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
}

/* Threads that make an object of each size up to 1 KiB, and keep them. */
#define NR_FEW		32
#define NR_SIZES	64

struct few {
	pthread_barrier_t made;
	pthread_barrier_t leave;
	char *objects[NR_FEW][NR_SIZES];
	unsigned int next;
};

static void *make_a_few(void *arg)
{
	struct few *few = arg;
	char **objects = few->objects[__atomic_fetch_add(&few->next, 1,
							 __ATOMIC_RELAXED)];

	for (size_t i = 0; i < NR_SIZES; i++)
		objects[i] = malloc(16 * (i + 1));
	pthread_barrier_wait(&few->made);
	pthread_barrier_wait(&few->leave);
	for (size_t i = 0; i < NR_SIZES; i++)
		free(objects[i]);
	return NULL;
}

/* Whether two objects write to one line of 64 bytes. */
static bool share_a_line(char *a, char *b)
{
	uintptr_t first_a = (uintptr_t)a / 64, first_b = (uintptr_t)b / 64;
	uintptr_t last_a = ((uintptr_t)a + malloc_usable_size(a) - 1) / 64;
	uintptr_t last_b = ((uintptr_t)b + malloc_usable_size(b) - 1) / 64;

	return first_a <= last_b && first_b <= last_a;
}

static unsigned int count_shared_lines(const struct few *few, size_t size)
{
	unsigned int nr = 0;

	for (int i = 0; i < NR_FEW; i++)
		for (int j = 0; j < i; j++)
			nr += share_a_line(few->objects[i][size],
					   few->objects[j][size]);
	return nr;
}

TEST_F(thread, those_that_make_a_few_objects_share_slabs_but_no_cache_line)
{
	static struct few few;
	struct ebb_heap_counts before, after;
	pthread_t threads[NR_FEW];

	NEEDS_EBBMALLOC();
	if (getenv("EBB_CONF") && strstr(getenv("EBB_CONF"), "check=1"))
		SKIP(return, "with check=1 nobody has slots of his own");
	pthread_barrier_init(&few.made, NULL, NR_FEW + 1);
	pthread_barrier_init(&few.leave, NULL, NR_FEW + 1);
	ASSERT_EQ(0, heap_count()(&before));
	for (int i = 0; i < NR_FEW; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], &self->attr,
					    make_a_few, &few));
	pthread_barrier_wait(&few.made);
	ASSERT_EQ(0, heap_count()(&after));
	/* They use 32 classes; what they have fills one or two slabs of each. */
	EXPECT_GT(4 * 32, after.slabs - before.slabs);
	for (size_t size = 0; size < NR_SIZES; size++)
		EXPECT_EQ(0, count_shared_lines(&few, size));
	pthread_barrier_wait(&few.leave);
	for (int i = 0; i < NR_FEW; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
}

static void *allocate_when_cancelled(void *arg)
{
	pthread_barrier_wait(arg);
	for (int i = 0; i < 20000; i++) {
		char *p = malloc((size_t)i % 3000 + 1);

		p = realloc(p, (size_t)i % 70000 + 1);
		free(p);
		if (i % 1000 == 0)
			malloc_trim(0);
	}
	return arg;
}

/* malloc is no cancellation point: the thread must come to its end. */
TEST_F(thread, allocating_does_not_act_on_a_cancellation)
{
	pthread_barrier_t barrier;
	pthread_t thread;
	void *result;

	pthread_barrier_init(&barrier, NULL, 2);
	ASSERT_EQ(0, pthread_create(&thread, &self->attr,
				    allocate_when_cancelled, &barrier));
	ASSERT_EQ(0, pthread_cancel(thread));
	pthread_barrier_wait(&barrier);
	ASSERT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ((void *)&barrier, result);
}

/* Reach beyond thread_min, so that a background thread runs, then setuid. */
TEST_F(thread, setuid_does_not_wait_for_a_background_thread)
{
	enum { NR = 2000 };
	static void *p[NR];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < NR; i++) {
			p[i] = malloc(32 * KIB);
			memset(p[i], 1, 32 * KIB);
		}
		for (int i = 0; i < NR; i++)
			free(p[i]);
		sleep_ms(50);
		EXPECT_EQ(0, setresuid(getuid(), geteuid(), (uid_t)-1));
	}
}

static pthread_key_t late_key;
static __thread int late_rounds;

/* The thread's first allocation, in the second round of its destructors. */
static void allocate_late(void *arg)
{
	char *p;

	if (++late_rounds < 2) {
		pthread_setspecific(late_key, arg);
		return;
	}
	p = malloc(64);
	memset(p, 1, 64);
	free(p);
}

static void *do_nothing_but_exit_late(void *arg)
{
	pthread_setspecific(late_key, arg);
	return NULL;
}

TEST_F(thread, a_late_destructor_may_be_the_first_to_allocate)
{
	pthread_attr_t attr;
	pthread_t thread;

	ASSERT_EQ(0, pthread_key_create(&late_key, allocate_late));
	ASSERT_EQ(0, pthread_attr_init(&attr));
	/* Larger than what glibc caches: the stack is unmapped at the end. */
	ASSERT_EQ(0, pthread_attr_setstacksize(&attr, 64 * MIB));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, pthread_create(&thread, &attr,
					    do_nothing_but_exit_late,
					    (void *)1));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		malloc_trim(0);
	}
}

TEST_HARNESS_MAIN
