/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - memory.events, limits and moves on a real v2 cgroup
 *
 *	the present cgroup
 *	└── ebb-test-PID	top: no process
 *	    ├── a		where the test is
 *	    └── b		where it is moved to
 */
#include <errno.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/param.h"
#include "reclaim/source.h"
#include "reclaim/watch.h"
#include "harness.h"
#include "reclaim/hear.h"
#include "reclaim/own_cgroup.h"

#define LIMIT	(32 * MIB)

FIXTURE(cgroup2)
{
	struct cgroup_view view;
	struct signals signals;
	char home[CGROUP_PATH_MAX];
	char top[CGROUP_PATH_MAX + 64];
	char a[CGROUP_PATH_MAX + 72], b[CGROUP_PATH_MAX + 72];
	char *memory;
	uint64_t now_ms;
	const char *why;		/* not NULL: the tests skip */
};

static const char *make_tree(FIXTURE_DATA(cgroup2) *self)
{
	char file[CGROUP_PATH_MAX + 128];

	if (self->view.version != CGROUP_V2)
		return "the memory controller is not on cgroup v2";
	if (UNDER_TSAN)
		return "ThreadSanitizer's memory fits no limit";
	strcpy(self->home, self->view.memory.path);
	/* Fails where it is on already, or processes are in the way. */
	group_write(self->home, "cgroup.subtree_control", "+memory");
	snprintf(self->top, sizeof(self->top), "%s/ebb-test-%d", self->home,
		 (int)getpid());
	if (mkdir(self->top, 0755))
		return "no cgroup can be made here";
	snprintf(file, sizeof(file), "%s/memory.max", self->top);
	if (access(file, W_OK) ||
	    !group_write(self->top, "cgroup.subtree_control", "+memory"))
		return "cgroups made here have no memory controller";
	snprintf(self->a, sizeof(self->a), "%s/a", self->top);
	snprintf(self->b, sizeof(self->b), "%s/b", self->top);
	if (mkdir(self->a, 0755) || mkdir(self->b, 0755) ||
	    !group_write(self->a, "cgroup.procs", "0"))
		return "no process can be moved here";
	return NULL;
}

static void drop_tree(FIXTURE_DATA(cgroup2) *self)
{
	if (!self->top[0])
		return;
	group_write(self->home, "cgroup.procs", "0");
	for (int i = 0; i < 100; i++) {
		rmdir(self->a);
		rmdir(self->b);
		if (!rmdir(self->top))
			break;
		sleep_ms(10);
	}
}

FIXTURE_SETUP(cgroup2)
{
	cgroup_find("", &self->view);
	self->memory = mmap(NULL, 4 * LIMIT, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	ASSERT_EQ(0, madvise(self->memory, 4 * LIMIT, MADV_NOHUGEPAGE));
	self->why = make_tree(self);
	if (self->why)
		return;
	cgroup_find("", &self->view);
	ASSERT_STREQ(self->a, self->view.memory.path);
	source_open_all(&self->view, NULL);
	self->now_ms = clock_ms();
}

FIXTURE_TEARDOWN(cgroup2)
{
	munmap(self->memory, 4 * LIMIT);
	drop_tree(self);
}

#define NEEDS_V2() do {							\
	if (self->why)							\
		SKIP(return, "%s", self->why);				\
} while (0)

/*
 * Hit the limit without being killed: what is freed lazily is there for the
 * kernel to take.
 */
static void hit_limit(char *memory)
{
	for (int i = 0; i < 2; i++) {
		memset(memory, 1, LIMIT - LIMIT / 4);
		madvise(memory, LIMIT - LIMIT / 4, MADV_FREE);
		memset(memory + LIMIT, 1, LIMIT - LIMIT / 4);
		madvise(memory + LIMIT, LIMIT - LIMIT / 4, MADV_FREE);
	}
}

/* What memory.events alone says: there may be stalls to be heard of, too. */
static enum pressure events_say(FIXTURE_DATA(cgroup2) *self, int ms,
				uint64_t at_ms)
{
	uint64_t before = cgroup2_source.nr_events;
	enum pressure said = hear(ms, at_ms, &self->signals);

	return cgroup2_source.nr_events > before ? said : PRESSURE_NONE;
}

static bool become_severe(FIXTURE_DATA(cgroup2) *self, uint64_t at_ms)
{
	for (int i = 0; i < 20; i++)
		if (events_say(self, 100, at_ms) == PRESSURE_SEVERE)
			return true;
	return false;
}

TEST_F(cgroup2, events_are_live_on_the_own_level_and_above)
{
	NEEDS_V2();
	ASSERT_TRUE(cgroup2_source.state == SOURCE_LIVE);
	EXPECT_STREQ("memory.events", cgroup2_source.reason);
	EXPECT_LE(2u, cgroup2_source.nr_fds);
	EXPECT_EQ(PRESSURE_NONE, events_say(self, 100, self->now_ms));
}

TEST_F(cgroup2, crossing_high_is_severe)
{
	NEEDS_V2();
	ASSERT_TRUE(group_write_number(self->a, "memory.high", LIMIT / 2));
	memset(self->memory, 1, LIMIT / 2 + MIB);
	EXPECT_TRUE(become_severe(self, self->now_ms));
	EXPECT_NE(0u, cgroup2_source.nr_events);
	EXPECT_EQ(LIMIT / 2, self->signals.limit);
}

