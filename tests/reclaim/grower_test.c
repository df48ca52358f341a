/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - In-band reclaim, a limit of our own, audit: by grower.c
 *
 * tests/api/grower runs in a cgroup of its own whose limit leaves no room for
 * what it has freed beside what it builds.  Without a reclaimer thread only
 * in-band reclaim can keep it alive.
 */
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include "base/compiler.h"
#include "harness.h"
#include "api/run.h"
#include "cgroup.h"

#define NO_THREAD	"thread_min=1T"	/* nothing but in-band reclaim */

FIXTURE(grower)
{
	char grower[PATH_MAX];
	char library[PATH_MAX];
	struct group group;
	struct run run;
};

FIXTURE_SETUP(grower)
{
	self->run.program = beside(self->grower, "../api/grower");
	self->run.preload = library_path(self->library);
	self->run.argv[0] = self->grower;
	ASSERT_EQ(0, access(self->run.program, X_OK));
	group_make(&self->group);
}

FIXTURE_TEARDOWN(grower)
{
	group_remove(&self->group);
}

/* The number of counter @name in what malloc_info() printed. */
static unsigned long counter(const struct run *run, const char *name)
{
	char key[80];
	const char *at;

	snprintf(key, sizeof(key), "<counter name=\"%s\" value=\"", name);
	at = strstr(run->output, key);
	return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

/* Run it in @group below @mib MiB; our own status comes out of it. */
static bool run_below(struct run *run, const struct group *group, size_t mib)
{
	bool ran;

	if (!group_set_limit(group, mib * MIB) || !group_enter(group))
		return false;
	ran = run_program(run);
	group_write(group->parent, "cgroup.procs", "0");
	if (run->status)
		fprintf(stderr, "# status %d, it said:\n%s\n", run->status,
			run->output);
	return ran;
}

static void set_burst(struct run *run, const char *threads, const char *mib)
{
	run->argv[1] = (char *)"burst";
	run->argv[2] = (char *)threads;
	run->argv[3] = (char *)mib;
	run->argv[4] = (char *)"12";
}

#define NEEDS_GROUP() do {						\
	if (!self->group.path[0])					\
		SKIP(return, "cannot make a memory cgroup here");	\
} while (0)

/* Without it only who allocates looks at the limit. */
#define NEEDS_HEADROOM() do {						\
	if (!IS_ENABLED(CONFIG_HEADROOM))				\
		SKIP(return, "needs CONFIG_HEADROOM");			\
} while (0)

/* Peaks of 40 MB, 5 % stay of two of them: 46 MB and what is stranded. */
TEST_F(grower, a_burst_right_after_the_frees_survives)
{
	NEEDS_GROUP();
	set_burst(&self->run, "1", "40");
	self->run.conf = NO_THREAD;
	ASSERT_TRUE(run_below(&self->run, &self->group, 64));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(0u, counter(&self->run, "inband_purges"));
	EXPECT_LE(40 * MIB, counter(&self->run, "inband_given_back"));
}

/* Without it the same burst is killed, or this test shows nothing. */
TEST_F(grower, without_reclaim_the_burst_is_killed)
{
	NEEDS_GROUP();
	set_burst(&self->run, "1", "40");
	self->run.conf = "reclaim=off";
	group_set_limit(&self->group, 64 * MIB);
	ASSERT_TRUE(group_enter(&self->group));
	ASSERT_TRUE(run_program(&self->run));
	group_write(self->group.parent, "cgroup.procs", "0");
	EXPECT_EQ(256 + SIGKILL, self->run.status);
}

/* A file of @mib MiB in the cache, clean, charged to @group; its descriptor. */
static int cache_file(const struct group *group, const char *beside_it,
		      size_t mib)
{
	static char mebibyte[MIB];
	char path[PATH_MAX + 16];
	bool good = group_enter(group);
	int fd;

	snprintf(path, sizeof(path), "%s.XXXXXX", beside_it);
	fd = mkostemp(path, O_CLOEXEC);
	unlink(path);
	for (size_t i = 0; good && i < mib; i++)
		good = write(fd, mebibyte, MIB) == (ssize_t)MIB;
	good = good && !fsync(fd);
	group_write(group->parent, "cgroup.procs", "0");
	return good ? fd : -1;
}

