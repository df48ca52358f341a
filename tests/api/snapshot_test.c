// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Snapshots of the heap: a sum that comes out, always
 */
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include "harness.h"

#define NR_THREADS	4u
#define LEAST		(2 * MIB)	/* that each of them has in use */
#define MOST		(4 * MIB)
#define NR_OBJECTS	4096u
#define SNAPSHOTS	400u
/* Counted on one side only at most, for each thread: caches, an object. */
#define SLACK		(6 * MIB)

const char *ebb_conf = "accounts=live,control_dir=off,thread_min=0,decay_ms=10,lazy_ms=0";

struct worker {
	pthread_t thread;
	struct rng rng;
	size_t live;
	void *objects[NR_OBJECTS];
};

static struct worker workers[NR_THREADS];
static bool stop;		/* atomic */
static unsigned int nr_ready;	/* atomic */

FIXTURE_EMPTY(snapshot);

static uint64_t sum_of(const struct ebb_stats *stats)
{
	return stats->live + stats->cached + stats->dirty + stats->lazy +
	       stats->clean;
}

static void change(struct worker *worker)
{
	void **place = &worker->objects[rng_below(&worker->rng, NR_OBJECTS)];

	if (*place && worker->live > LEAST) {
		worker->live -= malloc_usable_size(*place);
		free(*place);
		*place = NULL;
	} else if (!*place && worker->live < MOST - 128 * KIB) {
		*place = malloc(rng_size(&worker->rng, 4, 16));
		worker->live += malloc_usable_size(*place);
	}
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	bool ready = false;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		change(worker);
		if (ready || worker->live < LEAST)
			continue;
		ready = true;
		__atomic_fetch_add(&nr_ready, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void *purge(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		malloc_trim(0);
		sched_yield();
	}
	return arg;
}

TEST_F(snapshot, balances_while_threads_allocate_and_a_purge_runs)
{
	struct ebb_stats stats;
	pthread_t purger;

	for (unsigned int i = 0; i < NR_THREADS; i++) {
		rng_seed(&workers[i].rng, i);
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work,
					    &workers[i]));
	}
	while (__atomic_load_n(&nr_ready, __ATOMIC_ACQUIRE) < NR_THREADS)
		sched_yield();
	ASSERT_EQ(0, pthread_create(&purger, NULL, purge, NULL));
	for (unsigned int i = 0; i < SNAPSHOTS; i++) {
		ASSERT_EQ(0, ebb_stats_snapshot(&stats, sizeof(stats)));
		ASSERT_EQ(stats.mapped, sum_of(&stats));
		ASSERT_LE(stats.stranded, stats.dirty);
		ASSERT_LE(stats.mapped, stats.counters[7]);
		ASSERT_LE(NR_THREADS * LEAST, stats.live + SLACK);
		ASSERT_GE(NR_THREADS * MOST + SLACK, stats.live);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < NR_THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_join(purger, NULL);
}

TEST_F(snapshot, is_exact_at_rest)
{
	static void *objects[20000];
	struct ebb_heap_counts counts;
	struct ebb_stats stats;
	void *large[20];

	for (unsigned int i = 0; i < 20; i++)
		memset(large[i] = malloc(100 * KIB * (i + 1)), 1, 100);
	for (unsigned int i = 0; i < ARRAY_LEN(objects); i++)
		memset(objects[i] = malloc(16 + i % 3000), 1, 16);
	for (unsigned int i = 0; i < ARRAY_LEN(objects); i++)
		if (i % 7)
			free(objects[i]);
	for (unsigned int i = 0; i < 20; i += 3)
		free(large[i]);
	for (int trims = 0; trims < 3; trims++) {
		ASSERT_EQ(0, ebb_stats_snapshot(&stats, sizeof(stats)));
		ASSERT_EQ(0, ebb_heap_count(&counts));
		EXPECT_EQ(0, stats.flags);
		EXPECT_EQ(stats.mapped, sum_of(&stats));
		EXPECT_EQ(counts.live_bytes, stats.live);
		EXPECT_EQ(counts.live_bytes, stats.counters[0]);
		EXPECT_EQ(counts.cached_bytes, stats.cached);
		EXPECT_EQ(sizeof(stats), stats.size);
		malloc_trim(0);
	}
}