TEST_F(cgroup2, hits_of_max_are_debounced)
{
	char why[256];

	NEEDS_V2();
	ASSERT_TRUE(group_write_number(self->a, "memory.max", LIMIT));
	hit_limit(self->memory);
	EXPECT_TRUE(become_severe(self, self->now_ms));
	/* Coalesced events come late. */
	sleep_ms(100);
	hear(0, self->now_ms + 1, &self->signals);
	hit_limit(self->memory);
	EXPECT_EQ(PRESSURE_NONE, events_say(self, 1000, self->now_ms + 50));
	sleep_ms(100);
	hear(0, self->now_ms + 51, &self->signals);
	hit_limit(self->memory);
	EXPECT_TRUE(become_severe(self, self->now_ms + 200));

	ASSERT_EQ(0, param_set("debounce_ms", "0", why, sizeof(why)));
	sleep_ms(100);
	hear(0, self->now_ms + 201, &self->signals);
	hit_limit(self->memory);
	EXPECT_TRUE(become_severe(self, self->now_ms + 202));
}

TEST_F(cgroup2, a_limit_above_counts)
{
	NEEDS_V2();
	ASSERT_TRUE(group_write_number(self->top, "memory.max", LIMIT));
	hit_limit(self->memory);
	EXPECT_TRUE(become_severe(self, self->now_ms));
	EXPECT_EQ(LIMIT, self->signals.limit);
}

TEST_F(cgroup2, a_changed_limit_is_told)
{
	struct pollfd pfd = { .events = POLLIN };

	NEEDS_V2();
	ASSERT_TRUE(group_write_number(self->a, "memory.max", 2 * LIMIT));
	hear(0, self->now_ms, &self->signals);
	ASSERT_EQ(1u, headroom_source.nr_fds);
	pfd.fd = headroom_source.fds[0];
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	ASSERT_TRUE(group_write_number(self->top, "memory.high", LIMIT));
	EXPECT_EQ(1, poll(&pfd, 1, 1000));
	hear(0, self->now_ms, &self->signals);
	EXPECT_EQ(LIMIT, self->signals.limit);
	EXPECT_EQ(1u, headroom_source.nr_events);
}

TEST_F(cgroup2, a_move_is_noticed_and_the_sources_found_again)
{
	NEEDS_V2();
	ASSERT_TRUE(group_write(self->b, "cgroup.procs", "0"));
	ASSERT_TRUE(group_write_number(self->b, "memory.high",
					    LIMIT / 2));
	hear(0, self->now_ms + 10, &self->signals);
	EXPECT_STREQ(self->a, self->view.memory.path);
	hear(0, self->now_ms + 2000, &self->signals);
	EXPECT_STREQ(self->b, self->view.memory.path);
	ASSERT_TRUE(cgroup2_source.state == SOURCE_LIVE);
	EXPECT_EQ(1u, cgroup2_source.nr_found);
	EXPECT_EQ(LIMIT / 2, self->signals.limit);
	memset(self->memory, 1, LIMIT / 2 + MIB);
	EXPECT_TRUE(become_severe(self, self->now_ms + 2000));
	EXPECT_EQ(0, rmdir(self->a));
	settle();
}

/* Be stalled above memory.high until @source has had @nr events. */
static bool stall_until(FIXTURE_DATA(cgroup2) *self,
			const struct source *source, uint64_t nr)
{
	uint64_t until = now_ms() + PATIENCE_MS;
	size_t done = 0;

	group_write_number(self->a, "memory.high", LIMIT / 2);
	while (source->nr_events < nr && now_ms() < until) {
		memset(self->memory + done, 1, 256 * KIB);
		done = (done + 256 * KIB) % LIMIT;
		hear(0, clock_ms(), &self->signals);
	}
	return source->nr_events >= nr;
}

TEST_F(cgroup2, stalls_are_heard_through_psi)
{
	NEEDS_V2();
	if (psi_source.state != SOURCE_LIVE)
		SKIP(return, "%s", psi_source.reason);
	EXPECT_EQ(psi_source.reason, strstr(psi_source.reason,
					    "memory.pressure of the own "
					    "cgroup"));
	EXPECT_TRUE(stall_until(self, &psi_source, 2));
}

TEST_F(cgroup2, stalls_are_heard_through_the_manager_s_file)
{
	char watch[CGROUP_PATH_MAX + 128];
	/* some 200000 2000000 */
	char *env[] = {
		watch,
		(char *)"MEMORY_PRESSURE_WRITE=c29tZSAyMDAwMDAgMjAwMDAwMAA=",
		NULL,
	};

	NEEDS_V2();
	snprintf(watch, sizeof(watch), "MEMORY_PRESSURE_WATCH=%s/"
		 "memory.pressure", self->a);
	watch_note_environment(env, false);
	source_open_all(&self->view, NULL);
	if (watch_source.error == -ENOENT)
		SKIP(return, "PSI is off");
	ASSERT_TRUE(watch_source.state == SOURCE_LIVE);
	EXPECT_EQ(-EBUSY, psi_source.error);
	EXPECT_TRUE(stall_until(self, &watch_source, 1));
	EXPECT_TRUE(watch_source.state == SOURCE_LIVE);
}

TEST_F(cgroup2, needs_no_right)
{
	NEEDS_V2();
	if (seteuid(65534))
		SKIP(return, "not root");
	source_open_all(&self->view, NULL);
	EXPECT_TRUE(cgroup2_source.state == SOURCE_LIVE) {
		TH_LOG("%s", cgroup2_source.reason);
	}
	EXPECT_TRUE(headroom_source.state == SOURCE_LIVE);
	ASSERT_EQ(0, seteuid(0));
	ASSERT_TRUE(group_write_number(self->a, "memory.high", LIMIT / 2));
	memset(self->memory, 1, LIMIT / 2 + MIB);
	EXPECT_TRUE(become_severe(self, self->now_ms));
}

TEST_HARNESS_MAIN