/* The kernel drops it as soon as there is need: then it is no room any more. */
TEST_F(grower, file_cache_is_room_only_once)
{
	int fd;

	NEEDS_GROUP();
	group_set_limit(&self->group, 64 * MIB);
	fd = cache_file(&self->group, self->grower, 16);
	ASSERT_LE(0, fd);
	set_burst(&self->run, "1", "40");
	self->run.conf = NO_THREAD;
	ASSERT_TRUE(run_below(&self->run, &self->group, 64));
	close(fd);
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(0u, counter(&self->run, "inband_purges"));
}

/* All spend the same headroom; each byte of it is granted once. */
TEST_F(grower, threads_do_not_spend_the_same_room_twice)
{
	NEEDS_GROUP();
	set_burst(&self->run, "8", "40");
	self->run.conf = NO_THREAD;
	ASSERT_TRUE(run_below(&self->run, &self->group, 72));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(0u, counter(&self->run, "inband_purges"));
}

TEST_F(grower, the_thread_and_threads_of_the_program_work_together)
{
	NEEDS_HEADROOM();
	NEEDS_GROUP();
	set_burst(&self->run, "4", "40");
	ASSERT_TRUE(run_below(&self->run, &self->group, 68));
	EXPECT_EQ(0, self->run.status);
}

/* The host has no CPU for it, mostly; it may hold what others wait for. */
TEST_F_TIMEOUT(grower,
	       a_thread_that_gets_no_cpu_keeps_nobody_from_making_room, 180)
{
	char stalled[PATH_MAX];

	NEEDS_HEADROOM();
	NEEDS_GROUP();
	self->run.program = beside(stalled, "../api/stalled");
	ASSERT_EQ(0, access(self->run.program, X_OK));
	self->run.argv[0] = stalled;
	self->run.argv[1] = (char *)"400";
	self->run.argv[2] = (char *)"2000";
	self->run.argv[3] = self->grower;
	self->run.argv[4] = (char *)"burst";
	self->run.argv[5] = (char *)"4";
	self->run.argv[6] = (char *)"40";
	self->run.argv[7] = (char *)"12";
	/* Each wait ends before it goes on: one of them alone saves nobody. */
	self->run.conf = "inband_ms=80";
	ASSERT_TRUE(run_below(&self->run, &self->group, 72));
	EXPECT_EQ(0, self->run.status);
	if (strstr(self->run.output, "stalls: "))
		SKIP(return, "cannot stop it: %s",
		     strstr(self->run.output, "stalls: "));
	EXPECT_NE(NULL, strstr(self->run.output, "stalls "));
	EXPECT_EQ(NULL, strstr(self->run.output, "stalls 0"));
}

/* What it promises is not in the kernel's count yet. */
TEST_F(grower, a_large_object_beside_what_was_just_freed_survives)
{
	NEEDS_HEADROOM();
	NEEDS_GROUP();
	self->run.argv[1] = (char *)"object";
	self->run.argv[2] = (char *)"32";
	self->run.argv[3] = (char *)"8";
	ASSERT_TRUE(run_below(&self->run, &self->group, 52));
	EXPECT_EQ(0, self->run.status);

	self->run.conf = NO_THREAD;
	ASSERT_TRUE(run_below(&self->run, &self->group, 52));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(0u, counter(&self->run, "inband_purges"));
}

#define NR_BUSY	2
#define NICE	10	/* a twentieth of the CPU is left */

static pid_t start_busy(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		;
}

