// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Functions that are told of pressure: how often; a stress
 */
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include "harness.h"

#define GAP_MS		30
#define STRESS_MS	600

extern const char *ebb_conf;
const char *ebb_conf = "notify_ms=30,tick_min_ms=1,control_dir=off";

FIXTURE_EMPTY(notify);

struct times {
	uint64_t begun_ms[16];
	uint64_t ended_ms[16];
	int nr;
};

static void note_time(void *arg, enum ebb_pressure_level level)
{
	struct times *times = arg;

	(void)level;
	if (times->nr == 16)
		return;
	times->begun_ms[times->nr] = now_ms();
	/* The gap is counted from the end. */
	sleep_ms(3);
	times->ended_ms[times->nr] = now_ms();
	__atomic_store_n(&times->nr, times->nr + 1, __ATOMIC_RELEASE);
}

/* Each comes in the end, none before its time. */
TEST_F(notify, calls_are_apart)
{
	struct times times = { .nr = 0 };

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	ASSERT_EQ(0, ebb_pressure_register(note_time, &times,
					   EBB_PRESSURE_SEVERE));
	for (int i = 0; i < 5; i++) {
		/* Twice: of what comes within the gap one is told later. */
		ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
		ASSERT_TRUE(WAIT_FOR(__atomic_load_n(&times.nr,
						     __ATOMIC_ACQUIRE) > i));
		ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	}
	ASSERT_EQ(0, ebb_pressure_unregister(note_time, &times));
	EXPECT_LE(5, times.nr);
	for (int i = 1; i < times.nr; i++)
		/* Both clocks tick in milliseconds. */
		EXPECT_LE(times.ended_ms[i - 1] + GAP_MS - 1,
			  times.begun_ms[i]);
}

/*
 * Threads register and unregister, others say that there is pressure, others
 * fork.  After unregister() what the function was given is gone.
 */
struct subject {
	uint64_t alive;
	int inside;
	int nr_calls;
};

#define ALIVE		0x600dcafe600dcafeULL
#define NR_SUBJECTS	4

static struct subject subjects[2][NR_SUBJECTS];
static int may_end, nr_told, nr_left;

static void visit(void *arg, enum ebb_pressure_level level)
{
	struct subject *subject = arg;

	if (__atomic_add_fetch(&subject->inside, 1, __ATOMIC_ACQ_REL) != 1)
		abort();
	if (__atomic_load_n(&subject->alive, __ATOMIC_ACQUIRE) != ALIVE ||
	    level == EBB_PRESSURE_NONE)
		abort();
	for (int i = 0; i < 20; i++)
		free(hide(malloc((size_t)i * 3000)));
	if (__atomic_load_n(&subject->alive, __ATOMIC_ACQUIRE) != ALIVE)
		abort();
	__atomic_sub_fetch(&subject->inside, 1, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&nr_told, 1, __ATOMIC_RELAXED);
}

static bool is_over(void)
{
	return __atomic_load_n(&may_end, __ATOMIC_ACQUIRE);
}

static void *come_and_go(void *arg)
{
	struct subject *mine = arg;
	struct rng rng;

	rng_seed(&rng, (uintptr_t)arg);
	while (!is_over()) {
		struct subject *one = &mine[rng_below(&rng, NR_SUBJECTS)];

		if (one->alive == ALIVE) {
			if (ebb_pressure_unregister(visit, one))
				abort();
			if (__atomic_load_n(&one->inside, __ATOMIC_ACQUIRE))
				abort();
			__atomic_store_n(&one->alive, 0, __ATOMIC_RELEASE);
			__atomic_add_fetch(&nr_left, 1, __ATOMIC_RELAXED);
		} else {
			__atomic_store_n(&one->alive, ALIVE, __ATOMIC_RELEASE);
			if (ebb_pressure_register(visit, one,
						  EBB_PRESSURE_MILD))
				abort();
		}
		if (!rng_below(&rng, 8))
			sleep_ms(1);
	}
	return NULL;
}

static void *press(void *arg)
{
	(void)arg;
	while (!is_over()) {
		if (ebb_pressure(EBB_PRESSURE_SEVERE))
			abort();
		free(hide(malloc(MIB)));
		sleep_ms(1);
	}
	return NULL;
}

/* The child has none of these threads, and the table as it was. */
static int live_as_child(void)
{
	static struct subject own = { .alive = ALIVE };
	int before = __atomic_load_n(&nr_told, __ATOMIC_RELAXED);

	/* It may find one of the parent's half way: between its two steps. */
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < NR_SUBJECTS; j++) {
			subjects[i][j].inside = 0;
			(void)ebb_pressure_unregister(visit, &subjects[i][j]);
		}
	if (ebb_pressure_register(visit, &own, EBB_PRESSURE_MILD))
		return 1;
	if (ebb_pressure(EBB_PRESSURE_SEVERE))
		return 2;
	if (!WAIT_FOR(({ free(hide(malloc(MIB)));
			 __atomic_load_n(&nr_told, __ATOMIC_RELAXED) !=
			 before; })))
		return 3;
	return ebb_pressure_unregister(visit, &own) ? 4 : 0;
}

TEST_F(notify, stress)
{
	uint64_t end = now_ms() + STRESS_MS;
	pthread_t threads[4];
	int nr_forks = 0, status;

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, come_and_go,
					    subjects[i]));
	for (int i = 2; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, press, NULL));
	while (now_ms() < end || !__atomic_load_n(&nr_told, __ATOMIC_RELAXED)) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			_exit(live_as_child());
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		nr_forks++;
	}
	__atomic_store_n(&may_end, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	TH_LOG("%d calls, %d left, %d forks", nr_told, nr_left, nr_forks);
	EXPECT_LT(0, nr_told);
	EXPECT_LT(0, nr_left);
}

TEST_HARNESS_MAIN