/* What the second program does: the number of what did not come out. */
#define WITH_GUARDS	"EBB_TEST_WITH_GUARDS"

__attribute__((constructor)) static void balance_if_asked(void)
{
	static void *objects[300];
	struct ebb_heap_counts counts;
	struct ebb_stats stats;

	if (!getenv(WITH_GUARDS))
		return;
	for (unsigned int i = 0; i < ARRAY_LEN(objects); i++)
		memset(objects[i] = malloc(8 + i * 100), 1, 8);
	for (unsigned int i = 0; i < ARRAY_LEN(objects); i += 3)
		free(objects[i]);
	if (ebb_stats_snapshot(&stats, sizeof(stats)) || ebb_heap_count(&counts))
		_exit(1);
	if (stats.flags || stats.mapped != sum_of(&stats))
		_exit(2);
	if (stats.live != counts.live_bytes)
		_exit(3);
	if (stats.metadata != counts.meta_bytes)
		_exit(4);
	_exit(0);
}

/* Guarded objects are not in the range, and yet in the sum. */
TEST_F(snapshot, is_exact_with_guards)
{
	static const char *const confs[] = {
		"guard=all", "guard=sampled,guard_every=2", "profile=4K",
	};

	for (size_t i = 0; i < ARRAY_LEN(confs); i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			setenv("EBB_CONF", confs[i], 1);
			setenv(WITH_GUARDS, "1", 1);
			execl("/proc/self/exe", "snapshot_test", NULL);
			_exit(9);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status) TH_LOG("%s", confs[i]);
	}
}

TEST_F(snapshot, of_a_program_that_knows_less_is_cut)
{
	const size_t least = offsetof(struct ebb_stats, counters);
	struct ebb_stats stats;

	memset(&stats, 0x5a, sizeof(stats));
	ASSERT_EQ(0, ebb_stats_snapshot(&stats, least + 8));
	EXPECT_EQ(least + 8, stats.size);
	EXPECT_EQ(stats.mapped, sum_of(&stats));
	EXPECT_EQ(stats.live, stats.counters[0]);
	EXPECT_EQ(0x5a5a5a5a5a5a5a5a, stats.counters[1]);
	errno = 0;
	EXPECT_EQ(-1, ebb_stats_snapshot(&stats, least - 1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(snapshot, is_json)
{
	static char buf[64 * KIB], small[100];
	int len = ebb_stats_json(buf, sizeof(buf));
	FILE *python;

	ASSERT_LT(1000, len);
	ASSERT_GT(sizeof(buf), len);
	EXPECT_EQ((size_t)len, strlen(buf));
	EXPECT_LT(1000, ebb_stats_json(NULL, 0));
	EXPECT_LT(1000, ebb_stats_json(small, sizeof(small)));
	EXPECT_EQ(sizeof(small) - 1, strlen(small));
	EXPECT_EQ(0, strncmp(buf, small, 20));
	python = popen("python3 -c 'import json, sys\n"
		       "s = json.load(sys.stdin)\n"
		       "sum = s[\"live\"] + s[\"cached\"] + s[\"dirty\"] + "
		       "s[\"lazy\"] + s[\"clean\"]\n"
		       "sys.exit(sum != s[\"mapped\"] or "
		       "s[\"counters\"][\"live\"] != s[\"live\"] or "
		       "not s[\"threads\"][0][\"live\"])'", "w");
	ASSERT_NE(NULL, python);
	EXPECT_EQ(1, fwrite(buf, (size_t)len, 1, python));
	EXPECT_EQ(0, pclose(python));
}

TEST_HARNESS_MAIN