/* Nor does it come by once more, if other threads had the CPU meanwhile. */
TEST_F_TIMEOUT(grower, a_large_object_on_a_busy_cpu_survives, 180)
{
	pid_t busy[NR_BUSY];
	cpu_set_t all, one;
	bool ran;

	NEEDS_GROUP();
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	for (int i = 0; i < NR_BUSY; i++)
		busy[i] = start_busy();
	/* In a process of the harness's own, which ends with the test. */
	setpriority(PRIO_PROCESS, 0, NICE);
	self->run.argv[1] = (char *)"object";
	self->run.argv[2] = (char *)"32";
	self->run.argv[3] = (char *)"2";
	self->run.conf = NO_THREAD ",inband_ms=40";
	ran = run_below(&self->run, &self->group, 52);
	for (int i = 0; i < NR_BUSY; i++) {
		kill(busy[i], SIGKILL);
		waitpid(busy[i], NULL, 0);
	}
	sched_setaffinity(0, sizeof(all), &all);
	ASSERT_TRUE(ran);
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(0u, counter(&self->run, "inband_purges"));
}

/* Without the thread, below @limit_mib MiB, by purges near the limit. */
static void survive(struct __test_metadata *_metadata,
		    FIXTURE_DATA(grower) *self, const char *what,
		    const char *mib, unsigned int limit_mib)
{
	self->run.argv[1] = (char *)what;
	self->run.argv[2] = (char *)mib;
	self->run.conf = NO_THREAD;
	ASSERT_TRUE(run_below(&self->run, &self->group, limit_mib));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(0u, counter(&self->run, "inband_purges"));
}

/* It is in place, or mremap, so that no malloc comes by. */
TEST_F(grower, an_object_that_grows_by_realloc_survives)
{
	NEEDS_GROUP();
	survive(_metadata, self, "realloc", "48", 76);
}

/* A thread takes that next: another page would have to be faulted in for it. */
TEST_F(grower, what_was_freed_last_stays_where_there_is_enough_else)
{
	NEEDS_GROUP();
	survive(_metadata, self, "cached", "24", 64);
	EXPECT_NE(NULL, strstr(self->run.output, "order 16\n"));
}

TEST_F(grower, caches_go_where_there_is_nothing_else)
{
	NEEDS_GROUP();
	survive(_metadata, self, "cached", "0", 64);
	EXPECT_EQ(NULL, strstr(self->run.output, "order 16\n"));
	EXPECT_LE(MIB, counter(&self->run, "inband_given_back"));
}

/* Of 60 MiB one thread has 48, half of it free; another one takes 21. */
TEST_F(grower, what_one_thread_has_free_another_takes)
{
	NEEDS_GROUP();
	survive(_metadata, self, "shared", "48", 60);
}

/* --- limit= --- */

/* The @nr-th "filled N" of the output. */
static unsigned long filled(const struct run *run, int nr)
{
	const char *at = run->output;

	while ((at = strstr(at, "filled ")) && nr--)
		at++;
	return at ? strtoul(at + 7, NULL, 10) : 0;
}

static void expect_filled(struct __test_metadata *_metadata,
			  const struct run *run, unsigned long limit)
{
	for (int i = 0; i < 6; i++) {
		EXPECT_GE(limit, filled(run, i));
		EXPECT_LE(limit / 8 * 7, filled(run, i)) {
			TH_LOG("time %d", i);
		}
	}
}

TEST_F(grower, limit_refuses_and_the_program_goes_on)
{
	self->run.argv[1] = (char *)"refuse";
	self->run.conf = "limit=32M";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	expect_filled(_metadata, &self->run, 32 * MIB);
	EXPECT_NE(0u, counter(&self->run, "inband_refused"));
}

/* They need no page that is not backed already. */
TEST_F(grower, limit_leaves_the_slots_that_are_backed)
{
	const char *at;

	self->run.argv[1] = (char *)"slots";
	self->run.conf = "limit=64M";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	at = strstr(self->run.output, "slots ");
	ASSERT_NE(NULL, at);
	EXPECT_LE(9000u, strtoul(at + 6, NULL, 10));
}

TEST_F(grower, limit_lets_threads_take_what_others_have_free)
{
	self->run.argv[1] = (char *)"shared";
	self->run.argv[2] = (char *)"48";
	self->run.conf = "limit=56M";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
}

/* Room to grow on is a wish. */
TEST_F(grower, limit_lets_grow_what_fits_exactly)
{
	self->run.argv[1] = (char *)"exact";
	self->run.conf = "limit=16M";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
}

TEST_F(grower, limit_holds_without_reclaim)
{
	self->run.argv[1] = (char *)"refuse";
	self->run.conf = "limit=32M,reclaim=off";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	expect_filled(_metadata, &self->run, 32 * MIB);
}

TEST_F(grower, limit_is_a_share_of_the_cgroups)
{
	NEEDS_HEADROOM();
	NEEDS_GROUP();
	self->run.argv[1] = (char *)"refuse";
	self->run.conf = "limit=50%";
	ASSERT_TRUE(run_below(&self->run, &self->group, 64));
	EXPECT_EQ(0, self->run.status);
	expect_filled(_metadata, &self->run, 32 * MIB);
}

TEST_F(grower, a_share_of_no_limit_is_not_in_force_and_says_so)
{
	self->run.argv[1] = (char *)"burst";
	self->run.argv[2] = self->run.argv[4] = (char *)"1";
	self->run.argv[3] = (char *)"8";
	self->run.conf = "limit=1%";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	if (counter(&self->run, "limit"))
		SKIP(return, "the tests' own cgroup has a limit");
	EXPECT_NE(NULL, strstr(self->run.output, "limit=1% is not in force"));
}

/* A handler above a pass does not wait for who waits for that pass. */
TEST_F(grower, handlers_that_interrupt_a_pass_wait_for_nobody)
{
	self->run.argv[1] = (char *)"handlers";
	self->run.argv[2] = (char *)"3";
	self->run.conf = "limit=32M,reclaim=off";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(0u, counter(&self->run, "inband_refused"));
}

/* --- Audit --- */

#define QUICK	"thread_min=0,audit_ms=10,decay_ms=50,tick_max_ms=50"

TEST_F(grower, what_is_written_after_it_was_freed_is_given_back_again)
{
	size_t before, after;
	const char *at;

	self->run.argv[1] = (char *)"stray";
	self->run.argv[2] = (char *)"16";
	self->run.argv[3] = (char *)"100";
	self->run.conf = QUICK;
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	at = strstr(self->run.output, "rss ");
	ASSERT_NE(NULL, at);
	ASSERT_EQ(2, sscanf(at, "rss %zu %zu", &before, &after));
	EXPECT_GE(before + 3 * MIB, after);
	EXPECT_LE(6 * MIB, counter(&self->run, "strays_given_back"));
}

TEST_F(grower, without_audit_it_stays)
{
	self->run.argv[1] = (char *)"stray";
	self->run.argv[2] = (char *)"1";
	self->run.argv[3] = (char *)"5";
	self->run.conf = "thread_min=0,audit_ms=0,decay_ms=50,tick_max_ms=50";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0u, counter(&self->run, "strays_given_back"));
}

/* Free slots that no page could be given back for, and that are used again. */
TEST_F(grower, what_was_stranded_once_hides_nothing_later)
{
	size_t before, after;
	const char *at;

	self->run.argv[1] = (char *)"stranded";
	self->run.argv[2] = (char *)"32";
	self->run.conf = QUICK;
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	at = strstr(self->run.output, "rss ");
	ASSERT_NE(NULL, at);
	ASSERT_EQ(2, sscanf(at, "rss %zu %zu", &before, &after));
	EXPECT_LE(after + 8 * MIB, before);
}

TEST_F(grower, parts_of_huge_pages_are_split_under_pressure)
{
	if (!IS_ENABLED(CONFIG_APP_CALL))
		SKIP(return, "needs CONFIG_APP_CALL");
	self->run.argv[1] = (char *)"huge";
	self->run.argv[2] = (char *)"32";
	self->run.conf = QUICK ",decay_ms=60s,lazy=off";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	if (!strstr(self->run.output, "huge 1"))
		SKIP(return, "no huge pages are to be had here");
	EXPECT_NE(0u, counter(&self->run, "nr_huge_pages_split"));
}

TEST_HARNESS_MAIN
